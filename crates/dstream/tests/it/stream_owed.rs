//! What a batch with states owes to those behind it: when it fails, and when one of its jobs stops the stream.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_dstream::conf::SparkConf;
use tidemill_dstream::input::RddQueue;
use tidemill_dstream::op::narrow::Collection;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::clock::Waker;
use tidemill_engine::error::Result;
use tidemill_engine::lineage::Lineage;
use tidemill_engine::recovery::open_checkpoint;
use tidemill_engine::source::{InputInfo, Offset, OffsetRange, Source, SourceBatch};
use tidemill_engine::time::Time;

use crate::support::says;

const SECOND: Duration = Duration::from_secs(1);

fn conf(folder: &Path) -> SparkConf {
    test_conf().set("spark.streaming.checkpoint.directory", folder.display())
}

fn sum(values: Vec<i64>, state: Option<i64>) -> Option<i64> {
    Some(values.iter().sum::<i64>() + state.unwrap_or(0))
}

/// A queue, like a receiver, forgets a batch that has gone by. The steps of such a batch can't be planned before the first state has come
/// forward, for a function of the program's looks at it: until then its rows are held.
#[test]
fn rows_of_a_batch_between_two_states_outlive_their_source() -> Result<()> {
    let (folder, seen) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let (failures, rows) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&seen));
    let context = TestContext::start(conf(folder.path()), SECOND, false, move |ssc| {
        let numbers = (1..=5).map(|n| ssc.spark_context().parallelize_in([n], 1));
        let numbers = ssc.queue_stream(&RddQueue::new(numbers), true)?;
        let failures = Arc::clone(&failures);
        let first = move |values: Vec<i64>, state: Option<i64>| {
            assert!(!values.contains(&2) || failures.fetch_add(1, Ordering::SeqCst) >= 2, "not yet");
            sum(values, state)
        };
        let sums = numbers.map(|n: i64| ((), n)).update_state_by_key(first);
        let looked_at = sums.transform(|rdd| if rdd.is_empty().unwrap_or(true) { rdd } else { rdd.map_values(|n| n) });
        let rows = Arc::clone(&rows);
        looked_at.update_state_by_key(sum).foreach_rdd(move |rdd| {
            rows.lock().extend(rdd.collect()?.into_iter().map(|(_, n)| n));
            Ok(())
        })
    })?;
    for _ in 0..5 {
        context.run_batch();
    }
    says(&context.stop().unwrap_err(), &["not yet"]);
    // The sums are 1, 3, 6, 10, 15: those of the second and third batch came with the fourth.
    assert_eq!(*seen.lock(), [1, 20, 35]);
    Ok(())
}

/// A number a batch; says when the second one is asked for.
struct Numbers {
    second: Waker,
}

impl Source for Numbers {
    fn name(&self) -> String {
        "numbers".into()
    }

    fn is_replayable(&self) -> bool {
        true
    }

    fn initial_offset(&self) -> Result<Offset> {
        Ok(Offset::count(0))
    }

    fn latest_offset(&self, start: &Offset, _: Time) -> Result<Offset> {
        if start.as_count() == 1 {
            self.second.wake();
        }
        Ok(Offset::count(start.as_count() + 1))
    }

    fn read(&self, range: &OffsetRange, _: Time) -> Result<SourceBatch> {
        let values = Collection::slice(&Arc::default(), vec![range.end.as_count().cast_signed()], 1);
        Ok(SourceBatch { lineage: Lineage::values(Arc::new(values)), info: InputInfo::default(), lost: false })
    }
}

/// What the jobs have seen: the time, and the state then.
type Seen = Arc<Mutex<Vec<(i64, i64)>>>;

/// A stream whose job stops it in the first batch, when the second one has been begun; another job of each batch looks at the state.
fn stopping_itself(ssc: &StreamingContext, planned: bool, graceful: bool, seen: &Seen) -> Result<()> {
    let second = Waker::default();
    let source = Arc::new(Numbers { second: second.clone() });
    let numbers: DStream<i64> = ssc.source_stream("numbers", source, |data| data)?;
    let sums = numbers.map(|n| ((), n)).update_state_by_key(sum);
    let sums = if planned { sums.transform(|rdd| rdd) } else { sums };
    let own = ssc.clone();
    sums.foreach_rdd_with_time(move |_, time| {
        if time != Time::from_millis(1000) {
            return Ok(());
        }
        second.wait();
        own.stop_with(false, graceful)
    })?;
    let seen = Arc::clone(seen);
    sums.foreach_rdd_with_time(move |rdd, time| {
        let found = rdd.collect()?.into_iter().map(|(_, n)| (time.as_millis(), n));
        seen.lock().extend(found);
        Ok(())
    })
}

#[test]
fn a_graceful_stop_by_a_job_runs_the_batches_behind_it() -> Result<()> {
    for (planned, jobs) in [(true, 1), (false, 1), (true, 2), (false, 2), (true, 3)] {
        let (folder, seen) = (tempfile::tempdir().unwrap(), Seen::default());
        let conf = conf(folder.path()).set("spark.streaming.concurrentJobs", jobs);
        let context = TestContext::start(conf, SECOND, false, |ssc| stopping_itself(ssc, planned, true, &seen))?;
        context.clock().advance(2 * SECOND);
        context.ssc.await_termination()?;
        context.stop()?;
        let mut seen = seen.lock().clone();
        seen.sort();
        assert_eq!(seen, [(1000, 1), (2000, 3)], "planned in turn {planned}, {jobs} jobs");
        // The folder is free when the job has ended that stopped the stream, and with it the first batch.
        let resume = loop {
            match open_checkpoint(folder.path()) {
                Ok((_, resume)) => break resume,
                Err(_) => std::thread::yield_now(),
            }
        };
        assert_eq!(resume.unfinished, [], "planned in turn {planned}, {jobs} jobs");
    }
    Ok(())
}

#[test]
fn a_stop_at_once_by_a_job_waits_for_no_batch_behind_it() -> Result<()> {
    for (planned, jobs) in [(true, 1), (false, 1), (true, 2), (false, 2)] {
        let (folder, seen) = (tempfile::tempdir().unwrap(), Seen::default());
        let conf = conf(folder.path()).set("spark.streaming.concurrentJobs", jobs);
        let context = TestContext::start(conf, SECOND, false, |ssc| stopping_itself(ssc, planned, false, &seen))?;
        context.clock().advance(2 * SECOND);
        context.ssc.await_termination()?;
        context.stop()?;
        assert!(!seen.lock().iter().any(|(time, _)| *time == 2000), "planned in turn {planned}, {jobs} jobs");
    }
    Ok(())
}
