//! How much a batch takes: rates, backpressure, and the bound of what is read ahead.

use std::time::Duration;

use tidemill_connectors::kafka::{ConsumerStrategy, KafkaConfig, KafkaOptions, StartingOffsets};
use tidemill_dstream::testing::test_conf;
use tidemill_engine::clock::ManualClock;
use tidemill_engine::error::Result;
use tidemill_servers::is_skipped;
use tidemill_servers::kafka::KafkaServer;

use crate::counters::gauge;
use crate::kafka_support::{Run, topic_options, wait_until};

#[test]
fn a_batch_takes_no_more_than_the_rate_of_each_partition() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("rated", 2, &[])?;
    server.client().send("rated", (0..50).map(|n| (i32::from(n >= 40), "k", "v")))?;
    let conf = test_conf().set("spark.streaming.kafka.maxRatePerPartition", 15);
    let run = Run::start_on(&ManualClock::default(), conf, &topic_options(&server, "rated"))?;
    run.wait_for(&[("rated", 0, 40), ("rated", 1, 10)]);
    let taken = || {
        let records = run.next();
        [0, 1].map(|partition| records.iter().filter(|record| record.partition == partition).count())
    };
    let lag = |partition: &str| gauge("tidemill_kafka_lag", &[("topic", "rated"), ("partition", partition)]);
    assert_eq!([taken(), taken()], [[15, 10], [15, 0]]);
    wait_until("the lag", || [lag("0"), lag("1")] == [10.0, 0.0]);
    assert_eq!([taken(), taken()], [[10, 0], [0, 0]]);
    wait_until("no lag", || lag("0") == 0.0);
    run.context.stop()
}

#[test]
fn backpressure_is_split_by_how_far_partitions_are_behind() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("pressed", 3, &[])?;
    server.client().send("pressed", (0..1000).map(|n| (i32::from(n >= 900), "k", "v")))?;
    let conf = test_conf()
        .set("spark.streaming.backpressure.enabled", true)
        .set("spark.streaming.backpressure.initialRate", 100);
    let run = Run::start_on(&ManualClock::default(), conf, &topic_options(&server, "pressed"))?;
    run.wait_for(&[("pressed", 0, 900), ("pressed", 1, 100)]);
    let records = run.next();
    let of = |partition| records.iter().filter(|record| record.partition == partition).count();
    assert_eq!([of(0), of(1), of(2)], [90, 10, 0]);
    run.context.stop()
}

#[test]
fn what_is_read_ahead_is_bounded_and_no_partition_starves() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("bounded", 2, &[])?;
    let value = "x".repeat(10_000);
    server.client().send("bounded", (0..1000).map(|_| (0, "k", value.as_str())))?;
    // Ten megabytes, of which one may be in memory.
    let conf = test_conf().set("spark.tidemill.kafka.maxBufferedBytes", 1_000_000);
    let options = KafkaOptions::new(KafkaConfig::new(server.brokers()), ConsumerStrategy::subscribe(["bounded"]))
        .starting(StartingOffsets::Earliest)
        .discovery_interval(Duration::from_millis(50));
    let run = Run::start_on(&ManualClock::default(), conf, &options)?;
    run.wait_for(&[("bounded", 0, 45)]);
    server.client().send("bounded", [(1, "k", "small")])?;
    run.wait_for(&[("bounded", 1, 1)]);
    let ahead = run.stream.reached().get("bounded", 0).unwrap_or_default();
    assert!(ahead <= 100, "{ahead} records of 10 kB are in memory");
    let (mut offsets, mut small) = (Vec::new(), 0);
    while offsets.len() < 1000 {
        for record in run.next() {
            if record.partition == 0 { offsets.push(record.offset) } else { small += 1 }
        }
    }
    assert_eq!((offsets, small), ((0..1000).collect::<Vec<_>>(), 1));
    run.context.stop()
}

#[test]
fn a_full_buffer_of_even_partitions_is_read_on_when_batches_are_done() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("even", 2, &[])?;
    let value = "x".repeat(10_000);
    server.client().send("even", (0..1000).map(|n| (n % 2, "k", value.as_str())))?;
    let conf = test_conf().set("spark.tidemill.kafka.maxBufferedBytes", 1_000_000);
    let run = Run::start_on(&ManualClock::default(), conf, &topic_options(&server, "even"))?;
    let (mut offsets, mut largest) = ([const { Vec::new() }; 2], 0);
    wait_until("all records", || {
        let records = run.next();
        largest = largest.max(records.len());
        records.iter().for_each(|record| offsets[record.partition as usize].push(record.offset));
        offsets.iter().all(|offsets| offsets.len() == 500)
    });
    assert_eq!(offsets, [(0..500).collect::<Vec<_>>(), (0..500).collect::<Vec<_>>()]);
    assert!(largest <= 100, "{largest} records of 10 kB were in memory");
    run.context.stop()
}
