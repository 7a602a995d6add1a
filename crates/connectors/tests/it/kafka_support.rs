//! What tests of the Kafka source share: topics of their own on a broker, producers, and a program on a manual clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use tidemill_connectors::kafka::{
    ConsumerRecord, ConsumerStrategy, DirectKafkaStream, KafkaConfig, KafkaOptions, KafkaUtils, Offsets,
    StartingOffsets, decode,
};
use tidemill_dstream::conf::SparkConf;
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::chunk::Data;
use tidemill_engine::clock::{ManualClock, Waker};
use tidemill_engine::error::Result;
use tidemill_engine::time::Time;
use tidemill_servers::kafka::KafkaServer;

use crate::counters::{count, counter};

/// Longer than anything takes that comes at all.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The records of tests: optional text for keys and values.
pub type TextRecord = ConsumerRecord<Option<String>, Option<String>>;

/// Options to read `strategy` from the beginning, with quick looks for what is new.
pub fn options(server: &KafkaServer, strategy: ConsumerStrategy) -> KafkaOptions {
    KafkaOptions::new(KafkaConfig::new(server.brokers()), strategy)
        .starting(StartingOffsets::Earliest)
        .discovery_interval(Duration::from_millis(50))
}

/// [`options`] for one topic.
pub fn topic_options(server: &KafkaServer, topic: &str) -> KafkaOptions {
    options(server, ConsumerStrategy::subscribe([topic]))
}

/// A producer with these settings.
pub fn producer(server: &KafkaServer, settings: &[(&str, &str)]) -> ThreadedProducer<DefaultProducerContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server.brokers()).set("linger.ms", "1");
    config.extend(settings.iter().map(|(key, value)| (key.to_string(), value.to_string())));
    config.create().unwrap()
}

/// One record of any kind.
#[derive(Default, Clone)]
pub struct Sent<'a> {
    pub partition: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub timestamp: Option<i64>,
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Sends records, and waits until the broker has them.
pub fn send(producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, records: &[Sent<'_>]) {
    for sent in records {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(sent.partition);
        (record.key, record.payload, record.timestamp) = (sent.key, sent.value, sent.timestamp);
        if !sent.headers.is_empty() {
            let all = sent.headers.iter().map(|(key, value)| Header { key, value: *value });
            record = record.headers(all.fold(OwnedHeaders::new(), OwnedHeaders::insert));
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// Sends texts to partition 0.
pub fn send_texts(server: &KafkaServer, topic: &str, texts: &[&str]) {
    server.client().send(topic, texts.iter().map(|text| (0, "k", *text))).unwrap();
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "{what} does not come");
        Waker::default().sleep(Duration::from_millis(5));
    }
}

/// How often records of a partition were gone, and how many offsets were passed over.
pub fn lost(topic: &str, partition: i32) -> (u64, u64) {
    let of = |name| counter(name, &[("topic", topic), ("partition", &partition.to_string())]);
    (of("tidemill_kafka_data_loss_total"), of("tidemill_kafka_skipped_offsets_total"))
}

/// A program that reads a stream and keeps the rows of its batches.
pub struct Run<T> {
    pub context: TestContext,
    pub stream: DirectKafkaStream<T>,
    rows: Arc<Mutex<BTreeMap<Time, Vec<T>>>>,
}

/// A folder for a checkpoint, in a configuration.
pub fn checkpointed(folder: &tempfile::TempDir) -> SparkConf {
    test_conf().set("spark.streaming.checkpoint.directory", folder.path().display())
}

impl Run<TextRecord> {
    /// Starts a program of records.
    pub fn start(options: &KafkaOptions) -> Result<Self> {
        Self::start_on(&ManualClock::default(), test_conf(), options)
    }

    /// Starts a program of records on a clock that may have run before.
    pub fn start_on(clock: &ManualClock, conf: SparkConf, options: &KafkaOptions) -> Result<Self> {
        Run::build(clock, conf, |ssc| {
            KafkaUtils::create_direct_stream(ssc, options.clone(), decode::optional_string, decode::optional_string)
        })
    }

    /// The values of the next batch, and where they came from: `topic-partition@offset=value`.
    pub fn next_values(&self) -> Vec<String> {
        let text = |record: TextRecord| {
            let TextRecord { topic, partition, offset, value, .. } = record;
            format!("{topic}-{partition}@{offset}={}", value.unwrap_or_else(|| "-".into()))
        };
        self.next().into_iter().map(text).collect()
    }
}

impl<T: Data> Run<T> {
    /// Starts a program; every plan travels.
    pub fn build(
        clock: &ManualClock,
        conf: SparkConf,
        build: impl Fn(&StreamingContext) -> Result<DirectKafkaStream<T>>,
    ) -> Result<Self> {
        count();
        let (stream, rows) = (Mutex::new(None), Arc::new(Mutex::new(BTreeMap::new())));
        let context = TestContext::start_on(clock.clone(), conf, Duration::from_secs(1), true, |ssc| {
            let made = build(ssc)?;
            let kept = Arc::clone(&rows);
            made.foreach_rdd_with_time(move |rdd, time| {
                let collected = rdd.collect()?;
                kept.lock().insert(time, collected);
                Ok(())
            })?;
            *stream.lock() = Some(made);
            Ok(())
        })?;
        Ok(Self { context, stream: stream.into_inner().unwrap(), rows })
    }

    /// Waits until the buffer has come to these offsets.
    pub fn wait_for(&self, offsets: &[(&str, i32, i64)]) {
        let wanted: Offsets = offsets.iter().copied().collect();
        wait_until(&format!("{wanted}"), || {
            let reached = self.stream.reached();
            wanted.iter().all(|(topic, partition, offset)| reached.get(topic, partition) >= Some(offset))
        });
    }

    /// The rows of the next batch, sorted by nobody.
    pub fn next(&self) -> Vec<T> {
        let time = self.context.run_batch();
        self.context.ssc.await_termination_or_timeout(Duration::ZERO).unwrap();
        self.rows.lock().remove(&time).unwrap_or_default()
    }

    /// All rows of all batches so far that nobody took.
    pub fn taken(&self) -> Vec<T> {
        std::mem::take(&mut *self.rows.lock()).into_values().flatten().collect()
    }
}
