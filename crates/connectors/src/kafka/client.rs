//! The connection to the brokers: one consumer without a group's management, and what it says when it fails.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset as At, TopicPartitionList};
use tidemill_engine::error::{Error, Result};

use super::config::KafkaConfig;
use super::offsets::Offsets;

/// The group of consumers that nobody named one for: it is never joined, and nothing is committed to it.
const NO_GROUP: &str = "tidemill";

/// More than come at once of what the client has to say.
const EVENTS: usize = 16;

/// What the client's queue may hold before records go to the stream's buffer.
const QUEUE_KB: u64 = 64 << 10;

/// How long one question may take, where it is asked again if there is no answer.
const QUESTION: Duration = Duration::from_secs(2);

/// The settings of a connection that reads all partitions of a stream ahead, into a buffer of `max_bytes`.
///
/// Fetches of 2 MiB a partition take a tenth off the processor time of client and broker together; of 8 MiB they take more than those of
/// 1 MiB, librdkafka's own. Its queue, which is one for all partitions, bounds what an answer of a broker's may be, too.
pub(super) fn read_ahead(max_bytes: u64) -> [(&'static str, String); 2] {
    let queue_kb = (max_bytes / 1024).clamp(1, QUEUE_KB);
    [("fetch.message.max.bytes", (2 << 20).to_string()), ("queued.max.messages.kbytes", queue_kb.to_string())]
}

/// Keeps the last thing that the client complained of.
#[derive(Default)]
pub(super) struct Complaints {
    last: Mutex<Option<String>>,
}

impl Complaints {
    fn note(&self, text: &str) {
        *self.last.lock() = Some(text.to_string());
    }
}

impl ClientContext for Complaints {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
        if facility == "FAIL" {
            // It begins with the names of the client and its thread.
            self.note(message.rsplit_once("]: ").map_or(message, |(_, text)| text));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
        if error.rdkafka_error_code() != Some(Code::AllBrokersDown) {
            self.note(reason);
        }
    }
}

impl ConsumerContext for Complaints {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(%error, "offsets were not committed to the group");
        }
    }
}

/// A connection. Its consumer has no group's partitions: it reads what it is assigned.
pub(super) struct Connection {
    pub consumer: BaseConsumer<Complaints>,
    brokers: String,
    has_group: bool,
    /// Whether partitions are assigned: what is polled from then on are records, which belong to one reader.
    reading: AtomicBool,
    /// What is to be committed to the group with the next look around.
    noted: Mutex<Option<Offsets>>,
}

impl Connection {
    /// A connection, which is made in the background. `settings` hold where those of `config` leave them open.
    pub fn new(config: &KafkaConfig, settings: &[(&str, &str)]) -> Result<Self> {
        let mut client = config.client();
        let own = [
            ("group.id", NO_GROUP),
            ("isolation.level", "read_committed"),
            ("topic.metadata.refresh.interval.ms", "10000"),
            ("reconnect.backoff.max.ms", "1000"),
            ("fetch.error.backoff.ms", "100"),
            ("fetch.queue.backoff.ms", "10"),
            ("queued.max.messages.kbytes", "16384"),
        ];
        for (key, value) in own.iter().chain(settings) {
            if !config.is_set(key) {
                client.set(*key, *value);
            }
        }
        // Positions are the batches': nothing may move them behind their back.
        client.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        // By way of the queue, to where complaints are kept.
        client.set_log_level(RDKafkaLogLevel::Warning);
        client.set("auto.offset.reset", "error").set("max.poll.interval.ms", "86400000");
        let consumer = client.create_with_context(Complaints::default()).map_err(wrong_setting)?;
        let has_group = config.get("group.id").is_some();
        let (brokers, reading) = (config.brokers().to_string(), AtomicBool::new(false));
        Ok(Self { consumer, brokers, has_group, reading, noted: Mutex::default() })
    }

    /// Reads these partitions from these offsets on, and no others.
    pub fn assign(&self, offsets: &Offsets) -> Result<()> {
        self.reading.store(true, Ordering::SeqCst);
        let list = list(offsets.iter().map(|(topic, partition, offset)| (topic, partition, At::Offset(offset))))?;
        let failed = |error| Error::internal("Kafka's client does not read what it should").with_source(error);
        self.consumer.assign(&list).map_err(failed)
    }

    /// Where the brokers are, for people.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Asks until there is an answer, for `patience`.
    pub fn ask<T>(&self, what: &str, patience: Duration, question: impl Fn(Duration) -> KafkaResult<T>) -> Result<T> {
        let began = Instant::now();
        loop {
            let left = patience.saturating_sub(began.elapsed());
            let error = match question(left.clamp(Duration::from_millis(1), QUESTION)) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // What the client complains of comes by way of the queue.
            for _ in 0..EVENTS {
                if !self.reading.load(Ordering::SeqCst) {
                    drop(self.consumer.poll(Duration::ZERO));
                }
            }
            let refused = matches!(
                error.rdkafka_error_code(),
                Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::UnknownTopicOrPartition)
                    | Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::UnknownTopic)
            );
            if refused || self.is_refused() || began.elapsed() >= patience {
                return Err(self.no_answer(what, began.elapsed(), error));
            }
        }
    }

    /// Whether the brokers did not let the client in.
    fn is_refused(&self) -> bool {
        let last = self.consumer.context().last.lock();
        last.as_ref().is_some_and(|last| last.contains("uthentication"))
    }

    /// An error about the brokers, with what the client said last.
    pub fn no_answer(&self, what: &str, after: Duration, error: KafkaError) -> Error {
        let said = self.consumer.context().last.lock().clone().map(|said| format!(" ({said})")).unwrap_or_default();
        Error::retry(format!(
            "Kafka at {} did not say {what} within {:.1} s{said}: check that the brokers run, that their advertised \
             listeners can be reached from here, and security.protocol and sasl.* of the client",
            self.brokers,
            after.as_secs_f64(),
        ))
        .with_source(error)
    }

    /// The partitions of a topic; none if there is no such topic.
    pub fn partitions(&self, topic: &str, patience: Duration) -> Result<Vec<i32>> {
        let what = format!("which partitions topic {topic} has");
        let metadata = self.ask(&what, patience, |timeout| self.consumer.fetch_metadata(Some(topic), timeout))?;
        let found = metadata.topics().iter().filter(|found| found.name() == topic && found.error().is_none());
        Ok(found.flat_map(|found| found.partitions().iter().map(|partition| partition.id())).collect())
    }

    /// The topics that there are, with their partitions; without the brokers' own.
    pub fn topics(&self, patience: Duration) -> Result<Vec<(String, Vec<i32>)>> {
        let ask = |timeout| self.consumer.fetch_metadata(None, timeout);
        let metadata = self.ask("which topics there are", patience, ask)?;
        let topics =
            metadata.topics().iter().filter(|topic| topic.error().is_none() && !topic.name().starts_with("__"));
        let partitions = |topic: &rdkafka::metadata::MetadataTopic| topic.partitions().iter().map(|p| p.id()).collect();
        Ok(topics.map(|topic| (topic.name().to_string(), partitions(topic))).collect())
    }

    /// The offsets of a moment in partitions: their beginning, their end, or the first at or after a time in milliseconds, where
    /// that is behind all records the end. One question for all of them.
    pub fn offsets<'a>(
        &self,
        partitions: impl IntoIterator<Item = (&'a str, i32)>,
        at: At,
        patience: Duration,
    ) -> Result<Offsets> {
        let list = list(partitions.into_iter().map(|(topic, partition)| (topic, partition, at)))?;
        if list.count() == 0 {
            return Ok(Offsets::default());
        }
        let ask = |timeout| {
            let answer = self.consumer.offsets_for_times(list.clone(), timeout)?;
            answer.elements().iter().try_for_each(|element| element.error())?;
            Ok(answer)
        };
        let answer = self.ask("the offsets of its partitions", patience, ask)?;
        let mut offsets = Offsets::default();
        let mut behind_all = Vec::new();
        for element in answer.elements() {
            match element.offset() {
                At::Offset(offset) => offsets.set(element.topic(), element.partition(), offset),
                _ => behind_all.push((element.topic().to_string(), element.partition())),
            }
        }
        if !behind_all.is_empty() && !matches!(at, At::Offset(_)) {
            return Err(Error::internal(format!("Kafka gives no offset of {behind_all:?}")));
        }
        if !behind_all.is_empty() {
            let partitions: Vec<_> = behind_all.iter().map(|(topic, partition)| (topic.as_str(), *partition)).collect();
            let ends = self.offsets(partitions, At::End, patience)?;
            ends.iter().for_each(|(topic, partition, offset)| offsets.set(topic, partition, offset));
        }
        Ok(offsets)
    }

    /// What the group has committed.
    pub fn committed(&self, partitions: &[(String, i32)], patience: Duration) -> Result<Offsets> {
        let wanted = list(partitions.iter().map(|(topic, partition)| (topic.as_str(), *partition, At::Invalid)))?;
        let ask = |timeout| self.consumer.committed_offsets(wanted.clone(), timeout);
        let answer = self.ask("what the group has committed", patience, ask)?;
        let known = |offset| if let At::Offset(offset) = offset { Some(offset) } else { None };
        let elements = answer.elements();
        let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            Some((element.topic().to_string(), element.partition(), known(element.offset())?))
        };
        Ok(elements.iter().filter_map(offset).collect())
    }

    /// Has positions committed to the group soon.
    pub fn note(&self, offsets: Offsets) {
        *self.noted.lock() = Some(offsets);
    }

    /// Commits what was noted.
    pub fn commit_noted(&self) -> Result<()> {
        let noted = self.noted.lock().take();
        noted.map_or(Ok(()), |offsets| self.commit(&offsets))
    }

    /// Commits positions to the group, without waiting for the answer.
    pub fn commit(&self, offsets: &Offsets) -> Result<()> {
        if !self.has_group {
            return Err(Error::usage("offsets are committed to a group: set group.id"));
        }
        if offsets.is_empty() {
            return Ok(());
        }
        let list = list(offsets.iter().map(|(topic, partition, offset)| (topic, partition, At::Offset(offset))))?;
        let failed = |error| Error::retry("Kafka's client can't commit offsets").with_source(error);
        self.consumer.commit(&list, CommitMode::Async).map_err(failed)
    }
}

/// Partitions with an offset each, as the client wants them.
pub(super) fn list<'a>(partitions: impl IntoIterator<Item = (&'a str, i32, At)>) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, at) in partitions {
        list.add_partition_offset(topic, partition, at)
            .map_err(|error| Error::usage(format!("{topic}-{partition} has no offset {at:?}")).with_source(error))?;
    }
    Ok(list)
}

/// A setting that the client does not take. Its value is left out: it may be a secret.
fn wrong_setting(error: KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, what, key, _) => {
            Error::usage(format!("Kafka's client does not take the setting {key}: {what}"))
        }
        other => Error::usage("Kafka's client does not take its settings").with_source(other),
    }
}

/// Whether the client will go on by itself when the brokers are back.
pub(super) fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::OperationTimedOut | Code::Resolve)
            | Some(Code::RequestTimedOut | Code::NotLeaderForPartition | Code::LeaderNotAvailable)
            | Some(Code::CoordinatorNotAvailable | Code::NotCoordinator | Code::CoordinatorLoadInProgress)
            | Some(Code::WaitingForCoordinator | Code::BrokerNotAvailable | Code::NetworkException)
            | Some(Code::NodeUpdate | Code::FencedLeaderEpoch | Code::UnknownLeaderEpoch | Code::OffsetNotAvailable)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_has_set_stays() {
        let queue = |max_bytes| read_ahead(max_bytes)[1].1.clone();
        assert_eq!([256 << 20, 1 << 40, 1 << 20, 1].map(queue), ["65536", "65536", "1024", "1"]);
        let new = |config: &KafkaConfig| {
            let settings = read_ahead(256 << 20);
            Connection::new(config, &settings.each_ref().map(|(key, value)| (*key, value.as_str()))).map(drop)
        };
        let config = KafkaConfig::new("127.0.0.1:1");
        assert!(!config.is_set("fetch.message.max.bytes"));
        // Under its other name, and settings that would contradict larger fetches.
        let config = config.set("max.partition.fetch.bytes", 1000).set("receive.message.max.bytes", 70_000_000);
        assert!(config.is_set("fetch.message.max.bytes") && !config.is_set("queued.max.messages.kbytes"));
        new(&config).unwrap();
        new(&config.set("message.max.bytes", 60_000_000)).unwrap();
    }
}
