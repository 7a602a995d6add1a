//! Streams that end: where, and who hears of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::producer::Producer;
use tidemill_connectors::kafka::{ConsumerStrategy, EndingOffsets, KafkaUtils, Offsets, StartingOffsets, decode};
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_dstream::testing::test_conf;
use tidemill_engine::clock::ManualClock;
use tidemill_engine::error::{Error, ErrorKind, Result};
use tidemill_servers::is_skipped;
use tidemill_servers::kafka::KafkaServer;

use crate::kafka_support::{
    PATIENCE, Run, Sent, TextRecord, checkpointed, lost, options, producer, send, send_texts, topic_options, wait_until,
};

fn at(offsets: &[(&str, i32, i64)]) -> EndingOffsets {
    EndingOffsets::At(offsets.iter().copied().collect(), Box::default())
}

/// The values of all batches until the stream is exhausted.
fn drain(run: &Run<TextRecord>) -> Vec<String> {
    let mut values = Vec::new();
    wait_until("the end of the stream", || {
        values.extend(run.next_values());
        run.stream.is_exhausted()
    });
    values.sort();
    values
}

#[test]
fn a_stream_hands_out_records_up_to_its_ends_and_then_nothing_more() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    let (client, producer) = (server.client(), producer(&server, &[]));
    // (a name, the end, what lies before it: partitions, offsets and values)
    let cases: [(&str, &dyn Fn(&str) -> EndingOffsets, &[&str]); 6] = [
        ("latest", &|_| EndingOffsets::Latest, &["0@0=0", "0@1=2", "0@2=4", "1@0=1", "1@1=3", "1@2=5"]),
        ("at", &|t| at(&[(t, 0, 2), (t, 1, 1)]), &["0@0=0", "0@1=2", "1@0=1"]),
        ("one", &|t| at(&[(t, 0, 0)]), &["1@0=1", "1@1=3", "1@2=5"]),
        ("ahead", &|t| at(&[(t, 0, 4), (t, 1, 0)]), &["0@0=0", "0@1=2", "0@2=4", "0@3=later"]),
        ("time", &|_| EndingOffsets::Timestamp(3_500), &["0@0=0", "0@1=2", "1@0=1"]),
        ("no-such-time", &|_| EndingOffsets::Timestamp(9_000), &["0@0=0", "0@1=2", "0@2=4", "1@0=1", "1@1=3", "1@2=5"]),
    ];
    for (name, ending, expected) in cases {
        let topic = format!("ends-{name}");
        client.create_topic(&topic, 2, &[])?;
        let record = |n: i64| Sent {
            partition: (n % 2) as i32,
            value: Some([b"0", b"1", b"2", b"3", b"4", b"5"][n as usize]),
            timestamp: Some(1_000 * (n + 1)),
            ..Sent::default()
        };
        send(&producer, &topic, &(0..6).map(record).collect::<Vec<_>>());
        let options = options(&server, ConsumerStrategy::subscribe_pattern(&format!("{topic}.*"))?);
        let run = Run::start(&options.clone().ending(ending(&topic)))?;
        // One that goes on sees what the other one must not.
        let endless = Run::start(&options)?;
        client.send(&topic, (0..4).map(|n| (n % 2, "k", "later")))?;
        let values = drain(&run);
        assert_eq!(values, expected.iter().map(|value| format!("{topic}-{value}")).collect::<Vec<_>>(), "{name}");
        client.grow_topic(&topic, 3)?;
        client.create_topic(&format!("{topic}-beside"), 1, &[])?;
        client.send(&topic, [(0, "k", "more"), (2, "k", "more")])?;
        send_texts(&server, &format!("{topic}-beside"), &["more"]);
        endless.wait_for(&[(&topic, 0, 6), (&topic, 1, 5), (&topic, 2, 1), (&format!("{topic}-beside"), 0, 1)]);
        assert!(!endless.stream.is_exhausted());
        (0..3).for_each(|_| assert_eq!(run.next_values(), [""; 0], "{name}"));
        let ends: Offsets =
            expected.iter().fold(Offsets::from_iter([(&topic, 0, 0), (&topic, 1, 0)]), |mut ends, value| {
                let (partition, rest) = value.split_once('@').unwrap();
                ends.set(
                    &topic,
                    partition.parse().unwrap(),
                    rest.split('=').next().unwrap().parse::<i64>().unwrap() + 1,
                );
                ends
            });
        assert_eq!(run.stream.reached(), ends, "{name}");
        assert!(run.stream.is_exhausted() && !endless.stream.is_exhausted());
        run.context.stop()?;
        endless.context.stop()?;
    }
    Ok(())
}

#[test]
fn an_end_may_lie_in_what_transactions_left() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("ends-transactions", 1, &[])?;
    let transactional = producer(&server, &[("transactional.id", "ends-test")]);
    transactional.init_transactions(PATIENCE).unwrap();
    let begin = |value: &str| {
        transactional.begin_transaction().unwrap();
        send(&transactional, "ends-transactions", &[Sent { value: Some(value.as_bytes()), ..Sent::default() }]);
    };
    begin("a");
    transactional.commit_transaction(PATIENCE).unwrap();
    begin("b");
    transactional.abort_transaction(PATIENCE).unwrap();
    begin("c");
    let options = topic_options(&server, "ends-transactions");
    // Offsets 1 to 3 are a marker, what was aborted, and its marker; what is open is behind the end.
    for ending in [EndingOffsets::Latest, at(&[("ends-transactions", 0, 3)]), at(&[("ends-transactions", 0, 2)])] {
        let run = Run::start(&options.clone().ending(ending))?;
        assert_eq!(drain(&run), ["ends-transactions-0@0=a"]);
        run.context.stop()?;
    }
    let run = Run::start(&options.clone().ending(EndingOffsets::Latest))?;
    transactional.commit_transaction(PATIENCE).unwrap();
    let after = Run::start(&options.starting(StartingOffsets::Earliest))?;
    after.wait_for(&[("ends-transactions", 0, 6)]);
    assert_eq!(after.next_values(), ["ends-transactions-0@0=a", "ends-transactions-0@4=c"]);
    assert_eq!(drain(&run), ["ends-transactions-0@0=a"]);
    assert_eq!(run.stream.reached().get("ends-transactions", 0), Some(4));
    run.context.stop()?;
    after.context.stop()
}

#[test]
fn a_restart_fixes_the_ends_anew_and_goes_on_where_the_checkpoint_ends() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("ends-again", 1, &[])?;
    let send = |partition, n: usize| server.client().send("ends-again", (0..n).map(|_| (partition, "k", "v")));
    send(0, 40)?;
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let conf = checkpointed(&folder).set("spark.streaming.kafka.maxRatePerPartition", 15);
    let start = |ending: EndingOffsets| {
        Run::start_on(&clock, conf.clone(), &topic_options(&server, "ends-again").ending(ending))
    };
    let offsets = |records: Vec<TextRecord>| {
        let all: Vec<_> = records.iter().map(|record| (record.partition, record.offset)).collect();
        (all.len(), all.first().copied(), all.last().copied())
    };
    let run = start(EndingOffsets::Latest)?;
    run.wait_for(&[("ends-again", 0, 40)]);
    assert_eq!(offsets(run.next()), (15, Some((0, 0)), Some((0, 14))));
    assert!(!run.stream.is_exhausted());
    run.context.stop()?;
    // What has come meanwhile is there now; an end that was given is where it was.
    send(0, 10)?;
    let run = start(at(&[("ends-again", 0, 20)]))?;
    run.wait_for(&[("ends-again", 0, 20)]);
    assert_eq!(offsets(run.next()), (5, Some((0, 15)), Some((0, 19))));
    assert!(run.stream.is_exhausted() && run.stream.reached().get("ends-again", 0) == Some(20));
    run.context.stop()?;
    let run = start(EndingOffsets::Latest)?;
    run.wait_for(&[("ends-again", 0, 50)]);
    let batches: Vec<_> = [(); 3].map(|()| (offsets(run.next()), run.stream.is_exhausted())).into();
    let expected = [
        ((15, Some((0, 20)), Some((0, 34))), false),
        ((15, Some((0, 35)), Some((0, 49))), true),
        ((0, None, None), true),
    ];
    assert_eq!(batches, expected);
    run.context.stop()?;
    // Nothing has come: a batch says so.
    let run = start(EndingOffsets::Latest)?;
    assert!(!run.stream.is_exhausted());
    assert_eq!((offsets(run.next()), run.stream.is_exhausted()), ((0, None, None), true));
    run.context.stop()?;
    // A partition that was made meanwhile is read from its beginning.
    server.client().grow_topic("ends-again", 2)?;
    send(1, 3)?;
    let run = start(EndingOffsets::Latest)?;
    run.wait_for(&[("ends-again", 1, 3)]);
    let batches: Vec<_> = [(); 2].map(|()| (offsets(run.next()), run.stream.is_exhausted())).into();
    assert_eq!(batches, [((0, None, None), false), ((3, Some((1, 0)), Some((1, 2))), true)]);
    run.context.stop()
}

#[test]
fn a_stream_is_exhausted_when_its_batches_are_done() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("ends-done", 1, &[])?;
    send_texts(&server, "ends-done", &["a", "b"]);
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let (fails, seen) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
    let start = || {
        let options = topic_options(&server, "ends-done").ending(EndingOffsets::Latest);
        let (fails, seen) = (Arc::clone(&fails), Arc::clone(&seen));
        Run::build(&clock, checkpointed(&folder), move |ssc| {
            let stream = KafkaUtils::create_direct_stream(ssc, options.clone(), decode::bytes, decode::string)?;
            let (fails, seen, looking) = (Arc::clone(&fails), Arc::clone(&seen), stream.clone());
            stream.foreach_rdd(move |rdd| {
                if fails.load(Ordering::SeqCst) {
                    return Err(Error::retry("not now"));
                }
                // Not while a batch runs.
                assert!(!looking.is_exhausted());
                seen.lock().extend(rdd.collect()?.into_iter().map(|record| record.value));
                Ok(())
            })?;
            Ok(stream)
        })
    };
    let run = start()?;
    run.wait_for(&[("ends-done", 0, 2)]);
    run.context.run_batch();
    assert!(!run.stream.is_exhausted());
    assert!(run.context.stop().is_err());
    fails.store(false, Ordering::SeqCst);
    let run = start()?;
    // It runs again, and all there was is done.
    wait_until("the batch that runs again", || run.stream.is_exhausted());
    assert_eq!(*seen.lock(), ["a", "b"]);
    run.context.stop()
}

#[test]
fn a_program_ends_by_itself_and_takes_the_rest_when_it_is_started_again() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("ends-nightly", 2, &[])?;
    let run = |folder: &Path| -> Result<Vec<String>> {
        let conf = test_conf().set("spark.streaming.checkpoint.directory", folder.display());
        let ssc = StreamingContext::from_conf(conf, Duration::from_millis(20))?;
        let options = topic_options(&server, "ends-nightly").ending(EndingOffsets::Latest);
        let lines = KafkaUtils::create_text_stream(&ssc, options)?;
        let rows = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&rows);
        lines.foreach_rdd(move |rdd| {
            kept.lock().extend(rdd.collect()?);
            Ok(())
        })?;
        ssc.start()?;
        while !lines.is_exhausted() && !ssc.await_termination_or_timeout(Duration::from_millis(5))? {}
        ssc.stop_with(true, true)?;
        let mut rows = std::mem::take(&mut *rows.lock());
        rows.sort();
        Ok(rows)
    };
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(folder.path())?, [""; 0]);
    for night in 0..3 {
        let texts: Vec<String> = (0..30).map(|n| format!("{night}-{n:02}")).collect();
        server.client().send("ends-nightly", texts.iter().zip(0..).map(|(text, n)| (n % 2, "k", text.as_str())))?;
        assert_eq!(run(folder.path())?, texts);
    }
    Ok(())
}

#[test]
fn what_lies_behind_the_end_may_be_gone() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    let (topic, clock, folder) = ("ends-gone", ManualClock::default(), tempfile::tempdir().unwrap());
    server.client().create_topic(topic, 1, &[])?;
    send_texts(&server, topic, &["0", "1", "2", "3", "4", "5"]);
    let start = |until: i64, fails: bool| {
        let options = topic_options(&server, topic).ending(at(&[(topic, 0, until)])).fail_on_data_loss(fails);
        Run::start_on(&clock, checkpointed(&folder), &options)
    };
    let run = start(2, true)?;
    assert_eq!(drain(&run), ["ends-gone-0@0=0", "ends-gone-0@1=1"]);
    server.client().delete_records(topic, 0, 5)?;
    run.next();
    run.context.stop()?;
    let run = start(2, true)?;
    assert_eq!(drain(&run), [""; 0]);
    run.context.stop()?;
    // Before the end it may not; and a stream that goes on without it ends all the same.
    let message = start(4, true).err().unwrap().to_string();
    assert!(message.contains("offset 2 is wanted, and there are offsets 5 to 6"), "{message}");
    let run = start(4, false)?;
    assert_eq!(drain(&run), [""; 0]);
    assert_eq!(run.stream.reached().get(topic, 0), Some(4));
    assert_eq!(lost(topic, 0), (1, 2), "offsets 2 and 3, and not 4");
    run.context.stop()?;
    let error = Run::start(&topic_options(&server, topic).ending(at(&[(topic, 7, 1)]))).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("ends-gone-7, which is not read or not there"), "{error}");
    Ok(())
}
