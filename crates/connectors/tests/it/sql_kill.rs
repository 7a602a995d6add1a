//! Tables under a program that is killed, at every step, and started again: each row is there once.
//!
//! The program is this test binary, started as a process of its own.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use tidemill_connectors::sql::{SqlOptions, SqlSink};
use tidemill_dstream::op::columns::schema_named;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::clock::ManualClock;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::failpoint;
use tidemill_engine::recovery::open_checkpoint;
use tidemill_engine::sink::Sink;
use tidemill_engine::sink::foreach::ForeachSink;
use tidemill_engine::time::Time;

use crate::databases::Database;

/// Which program the process is to run, where, into which database, as which of its lives.
const PROGRAM: &str = "TIDEMILL_TEST_PROGRAM";
const FOLDER: &str = "TIDEMILL_TEST_FOLDER";
const URL: &str = "TIDEMILL_TEST_URL";
const TABLE: &str = "TIDEMILL_TEST_TABLE";
const LIFE: &str = "TIDEMILL_TEST_LIFE";

/// The program, in the process that is to die.
#[test]
fn the_program() {
    let Ok(program) = std::env::var(PROGRAM) else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    let life = variable(LIFE).parse().unwrap();
    if let Err(error) = run_program(&program, &PathBuf::from(variable(FOLDER)), &variable(URL), &variable(TABLE), life)
    {
        eprintln!("the program failed: {error}");
        std::process::exit(7);
    }
}

fn run_program(program: &str, folder: &Path, url: &str, table: &str, life: i64) -> Result<()> {
    let options = match program {
        "staged" => SqlOptions::append().stage_above(0),
        "upsert" => SqlOptions::upsert(["n"]),
        _ => SqlOptions::append(),
    };
    let sink: Arc<dyn Sink> = match program {
        // The same rows into the same table, by a sink that keeps no batches: a transaction for each partition.
        "twice" => {
            let url = url.to_string();
            let insert = format!("INSERT INTO {table} (n) VALUES ($1)");
            Arc::new(ForeachSink::new(move |_, _, rows| {
                let failed = |error: rusqlite::Error| Error::retry("can't insert").with_source(error);
                let path = url.strip_prefix("sqlite:").unwrap_or_default();
                let mut connection = rusqlite::Connection::open(path).map_err(failed)?;
                connection.busy_timeout(Duration::from_secs(30)).map_err(failed)?;
                let transaction = connection.transaction().map_err(failed)?;
                for n in rows.iter().flat_map(|rows| rows.column(0).as_primitive::<UInt64Type>().values()) {
                    transaction.execute(&insert, [*n as i64]).map_err(failed)?;
                }
                transaction.commit().map_err(failed)?;
                failpoint::hit("inserted");
                Ok(())
            }))
        }
        _ => Arc::new(SqlSink::connect(url, table, options)?),
    };
    let width = if program == "big" { 20_000 } else { 1 };
    let clock = ManualClock::at(Time::from_millis(1_000_000 * life));
    let conf = test_conf().set("spark.streaming.checkpoint.directory", folder.join("checkpoint").display());
    let context = TestContext::start_on(clock, conf, Duration::from_secs(1), false, |ssc| {
        let rows = ssc.rate_stream(5)?.map(move |n| (n, "x".repeat(width)));
        rows.write_rows_to(Arc::clone(&sink), schema_named::<(u64, String)>(&["n", "text"])?)
    })?;
    for _ in 0..10 {
        context.run_batch();
    }
    context.stop()
}

/// A life of the program: until its end, or until it is killed at `kill_at`.
struct Lives<'a> {
    program: &'a str,
    database: &'a Database,
    table: &'a str,
    folder: tempfile::TempDir,
}

impl<'a> Lives<'a> {
    fn new(program: &'a str, database: &'a Database, table: &'a str) -> Self {
        Self { program, database, table, folder: tempfile::tempdir().unwrap() }
    }

    fn live(&self, life: i64, kill_at: Option<&str>, shell: &str) -> (ExitStatus, String) {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{shell} exec \"$@\""), "sh"]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "sql_kill::the_program", "--nocapture"]);
        command.env(PROGRAM, self.program).env(FOLDER, self.folder.path()).env(LIFE, life.to_string());
        command.env(URL, self.database.url()).env(TABLE, self.table).env_remove("TIDEMILL_KILL_AT");
        if let Some(kill_at) = kill_at {
            command.env("TIDEMILL_KILL_AT", kill_at);
        }
        let output = command.output().unwrap();
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn live_to_the_end(&self, life: i64) {
        let (status, said) = self.live(life, None, "");
        assert!(status.success(), "{status}: {said}");
    }

    /// The rows that should be there: all that the checkpoint says are done.
    fn expected(&self) -> Vec<u64> {
        let (_, resume) = open_checkpoint(&self.folder.path().join("checkpoint")).unwrap();
        assert!(resume.unfinished.is_empty(), "the last life ended well");
        let (_, end) = resume.ends.values().next().expect("there is one stream");
        (0..end.as_count()).collect()
    }

    fn rows(&self) -> Vec<u64> {
        self.database.numbers(&format!("SELECT n FROM {} ORDER BY n", self.table))
    }

    fn staged(&self) -> Vec<u64> {
        self.database.numbers(&format!("SELECT count(*) FROM tidemill_staged WHERE sink = '{}'", self.table))
    }
}

#[test]
fn rows_are_there_once_wherever_the_program_dies() {
    let points = [
        ("staged", "sql-staged:2"),
        ("staged", "rows-written:3"),
        ("append", "rows-written:1"),
        ("append", "sql-committed:4"),
        ("upsert", "rows-written:4"),
        ("upsert", "sql-committed:1"),
    ];
    for database in Database::all() {
        for (n, (program, kill_at)) in points.into_iter().enumerate() {
            // Each database has a transaction of its own.
            let transaction = match &database {
                Database::Sqlite(_) => "sqlite-rows-written",
                Database::Postgres(_) => "postgres-rows-written",
            };
            let kill_at = kill_at.replace("rows-written", transaction);
            let (place, table) = (format!("{} {program} {kill_at}", database.name()), format!("killed_{n}"));
            let lives = Lives::new(program, &database, &table);
            let (status, said) = lives.live(1, Some(&kill_at), "");
            assert_eq!(status.signal(), Some(9), "{place} was not passed: {said}");
            lives.live_to_the_end(2);
            assert_eq!(lives.rows(), lives.expected(), "{place}");
            assert!(lives.rows().len() > 40 && lives.staged() == [0], "{place}");
        }
    }
}

#[test]
fn a_sink_without_batches_doubles_rows_and_this_test_sees_it() {
    let database = Database::Sqlite(tempfile::tempdir().unwrap());
    database.run("CREATE TABLE twice (n INTEGER)");
    let lives = Lives::new("twice", &database, "twice");
    let (status, said) = lives.live(1, Some("inserted:3"), "");
    assert_eq!(status.signal(), Some(9), "{said}");
    lives.live_to_the_end(2);
    let mut rows = lives.rows();
    assert!(rows.len() > lives.expected().len());
    rows.dedup();
    assert_eq!(rows, lives.expected());
}

#[test]
fn rows_are_there_once_after_the_disk_was_full() {
    let database = Database::Sqlite(tempfile::tempdir().unwrap());
    let lives = Lives::new("big", &database, "big");
    // No file may be longer than 256 blocks of 512 or 1,024 bytes: the database wants to be.
    let (status, said) = lives.live(1, None, "trap '' XFSZ; ulimit -f 256;");
    assert_eq!(status.code(), Some(7), "{said}");
    ["table big of sqlite:", "SQLite refused"].iter().for_each(|part| assert!(said.contains(part), "{part:?}: {said}"));
    lives.live_to_the_end(2);
    assert_eq!(lives.rows(), lives.expected());
}
