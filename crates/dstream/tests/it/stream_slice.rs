//! `slice`: RDDs of batches that are past.

use std::time::Duration;

use parking_lot::Mutex;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::error::Result;
use tidemill_engine::time::Time;

const SECOND: Duration = Duration::from_secs(1);

/// A program that has seen the batches 1, 2, ... 6, one row in each, and the stream that `build` made.
fn six_batches(
    remember: Option<Duration>,
    build: impl Fn(DStream<i32>) -> Result<DStream<i32>>,
) -> Result<(TestContext, DStream<i32>)> {
    let kept = Mutex::new(None);
    let context = TestContext::start(test_conf(), SECOND, false, |ssc| {
        let (input, s) = ssc.memory_stream()?;
        remember.map_or(Ok(()), |duration| ssc.remember(duration))?;
        let built = build(s)?;
        built.foreach_rdd(|rdd| rdd.collect().map(drop))?;
        *kept.lock() = Some((input, built));
        Ok(())
    })?;
    let (input, built) = kept.into_inner().unwrap();
    for n in 1..=6 {
        input.add([n]);
        context.run_batch();
    }
    Ok((context, built))
}

fn rows(stream: &DStream<i32>, from: i64, to: i64) -> Result<Vec<Vec<i32>>> {
    stream.slice(Time::from_millis(from), Time::from_millis(to))?.iter().map(|rdd| rdd.collect()).collect()
}

#[test]
fn a_slice_is_cut_at_batch_times() -> Result<()> {
    let (context, s) = six_batches(Some(10 * SECOND), Ok)?;
    assert_eq!(rows(&s, 2000, 4000)?, [[2], [3], [4]]);
    // Both ends are rounded down.
    assert_eq!(rows(&s, 2999, 4999)?, [[2], [3], [4]]);
    assert_eq!(rows(&s, 4000, 4000)?, [[4]]);
    assert!(rows(&s, 4000, 3000)?.is_empty());
    // Before the first batch, and after the last.
    assert_eq!(rows(&s, -5000, 1000)?, [[1]]);
    assert_eq!(rows(&s, 6000, 9000)?, [[6]]);
    // A batch that was asked for before its time is there when its time has come.
    context.run_batch();
    assert_eq!(rows(&s, 6000, 9000)?, [vec![6], vec![]]);
    context.stop()
}

#[test]
fn a_slice_needs_a_start() -> Result<()> {
    let context = TestContext::start(test_conf(), SECOND, false, |ssc| {
        let (_, s) = ssc.memory_stream::<i32>()?;
        let error = s.map(|n| n).slice(Time::default(), Time::default()).err().unwrap();
        assert_eq!(error.message(), "map has not been initialized");
        s.print()
    })?;
    context.stop()
}

#[test]
fn batches_that_are_forgotten_are_not_in_a_slice() -> Result<()> {
    let (context, s) = six_batches(None, |s| Ok(s.map(|n| n)))?;
    assert_eq!(rows(&s, 1000, 6000)?, [[6]]);
    context.stop()?;
    let (context, s) = six_batches(Some(3 * SECOND), |s| Ok(s.map(|n| n)))?;
    assert_eq!(rows(&s, 1000, 6000)?, [[4], [5], [6]]);
    context.stop()?;
    for build in [(|s| Ok(s.transform(|rdd| rdd))) as fn(DStream<i32>) -> Result<DStream<i32>>, |s| {
        s.union(&s.filter(|_| false))
    }] {
        let (context, s) = six_batches(Some(2 * SECOND), build)?;
        assert_eq!(rows(&s, 1000, 6000)?, [[5], [6]]);
        context.stop()?;
    }
    Ok(())
}

#[test]
fn windows_are_in_a_slice_whole_or_not_at_all() -> Result<()> {
    let (context, s) = six_batches(Some(2 * SECOND), |s| s.window(2 * SECOND, SECOND))?;
    let windows = rows(&s, 1000, 6000)?;
    assert!(windows.ends_with(&[vec![4, 5], vec![5, 6]]), "{windows:?}");
    assert!(windows.iter().all(|window| window.len() == 2 || *window == [1]), "{windows:?}");
    context.stop()?;
    let (context, s) = six_batches(Some(10 * SECOND), |s| s.window(2 * SECOND, 2 * SECOND))?;
    assert_eq!(rows(&s, 1000, 6000)?, [[1, 2], [3, 4], [5, 6]]);
    assert_eq!(rows(&s, 3000, 5000)?, [[1, 2], [3, 4]]);
    context.stop()
}

#[test]
fn a_stream_without_output_can_be_sliced() -> Result<()> {
    let kept = Mutex::new(None);
    let (context, _) = six_batches(Some(3 * SECOND), |s| {
        *kept.lock() = Some(s.map(|n| n * 10));
        Ok(s)
    })?;
    let aside = kept.lock().clone().unwrap();
    assert_eq!(rows(&aside, 1000, 6000)?, [[40], [50], [60]]);
    context.stop()
}
