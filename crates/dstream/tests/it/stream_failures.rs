//! What goes wrong in a batch, and what goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_dstream::input::MemoryStream;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::clock::Waker;
use tidemill_engine::error::{Error, ErrorKind, Result};
use tidemill_engine::lineage::Lineage;
use tidemill_engine::source::{InputInfo, Offset, OffsetRange, Source, SourceBatch};
use tidemill_engine::time::Time;

const SECOND: Duration = Duration::from_secs(1);

/// A program over one memory stream.
fn program(build: impl Fn(DStream<i32>) -> Result<()>) -> Result<(TestContext, MemoryStream<i32>)> {
    let input = Mutex::new(None);
    let context = TestContext::start(test_conf(), SECOND, false, |ssc| {
        let (memory, stream) = ssc.memory_stream()?;
        *input.lock() = Some(memory);
        build(stream)
    })?;
    Ok((context, input.into_inner().unwrap()))
}

/// Runs three batches of a program that fails on the row 2, in the second batch; another operation and later batches go on.
fn fails_once(build: impl Fn(&DStream<i32>) -> Result<()>) -> Result<Error> {
    let sums = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&sums);
    let (context, input) = program(move |s| {
        build(&s)?;
        let log = Arc::clone(&log);
        s.foreach_rdd(move |rdd| {
            log.lock().push(rdd.collect()?);
            Ok(())
        })
    })?;
    for n in [1, 2, 3] {
        input.add([n]);
        context.run_batch();
    }
    assert_eq!(*sums.lock(), [[1], [2], [3]], "the other operation ran in every batch");
    let error = context.ssc.await_termination().unwrap_err();
    assert_eq!(context.stop().unwrap_err().message(), error.message());
    Ok(error)
}

fn says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in: {text}"));
}

#[test]
fn an_output_operation_that_fails() -> Result<()> {
    let error = fails_once(|s| {
        s.foreach_rdd(|rdd| if rdd.collect()? == [2] { Err(Error::data("the table is gone")) } else { Ok(()) })
    })?;
    says(&error, &["foreach_rdd at ", "stream_failures.rs:", "batch 2000 ms", "the table is gone"]);
    assert_eq!(error.kind(), ErrorKind::Data);
    Ok(())
}

#[test]
fn an_output_operation_that_panics() -> Result<()> {
    let error = fails_once(|s| {
        s.foreach_rdd(|rdd| {
            assert!(rdd.collect()? != [2], "two is not allowed");
            Ok(())
        })
    })?;
    says(&error, &["foreach_rdd at ", "batch 2000 ms", "the output operation panicked: two is not allowed"]);
    Ok(())
}

#[test]
fn a_closure_that_panics() -> Result<()> {
    let error = fails_once(|s| {
        let odd = s.map(|n| if n == 2 { panic!("{n} is even") } else { n });
        odd.count().foreach_rdd(|rdd| rdd.collect().map(drop))
    })?;
    says(&error, &["foreach_rdd at ", "the closure of map at ", "stream_failures.rs:", "2 is even"]);
    Ok(())
}

#[test]
fn a_transform_that_panics_ends_its_batch_and_no_other() -> Result<()> {
    let sums = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&sums);
    let (context, input) = program(move |s| {
        let log = Arc::clone(&log);
        let bad = s.transform_with_time(|rdd, time| {
            assert!(time != Time::from_millis(2000), "not at two");
            rdd
        });
        bad.foreach_rdd(move |rdd| {
            log.lock().push(rdd.collect()?);
            Ok(())
        })
    })?;
    for n in [1, 2, 3] {
        input.add([n]);
        context.run_batch();
    }
    assert_eq!(*sums.lock(), [[1], [3]]);
    let error = context.stop().unwrap_err();
    says(&error, &["planning the batch of 2000 ms", "foreach_rdd at ", "the function of transform at ", "not at two"]);
    Ok(())
}

#[test]
fn the_first_error_is_the_one_that_is_told() -> Result<()> {
    let (context, _) = program(|s| {
        s.foreach_rdd(|_| Err(Error::data("first")))?;
        s.foreach_rdd(|_| Err(Error::data("second")))
    })?;
    context.run_batch();
    says(&context.stop().unwrap_err(), &["first"]);
    Ok(())
}

/// A source whose offsets can't be had, in one way or another.
struct Broken(AtomicUsize);

impl Source for Broken {
    fn name(&self) -> String {
        "broken".into()
    }

    fn is_replayable(&self) -> bool {
        true
    }

    fn initial_offset(&self) -> Result<Offset> {
        Ok(Offset::default())
    }

    fn latest_offset(&self, _: &Offset, _: Time) -> Result<Offset> {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => panic!("a bad source"),
            1 => Err(Error::retry("no answer")),
            _ => Ok(Offset::default()),
        }
    }

    fn read(&self, _: &OffsetRange, _: Time) -> Result<SourceBatch> {
        let values = tidemill_dstream::op::narrow::Collection::<i32>::slice(&Arc::default(), vec![7], 1);
        Ok(SourceBatch { lineage: Lineage::values(Arc::new(values)), info: InputInfo::default(), lost: false })
    }
}

#[test]
fn a_source_that_panics_or_fails_ends_its_batch_and_no_other() -> Result<()> {
    let rows = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&rows);
    let context = TestContext::start(test_conf(), SECOND, false, |ssc| {
        let log = Arc::clone(&log);
        let source = ssc.source_stream::<i32>("broken", Arc::new(Broken(AtomicUsize::new(0))), |data| data)?;
        source.foreach_rdd_with_time(move |rdd, time| {
            log.lock().push((time.as_millis(), rdd.collect()?));
            Ok(())
        })
    })?;
    (0..3).for_each(|_| {
        context.run_batch();
    });
    assert_eq!(*rows.lock(), [(3000, vec![7])]);
    says(&context.stop().unwrap_err(), &["generating the batch of 1000 ms", "a source panicked: a bad source"]);
    Ok(())
}

#[test]
fn jobs_of_a_batch_run_at_once_where_that_is_asked_for() -> Result<()> {
    // Each of the two waits for the other: one after the other they would never end.
    let (first, second) = (Waker::default(), Waker::default());
    let context = TestContext::start(test_conf().set("spark.streaming.concurrentJobs", 2), SECOND, false, |ssc| {
        let (_, s) = ssc.memory_stream::<i32>()?;
        for (own, other) in [(first.clone(), second.clone()), (second.clone(), first.clone())] {
            s.foreach_rdd(move |_| {
                own.wake();
                other.wait();
                Ok(())
            })?;
        }
        Ok(())
    })?;
    context.run_batch();
    context.stop()
}

#[test]
fn batches_overlap_with_concurrent_jobs_and_all_complete() -> Result<()> {
    let (gate, seen) = (Waker::default(), Arc::new(Mutex::new(Vec::new())));
    let (held, log) = (gate.clone(), Arc::clone(&seen));
    let conf = test_conf().set("spark.streaming.concurrentJobs", 2);
    let context = TestContext::start(conf, SECOND, false, |ssc| {
        let (_, s) = ssc.memory_stream::<i32>()?;
        let (held, log) = (held.clone(), Arc::clone(&log));
        s.foreach_rdd_with_time(move |_, time| {
            // The first batch waits for the second one.
            if time == Time::from_millis(1000) {
                held.wait()
            } else {
                held.wake()
            }
            log.lock().push(time.as_millis());
            Ok(())
        })
    })?;
    context.clock().advance(2 * SECOND);
    context.ssc.wait_for_batch(Time::from_millis(2000));
    let mut seen = seen.lock().clone();
    seen.sort();
    assert_eq!(seen, [1000, 2000]);
    context.stop()
}
