//! How a `KafkaSink` writes.

use std::time::Duration;

/// How often a reader sees a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Once, if the reader reads what is committed.
    ExactlyOnce,
    /// Once, or several times if the batch runs again.
    AtLeastOnce,
}

/// How a [`KafkaSink`](super::KafkaSink) writes.
#[derive(Debug, Clone)]
pub struct KafkaSinkOptions {
    pub(super) delivery: Delivery,
    pub(super) name: Option<String>,
    pub(super) delivery_timeout: Duration,
    pub(super) transaction_timeout: Duration,
}

impl KafkaSinkOptions {
    /// A transaction for each batch.
    pub fn exactly_once() -> Self {
        Self {
            delivery: Delivery::ExactlyOnce,
            name: None,
            delivery_timeout: Duration::from_secs(120),
            transaction_timeout: Duration::from_secs(180),
        }
    }

    /// No transactions: faster by some milliseconds, and a batch that runs again is there again.
    pub fn at_least_once() -> Self {
        Self { delivery: Delivery::AtLeastOnce, ..Self::exactly_once() }
    }

    /// The name under which batches are remembered, instead of the topic's: every stream into a topic needs one of its own. The
    /// transactional id and the group are called `tidemill-` and this, and the topic's name where that is another.
    pub fn sink_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// For how long a batch is tried when brokers are away, before it fails; two minutes unless said otherwise.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout;
        self
    }

    /// After how long brokers give a transaction up that nobody ends; three minutes unless said otherwise. Longer than
    /// [`delivery_timeout`](Self::delivery_timeout), or a batch has less time than that; up to the brokers'
    /// `transaction.max.timeout.ms`. If the program dies in a transaction and is not started again, readers wait for so long.
    pub fn transaction_timeout(mut self, timeout: Duration) -> Self {
        self.transaction_timeout = timeout;
        self
    }
}

impl Default for KafkaSinkOptions {
    fn default() -> Self {
        Self::exactly_once()
    }
}
