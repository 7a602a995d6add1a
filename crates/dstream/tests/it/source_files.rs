//! Files that appear in directories: which batch has which, with real files whose times are set, on a manual clock.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::error::Error;
use tidemill_engine::time::Time;

use super::source_support::{Batches, Running, SECOND};

/// When the streams of these tests start.
const START: i64 = 1_700_000_000_000;

fn modified(path: &Path, after_start_ms: i64) {
    let time = UNIX_EPOCH + Duration::from_millis((START + after_start_ms) as u64);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// A file whose one line is its name, modified so long after the start.
fn put(folder: &Path, name: &str, after_start_ms: i64) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, format!("{name}\n")).unwrap();
    modified(&path, after_start_ms);
    path
}

fn lines_of(directory: impl AsRef<Path>) -> Running<String> {
    let directory = directory.as_ref().to_str().unwrap().to_string();
    Running::start_at(START, &[], move |ssc| ssc.text_file_stream(&directory))
}

/// The rows of the next batch.
fn next(running: &Running<String>) -> Vec<String> {
    running.next().concat()
}

const NOTHING: [&str; 0] = [];

#[test]
fn files_belong_to_the_batch_by_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let running = lines_of(folder.path());
    for (name, time) in
        [("before", -1), ("at-start", 0), ("first", 1), ("due", 1000), ("later", 1001), (".hidden", 500)]
    {
        put(folder.path(), name, time);
    }
    fs::create_dir(folder.path().join("a-directory")).unwrap();
    assert_eq!(next(&running), ["due", "first"]);
    assert_eq!(next(&running), ["later"]);
    assert_eq!(next(&running), NOTHING);
    // Moved in complete, with the time at which it was written.
    let outside = tempfile::tempdir_in(folder.path().parent().unwrap()).unwrap();
    let path = put(outside.path(), "moved", 2500);
    fs::rename(path, folder.path().join("moved")).unwrap();
    // Modified after it was read: not read again, for as long as it is remembered.
    put(folder.path(), "first", 1500);
    assert_eq!(next(&running), ["moved"]);
    assert_eq!(next(&running), NOTHING);
    // Too old to be seen: the remembered time is over.
    running.context.clock().advance(Duration::from_secs(95));
    running.context.ssc.wait_for_batch(Time::from_millis(START + 100_000));
    put(folder.path(), "stale", 39_000);
    put(folder.path(), "young", 43_000);
    put(folder.path(), "first", 100_500);
    assert_eq!(next(&running), ["first", "young"]);
    running.stop();
}

#[test]
fn the_remembered_time_can_be_set() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    let settings = [("spark.streaming.fileStream.minRememberDuration", "2500ms")];
    let running = Running::start_at(START, &settings, |ssc| ssc.text_file_stream(directory));
    (0..5).for_each(|_| drop(running.next()));
    // Rounded up to whole batches: three seconds before the batch of 6000.
    put(folder.path(), "out", 3000);
    put(folder.path(), "in", 3001);
    assert_eq!(next(&running), ["in"]);
    running.stop();
}

#[test]
fn files_that_are_there_may_count_too_and_names_are_filtered() {
    let folder = tempfile::tempdir().unwrap();
    for (name, time) in [("a.log", -59_000), ("b.log", -60_000), ("c.txt", -1), (".d.log", -1)] {
        put(folder.path(), name, time);
    }
    let directory = folder.path().to_str().unwrap();
    let running = Running::start_at(START, &[], |ssc| {
        ssc.file_stream(directory, |path| path.extension().is_some_and(|end| end == "log"), false)
    });
    // The batch of 1000 looks back to -59000, exclusive; a filter of one's own may let hidden files in.
    assert_eq!(next(&running), [".d.log"]);
    put(folder.path(), "e.log", 1500);
    put(folder.path(), "f.txt", 1500);
    assert_eq!(next(&running), ["e.log"]);
    running.stop();
}

#[test]
fn lines_of_all_kinds_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let running = lines_of(folder.path());
    let mut gz = flate2::write::GzEncoder::new(File::create(folder.path().join("a.gz")).unwrap(), Default::default());
    gz.write_all(b"zipped one\nzipped two").unwrap();
    gz.finish().unwrap();
    fs::write(folder.path().join("b.zst"), zstd::encode_all(&b"zst\n"[..], 1).unwrap()).unwrap();
    fs::write(folder.path().join("c"), b"crlf\r\n\r\nb\xffd\nno end").unwrap();
    fs::write(folder.path().join("d"), b"").unwrap();
    ["a.gz", "b.zst", "c", "d"].iter().for_each(|name| modified(&folder.path().join(name), 500));
    assert_eq!(next(&running), ["zipped one", "zipped two", "zst", "crlf", "", "b\u{fffd}d", "no end"]);
    // As in Spark, the number of records is not known.
    assert_eq!(running.events.records(), [(START + 1000, 0)]);
    running.stop();
}

#[test]
fn a_directory_may_come_later_and_be_many() {
    let folder = tempfile::tempdir().unwrap();
    let running = lines_of(folder.path().join("day-*"));
    assert_eq!(next(&running), NOTHING);
    for (directory, name, time) in [("day-1", "one", 1500), ("day-2", "two", 1500), ("night-1", "three", 1500)] {
        fs::create_dir(folder.path().join(directory)).unwrap();
        put(&folder.path().join(directory), name, time);
    }
    assert_eq!(next(&running), ["one", "two"]);
    // A directory may go and come again.
    fs::remove_dir_all(folder.path().join("day-1")).unwrap();
    put(&folder.path().join("day-2"), "four", 2500);
    assert_eq!(next(&running), ["four"]);
    fs::create_dir(folder.path().join("day-1")).unwrap();
    put(&folder.path().join("day-1"), "five", 3500);
    assert_eq!(next(&running), ["five"]);
    running.stop();
}

#[test]
fn binary_records_have_their_length() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    let running = Running::start_at(START, &[], |ssc| ssc.binary_records_stream(directory, 3));
    fs::write(folder.path().join("a"), b"abc\ne\0").unwrap();
    fs::write(folder.path().join("b"), b"").unwrap();
    fs::write(folder.path().join(".c"), b"nop").unwrap();
    ["a", "b", ".c"].iter().for_each(|name| modified(&folder.path().join(name), 500));
    assert_eq!(running.next().concat(), [b"abc".to_vec(), b"\ne\0".to_vec()]);
    // A file that is not whole fails its batch, and says which.
    fs::write(folder.path().join("d"), b"abcd").unwrap();
    modified(&folder.path().join("d"), 1500);
    running.next();
    let error = running.context.stop().unwrap_err().to_string();
    assert!(error.contains("d is not a whole number of 3-byte records: 1 bytes are left over"), "{error}");
    let none = Running::<String>::start(&[], |ssc| {
        assert!(ssc.binary_records_stream(directory, 0).is_err());
        let refused = ssc.text_file_stream("s3://bucket/folder").err().unwrap();
        assert!(refused.message().contains("is not a local file"), "{refused}");
        ssc.text_file_stream(&format!("file://{directory}"))
    });
    none.stop();
}

/// Runs the stream as a process of its own would: from `at_ms` after the start on, for so many batches. With `fail`, the last
/// batch fails.
fn run(folder: &Path, checkpoint: &Path, at_ms: i64, batches: usize, fail: bool) -> Vec<Vec<String>> {
    let conf = test_conf().set("spark.streaming.checkpoint.directory", checkpoint.display());
    let (collected, last) = (Batches::default(), START + at_ms + 1000 * batches as i64);
    let build = |ssc: &StreamingContext| {
        let stream = ssc.text_file_stream(folder.to_str().unwrap())?;
        stream.foreach_rdd_with_time(move |_, time| match fail && time.as_millis() == last {
            true => Err(Error::usage("killed here")),
            false => Ok(()),
        })?;
        collected.collect_from(&stream)
    };
    let context = TestContext::start_at(Time::from_millis(START + at_ms), conf, SECOND, true, build).unwrap();
    for _ in 0..batches {
        context.run_batch();
    }
    assert_eq!(context.stop().is_err(), fail);
    let mut rows: Vec<Vec<String>> = collected.by_time().into_iter().map(|partitions| partitions.concat()).collect();
    rows.retain(|rows| !rows.is_empty());
    rows
}

#[test]
fn a_restart_reads_no_file_twice_and_loses_none() {
    let (folder, checkpoint) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (folder, checkpoint) = (folder.path(), checkpoint.path());
    put(folder, "old", -1);
    // The first run finds nothing, and what comes while it is down, longer than files are remembered, is new.
    assert_eq!(run(folder, checkpoint, 0, 2, false), [NOTHING; 0]);
    put(folder, "down-1", 2500);
    put(folder, "down-2", 100_000);
    // Each belongs to the batch of its time.
    assert_eq!(run(folder, checkpoint, 200_000, 1, false), [["down-1"], ["down-2"]]);
    put(folder, "up", 201_500);
    assert_eq!(run(folder, checkpoint, 201_000, 2, false), [["up"]]);
    // Nothing new: nothing read.
    assert_eq!(run(folder, checkpoint, 203_000, 3, false), [NOTHING; 0]);
    // A batch that failed is run again with its files, and those that came meanwhile have a batch of their own.
    put(folder, "again", 206_500);
    run(folder, checkpoint, 206_000, 1, true);
    put(folder, "meanwhile", 207_500);
    assert_eq!(run(folder, checkpoint, 208_000, 2, false), [["again"], ["meanwhile"]]);
    assert_eq!(run(folder, checkpoint, 210_000, 2, false), [NOTHING; 0]);
}

#[test]
fn many_files_over_many_restarts_are_each_read_once() {
    let (folder, checkpoint) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut read, mut put_so_far) = (Vec::new(), BTreeSet::new());
    for round in 0..12i64 {
        let at = round * 20_000;
        for n in 0..5 {
            // Some come while the stream is down, some are due only in a later run.
            let name = format!("{round}-{n}");
            put(folder.path(), &name, at - 15_000 + n * 4_500 + i64::from(round == 0) * 15_500);
            put_so_far.insert(name);
        }
        let rows = run(folder.path(), checkpoint.path(), at, 2, false);
        read.extend(rows.into_iter().flatten());
    }
    read.extend(run(folder.path(), checkpoint.path(), 300_000, 2, false).into_iter().flatten());
    let distinct: BTreeSet<String> = read.iter().cloned().collect();
    assert_eq!(distinct.len(), read.len(), "none twice");
    assert_eq!(distinct, put_so_far, "none lost");
}
