//! A producer: it sends records and tells their outcomes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use tidemill_engine::clock::Waker;

use super::columns::Columns;
use super::failure::{Failure, failure, no_topic, refused};
use super::outcome::{Outcome, Refused};
use super::reports::{Reports, watch};
use super::target::Target;

/// How long a call may take that can be gone on with: then it is looked what was heard meanwhile.
pub(super) const STEP: Duration = Duration::from_secs(2);

/// How long a topic may be unknown before it is not there: a new one takes a moment to be known everywhere.
const TOPIC_PATIENCE: Duration = Duration::from_secs(3);

/// A producer. A thread of its own hears of deliveries, so nobody need ask.
pub(super) struct Producer {
    pub client: ThreadedProducer<Reports>,
    /// Topics that are known to be there.
    topics: Mutex<BTreeSet<String>>,
}

impl Producer {
    pub fn new(target: &Target) -> Result<Self, Failure> {
        let client = target.producer().create_with_context(Reports::new(target));
        let client: ThreadedProducer<Reports> = client.map_err(|error| failure(error, target))?;
        watch(client.context());
        Ok(Self { client, topics: Mutex::default() })
    }

    /// Waits until the brokers take a batch, and says in the log if that takes long.
    pub fn waiting<T, E>(&self, wait: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.client.context().waiting(wait)
    }

    /// Repeats a call until it succeeds, would fail again, or time is over. It is told how much time is left.
    pub fn until<T>(
        &self,
        deadline: Instant,
        target: &Target,
        mut call: impl FnMut(Duration) -> KafkaResult<T>,
    ) -> Result<T, Failure> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match call(left) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            // A call that ran out of time knows less than what was heard meanwhile.
            let error = self.client.context().shut_out().unwrap_or(error);
            match failure(error, target) {
                Failure::Passing(error) if may_be_repeated(&error) && Instant::now() < deadline => {
                    Waker::default().sleep(Duration::from_millis(20));
                }
                failure => return Err(failure),
            }
        }
    }

    /// Makes sure that a topic is there.
    pub fn check_topic(&self, topic: &str, deadline: Instant, target: &Target) -> Result<(), Failure> {
        if self.topics.lock().contains(topic) {
            return Ok(());
        }
        let began = Instant::now();
        loop {
            let fetch = |left: Duration| match self.client.client().fetch_metadata(Some(topic), left.min(STEP)) {
                // Which of them can't be reached is no matter here: nothing came back.
                Err(error) => Err(KafkaError::Global(
                    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::BrokerTransportFailure),
                )),
                metadata => metadata,
            };
            let metadata = self.until(deadline, target, fetch)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let error = found.and_then(|found| found.error()).map(RDKafkaErrorCode::from);
            match (found, error) {
                (Some(found), None) if !found.partitions().is_empty() => {
                    self.topics.lock().insert(topic.to_string());
                    return Ok(());
                }
                (_, Some(RDKafkaErrorCode::TopicAuthorizationFailed)) => {
                    return Err(failure(KafkaError::Global(RDKafkaErrorCode::TopicAuthorizationFailed), target));
                }
                _ if began.elapsed() > TOPIC_PATIENCE => return Err(no_topic(topic, target).into()),
                _ => {
                    Waker::default().sleep(Duration::from_millis(100));
                }
            }
        }
    }

    /// Sends rows, and does not wait for them.
    pub fn send(
        &self,
        rows: &[Columns],
        outcome: &Arc<Outcome>,
        deadline: Instant,
        target: &Target,
    ) -> Result<(), Failure> {
        for row in rows.iter().flat_map(Columns::records) {
            let topic = row.topic.unwrap_or(&target.topic);
            if topic != target.topic {
                self.check_topic(topic, deadline, target)?;
            }
            let bytes = row.bytes();
            let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(topic, Arc::clone(outcome));
            record = row.key.into_iter().fold(record, BaseRecord::key);
            record = row.value.into_iter().fold(record, BaseRecord::payload);
            record = row.partition.into_iter().fold(record, BaseRecord::partition);
            record = row.timestamp.into_iter().fold(record, BaseRecord::timestamp);
            record = row.headers.into_iter().fold(record, BaseRecord::headers);
            outcome.begin(bytes);
            while let Err((error, back)) = self.client.send(record) {
                let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                if !is_full || Instant::now() >= deadline {
                    let why = Refused { largest: bytes, ..Refused::of(&error, topic, row.partition.unwrap_or(-1)) };
                    outcome.end(Some(why.clone()));
                    return Err(refused(&why, target));
                }
                // The thread that hears of deliveries makes room.
                Waker::default().sleep(Duration::from_millis(1));
                record = back;
            }
        }
        Ok(())
    }

    /// Whether it can't be used any more.
    pub fn is_broken(&self) -> bool {
        self.client.client().fatal_error().is_some()
    }
}

/// Whether the same call may be made again as it is.
fn may_be_repeated(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.is_retriable() && !error.txn_requires_abort() && !error.is_fatal(),
        _ => true,
    }
}
