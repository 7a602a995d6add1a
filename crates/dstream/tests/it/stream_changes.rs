//! A program that was changed between two runs: its input streams are found again by name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_dstream::conf::SparkConf;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::clock::ManualClock;
use tidemill_engine::error::{Error, Result};

const SECOND: Duration = Duration::from_secs(1);

fn conf(folder: &Path) -> SparkConf {
    test_conf().set("spark.streaming.checkpoint.directory", folder.display())
}

/// What each stream gave, in order, batch by batch.
type Given = Arc<Mutex<BTreeMap<String, Vec<Vec<u64>>>>>;

/// A program with one stream for each name and rate; fails in the batch at 3000 ms, if told to.
struct Program<'a> {
    folder: &'a Path,
    clock: ManualClock,
    failing: Arc<AtomicBool>,
}

impl Program<'_> {
    /// Runs some batches of a program with these streams: a name, if it has one, and a rate.
    fn run(
        &self,
        streams: &[(Option<&str>, u64)],
        drop: &str,
        batches: usize,
    ) -> Result<(BTreeMap<String, Vec<Vec<u64>>>, Result<()>)> {
        let given = Given::default();
        let conf = conf(self.folder).set("spark.tidemill.checkpoint.drop", drop);
        let context = TestContext::start_on(self.clock.clone(), conf, SECOND, false, |ssc| {
            for (name, rate) in streams {
                let stream = ssc.rate_stream(*rate)?;
                let stream = name.map_or(stream.clone(), |name| stream.named(name));
                let (given, failing, key) =
                    (Arc::clone(&given), Arc::clone(&self.failing), name.unwrap_or("unnamed").to_string());
                stream.foreach_rdd_with_time(move |rdd, time| {
                    if failing.load(Ordering::SeqCst) && time.as_millis() == 3000 {
                        return Err(Error::data("not now"));
                    }
                    given.lock().entry(key.clone()).or_default().push(rdd.collect()?);
                    Ok(())
                })?;
            }
            Ok(())
        })?;
        (0..batches).for_each(|_| {
            context.run_batch();
        });
        let result = context.stop();
        let given = given.lock().clone();
        Ok((given, result))
    }
}

fn given(streams: &[(&str, &[&[u64]])]) -> BTreeMap<String, Vec<Vec<u64>>> {
    let rows = |batches: &[&[u64]]| batches.iter().map(|rows| rows.to_vec()).collect();
    streams.iter().map(|(name, batches)| (name.to_string(), rows(batches))).collect()
}

fn with_program(test: impl FnOnce(&Program<'_>) -> Result<()>) -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    test(&Program { folder: folder.path(), clock: ManualClock::default(), failing: Arc::default() })
}

#[test]
fn streams_in_another_order_go_on_where_each_of_them_was() -> Result<()> {
    with_program(|program| {
        let (first, _) = program.run(&[(Some("slow"), 1), (Some("fast"), 3)], "", 3)?;
        assert_eq!(first, given(&[("fast", &[&[], &[0, 1, 2], &[3, 4, 5]]), ("slow", &[&[], &[0], &[1]])]));
        let (second, _) = program.run(&[(Some("fast"), 3), (Some("slow"), 1)], "", 2)?;
        assert_eq!(second, given(&[("fast", &[&[], &[6, 7, 8]]), ("slow", &[&[], &[2]])]));
        Ok(())
    })
}

#[test]
fn a_stream_that_is_added_begins_at_its_beginning() -> Result<()> {
    with_program(|program| {
        program.failing.store(true, Ordering::SeqCst);
        assert!(program.run(&[(Some("a"), 1)], "", 3)?.1.is_err());
        program.failing.store(false, Ordering::SeqCst);
        let (second, result) = program.run(&[(Some("b"), 2), (Some("a"), 1)], "", 2)?;
        // The batch that was not done has nothing of it.
        assert_eq!(second, given(&[("a", &[&[1], &[], &[2]]), ("b", &[&[], &[], &[0, 1]])]));
        result
    })
}

#[test]
fn a_stream_that_is_gone_is_an_error_unless_it_is_dropped() -> Result<()> {
    with_program(|program| {
        program.failing.store(true, Ordering::SeqCst);
        assert!(program.run(&[(Some("a"), 1), (Some("b"), 1), (None, 1)], "", 3)?.1.is_err());
        let error = program.run(&[(Some("a"), 1), (None, 1)], "", 1).unwrap_err();
        assert!(error.message().contains("input stream \"b\""), "{error}");
        assert!(error.message().ends_with("spark.tidemill.checkpoint.drop=b"), "{error}");
        // A name that was given later is another name.
        let error = program.run(&[(Some("a"), 1), (Some("b"), 1), (Some("c"), 1)], "", 1).unwrap_err();
        assert!(error.message().contains("input stream \"rate 1 rows/s\""), "{error}");
        program.failing.store(false, Ordering::SeqCst);
        let (second, result) = program.run(&[(Some("a"), 1)], "rate 1 rows/s, b", 2)?;
        assert_eq!(second, given(&[("a", &[&[1], &[], &[2]])]));
        result?;
        // Dropped is dropped: what comes again begins anew.
        let (third, result) = program.run(&[(Some("a"), 1), (Some("b"), 1)], "", 2)?;
        assert_eq!(third, given(&[("a", &[&[], &[3]]), ("b", &[&[], &[0]])]));
        result
    })
}

#[test]
fn names_are_given_once_and_sources_count_their_own() -> Result<()> {
    let context = || StreamingContext::from_conf(test_conf(), SECOND);
    let ssc = context()?;
    let named = |name: &str| Ok::<DStream<u64>, Error>(ssc.rate_stream(1)?.named(name));
    named("rate 2 rows/s")?;
    [2, 2, 1, 1].into_iter().try_for_each(|rate| ssc.rate_stream(rate).map(drop))?;
    let names: Vec<String> = ssc.graph().input_names().into_values().collect();
    assert_eq!(
        names,
        ["rate 2 rows/s", "rate 2 rows/s (2)", "rate 2 rows/s (3)", "rate 1 rows/s", "rate 1 rows/s (2)"]
    );
    let mapped = ssc.rate_stream(1)?.map(|n: u64| n).named("rate 2 rows/s");
    mapped.print()?;
    let error = ssc.start().unwrap_err();
    assert_eq!(
        error.message(),
        "two streams (rate_stream and map) are named \"rate 2 rows/s\": give each a name of its own"
    );
    let ssc = context()?;
    ssc.rate_stream(1)?.named("").print()?;
    assert!(ssc.start().unwrap_err().message().contains("(rate_stream) is empty"));
    Ok(())
}

#[test]
fn files_are_remembered_under_the_name_of_their_stream() -> Result<()> {
    let (folder, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let directories = ["one", "two"].map(|name| files.path().join(name));
    directories.iter().for_each(|directory| std::fs::create_dir(directory).unwrap());
    let start = tidemill_engine::time::Time::from_millis(1_000_000);
    let clock = ManualClock::at(start);
    let run = |order: [usize; 2]| {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let context = TestContext::start_on(clock.clone(), conf(folder.path()), SECOND, false, |ssc| {
            for n in order {
                let stream = ssc.text_file_stream(directories[n].to_str().unwrap())?;
                let lines = Arc::clone(&lines);
                stream.foreach_rdd(move |rdd| {
                    lines.lock().extend(rdd.collect()?.into_iter().map(|line| format!("{n}: {line}")));
                    Ok(())
                })?;
            }
            Ok(())
        })?;
        context.run_batch();
        context.stop()?;
        let mut lines = lines.lock().clone();
        lines.sort();
        Ok::<_, Error>(lines)
    };
    let put = |n: usize, name: &str, modified_ms: u64| {
        let path = directories[n].join(name);
        std::fs::write(&path, format!("{name}\n")).unwrap();
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_millis(modified_ms)).unwrap();
    };
    put(0, "a", 1_000_500);
    put(1, "b", 1_000_500);
    assert_eq!(run([0, 1])?, ["0: a", "1: b"]);
    put(0, "c", 1_001_500);
    assert_eq!(run([1, 0])?, ["0: c"], "no file is read twice");
    Ok(())
}
