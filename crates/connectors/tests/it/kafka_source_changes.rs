//! Topics that change under a stream: new ones, new partitions, transactions, records and topics that are deleted.

use std::time::Duration;

use rdkafka::producer::Producer;
use tidemill_connectors::kafka::{
    ConsumerStrategy, KafkaConfig, KafkaOptions, KafkaUtils, OffsetRange, StartingOffsets, decode,
};
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::testing::test_conf;
use tidemill_engine::clock::{Clock, ManualClock};
use tidemill_engine::error::Result;
use tidemill_servers::is_skipped;
use tidemill_servers::kafka::KafkaServer;

use crate::kafka_support::{
    PATIENCE, Run, Sent, checkpointed, lost, options, producer, send, send_texts, topic_options, wait_until,
};

#[test]
fn new_partitions_and_topics_are_read_from_their_beginning() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    let client = server.client();
    client.create_topic("grow-a", 1, &[])?;
    send_texts(&server, "grow-a", &["1"]);
    let run = Run::start(&options(&server, ConsumerStrategy::subscribe_pattern("grow-.*")?))?;
    run.wait_for(&[("grow-a", 0, 1)]);
    assert_eq!(run.next_values(), ["grow-a-0@0=1"]);
    client.grow_topic("grow-a", 2)?;
    client.create_topic("grow-b", 1, &[])?;
    client.send("grow-a", [(1, "k", "2")])?;
    send_texts(&server, "grow-b", &["3"]);
    run.wait_for(&[("grow-a", 1, 1), ("grow-b", 0, 1)]);
    // The log says first where they begin.
    assert_eq!(run.next_values(), [""; 0]);
    assert_eq!(run.next_values(), ["grow-a-1@0=2", "grow-b-0@0=3"]);
    // They lie beside the old ones in the order of their names.
    send_texts(&server, "grow-a", &["4"]);
    run.wait_for(&[("grow-a", 0, 2)]);
    assert_eq!(run.next_values(), ["grow-a-0@1=4"]);
    run.context.stop()
}

#[test]
fn aborted_transactions_are_not_seen_and_markers_are_no_records() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("transactions", 1, &[])?;
    let transactional = producer(&server, &[("transactional.id", "source-test")]);
    transactional.init_transactions(PATIENCE).unwrap();
    let transaction = |values: &[&str], commit: bool| {
        transactional.begin_transaction().unwrap();
        let sent = values.iter().map(|value| Sent { value: Some(value.as_bytes()), ..Sent::default() });
        send(&transactional, "transactions", &sent.collect::<Vec<_>>());
        if commit {
            transactional.commit_transaction(PATIENCE).unwrap();
        } else {
            transactional.abort_transaction(PATIENCE).unwrap();
        }
    };
    transaction(&["a", "b"], true);
    transaction(&["c"], false);
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::default();
    let options = topic_options(&server, "transactions");
    let run = Run::start_on(&clock, checkpointed(&folder), &options)?;
    // Offsets 2 to 4 are a marker, what was aborted, and its marker: the range ends behind them.
    run.wait_for(&[("transactions", 0, 5)]);
    assert_eq!(run.next_values(), ["transactions-0@0=a", "transactions-0@1=b"]);
    transaction(&["d"], false);
    transaction(&["e"], true);
    run.wait_for(&[("transactions", 0, 9)]);
    assert_eq!(run.next_values(), ["transactions-0@7=e"]);
    run.context.stop()?;
    // The same ranges from the broker: both end in markers.
    let sc = SparkContext::from_conf(test_conf())?;
    let read = |from, until| -> Result<Vec<i64>> {
        let ranges = [OffsetRange::new("transactions", 0, from, until)];
        let config = KafkaConfig::new(server.brokers());
        let rdd = KafkaUtils::create_rdd(&sc, config, ranges, decode::bytes, decode::bytes)?;
        Ok(rdd.collect()?.into_iter().map(|record| record.offset).collect())
    };
    assert_eq!([read(0, 5)?, read(5, 9)?, read(2, 5)?, read(8, 9)?], [vec![0, 1], vec![7], vec![], vec![]]);
    // What is open is not seen, nor what lies behind it, until it is committed.
    let run = Run::start_on(&clock, checkpointed(&folder), &options)?;
    transactional.begin_transaction().unwrap();
    send(&transactional, "transactions", &[Sent { value: Some(b"f"), ..Sent::default() }]);
    send_texts(&server, "transactions", &["g"]);
    assert_eq!(run.next_values(), [""; 0]);
    transactional.commit_transaction(PATIENCE).unwrap();
    run.wait_for(&[("transactions", 0, 12)]);
    assert_eq!(run.next_values(), ["transactions-0@9=f", "transactions-0@10=g"]);
    run.context.stop()
}

#[test]
fn records_deleted_under_a_stopped_stream_are_an_error_or_a_recorded_skip() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("deleted-records", 1, &[])?;
    send_texts(&server, "deleted-records", &["0", "1"]);
    let (folder, clock, options) =
        (tempfile::tempdir().unwrap(), ManualClock::default(), topic_options(&server, "deleted-records"));
    let run = Run::start_on(&clock, checkpointed(&folder), &options)?;
    run.wait_for(&[("deleted-records", 0, 2)]);
    assert_eq!(run.next().len(), 2);
    run.context.stop()?;
    send_texts(&server, "deleted-records", &["2", "3", "4"]);
    server.client().delete_records("deleted-records", 0, 4)?;
    let error = Run::start_on(&clock, checkpointed(&folder), &options).err().unwrap();
    let message = error.message();
    for part in
        ["deleted-records-0", "offset 2 is wanted", "offsets 4 to 5", "fail_on_data_loss(false)", "retention.ms"]
    {
        assert!(message.contains(part), "{part}: {message}");
    }
    let run = Run::start_on(&clock, checkpointed(&folder), &options.clone().fail_on_data_loss(false))?;
    run.wait_for(&[("deleted-records", 0, 5)]);
    assert_eq!(run.next_values(), ["deleted-records-0@4=4"]);
    assert_eq!(lost("deleted-records", 0), (1, 2));
    run.context.stop()
}

#[test]
fn records_deleted_ahead_of_a_running_stream_are_an_error_or_a_recorded_skip() -> Result<()> {
    // One that is as good as stopped: it may hold a few bytes only, and reads on when a batch is done.
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    let conf = test_conf().set("spark.tidemill.kafka.maxBufferedBytes", 200_000);
    let value = "x".repeat(100_000);
    for fails in [true, false] {
        let topic = format!("ahead-{fails}");
        server.client().create_topic(&topic, 1, &[])?;
        server.client().send(&topic, (0..400).map(|_| (0, "k", value.as_str())))?;
        // Nor may the client's own queue have what is to be deleted.
        let config = KafkaConfig::new(server.brokers())
            .set("queued.max.messages.kbytes", 100)
            .set("fetch.message.max.bytes", 100_000);
        let options = KafkaOptions::new(config, ConsumerStrategy::subscribe([topic.as_str()]))
            .starting(StartingOffsets::Earliest)
            .discovery_interval(Duration::from_millis(50))
            .fail_on_data_loss(fails);
        let run = Run::start_on(&ManualClock::default(), conf.clone(), &options)?;
        run.wait_for(&[(&topic, 0, 1)]);
        server.client().delete_records(&topic, 0, 399)?;
        let mut offsets = Vec::new();
        let mut ended = Ok(false);
        wait_until("the last record, or the error", || {
            run.context.run_batch();
            offsets.extend(run.taken().into_iter().map(|record| record.offset));
            ended = run.context.ssc.await_termination_or_timeout(Duration::ZERO);
            ended.is_err() || offsets.last() == Some(&399)
        });
        // What was read is in order, and each once.
        let read = offsets.iter().take_while(|offset| **offset < 399).count() as i64;
        assert_eq!(offsets[..read as usize], (0..read).collect::<Vec<_>>());
        if fails {
            let message = ended.unwrap_err().to_string();
            assert!(message.contains("ahead-true-0") && message.contains("offsets 399 to 400"), "{message}");
            assert_eq!(lost(&topic, 0), (0, 0), "nothing is passed over");
            assert!(run.context.stop().is_err());
        } else {
            ended?;
            assert!(read < 399);
            assert_eq!(lost(&topic, 0), (1, 399 - read as u64));
            run.context.stop()?;
        }
    }
    Ok(())
}

#[test]
fn a_topic_that_is_deleted_is_an_error_or_a_recorded_skip() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    for fails in [true, false] {
        let topics = [format!("doomed-{fails}"), format!("stays-{fails}")];
        topics.iter().try_for_each(|topic| server.client().create_topic(topic, 1, &[]))?;
        let options = options(&server, ConsumerStrategy::subscribe(topics.clone())).fail_on_data_loss(fails);
        let run = Run::start(&options)?;
        send_texts(&server, &topics[0], &["a"]);
        run.wait_for(&[(&topics[0], 0, 1)]);
        assert_eq!(run.next_values(), [format!("doomed-{fails}-0@0=a")]);
        server.client().delete_topic(&topics[0])?;
        if fails {
            let mut ended = Ok(false);
            wait_until("the error", || {
                run.context.run_batch();
                ended = run.context.ssc.await_termination_or_timeout(Duration::ZERO);
                ended.is_err()
            });
            let message = ended.unwrap_err().to_string();
            for part in ["doomed-true-0", "offset 1 is wanted", "the topic or partition is gone"] {
                assert!(message.contains(part), "{part}: {message}");
            }
            assert!(run.context.stop().is_err());
            continue;
        }
        wait_until("the skip", || run.stream.reached().get(&topics[0], 0).is_none());
        // How many records there were more is not known.
        wait_until("the count", || lost(&topics[0], 0) == (1, 0));
        send_texts(&server, &topics[1], &["b"]);
        run.wait_for(&[(&topics[1], 0, 1)]);
        assert_eq!(run.next_values(), ["stays-false-0@0=b"]);
        // Made again, it is another topic, read from its beginning.
        server.client().create_topic(&topics[0], 1, &[])?;
        send_texts(&server, &topics[0], &["c", "d"]);
        run.wait_for(&[(&topics[0], 0, 2)]);
        assert_eq!(run.next_values(), [""; 0]);
        assert_eq!(run.next_values(), ["doomed-false-0@0=c", "doomed-false-0@1=d"]);
        run.context.stop()?;
    }
    Ok(())
}

#[test]
fn a_topic_that_was_made_again_while_the_stream_was_away_is_noticed() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    let client = server.client();
    client.create_topic("again", 1, &[])?;
    send_texts(&server, "again", &["a", "b", "c"]);
    let (folder, clock, options) =
        (tempfile::tempdir().unwrap(), ManualClock::default(), topic_options(&server, "again"));
    let run = Run::start_on(&clock, checkpointed(&folder), &options)?;
    run.wait_for(&[("again", 0, 3)]);
    assert_eq!(run.next().len(), 3);
    run.context.stop()?;
    client.delete_topic("again")?;
    wait_until("the end of the topic", || client.partitions("again").unwrap() == 0);
    client.create_topic("again", 1, &[])?;
    send_texts(&server, "again", &["d"]);
    let message = Run::start_on(&clock, checkpointed(&folder), &options).err().unwrap().to_string();
    assert!(message.contains("offset 3 is wanted, and there are offsets 0 to 1"), "{message}");
    let options = options.fail_on_data_loss(false);
    let run = Run::start_on(&clock, checkpointed(&folder), &options)?;
    run.wait_for(&[("again", 0, 1)]);
    // The log goes back to the new beginning first.
    assert_eq!(run.next_values(), [""; 0]);
    assert_eq!(run.next_values(), ["again-0@0=d"]);
    assert_eq!(lost("again", 0), (1, 0));
    assert!(clock.now().as_millis() > 0);
    run.context.stop()
}
