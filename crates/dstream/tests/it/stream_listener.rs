//! What listeners hear, and in which order.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_dstream::conf::SparkConf;
use tidemill_dstream::input::MemoryStream;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::listener::{BatchInfo, StreamingEvent};
use tidemill_engine::stats_report::StatsReportListener;
use tidemill_engine::time::Time;

const SECOND: Duration = Duration::from_secs(1);

type Heard = Arc<Mutex<Vec<StreamingEvent>>>;

/// A program over one memory stream, and all that its listener heard.
fn heard(
    conf: SparkConf,
    build: impl Fn(DStream<i32>) -> Result<()>,
) -> Result<(TestContext, MemoryStream<i32>, Heard)> {
    let (input, heard) = (Mutex::new(None), Heard::default());
    let context = TestContext::start(conf, SECOND, false, |ssc| {
        let (memory, stream) = ssc.memory_stream()?;
        *input.lock() = Some(memory);
        let log = Arc::clone(&heard);
        ssc.add_streaming_listener(Arc::new(move |event: &StreamingEvent| log.lock().push(event.clone())));
        build(stream)
    })?;
    Ok((context, input.into_inner().unwrap(), heard))
}

/// An event as a word, with its batch in seconds and its operation.
fn word(event: &StreamingEvent) -> String {
    let batch = |what: &str, info: &BatchInfo| format!("{what} {}", info.batch_time.as_millis() / 1000);
    match event {
        StreamingEvent::StreamingStarted(time) => format!("streaming {}", time.as_millis()),
        StreamingEvent::BatchSubmitted(info) => batch("submitted", info),
        StreamingEvent::BatchStarted(info) => batch("started", info),
        StreamingEvent::BatchCompleted(info) => batch("completed", info),
        StreamingEvent::OutputOperationStarted(op) => format!("op {} of {}", op.id, op.batch_time.as_millis() / 1000),
        StreamingEvent::OutputOperationCompleted(op) => {
            format!("op {} of {} done", op.id, op.batch_time.as_millis() / 1000)
        }
        other => format!("{other:?}"),
    }
}

fn completed(heard: &Heard) -> Vec<BatchInfo> {
    let info = |event: &StreamingEvent| match event {
        StreamingEvent::BatchCompleted(info) => Some(info.clone()),
        _ => None,
    };
    heard.lock().iter().filter_map(info).collect()
}

#[test]
fn events_come_in_order() -> Result<()> {
    let (context, input, heard) = heard(test_conf(), |s| {
        s.foreach_rdd(|rdd| rdd.collect().map(drop))?;
        s.count().foreach_rdd(|rdd| rdd.collect().map(drop))
    })?;
    input.add([1, 2, 3]);
    context.run_batch();
    context.run_batch();
    let mut expected = vec!["streaming 0".to_string()];
    for n in [1, 2] {
        let batch =
            ["submitted N", "started N", "op 0 of N", "op 0 of N done", "op 1 of N", "op 1 of N done", "completed N"];
        expected.extend(batch.map(|text| text.replace('N', &n.to_string())));
    }
    assert_eq!(heard.lock().iter().map(word).collect::<Vec<_>>(), expected);
    let batches = completed(&heard);
    assert_eq!(batches.iter().map(BatchInfo::records).collect::<Vec<_>>(), [3, 0]);
    context.stop()
}

#[test]
fn a_batch_says_what_it_read_and_how_long_it_took() -> Result<()> {
    let (context, input, heard) = heard(test_conf(), |s| s.foreach_rdd(|rdd| rdd.collect().map(drop)))?;
    input.add([1, 2]);
    context.run_batch();
    let info = completed(&heard).remove(0);
    let time = Time::from_millis(1000);
    assert_eq!((info.batch_time, info.submission_time, info.records()), (time, time, 2));
    assert_eq!((info.processing_start_time, info.processing_end_time), (Some(time), Some(time)));
    // The clock stands still while a batch runs.
    let delays = (info.scheduling_delay, info.processing_delay, info.total_delay());
    assert_eq!(delays, (Some(Duration::ZERO), Some(Duration::ZERO), Some(Duration::ZERO)));
    assert_eq!(info.inputs.values().map(|input| input.name.as_str()).collect::<Vec<_>>(), ["memory"]);
    let op = &info.output_operations[&0];
    assert!(op.name.starts_with("foreach_rdd at ") && op.name.contains("stream_listener.rs:"), "{op:?}");
    assert_eq!((op.id, op.batch_time, op.duration, &op.failure_reason), (0, time, Some(Duration::ZERO), &None));
    context.stop()
}

#[test]
fn a_failed_operation_says_why() -> Result<()> {
    let (context, _, heard) = heard(test_conf(), |s| {
        s.foreach_rdd(|_| Err(Error::data("no such table")))?;
        s.foreach_rdd(|_| Ok(()))
    })?;
    context.run_batch();
    let info = completed(&heard).remove(0);
    let reasons: Vec<_> = info.output_operations.values().map(|op| op.failure_reason.as_deref()).collect();
    assert_eq!(reasons, [Some("no such table"), None]);
    assert!(context.stop().is_err());
    Ok(())
}

#[test]
fn batches_without_jobs_and_with_jobs_end_in_turn() -> Result<()> {
    let (context, _, heard) =
        heard(test_conf(), |s| s.window(2 * SECOND, 2 * SECOND)?.foreach_rdd(|rdd| rdd.collect().map(drop)))?;
    (0..4).for_each(|_| {
        context.run_batch();
    });
    let jobs: Vec<_> =
        completed(&heard).iter().map(|info| (info.batch_time.as_millis(), info.output_operations.len())).collect();
    assert_eq!(jobs, [(1000, 0), (2000, 1), (3000, 0), (4000, 1)]);
    context.stop()
}

#[test]
fn a_listener_that_panics_disturbs_nobody_and_a_removed_one_hears_nothing() -> Result<()> {
    let (context, _, heard) = heard(test_conf(), |s| s.foreach_rdd(|_| Ok(())))?;
    context.ssc.add_streaming_listener(Arc::new(|_: &StreamingEvent| panic!("a bad listener")));
    let other = Heard::default();
    let log = Arc::clone(&other);
    let id = context.ssc.add_streaming_listener(Arc::new(move |event: &StreamingEvent| log.lock().push(event.clone())));
    context.run_batch();
    context.ssc.remove_streaming_listener(id);
    context.run_batch();
    assert_eq!(completed(&heard).len(), 2);
    assert_eq!(completed(&other).len(), 1);
    context.stop()
}

#[test]
fn a_listener_may_not_stop_the_stream() -> Result<()> {
    let (context, _, _) = heard(test_conf(), |s| s.foreach_rdd(|_| Ok(())))?;
    let (said, ssc) = (Arc::new(Mutex::new(None)), context.ssc.clone());
    let result = Arc::clone(&said);
    let id = context.ssc.add_streaming_listener(Arc::new(move |event: &StreamingEvent| {
        if let StreamingEvent::BatchCompleted(_) = event {
            *result.lock() = Some(ssc.stop().map_err(|error| error.message().to_string()));
        }
    }));
    context.run_batch();
    let expected = Err("Cannot stop StreamingContext within listener bus thread.".to_string());
    assert_eq!(*said.lock(), Some(expected));
    context.ssc.remove_streaming_listener(id);
    context.stop()
}

#[test]
fn delays_are_reported_after_every_batch() -> Result<()> {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let (context, _, _) = heard(test_conf(), |s| s.foreach_rdd(|_| Ok(())))?;
    let log = Arc::clone(&reports);
    let listener = StatsReportListener::reporting_to(2, move |text| log.lock().push(text.to_string()));
    context.ssc.add_streaming_listener(Arc::new(listener));
    (0..3).for_each(|_| {
        context.run_batch();
    });
    let counts: Vec<_> = reports.lock().iter().map(|text| text.split(['(', ',']).nth(1).unwrap().to_string()).collect();
    assert_eq!(counts, ["count: 1", "count: 2", "count: 2"]);
    assert!(reports.lock()[0].contains("Processing time: (count: 1, mean: 0.000000"));
    context.stop()
}
