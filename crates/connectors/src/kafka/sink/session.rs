//! A session: a producer that brokers have let in under the sink's transactional id, until another one comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};
use tidemill_engine::clock::Waker;
use tidemill_engine::error::Error;
use tidemill_engine::failpoint;

use super::columns::Columns;
use super::failure::{Failure, failure, refused};
use super::outcome::Outcome;
use super::producer::{Producer, STEP};
use super::progress::Progress;
use super::target::Target;

/// How long it is tried to end a transaction that failed, before the session is given up.
const ABORT_PATIENCE: Duration = Duration::from_secs(10);

/// A producer that may write transactions, and the group that their offsets are committed to.
pub(super) struct Session {
    producer: Producer,
    group: ConsumerGroupMetadata,
    /// The mark of the sink.
    owner: String,
}

/// How a transaction ended that was not committed.
pub(super) struct Broken {
    pub failure: Failure,
    /// Whether the session can go on. If not, it is not known what became of the transaction.
    pub is_clean: bool,
}

impl Session {
    /// Shuts out whoever wrote with this sink's name, and ends what it left. Also says what is there; with the mark of the sink that
    /// wrote last.
    pub fn open(target: &Target, owner: &str, deadline: Instant) -> Result<(Self, Progress, Option<String>), Failure> {
        let producer = Producer::new(target)?;
        producer.check_topic(&target.topic, deadline, target)?;
        producer.until(deadline, target, |left| producer.client.init_transactions(left.min(STEP)))?;
        // From here on nobody else commits: what is read now stays so.
        let consumer = consumer(target, "read_committed")?;
        let (progress, last_owner) = committed(&consumer, target, deadline)?;
        let group = consumer.group_metadata().ok_or_else(|| Error::internal("a consumer has no group"))?;
        Ok((Self { producer, group, owner: owner.to_string() }, progress, last_owner))
    }

    /// Leaves the sink's mark in the group.
    pub fn claim(&self, progress: &Progress, target: &Target, deadline: Instant) -> Result<(), Broken> {
        self.transact(&[], progress, target, deadline)
    }

    /// Writes rows and what is there with them, in a transaction.
    pub fn transact(
        &self,
        rows: &[Columns],
        after: &Progress,
        target: &Target,
        deadline: Instant,
    ) -> Result<(), Broken> {
        self.producer.waiting(|| self.attempt(rows, after, target, deadline))
    }

    fn attempt(&self, rows: &[Columns], after: &Progress, target: &Target, deadline: Instant) -> Result<(), Broken> {
        match self.prepare(rows, after, target, deadline) {
            Err(failure) => {
                let abort = |left: Duration| self.producer.client.abort_transaction(left.min(STEP));
                let aborted = || self.producer.until(Instant::now() + ABORT_PATIENCE, target, abort).is_ok();
                Err(Broken { failure, is_clean: !self.producer.is_broken() && aborted() })
            }
            Ok(()) => {
                let commit = |left: Duration| self.producer.client.commit_transaction(left.min(STEP));
                let committed = self.producer.until(deadline, target, commit);
                committed.map_err(|failure| Broken { failure, is_clean: false })
            }
        }
    }

    /// Everything but the commit.
    fn prepare(&self, rows: &[Columns], after: &Progress, target: &Target, deadline: Instant) -> Result<(), Failure> {
        let (producer, outcome) = (&self.producer, Arc::new(Outcome::default()));
        producer.client.begin_transaction().map_err(|error| failure(error, target))?;
        let began = Instant::now();
        failpoint::hit("kafka-transaction-begun");
        // The offsets come first, for while the coordinator is still busy with the last transaction they are tried again after a
        // millisecond; rows would be after twenty.
        let offsets = self.offsets(after, target)?;
        let send = |left: Duration| producer.client.send_offsets_to_transaction(&offsets, &self.group, left);
        producer.until(deadline, target, send)?;
        let offsets = began.elapsed();
        failpoint::hit("kafka-offsets-sent");
        producer.send(rows, &outcome, deadline, target)?;
        match outcome.wait(deadline) {
            Ok(true) => {}
            Ok(false) => return Err(Failure::Passing(KafkaError::Flush(RDKafkaErrorCode::MessageTimedOut))),
            Err(row) => return Err(refused(&row, target)),
        }
        // The client counts a record until its last report is dropped, and looks only ten times a second whether one is left.
        while producer.client.in_flight_count() > 0 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        tracing::debug!(?offsets, delivered = ?began.elapsed(), "a transaction is about to be committed");
        failpoint::hit("kafka-rows-sent");
        Ok(())
    }

    fn offsets(&self, progress: &Progress, target: &Target) -> Result<TopicPartitionList, Failure> {
        let (offset, metadata) = (progress.offset()?, progress.encode(&self.owner)?);
        let mut offsets = TopicPartitionList::new();
        let mut partition = offsets.add_partition(&target.topic, 0);
        partition.set_offset(Offset::Offset(offset)).map_err(|error| failure(error, target))?;
        partition.set_metadata(metadata);
        Ok(offsets)
    }
}

/// The mark of the sink that has written last; none if nobody has.
pub(super) fn last_owner(target: &Target, deadline: Instant) -> Result<Option<String>, Failure> {
    // A transaction that is still open may be the asker's own, which only a new session ends: it is not waited for.
    committed(&consumer(target, "read_uncommitted")?, target, deadline).map(|(_, owner)| owner)
}

fn consumer(target: &Target, isolation: &str) -> Result<BaseConsumer<Quiet>, Failure> {
    let mut settings = target.consumer();
    settings.set("isolation.level", isolation);
    settings.create_with_context(Quiet).map_err(|error| failure(error, target))
}

/// What the group says. A consumer of committed records waits for transactions that are being ended.
fn committed(
    consumer: &BaseConsumer<Quiet>,
    target: &Target,
    deadline: Instant,
) -> Result<(Progress, Option<String>), Failure> {
    let offsets = loop {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition(&target.topic, 0);
        let offsets = consumer.committed_offsets(wanted, STEP);
        let offsets = offsets.and_then(|offsets| {
            let partition = offsets.elements().into_iter().next();
            partition.map_or(Ok(()), |partition| partition.error()).map(|()| offsets)
        });
        match offsets.map_err(|error| failure(error, target)) {
            Ok(offsets) => break offsets,
            Err(Failure::Passing(_)) if Instant::now() < deadline => {
                Waker::default().sleep(Duration::from_millis(20));
            }
            Err(failure) => return Err(failure),
        }
    };
    match offsets.elements().first() {
        Some(partition) if matches!(partition.offset(), Offset::Offset(_)) => {
            let (progress, owner) = Progress::decode(partition.metadata()).map_err(|error| error.context(target))?;
            Ok((progress, Some(owner)))
        }
        _ => Ok((Progress::default(), None)),
    }
}

/// Says nothing: what matters comes back from calls.
struct Quiet;

impl rdkafka::client::ClientContext for Quiet {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka's client reports an error");
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}
