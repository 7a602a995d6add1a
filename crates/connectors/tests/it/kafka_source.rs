//! Streams of Kafka's records: what they read, from where, and what they make of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tidemill_connectors::kafka::{
    ConsumerStrategy, KafkaConfig, KafkaOptions, KafkaUtils, OffsetRange, Offsets, OnBadRecord, StartingOffsets,
    TimestampType, decode,
};
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::testing::test_conf;
use tidemill_engine::clock::ManualClock;
use tidemill_engine::error::{ErrorKind, Result};
use tidemill_servers::is_skipped;
use tidemill_servers::kafka::KafkaServer;

use crate::counters::counter;
use crate::kafka_support::{Run, Sent, checkpointed, options, producer, send, send_texts, topic_options, wait_until};

#[test]
fn a_record_has_all_that_was_sent() {
    if is_skipped("kafka") {
        return;
    }
    let server = KafkaServer::shared().unwrap();
    server.client().create_topic("whole", 2, &[]).unwrap();
    let headers: &[(&str, Option<&[u8]>)] = &[("a", Some(b"1")), ("a", None), ("", Some(b"\xff"))];
    let full = Sent { partition: 1, key: Some(b"k"), value: Some(b"v"), timestamp: Some(1_234), headers };
    let tombstone = Sent { key: Some(b"gone"), timestamp: Some(5), ..Sent::default() };
    let empty = Sent { value: Some(b""), timestamp: Some(6), ..Sent::default() };
    send(&producer(&server, &[]), "whole", &[full, tombstone, empty]);
    let run = Run::start(&topic_options(&server, "whole")).unwrap();
    run.wait_for(&[("whole", 0, 2), ("whole", 1, 1)]);
    let records = run.next();
    let parts: Vec<_> = records
        .iter()
        .map(|record| {
            (record.partition, record.offset, record.key.as_deref(), record.value.as_deref(), record.timestamp_ms)
        })
        .collect();
    let expected = [
        (0, 0, Some("gone"), None, Some(5)),
        (0, 1, None, Some(""), Some(6)),
        (1, 0, Some("k"), Some("v"), Some(1_234)),
    ];
    assert_eq!(parts, expected);
    let header = |name: &str, value: Option<&[u8]>| (name.to_string(), value.map(<[u8]>::to_vec));
    assert_eq!(records[2].headers, [header("a", Some(b"1")), header("a", None), header("", Some(b"\xff"))]);
    assert!(records.iter().all(|record| record.topic == "whole" && record.timestamp_type == TimestampType::CreateTime));
    assert_eq!(records[0].headers, []);
    let (traveled, stayed) = run.context.traveled();
    assert!(traveled > 0 && stayed == 0, "{stayed} plans could not travel");
    run.context.stop().unwrap();
}

#[test]
fn topics_patterns_and_partitions_are_read_from_where_they_should() {
    if is_skipped("kafka") {
        return;
    }
    let server = KafkaServer::shared().unwrap();
    let (client, producer) = (server.client(), producer(&server, &[]));
    for topic in ["from-a", "from-b"] {
        client.create_topic(topic, 2, &[]).unwrap();
        let record = |n: i64| Sent {
            partition: (n % 2) as i32,
            value: Some([b"0", b"1", b"2", b"3", b"4", b"5"][n as usize]),
            timestamp: Some(1_000 * (n + 1)),
            ..Sent::default()
        };
        send(&producer, topic, &(0..6).map(record).collect::<Vec<_>>());
    }
    let both = || ConsumerStrategy::subscribe(["from-a", "from-b"]);
    let pattern = || ConsumerStrategy::subscribe_pattern("from-[ax]").unwrap();
    let at = |offsets: &[(&str, i32, i64)]| {
        StartingOffsets::At(offsets.iter().copied().collect(), Box::new(StartingOffsets::Latest))
    };
    let cases: [(ConsumerStrategy, StartingOffsets, &str); 6] = [
        (
            both(),
            StartingOffsets::Earliest,
            "from-a-0@0=0 from-a-0@1=2 from-a-0@2=4 from-a-1@0=1 from-a-1@1=3 from-a-1@2=5 \
          from-b-0@0=0 from-b-0@1=2 from-b-0@2=4 from-b-1@0=1 from-b-1@1=3 from-b-1@2=5",
        ),
        (both(), StartingOffsets::Latest, ""),
        (
            pattern(),
            StartingOffsets::Earliest,
            "from-a-0@0=0 from-a-0@1=2 from-a-0@2=4 from-a-1@0=1 from-a-1@1=3 from-a-1@2=5",
        ),
        (
            ConsumerStrategy::assign([("from-b", 1)]),
            StartingOffsets::Earliest,
            "from-b-1@0=1 from-b-1@1=3 from-b-1@2=5",
        ),
        (both(), at(&[("from-a", 1, 2), ("from-b", 0, 1)]), "from-a-1@2=5 from-b-0@1=2 from-b-0@2=4"),
        // The first at 5.5 s or later; partitions without one begin at their end.
        (pattern(), StartingOffsets::Timestamp(5_500), "from-a-1@2=5"),
    ];
    for (strategy, starting, expected) in cases {
        let run = Run::start(&options(&server, strategy.clone()).starting(starting.clone())).unwrap();
        let all = [("from-a", 0, 3), ("from-a", 1, 3), ("from-b", 0, 3), ("from-b", 1, 3)];
        let mine = |partition: &&(&str, i32, i64)| match &strategy {
            ConsumerStrategy::Assign(_) => partition.0 == "from-b" && partition.1 == 1,
            ConsumerStrategy::SubscribePattern(_) => partition.0 == "from-a",
            ConsumerStrategy::Subscribe(_) => true,
        };
        run.wait_for(&all.iter().filter(mine).copied().collect::<Vec<_>>());
        assert_eq!(run.next_values().join(" "), expected, "{strategy:?} {starting:?}");
        run.context.stop().unwrap();
    }
}

#[test]
fn what_is_not_there_is_an_error_at_the_start() {
    if is_skipped("kafka") {
        return;
    }
    let server = KafkaServer::shared().unwrap();
    server.client().create_topic("there", 1, &[]).unwrap();
    let fails = |options: KafkaOptions| {
        let error = Run::start(&options).err().expect("it can't start");
        (error.kind(), error.message().to_string())
    };
    let (kind, message) = fails(options(&server, ConsumerStrategy::subscribe(["there", "not-there"])));
    assert!(kind == ErrorKind::Usage && message.contains("Kafka has no not-there: create it"), "{message}");
    let (_, message) = fails(options(&server, ConsumerStrategy::assign([("there", 0), ("there", 7)])));
    assert!(message.contains("Kafka has no there-7"), "{message}");
    let none = StartingOffsets::At(Offsets::from_iter([("there", 3, 1)]), Box::default());
    let (_, message) = fails(topic_options(&server, "there").starting(none));
    assert!(message.contains("there-3, which is not read or not there"), "{message}");
    let beyond = StartingOffsets::At(Offsets::from_iter([("there", 0, 9)]), Box::default());
    let (kind, message) = fails(topic_options(&server, "there").starting(beyond));
    assert!(kind == ErrorKind::Data && message.contains("offset 9 is wanted"), "{message}");
    assert!(message.contains("there are offsets 0 to 0") && message.contains("fail_on_data_loss"), "{message}");
    assert!(ConsumerStrategy::subscribe_pattern("(").unwrap_err().message().contains("not a pattern"));
    let config = KafkaConfig::new(server.brokers()).set("sasl.passwort", "hunter2");
    let (kind, message) = fails(KafkaOptions::new(config, ConsumerStrategy::subscribe(["there"])));
    assert!(kind == ErrorKind::Usage && message.contains("sasl.passwort") && !message.contains("hunter2"), "{message}");
}

#[test]
fn text_borrows_and_bad_text_is_mended() {
    if is_skipped("kafka") {
        return;
    }
    let server = KafkaServer::shared().unwrap();
    server.client().create_topic("text", 1, &[]).unwrap();
    let value = |value| Sent { value, ..Sent::default() };
    let sent = [value(Some(b"to be")), value(None), value(Some(b"or \xff be")), value(Some(b""))];
    send(&producer(&server, &[]), "text", &sent);
    let options = topic_options(&server, "text");
    let counts: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
    let kept = Arc::clone(&counts);
    let run = Run::build(&ManualClock::default(), test_conf(), move |ssc| {
        let lines = KafkaUtils::create_text_stream(ssc, options.clone())?;
        let kept = Arc::clone(&kept);
        lines.text().split_words().count_by_value().foreach_rdd(move |rdd| {
            kept.lock().extend(rdd.collect()?);
            Ok(())
        })?;
        Ok(lines)
    })
    .unwrap();
    run.wait_for(&[("text", 0, 4)]);
    assert_eq!(run.next(), ["to be", "or \u{fffd} be", ""]);
    counts.lock().sort();
    let expected = [("be", 2), ("or", 1), ("to", 1), ("\u{fffd}", 1)];
    assert_eq!(*counts.lock(), expected.map(|(word, n)| (word.to_string(), n)));
    run.context.stop().unwrap();
    let counted = ["tidemill_text_invalid_utf8_lines_total", "tidemill_kafka_records_without_value_total"];
    assert_eq!(counted.map(|name| counter(name, &[("topic", "text")])), [1, 1]);
}

#[test]
fn records_that_cannot_be_decoded_fail_or_are_left_out() {
    if is_skipped("kafka") {
        return;
    }
    let server = KafkaServer::shared().unwrap();
    server.client().create_topic("json", 1, &[]).unwrap();
    send_texts(&server, "json", &["[1, 2]", "[3", "[4]"]);
    let start = |what: OnBadRecord| {
        let options = topic_options(&server, "json").on_bad_record(what);
        Run::build(&ManualClock::default(), test_conf(), move |ssc| {
            KafkaUtils::create_direct_stream(ssc, options.clone(), decode::bytes, decode::json::<Vec<u32>>)
        })
        .unwrap()
    };
    let run = start(OnBadRecord::Skip);
    run.wait_for(&[("json", 0, 3)]);
    let rows: Vec<_> = run.next().into_iter().map(|record| (record.offset, record.value)).collect();
    assert_eq!(rows, [(0, vec![1, 2]), (2, vec![4])]);
    let bad = || counter("tidemill_kafka_bad_records_total", &[("topic", "json")]);
    assert_eq!(bad(), 1);
    send_texts(&server, "json", &["[5", "[6]", "7"]);
    run.wait_for(&[("json", 0, 6)]);
    assert_eq!((run.next().len(), bad()), (1, 3));
    run.context.stop().unwrap();
    let run = start(OnBadRecord::Fail);
    run.wait_for(&[("json", 0, 6)]);
    run.context.run_batch();
    let message = run.context.stop().unwrap_err().to_string();
    assert!(message.contains("json-0 at offset 1: the value: it is not JSON"), "{message}");
    assert_eq!(bad(), 3, "what fails is not left out");
}

#[test]
fn an_output_operation_sees_the_offsets_and_may_commit_them() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("offsets", 2, &[])?;
    server.client().send("offsets", [(0, "k", "a"), (1, "k", "b"), (1, "k", "c")])?;
    let config = KafkaConfig::new(server.brokers()).set("group.id", "watched");
    let options =
        KafkaOptions::new(config, ConsumerStrategy::subscribe(["offsets"])).starting(StartingOffsets::Earliest);
    let seen: Arc<Mutex<Vec<Vec<OffsetRange>>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let run = Run::build(&ManualClock::default(), test_conf(), move |ssc| {
        let stream = KafkaUtils::create_direct_stream(ssc, options.clone(), decode::bytes, decode::bytes)?;
        let (kept, committing) = (Arc::clone(&kept), stream.clone());
        stream.foreach_rdd_with_offset_ranges(move |rdd, ranges| {
            assert_eq!(rdd.num_partitions(), ranges.len());
            committing.commit_async(&ranges)?;
            kept.lock().push(ranges);
            Ok(())
        })?;
        Ok(stream)
    })?;
    run.wait_for(&[("offsets", 0, 1), ("offsets", 1, 2)]);
    run.next();
    assert_eq!(*seen.lock(), [vec![OffsetRange::new("offsets", 0, 0, 1), OffsetRange::new("offsets", 1, 0, 2)]]);
    let committed = || committed(&server, "watched", "offsets", 2);
    wait_until("the commit", || committed() == [Some(1), Some(2)]);
    run.next();
    assert_eq!(seen.lock()[1], [OffsetRange::new("offsets", 0, 1, 1), OffsetRange::new("offsets", 1, 2, 2)]);
    // Those of batches that are over are forgotten.
    assert_eq!(run.stream.offset_ranges(tidemill_engine::time::Time::from_millis(1000)), []);
    run.context.stop()
}

fn committed(server: &KafkaServer, group: &str, topic: &str, partitions: i32) -> Vec<Option<i64>> {
    let mut config = ClientConfig::new();
    let consumer: BaseConsumer =
        config.set("bootstrap.servers", server.brokers()).set("group.id", group).create().unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_range(topic, 0, partitions - 1);
    // Brokers that have only just begun with groups may pass the question on.
    let mut answer = None;
    wait_until("what the group has committed", || {
        answer = consumer.committed_offsets(list.clone(), Duration::from_secs(30)).ok();
        answer.is_some()
    });
    let answer = answer.unwrap();
    answer.elements().iter().map(|element| element.offset().to_raw().filter(|offset| *offset >= 0)).collect()
}

#[test]
fn a_group_s_stream_begins_where_the_group_was() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("grouped", 1, &[])?;
    send_texts(&server, "grouped", &["before"]);
    let topics = BTreeMap::from([("grouped".to_string(), 3)]);
    let start = |conf| {
        Run::build(&ManualClock::default(), conf, |ssc| {
            KafkaUtils::create_stream(ssc, &server.brokers(), "readers", &topics)
        })
    };
    // Nothing is committed: what comes from now on.
    let run = start(test_conf())?;
    send_texts(&server, "grouped", &["first"]);
    run.wait_for(&[("grouped", 0, 2)]);
    assert_eq!(run.next_values(), ["grouped-0@1=first"]);
    run.next();
    wait_until("the commit", || committed(&server, "readers", "grouped", 1) == [Some(2)]);
    run.context.stop()?;
    send_texts(&server, "grouped", &["while away"]);
    let folder = tempfile::tempdir().unwrap();
    let run = start(checkpointed(&folder))?;
    run.wait_for(&[("grouped", 0, 3)]);
    assert_eq!(run.next_values(), ["grouped-0@2=while away"]);
    run.context.stop()
}

#[test]
fn commits_without_a_group_are_refused() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("groupless", 1, &[])?;
    let run = Run::start(&topic_options(&server, "groupless"))?;
    let ranges = [OffsetRange::new("groupless", 0, 0, 0)];
    assert!(run.stream.commit_async(&ranges).unwrap_err().message().contains("set group.id"));
    let stream = run.stream.clone();
    run.context.stop()?;
    assert!(stream.commit_async(&ranges).unwrap_err().message().contains("while the stream runs"));
    Ok(())
}

#[test]
fn an_rdd_has_the_records_of_its_ranges() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("ranges", 2, &[])?;
    server.client().send("ranges", (0..20).map(|n| (n % 2, "k", ["even", "odd"][n as usize % 2])))?;
    let (sc, config) = (SparkContext::from_conf(test_conf())?, KafkaConfig::new(server.brokers()));
    let strategy = ConsumerStrategy::subscribe(["ranges"]);
    let found = KafkaUtils::find_ranges(&config, &strategy, &StartingOffsets::Earliest, &StartingOffsets::Latest)?;
    assert_eq!(found, [OffsetRange::new("ranges", 0, 0, 10), OffsetRange::new("ranges", 1, 0, 10)]);
    let rdd =
        |ranges: Vec<OffsetRange>| KafkaUtils::create_rdd(&sc, config.clone(), ranges, decode::bytes, decode::string);
    let all = rdd(found)?;
    assert_eq!((all.num_partitions(), all.count()?), (2, 20));
    let some = rdd(vec![OffsetRange::new("ranges", 1, 3, 5), OffsetRange::new("ranges", 0, 9, 9)])?;
    let rows: Vec<_> = some.collect()?.into_iter().map(|r| (r.partition, r.offset, r.value)).collect();
    assert_eq!(rows, [(1, 3, "odd".to_string()), (1, 4, "odd".to_string())]);
    // Twice, as any RDD.
    assert_eq!(some.count()?, 2);
    let gone = rdd(vec![OffsetRange::new("ranges", 1, 3, 50)])?.count().unwrap_err().to_string();
    assert!(gone.contains("ranges") && gone.contains("offsets: 3 to 50") && gone.contains("0 to 10"), "{gone}");
    Ok(())
}
