//! `KafkaOptions`: what is read, from where, and what is done about faults.

use std::time::Duration;

use super::config::KafkaConfig;
use super::ending::EndingOffsets;
use super::subscription::{ConsumerStrategy, StartingOffsets};

/// What becomes of a record that its decoder refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBadRecord {
    /// Its batch fails, and so does each try to run it again: nothing is passed over.
    #[default]
    Fail,
    /// It is left out, counted (`tidemill_kafka_bad_records_total`), and the log says so.
    Skip,
}

/// How a stream reads Kafka.
///
/// ```
/// use tidemill_connectors::kafka::{ConsumerStrategy, KafkaConfig, KafkaOptions, StartingOffsets};
///
/// let options = KafkaOptions::new(KafkaConfig::new("localhost:9092"), ConsumerStrategy::subscribe(["words"]))
///     .starting(StartingOffsets::Earliest)
///     .fail_on_data_loss(false);
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    pub(super) config: KafkaConfig,
    pub(super) strategy: ConsumerStrategy,
    pub(super) starting: StartingOffsets,
    pub(super) ending: Option<EndingOffsets>,
    pub(super) fail_on_data_loss: bool,
    pub(super) on_bad_record: OnBadRecord,
    pub(super) commit_to_group: bool,
    pub(super) discovery_interval: Duration,
    pub(super) start_timeout: Duration,
}

impl KafkaOptions {
    /// Reads what `strategy` says, from now on.
    pub fn new(config: KafkaConfig, strategy: ConsumerStrategy) -> Self {
        Self {
            config,
            strategy,
            starting: StartingOffsets::default(),
            ending: None,
            fail_on_data_loss: true,
            on_bad_record: OnBadRecord::default(),
            commit_to_group: false,
            discovery_interval: Duration::from_secs(1),
            start_timeout: Duration::from_secs(30),
        }
    }

    /// Where a new stream begins: [`StartingOffsets::Latest`] unless said otherwise.
    pub fn starting(mut self, starting: StartingOffsets) -> Self {
        self.starting = starting;
        self
    }

    /// Where the stream ends: nowhere unless said otherwise. Batches go on without rows behind its ends;
    /// [`is_exhausted`](super::DirectKafkaStream::is_exhausted) tells the program to stop.
    pub fn ending(mut self, ending: EndingOffsets) -> Self {
        self.ending = Some(ending);
        self
    }

    /// Whether records that are gone before they were read, and topics that vanish, fail the stream (which is so unless said
    /// otherwise) or are passed over, counted, with a warning.
    pub fn fail_on_data_loss(mut self, fail: bool) -> Self {
        self.fail_on_data_loss = fail;
        self
    }

    /// What becomes of records that can't be decoded: [`OnBadRecord::Fail`] unless said otherwise.
    pub fn on_bad_record(mut self, what: OnBadRecord) -> Self {
        self.on_bad_record = what;
        self
    }

    /// Whether the offsets of batches that are done are committed to the group `group.id`, for those who watch how far it is
    /// behind. The stream goes by its checkpoint, not by them.
    pub fn commit_to_group(mut self, commit: bool) -> Self {
        self.commit_to_group = commit;
        self
    }

    /// How often new topics and partitions are looked for, and how far the stream is behind: every second unless said otherwise.
    pub fn discovery_interval(mut self, interval: Duration) -> Self {
        self.discovery_interval = interval;
        self
    }

    /// How long the start tries to reach the brokers: 30 s unless said otherwise.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }
}
