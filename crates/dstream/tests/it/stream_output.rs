//! Output operations.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_dstream::conf::SparkConf;
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::input::MemoryStream;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::error::Result;
use tidemill_engine::time::Time;

const SECOND: Duration = Duration::from_secs(1);

/// A running program over one memory stream.
fn program(conf: SparkConf, build: impl Fn(DStream<i32>) -> Result<()>) -> Result<(TestContext, MemoryStream<i32>)> {
    let input = Mutex::new(None);
    let context = TestContext::start(conf, SECOND, true, |ssc| {
        let (memory, stream) = ssc.memory_stream()?;
        *input.lock() = Some(memory);
        build(stream)
    })?;
    Ok((context, input.into_inner().unwrap()))
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

/// The lines of all parts, in order.
fn lines(folder: &Path) -> Vec<String> {
    let parts = names(folder).into_iter().filter(|name| name.starts_with("part-"));
    parts
        .flat_map(|part| {
            let text = std::fs::read_to_string(folder.join(part)).unwrap();
            text.lines().map(String::from).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn foreach_rdd_runs_in_the_order_of_definition_batch_by_batch() -> Result<()> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let (context, input) = program(test_conf(), move |s| {
        for (name, factor) in [("c", 1), ("a", 10), ("b", 100)] {
            let log = Arc::clone(&log);
            s.map(move |n| n * factor).foreach_rdd_with_time(move |rdd, time| {
                log.lock().push((time, name, rdd.collect()?));
                Ok(())
            })?;
        }
        let log = Arc::clone(&log);
        s.foreach_rdd(move |rdd| {
            log.lock().push((Time::default(), "d", rdd.collect()?));
            Ok(())
        })
    })?;
    for n in [1, 2] {
        input.add([n]);
        context.run_batch();
    }
    let (one, two, zero) = (Time::from_millis(1000), Time::from_millis(2000), Time::default());
    let expected = [(one, "c", 1), (one, "a", 10), (one, "b", 100), (zero, "d", 1)];
    let later = [(two, "c", 2), (two, "a", 20), (two, "b", 200), (zero, "d", 2)];
    let expected: Vec<_> = expected.into_iter().chain(later).map(|(time, name, n)| (time, name, vec![n])).collect();
    assert_eq!(*seen.lock(), expected);
    context.stop()
}

#[test]
fn text_files_are_named_after_the_batch_and_replaced() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("out");
    let stale = folder.path().join("out-2000.txt");
    std::fs::create_dir_all(&stale).unwrap();
    std::fs::write(stale.join("part-00009"), "stale\n").unwrap();
    let (context, input) = program(test_conf(), |s| {
        s.save_as_text_files(prefix.clone(), "txt")?;
        s.map(|n| -n).save_as_text_files(prefix.clone(), "")
    })?;
    for rows in [vec![1, 2, 3], vec![4], vec![]] {
        input.add(rows);
        context.run_batch();
    }
    let expected = ["out-1000", "out-1000.txt", "out-2000", "out-2000.txt", "out-3000", "out-3000.txt"];
    assert_eq!(names(folder.path()), expected);
    let at = |name: &str| lines(&folder.path().join(name));
    assert_eq!([at("out-1000.txt"), at("out-2000.txt"), at("out-3000")], [vec!["1", "2", "3"], vec!["4"], vec![]]);
    assert_eq!(at("out-1000"), ["-1", "-2", "-3"]);
    assert_eq!(names(&stale), ["_SUCCESS", "part-00000", "part-00001"]);
    context.stop()
}

#[test]
fn object_files_are_read_again_and_replaced() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let stale = folder.path().join("rows-1000.obj");
    std::fs::create_dir_all(&stale).unwrap();
    std::fs::write(stale.join("part-00000"), "stale").unwrap();
    let (context, input) = program(test_conf(), |s| {
        s.map(|n| (n, n.to_string())).save_as_object_files(folder.path().join("rows"), "obj")
    })?;
    input.add([1, 2, 3]);
    context.run_batch();
    let sc = SparkContext::from_conf(test_conf())?;
    let rows = sc.object_file::<(i32, String)>(&stale)?.collect()?;
    assert_eq!(rows, [(1, "1".to_string()), (2, "2".to_string()), (3, "3".to_string())]);
    context.stop()
}

#[test]
fn a_folder_that_can_t_be_written_fails_the_batch_and_says_where() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    for objects in [false, true] {
        let (context, input) = program(test_conf(), |s| {
            let prefix = blocked.join("out");
            if objects { s.save_as_object_files(prefix, "") } else { s.save_as_text_files(prefix, "") }
        })?;
        input.add([1]);
        context.run_batch();
        let error = context.stop().unwrap_err().to_string();
        assert!(error.contains(if objects { "save_as_object_files at" } else { "save_as_text_files at" }), "{error}");
        assert!(error.contains("stream_output.rs") && error.contains("file/"), "{error}");
    }
    Ok(())
}

#[test]
fn a_batch_that_is_read_by_several_operations_is_computed_once_if_persisted() -> Result<()> {
    let computed = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&computed);
    let input = Mutex::new(None);
    let context = TestContext::start(test_conf(), SECOND, false, |ssc| {
        let (memory, s) = ssc.memory_stream::<i32>()?;
        *input.lock() = Some(memory);
        let count = Arc::clone(&count);
        let counted = s.map(move |n| {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            n
        });
        let kept = counted.cache()?;
        (0..3).try_for_each(|_| kept.foreach_rdd(|rdd| rdd.collect().map(drop)))
    })?;
    input.lock().as_ref().unwrap().add([1, 2]);
    context.run_batch();
    assert_eq!(computed.load(std::sync::atomic::Ordering::SeqCst), 2);
    context.stop()
}

#[test]
fn two_outputs_do_not_share_a_place() -> Result<()> {
    let sc = SparkContext::from_conf(test_conf())?;
    let ssc = StreamingContext::new(&sc, Duration::from_secs(1))?;
    let (_, rows) = ssc.memory_stream::<u64>()?;
    rows.save_as_text_files("rows", "")?;
    rows.save_as_text_files("rows", "txt")?;
    let again = rows.map(|row| row + 1).save_as_text_files("rows", "txt").unwrap_err();
    assert!(again.message().contains("rows-TIME.txt"), "{again}");
    assert!(rows.save_as_text_files("hdfs://namenode/rows", "").is_err(), "a folder named hdfs: is not what was meant");
    Ok(())
}
