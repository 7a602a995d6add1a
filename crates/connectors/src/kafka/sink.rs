//! `KafkaSink`: rows as records of topics, each batch exactly once, or at least once.
//!
//! **Exactly once.** A task keeps its rows in the sink's memory; the commit writes all of a batch in one transaction of Kafka's, which
//! also commits an offset of a consumer group that nobody consumes with: the sink's group, on partition 0 of its topic. The offset
//! is the batch's number and one; its metadata has what tells batches apart (`progress.rs`). So rows and number are there
//! together or not at all, and a batch that runs again finds its number. Rows of transactions that are open or were aborted lie in
//! the topic, too: readers must set `isolation.level=read_committed`.
//!
//! Whoever connects with a sink's name ends what its predecessor left, and shuts it out. It also writes its own mark into
//! the group, so that a sink that was shut out can tell that from a transaction that the broker gave up.
//!
//! The rows travel through memory, so tasks and commit must be in one process: a receipt that comes from another one is an error.
//! (Over several machines a task would have a transaction of its own, left open and finished by the driver. Kafka's
//! clients can't hand a transaction over.)
//!
//! A broker forgets a group 7 days after its last commit (`offsets.retention.minutes`): a sink that was silent for so long begins
//! anew. It can't tell batches of before any more, but the checkpoint can: it runs only those again that were not committed.
//!
//! **At least once.** Tasks send at once, without transactions; the commit waits until the brokers have all. A batch that runs again is
//! there again. This saves the transaction, which takes some milliseconds.

mod columns;
mod direct;
mod failure;
mod held;
mod options;
mod outcome;
mod producer;
mod progress;
mod reports;
mod session;
mod target;
mod transactions;

use arrow::array::RecordBatch;
use tidemill_engine::batch::BatchStamp;
use tidemill_engine::error::Result;
use tidemill_engine::sink::{Receipt, Sink};

use self::columns::Columns;
use self::direct::Direct;
use self::held::Held;
pub use self::options::{Delivery, KafkaSinkOptions};
use self::outcome::Outcome;
use self::target::Target;
use self::transactions::Transactions;
use super::KafkaConfig;

/// Writes batches to topics of Kafka.
///
/// | column | type | |
/// |---|---|---|
/// | `value` | text or bytes | needed; null is a tombstone |
/// | `key` | text or bytes | decides the partition, as Java's clients do |
/// | `topic` | text | where it is null or there is none: the sink's topic |
/// | `partition` | integer | where it is null or there is none: by the key, without one any |
/// | `timestamp` | timestamp, or milliseconds since 1970 | else the time of sending |
/// | `headers` | list of structs of `key` and `value`, or map | |
///
/// Lines of text, as `write_to` has them, are values. Every stream needs a sink, and a sink name, of its own.
///
/// ```no_run
/// use tidemill_connectors::kafka::{KafkaConfig, KafkaSink, KafkaSinkOptions};
///
/// # fn main() -> tidemill_engine::error::Result<()> {
/// let sink = KafkaSink::connect(KafkaConfig::new("localhost:9092"), "counts", KafkaSinkOptions::exactly_once())?;
/// # Ok(())
/// # }
/// ```
pub struct KafkaSink {
    target: Target,
    writer: Writer,
}

enum Writer {
    Transactions { held: Held<Vec<Columns>>, transactions: Transactions },
    Direct { sent: Held<std::sync::Arc<Outcome>>, direct: Direct },
}

impl KafkaSink {
    /// A sink of a topic, which must be there. With exactly once, a sink with the same name that still writes is shut out.
    ///
    /// # Errors
    /// If the brokers can't be reached or do not let us in, a setting is wrong, or the topic is not there.
    pub fn connect(config: KafkaConfig, topic: &str, options: KafkaSinkOptions) -> Result<Self> {
        let target = Target::new(config, topic, options);
        let writer = match target.options.delivery {
            Delivery::ExactlyOnce => {
                Writer::Transactions { held: Held::default(), transactions: Transactions::connect(&target)? }
            }
            Delivery::AtLeastOnce => Writer::Direct { sent: Held::default(), direct: Direct::connect(&target)? },
        };
        Ok(Self { target, writer })
    }
}

impl Sink for KafkaSink {
    fn name(&self) -> String {
        self.target.to_string()
    }

    fn is_idempotent(&self) -> bool {
        matches!(self.writer, Writer::Transactions { .. })
    }

    fn write(&self, batch: BatchStamp, _: usize, rows: Vec<RecordBatch>) -> Result<Receipt> {
        let rows = rows.iter().filter(|rows| rows.num_rows() > 0).map(Columns::of).collect::<Result<Vec<_>>>();
        let rows = rows.map_err(|error| error.context(&self.target))?;
        if rows.is_empty() {
            return Ok(Receipt::default());
        }
        match &self.writer {
            Writer::Transactions { held, .. } => Ok(held.put(batch.id, rows)),
            Writer::Direct { sent, direct } => Ok(sent.put(batch.id, direct.send(&self.target, &rows)?)),
        }
    }

    fn commit(&self, batch: BatchStamp, receipts: Vec<Receipt>) -> Result<()> {
        match &self.writer {
            Writer::Transactions { held, transactions } => {
                let parts = held.take(batch.id, &receipts).map_err(|error| error.context(&self.target))?;
                transactions.write(&self.target, batch, &parts.concat())
            }
            Writer::Direct { sent, direct } => {
                let outcomes = sent.take(batch.id, &receipts).map_err(|error| error.context(&self.target))?;
                direct.wait(&self.target, batch, &outcomes)
            }
        }
    }
}
