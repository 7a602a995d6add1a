//! Restarts: the batches that were missed, checkpoints that can't be read, and what the start checks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_dstream::conf::SparkConf;
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::streaming_context::{StreamingContext, StreamingContextState};
use tidemill_dstream::testing::{StreamTest, TestContext, test_conf};
use tidemill_engine::clock::ManualClock;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::time::Time;

use crate::support::says;

const SECOND: Duration = Duration::from_secs(1);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn conf(folder: &Path) -> SparkConf {
    test_conf().set("spark.streaming.checkpoint.directory", folder.display())
}

#[test]
fn every_batch_that_was_missed_is_run_at_its_time() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    StreamTest::new(|ssc, _: DStream<u64>| ssc.rate_stream(2))
        .conf("spark.streaming.checkpoint.directory", folder.path().display())
        .ordered()
        .check_batch([])
        .check_batch([0, 1])
        .restart_after(3 * SECOND + ms(999))
        // Three that were missed; the first begins where the last run ended.
        .check_batch([])
        .check_batch([2, 3])
        .check_batch([4, 5])
        // And the next one.
        .check_batch([6, 7])
        .run()
}

/// The times of the batches that ran.
fn times(stream: &DStream<u64>, bad: i64, failing: &Arc<AtomicBool>) -> Result<Arc<Mutex<Vec<i64>>>> {
    let times: Arc<Mutex<Vec<i64>>> = Arc::default();
    let (ran, failing) = (Arc::clone(&times), Arc::clone(failing));
    stream.foreach_rdd_with_time(move |_, time| {
        ran.lock().push(time.as_millis());
        let fails = time.as_millis() == bad && failing.load(Ordering::SeqCst);
        if fails { Err(Error::data("not now")) } else { Ok(()) }
    })?;
    Ok(times)
}

#[test]
fn unfinished_batches_come_first_and_the_oldest_of_the_missed_may_be_left_out() -> Result<()> {
    for (most, expected) in [(None, vec![2000, 4000, 5000, 6000, 7000]), (Some(2), vec![2000, 5000, 6000, 7000])] {
        let (folder, clock, failing) = (tempfile::tempdir().unwrap(), ManualClock::default(), Arc::default());
        let run = |until: i64| {
            let mut conf = conf(folder.path());
            if let Some(most) = most {
                conf = conf.set("spark.tidemill.recovery.maxMissedBatches", most);
            }
            let ran = Mutex::new(Arc::default());
            let context = TestContext::start_on(clock.clone(), conf, SECOND, false, |ssc| {
                *ran.lock() = times(&ssc.rate_stream(1)?, 2000, &failing)?;
                Ok(())
            })?;
            context.run_batch_at(Time::from_millis(until));
            let result = context.stop();
            let ran = ran.lock().lock().clone();
            Ok::<_, Error>((ran, result))
        };
        failing.store(true, Ordering::SeqCst);
        assert!(run(3000)?.1.is_err());
        failing.store(false, Ordering::SeqCst);
        clock.advance(3 * SECOND);
        let (ran, result) = run(7000)?;
        assert_eq!(ran, expected);
        result?;
    }
    Ok(())
}

#[test]
fn millions_of_missed_batches_are_made_one_by_one() -> Result<()> {
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let (made, ran) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let start = || {
        TestContext::start_on(clock.clone(), conf(folder.path()), ms(1), false, |ssc| {
            let (made, ran) = (Arc::clone(&made), Arc::clone(&ran));
            let counted = ssc.rate_stream(1)?.transform(move |rdd| {
                made.fetch_add(1, Ordering::SeqCst);
                rdd
            });
            counted.foreach_rdd(move |_| {
                ran.fetch_add(1, Ordering::SeqCst);
                Ok(())
            })
        })
    };
    let first = start()?;
    first.run_batch();
    first.stop()?;
    // A year.
    clock.advance(365 * 86_400 * SECOND);
    let second = start()?;
    while ran.load(Ordering::SeqCst) < 200 {
        std::thread::yield_now();
    }
    // What waits, what runs, and what is being made.
    let (ran, made) = (ran.load(Ordering::SeqCst), made.load(Ordering::SeqCst));
    assert!(made <= ran + 18, "{made} made, {ran} run");
    second.stop()
}

fn damage(folder: &Path) {
    let path = folder.join("offsets/00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[30] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_checkpoint_that_can_t_be_read_is_an_error_or_set_aside() -> Result<()> {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("checkpoint");
    let create = || {
        let ssc = StreamingContext::new(&SparkContext::from_conf(test_conf())?, SECOND)?;
        ssc.set_clock(Arc::new(ManualClock::default()))?;
        ssc.rate_stream(1)?.print()?;
        Ok(ssc)
    };
    // Nothing there; then a checkpoint without batches.
    for _ in 0..2 {
        let ssc = StreamingContext::get_or_create(&folder, create)?;
        ssc.start()?;
        let running = StreamingContext::get_or_create(&folder, create).err().unwrap();
        says(&running, &["another driver is running on the checkpoint folder"]);
        ssc.stop()?;
    }
    let run = TestContext::start(conf(&folder), SECOND, false, |ssc| ssc.rate_stream(1)?.print())?;
    run.run_batch();
    run.stop()?;
    damage(&folder);
    let error = StreamingContext::get_or_create(&folder, || panic!("nothing is made")).err().unwrap();
    let place = folder.display().to_string();
    says(&error, &[&format!("Failed to read checkpoint from directory {place}"), "00000.log is damaged"]);
    // With a new one in its place; the old one is kept.
    for aside in ["checkpoint.unreadable", "checkpoint.unreadable-"] {
        StreamingContext::get_or_create_with(&folder, true, create)?;
        assert!(parent.path().join(aside).join("metadata").exists() && !folder.exists());
        let run = TestContext::start(conf(&folder), SECOND, false, |ssc| ssc.rate_stream(1)?.print())?;
        run.run_batch();
        run.stop()?;
        damage(&folder);
    }
    Ok(())
}

#[test]
fn the_start_checks_checkpoint_intervals_in_spark_s_words() -> Result<()> {
    let lower = "requirement failed: The checkpoint interval for map has been set to 500 ms which is lower than its slide time \
                 (1000 ms). Please set it to at least 1000 ms.";
    let odd = "requirement failed: The checkpoint interval for map has been set to 1500 ms which not a multiple of its slide \
               time (1000 ms). Please set it to a multiple of 1000 ms.";
    let nowhere = "requirement failed: The checkpoint directory has not been set. Please set it by \
                   StreamingContext.checkpoint().";
    let cases = [(true, 1000, ""), (true, 3000, ""), (true, 500, lower), (true, 1500, odd), (false, 1000, nowhere)];
    for (folder, interval, expected) in cases {
        let (checkpoint, node) = (tempfile::tempdir().unwrap(), Mutex::new(None));
        let conf = if folder { conf(checkpoint.path()) } else { test_conf() };
        let started = TestContext::start(conf, SECOND, false, |ssc| {
            let stream = ssc.rate_stream(1)?.map(|n| n).checkpoint(ms(interval))?;
            *node.lock() = Some(Arc::clone(stream.node()));
            stream.print()
        });
        match started {
            Err(error) => assert_eq!(error.message(), expected),
            Ok(context) => {
                assert_eq!("", expected, "{interval:?}");
                let node = node.into_inner().unwrap();
                assert_eq!(node.checkpoint_interval(), Some(ms(interval)));
                assert_eq!(node.remembered(), 2 * ms(interval));
                context.stop()?;
            }
        }
    }
    Ok(())
}

#[test]
fn what_keeps_state_has_a_checkpoint_interval() -> Result<()> {
    for (batch, asked, interval) in [(700, None, 10_500), (700, Some(1400), 1400), (15_000, None, 15_000)] {
        let (checkpoint, node) = (tempfile::tempdir().unwrap(), Mutex::new(None));
        let context = TestContext::start(conf(checkpoint.path()), ms(batch), false, |ssc| {
            let pairs = ssc.rate_stream(1)?.map(|n| (n, n));
            let sums = pairs.update_state_by_key(|new: Vec<u64>, sum: Option<u64>| {
                Some(sum.unwrap_or_default() + new.iter().sum::<u64>())
            });
            if let Some(asked) = asked {
                sums.checkpoint(ms(asked))?;
            }
            *node.lock() = Some(Arc::clone(&sums.node().parents[0]));
            sums.print()
        })?;
        let node = node.into_inner().unwrap();
        assert!(node.state().is_some() && node.checkpoint_interval() == Some(ms(interval)), "{batch} {asked:?}");
        context.stop()?;
    }
    Ok(())
}

#[test]
fn a_checkpoint_interval_is_not_changed_after_the_start() -> Result<()> {
    let stream = Mutex::new(None);
    let context = TestContext::start(test_conf(), SECOND, false, |ssc| {
        let numbers = ssc.rate_stream(1)?;
        *stream.lock() = Some(numbers.clone());
        numbers.print()
    })?;
    let error = stream.into_inner().unwrap().checkpoint(SECOND).err().unwrap();
    let text = "Cannot change checkpoint interval of a DStream after streaming context has started";
    assert_eq!(error.message(), text);
    context.stop()
}

#[test]
fn a_shutdown_is_graceful_if_the_settings_say_so() -> Result<()> {
    for (graceful, rows) in [(true, vec![1, 2]), (false, vec![])] {
        let (input, gathered) = (Mutex::new(None), Arc::new(Mutex::new(Vec::<u64>::new())));
        let conf = test_conf().set("spark.streaming.stopGracefullyOnShutdown", graceful);
        let context = TestContext::start(conf, SECOND, false, |ssc| {
            let (memory, stream) = ssc.memory_stream::<u64>()?;
            *input.lock() = Some(memory);
            let gathered = Arc::clone(&gathered);
            stream.foreach_rdd(move |rdd| {
                gathered.lock().extend(rdd.collect()?);
                Ok(())
            })
        })?;
        input.into_inner().unwrap().add([1, 2]);
        context.ssc.stop_on_shutdown()?;
        assert_eq!((context.ssc.state(), &*gathered.lock()), (StreamingContextState::Stopped, &rows));
        assert!(context.ssc.spark_context().is_stopped());
    }
    Ok(())
}

#[test]
fn a_checkpoint_in_an_object_store_is_taken_over_by_the_driver_that_starts_last() -> Result<()> {
    let clock = ManualClock::default();
    let rows: Arc<Mutex<Vec<(usize, i64, Vec<u64>)>>> = Arc::default();
    let start = |driver: usize| {
        let conf = test_conf().set("spark.streaming.checkpoint.directory", "memory:taken-over");
        TestContext::start_on(clock.clone(), conf, SECOND, false, |ssc| {
            let rows = Arc::clone(&rows);
            ssc.rate_stream(1)?.foreach_rdd_with_time(move |rdd, time| {
                rows.lock().push((driver, time.as_millis(), rdd.collect()?));
                Ok(())
            })
        })
    };
    let first = start(1)?;
    (1..=2).for_each(|_| {
        first.run_batch();
    });
    // To look at it takes nothing from it.
    assert!(tidemill_engine::recovery::has_checkpoint(Path::new("memory:taken-over"))?);
    first.run_batch();
    let second = start(2)?;
    clock.advance(SECOND);
    [&first, &second].iter().for_each(|context| context.ssc.wait_for_batch(Time::from_millis(4000)));
    let error = first.stop().unwrap_err();
    says(
        &error,
        &["generating the batch of 4000 ms", "another driver has taken over the checkpoint memory:taken-over"],
    );
    second.run_batch();
    second.stop()?;
    let expected = [(1, 1000, vec![]), (1, 2000, vec![0]), (1, 3000, vec![1]), (2, 4000, vec![]), (2, 5000, vec![2])];
    assert_eq!(*rows.lock(), expected);
    Ok(())
}

#[test]
fn states_and_offsets_live_in_an_object_store_as_on_a_disk() -> Result<()> {
    let counts = |input: DStream<u64>| {
        input.map(|n| (n % 2, 1u64)).update_state_by_key(|new: Vec<u64>, sum: Option<u64>| {
            Some(sum.unwrap_or_default() + new.iter().sum::<u64>())
        })
    };
    StreamTest::new(move |ssc, _: DStream<u64>| Ok(counts(ssc.rate_stream(3)?)))
        .conf("spark.streaming.checkpoint.directory", "memory:states")
        .conf("spark.tidemill.checkpoint.retainedBatches", 1)
        .check_batch([])
        .check_batch([(0, 2), (1, 1)])
        .restart_after(SECOND)
        .check_batch([(0, 2), (1, 1)])
        .check_batch([(0, 3), (1, 3)])
        .restart()
        .check_batch([(0, 3), (1, 3)])
        .check_batch([(0, 5), (1, 4)])
        .run()
}

#[test]
fn places_that_no_checkpoint_can_have_are_refused() -> Result<()> {
    let ssc = StreamingContext::from_conf(test_conf(), SECOND)?;
    says(&ssc.checkpoint("hdfs://host/folder").unwrap_err(), &["can't lie at hdfs://", "s3://BUCKET/PREFIX"]);
    ssc.rate_stream(1)?.print()?;
    if cfg!(not(feature = "s3")) {
        ssc.checkpoint("s3://bucket/prefix")?;
        says(&ssc.start().unwrap_err(), &["s3://bucket/prefix", "the Cargo feature `s3`"]);
    }
    Ok(())
}
