//! A client that looks at a broker from outside: topics, records in, records out. It is none of the connectors'.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tidemill_engine::clock::Waker;
use tidemill_engine::error::{Error, Result};

use crate::process::PATIENCE;

/// How long transactions that end are waited for: those that do not end by then stay open.
const SETTLING: Duration = Duration::from_secs(5);

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Milliseconds since 1970, by the producer or the broker, as the topic is set.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<String>,
    /// Its value.
    pub value: Option<String>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<String>)>,
}

/// A client of one broker.
pub struct KafkaClient {
    config: ClientConfig,
}

impl KafkaClient {
    /// A client with these settings of librdkafka's.
    pub fn new<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut config = ClientConfig::new();
        config.extend(settings.into_iter().map(|(key, value)| (key.to_string(), value.to_string())));
        Self { config }
    }

    /// Makes a topic, with settings of the broker's for topics.
    ///
    /// # Errors
    /// If it is there already, or the broker does not answer.
    pub fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<()> {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let made = block_on(self.admin()?.create_topics([&topic], &AdminOptions::new())).map_err(failed)?;
        all_ok(made)?;
        // The broker has said yes; until it also knows where the partitions are, producers would have to ask again.
        let began = Instant::now();
        while self.partitions(name)? < partitions as usize {
            if began.elapsed() > PATIENCE {
                return Err(Error::internal(format!("topic {name} was made and is not there")));
            }
        }
        Ok(())
    }

    /// Removes a topic.
    ///
    /// # Errors
    /// If it is not there, or the broker does not answer.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        all_ok(block_on(self.admin()?.delete_topics(&[name], &AdminOptions::new())).map_err(failed)?)
    }

    /// Gives a topic more partitions, so that it has this number.
    ///
    /// # Errors
    /// If it has as many, or the broker does not answer.
    pub fn grow_topic(&self, name: &str, partitions: usize) -> Result<()> {
        let new = [NewPartitions::new(name, partitions)];
        all_ok(block_on(self.admin()?.create_partitions(&new, &AdminOptions::new())).map_err(failed)?)
    }

    /// Removes the records of a partition before an offset.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).map_err(failed)?;
        block_on(self.admin()?.delete_records(&list, &AdminOptions::new())).map(drop).map_err(failed)
    }

    /// The number of partitions of a topic; 0 if it is not there.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn partitions(&self, topic: &str) -> Result<usize> {
        let consumer: BaseConsumer = self.config.create().map_err(failed)?;
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(failed)?;
        Ok(metadata.topics().iter().filter(|found| found.error().is_none()).map(|found| found.partitions().len()).sum())
    }

    /// A producer that sends without waiting; see [`Sender::flush`]. Each record is there once, whatever happens to brokers meanwhile.
    ///
    /// # Errors
    /// If a setting is wrong.
    pub fn sender(&self) -> Result<Sender> {
        let mut config = self.config.clone();
        config.set("linger.ms", "1").set("queue.buffering.max.messages", "1000000").set("enable.idempotence", "true");
        Ok(Sender { producer: config.create().map_err(failed)? })
    }

    /// Sends records of (partition, key, value), and waits until the broker has them.
    ///
    /// # Errors
    /// If the broker does not take them.
    pub fn send<'a>(&self, topic: &str, records: impl IntoIterator<Item = (i32, &'a str, &'a str)>) -> Result<()> {
        let sender = self.sender()?;
        records.into_iter().try_for_each(|(partition, key, value)| sender.send(topic, partition, key, value, &[]))?;
        sender.flush()
    }

    /// All records of a topic that are there now, by partition and offset; of transactions the committed ones only. A transaction
    /// whose end was just said is waited for; what lies behind one that stays open is not read.
    ///
    /// # Errors
    /// If the broker does not answer, or the topic is not there.
    pub fn read_committed(&self, topic: &str) -> Result<Vec<Record>> {
        self.read(topic, "read_committed", None)
    }

    /// As [`read_committed`](Self::read_committed), but of each partition only what lies in its last offsets, of this number.
    ///
    /// # Errors
    /// As `read_committed`.
    pub fn read_committed_end(&self, topic: &str, offsets: i64) -> Result<Vec<Record>> {
        self.read(topic, "read_committed", Some(offsets))
    }

    /// All records of a topic that are there now, by partition and offset, of transactions that were not committed, too.
    ///
    /// # Errors
    /// If the broker does not answer, or the topic is not there.
    pub fn read_uncommitted(&self, topic: &str) -> Result<Vec<Record>> {
        self.read(topic, "read_uncommitted", None)
    }

    fn consumer(&self, isolation: &str) -> Result<BaseConsumer> {
        let mut config = self.config.clone();
        config.set("group.id", "a-look-from-outside").set("enable.auto.commit", "false");
        config.set("isolation.level", isolation).set("enable.partition.eof", "true");
        config.create().map_err(failed)
    }

    fn read(&self, topic: &str, isolation: &str, last: Option<i64>) -> Result<Vec<Record>> {
        let (consumer, all) = (self.consumer(isolation)?, self.consumer("read_uncommitted")?);
        let partitions = self.partitions(topic)?;
        if partitions == 0 {
            return Err(Error::usage(format!("there is no topic {topic}")));
        }
        let mut list = TopicPartitionList::new();
        let settling = Instant::now();
        for partition in 0..partitions as i32 {
            let end = |consumer: &BaseConsumer| {
                consumer.fetch_watermarks(topic, partition, PATIENCE).map(|(_, end)| end).map_err(failed)
            };
            // Once a commit is answered, the broker has yet to write into the partitions that it is one.
            let written = end(&all)?;
            while end(&consumer)? < written && settling.elapsed() < SETTLING {
                Waker::default().sleep(Duration::from_millis(5));
            }
            let from = last.map_or(Offset::Beginning, |last| Offset::Offset((written - last).max(0)));
            list.add_partition_offset(topic, partition, from).map_err(failed)?;
        }
        consumer.assign(&list).map_err(failed)?;
        let (mut records, mut ended, began) = (Vec::new(), std::collections::BTreeSet::new(), Instant::now());
        while ended.len() < partitions {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push(record(&message)),
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
                Some(Err(error)) => passing(error)?,
                None if began.elapsed() > PATIENCE => return Err(Error::internal(format!("{topic} has no end"))),
                None => {}
            }
        }
        records.sort();
        Ok(records)
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        self.config.create().map_err(failed)
    }
}

/// A producer.
pub struct Sender {
    producer: ThreadedProducer<DefaultProducerContext>,
}

impl Sender {
    /// Sends a record; waits only where very many are under way.
    ///
    /// # Errors
    /// If it is too large.
    pub fn send(
        &self,
        topic: &str,
        partition: i32,
        key: &str,
        value: &str,
        headers: &[(&str, Option<&str>)],
    ) -> Result<()> {
        let mut record = BaseRecord::to(topic).partition(partition).key(key).payload(value);
        if !headers.is_empty() {
            let all = headers.iter().map(|(key, value)| Header { key, value: *value });
            record = record.headers(all.fold(OwnedHeaders::new(), OwnedHeaders::insert));
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back))
                    if error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull) =>
                {
                    record = back;
                    std::thread::yield_now();
                }
                Err((error, _)) => return Err(failed(error)),
            }
        }
    }

    /// Waits until the broker has all that was sent.
    ///
    /// # Errors
    /// If it does not take it.
    pub fn flush(&self) -> Result<()> {
        self.producer.flush(PATIENCE).map_err(failed)
    }
}

fn record(message: &rdkafka::message::BorrowedMessage<'_>) -> Record {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Record {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(text),
        value: message.payload().map(text),
        headers: headers.map(|header| (header.key.to_string(), header.value.map(text))).collect(),
    }
}

/// While a broker starts again, a client hears of it and goes on by itself.
fn passing(error: rdkafka::error::KafkaError) -> Result<()> {
    use rdkafka::types::RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut};
    match error.rdkafka_error_code() {
        Some(AllBrokersDown | BrokerTransportFailure | OperationTimedOut) => Ok(()),
        _ => Err(failed(error)),
    }
}

fn all_ok(results: Vec<rdkafka::admin::TopicResult>) -> Result<()> {
    let refused = |(topic, error)| Error::internal(format!("Kafka refused what was asked of topic {topic}: {error}"));
    results.into_iter().try_for_each(|result| result.map(drop).map_err(refused))
}

fn failed(error: rdkafka::error::KafkaError) -> Error {
    Error::internal("Kafka's client failed").with_source(error)
}
