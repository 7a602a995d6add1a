//! Tables of files under a program that is killed, at every step, and started again: each row is there once.
//!
//! The program is this test binary, started as a process of its own.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use tidemill_dstream::op::columns::schema_named;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::clock::ManualClock;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::failpoint;
use tidemill_engine::recovery::open_checkpoint;
use tidemill_engine::sink::Sink;
use tidemill_engine::sink::files::{Compaction, FileFormat, FileSink, FileTable};
use tidemill_engine::sink::foreach::ForeachSink;
use tidemill_engine::time::Time;

/// Which program the process is to run, where, as which of its lives.
const PROGRAM: &str = "TIDEMILL_TEST_PROGRAM";
const FOLDER: &str = "TIDEMILL_TEST_FOLDER";
const LIFE: &str = "TIDEMILL_TEST_LIFE";

const ROWS: u64 = 5;

/// The program, in the process that is to die.
#[test]
fn the_program() {
    let Ok(program) = std::env::var(PROGRAM) else { return };
    let folder = PathBuf::from(std::env::var(FOLDER).unwrap());
    let life: i64 = std::env::var(LIFE).unwrap().parse().unwrap();
    if let Err(error) = run_program(&program, &folder, life) {
        eprintln!("the program failed: {error}");
        std::process::exit(7);
    }
}

fn run_program(program: &str, folder: &Path, life: i64) -> Result<()> {
    let format = if program == "parquet" { FileFormat::Parquet } else { FileFormat::Json };
    let (table, lines) = (folder.join("table"), folder.join("lines"));
    let compaction = Compaction { target_bytes: 1 << 20, min_files: 4, grace: Duration::ZERO };
    let files = Arc::new(FileSink::new(table, format).compaction(compaction));
    let sink: Arc<dyn Sink> = match program {
        "twice" => Arc::new(ForeachSink::new(move |_, _, rows| {
            let text: String = rows.iter().flat_map(numbers).map(|n| format!("{n}\n")).collect();
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&lines);
            file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
                .map_err(|error| Error::retry("can't append").with_source(error))?;
            failpoint::hit("appended");
            Ok(())
        })),
        _ => Arc::clone(&files) as _,
    };
    let width = match program {
        "big" => 5_000,
        "huge" => 50_000,
        _ => 1,
    };
    let clock = ManualClock::at(Time::from_millis(1_000_000 * life));
    let context = TestContext::start_on(clock, checkpointed(folder), Duration::from_secs(1), false, |ssc| {
        let rows = ssc.rate_stream(ROWS)?.map(move |n| (n, "x".repeat(width)));
        rows.write_rows_to(Arc::clone(&sink), schema_named::<(u64, String)>(&["n", "text"])?)
    })?;
    // Checkpoints of the manifest come after 64 entries.
    let batches = if program == "files" { 70 } else { 10 };
    (0..batches).for_each(|_| {
        context.run_batch();
    });
    context.stop()?;
    if program != "twice" {
        files.compact()?;
    }
    Ok(())
}

fn checkpointed(folder: &Path) -> tidemill_dstream::conf::SparkConf {
    test_conf().set("spark.streaming.checkpoint.directory", folder.join("checkpoint").display())
}

fn numbers(rows: &arrow::array::RecordBatch) -> Vec<u64> {
    rows.column(0).as_primitive::<UInt64Type>().values().to_vec()
}

/// A life of the program: until its end, or until it is killed at `kill_at`.
fn live(program: &str, folder: &Path, life: i64, kill_at: Option<&str>, shell: &str) -> (ExitStatus, String) {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{shell} exec \"$@\""), "sh"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "sink_kill::the_program", "--nocapture"]);
    command.env(PROGRAM, program).env(FOLDER, folder).env(LIFE, life.to_string()).env_remove("TIDEMILL_KILL_AT");
    if let Some(kill_at) = kill_at {
        command.env("TIDEMILL_KILL_AT", kill_at);
    }
    let output = command.output().unwrap();
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn live_to_the_end(program: &str, folder: &Path, life: i64) {
    let (status, said) = live(program, folder, life, None, "");
    assert!(status.success(), "{status}: {said}");
}

/// The rows that should be there: all that the checkpoint says are done.
fn expected(folder: &Path) -> Vec<u64> {
    let (_, resume) = open_checkpoint(&folder.join("checkpoint")).unwrap();
    assert!(resume.unfinished.is_empty(), "the last life ended well");
    let (_, end) = resume.ends.values().next().expect("there is one stream");
    (0..end.as_count()).collect()
}

fn table(folder: &Path) -> Vec<u64> {
    FileTable::open(folder.join("table")).unwrap().read().unwrap().iter().flat_map(numbers).collect()
}

/// Data files that the manifest does not name.
fn left_over(folder: &Path) -> usize {
    let files = FileTable::open(folder.join("table")).unwrap().files().unwrap();
    let data = std::fs::read_dir(folder.join("table")).unwrap().map(|entry| entry.unwrap().file_name());
    data.filter(|name| name != "_manifest" && !files.iter().any(|file| file.name.as_str() == name)).count()
}

fn killed_at(program: &str, kill_at: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (status, said) = live(program, folder.path(), 1, Some(kill_at), "");
    assert_eq!(status.signal(), Some(9), "{kill_at} was not passed: {said}");
    // What readers see of a program that is dead is a beginning of the rows, each once.
    if FileTable::open(folder.path().join("table")).is_ok() {
        let rows = table(folder.path());
        assert_eq!(rows, (0..rows.len() as u64).collect::<Vec<_>>(), "{kill_at}, before the restart");
    }
    live_to_the_end(program, folder.path(), 2);
    assert_eq!(table(folder.path()), expected(folder.path()), "{kill_at}");
    live_to_the_end(program, folder.path(), 3);
    let rows = table(folder.path());
    assert_eq!(rows, expected(folder.path()), "{kill_at}, one life later");
    assert!(rows.len() > 50);
    assert_eq!(left_over(folder.path()), 0, "{kill_at}");
}

#[test]
fn rows_are_there_once_wherever_the_writing_dies() {
    let points =
        ["file-sink-file-written", "file-sink-files-written", "file-sink-entry-written", "file-sink-manifest-appended"];
    points.iter().for_each(|point| killed_at("short", &format!("{point}:1")));
    points.iter().for_each(|point| killed_at("parquet", &format!("{point}:7")));
}

#[test]
fn rows_are_there_once_wherever_the_compaction_dies() {
    let points = ["compaction-file-written", "compaction-appended", "compaction-file-deleted"];
    points.iter().for_each(|point| killed_at("short", &format!("{point}:1")));
    points.iter().for_each(|point| killed_at("parquet", &format!("{point}:2")));
    killed_at("files", "file-sink-checkpoint-written");
}

#[test]
fn a_sink_that_appends_doubles_rows_and_this_test_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let (status, said) = live("twice", folder.path(), 1, Some("appended:3"), "");
    assert_eq!(status.signal(), Some(9), "{said}");
    live_to_the_end("twice", folder.path(), 2);
    let lines = std::fs::read_to_string(folder.path().join("lines")).unwrap();
    let mut rows: Vec<u64> = lines.lines().map(|line| line.parse().unwrap()).collect();
    rows.sort_unstable();
    assert!(rows.len() > expected(folder.path()).len());
    rows.dedup();
    assert_eq!(rows, expected(folder.path()));
}

#[test]
fn rows_are_there_once_after_the_disk_was_full() {
    // No file may be longer than 32 blocks of 512 or 1,024 bytes: those of the rows want to be, or what they are merged into.
    for (program, full) in [("huge", "table/part-"), ("big", "table/compact-")] {
        let folder = tempfile::tempdir().unwrap();
        let (status, said) = live(program, folder.path(), 1, None, "trap '' XFSZ; ulimit -f 32;");
        assert_eq!(status.code(), Some(7), "{said}");
        let parts = ["can't write", full, "is there space", "File too large"];
        parts.iter().for_each(|part| assert!(said.contains(part), "{part:?} is not in {said}"));
        live_to_the_end(program, folder.path(), 2);
        assert_eq!(table(folder.path()), expected(folder.path()), "{program}");
        live_to_the_end(program, folder.path(), 3);
        assert_eq!((table(folder.path()), left_over(folder.path())), (expected(folder.path()), 0), "{program}");
    }
}
