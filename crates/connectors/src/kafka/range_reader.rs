//! `RangeReader`: the records of a fixed range, read from the broker when a task asks for them: replays, and RDDs of ranges.

use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use rdkafka::Offset as At;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::types::RDKafkaErrorCode as Code;
use tidemill_engine::error::{Error, Result};

use super::client::{Connection, is_passing};
use super::columns::{BlockBuilder, Columns};
use super::config::KafkaConfig;
use super::loss::Loss;
use super::offsets::{OffsetRange, Offsets};

/// How long a poll waits.
const POLL: Duration = Duration::from_millis(100);

/// How ranges are read.
#[derive(Clone)]
pub(super) struct RangeSettings {
    pub config: KafkaConfig,
    pub columns: Columns,
    pub fail_on_data_loss: bool,
    /// How long the brokers may be silent before a read fails.
    pub patience: Duration,
}

/// Reads one range, batch by batch.
pub(super) struct RangeReader {
    settings: RangeSettings,
    range: OffsetRange,
    builder: BlockBuilder,
    connection: Option<Connection>,
    /// Behind the last record that was read.
    reached: i64,
    /// The brokers have said that the log goes as far as the range.
    is_confirmed: bool,
    done: bool,
}

impl RangeReader {
    /// A reader, which connects when the first batch is asked for.
    pub fn new(settings: RangeSettings, range: OffsetRange) -> Self {
        let builder = BlockBuilder::new(settings.columns, &range.topic, range.partition);
        let (reached, done) = (range.from_offset, range.count() == 0);
        Self { settings, range, builder, connection: None, reached, is_confirmed: false, done }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let mut answered = Instant::now();
        while !self.done && !self.builder.is_full() {
            match connection.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    answered = Instant::now();
                    if message.offset() < self.range.until_offset {
                        self.builder.append(&message);
                        self.reached = message.offset() + 1;
                    }
                    self.done = message.offset() + 1 >= self.range.until_offset;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    answered = Instant::now();
                    let position = self.come_to(&connection)?;
                    self.done = position >= self.range.until_offset || self.is_end(&connection, position)?;
                }
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => self.out_of_range(&connection)?,
                    Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                        self.lost(None)?;
                        self.done = true;
                    }
                    _ if is_passing(&error) => {}
                    _ => return Err(self.failed("can't be read").with_source(error)),
                },
                // Markers of transactions are passed without a word.
                None => self.done = self.come_to(&connection)? >= self.range.until_offset,
            }
            if answered.elapsed() > self.settings.patience {
                let error = KafkaError::MessageConsumption(Code::OperationTimedOut);
                let what = format!("the records of {}", self.range);
                return Err(connection.no_answer(&what, answered.elapsed(), error));
            }
        }
        if !self.done {
            self.connection = Some(connection);
        }
        self.builder.take_faults().tell(&self.range.topic, self.range.partition);
        Ok(self.builder.seal()?.map(|block| block.batch))
    }

    fn connect(&self) -> Result<Connection> {
        let connection = Connection::new(&self.settings.config, &[("enable.partition.eof", "true")])?;
        self.assign(&connection, self.reached)?;
        Ok(connection)
    }

    fn assign(&self, connection: &Connection, offset: i64) -> Result<()> {
        let OffsetRange { topic, partition, .. } = &self.range;
        connection.assign(&Offsets::from_iter([(topic, *partition, offset)]))
    }

    fn come_to(&self, connection: &Connection) -> Result<i64> {
        let positions =
            connection.consumer.position().map_err(|error| self.failed("has no position").with_source(error))?;
        let position =
            positions.find_partition(&self.range.topic, self.range.partition).map(|element| element.offset());
        Ok(if let Some(At::Offset(position)) = position { position } else { self.reached })
    }

    /// Whether nothing of the range comes any more, at an end of the log that lies before the range's.
    fn is_end(&mut self, connection: &Connection, position: i64) -> Result<bool> {
        // Up to here all was read, and the log goes further: the offsets in between are no records.
        if self.is_confirmed {
            return Ok(true);
        }
        let (first, end) = self.available(connection)?;
        if end < self.range.until_offset {
            self.lost(Some((first, end)))?;
            return Ok(true);
        }
        // A new leader may have told an end that is too early: only one that is told from here on counts.
        self.is_confirmed = true;
        self.assign(connection, position.max(self.reached)).map(|()| false)
    }

    fn out_of_range(&mut self, connection: &Connection) -> Result<()> {
        let (first, end) = self.available(connection)?;
        if self.reached < first {
            self.lost(Some((first, end)))?;
            self.reached = first;
            self.done = first >= self.range.until_offset;
        } else if self.reached > end {
            self.lost(Some((first, end)))?;
            self.done = true;
        }
        if self.done { Ok(()) } else { self.assign(connection, self.reached) }
    }

    /// Records of the range are gone: an error, or a recorded skip.
    fn lost(&self, available: Option<(i64, i64)>) -> Result<()> {
        let OffsetRange { topic, partition, until_offset: until, .. } = self.range.clone();
        let loss = Loss { topic, partition, wanted: self.reached, until, available };
        if self.settings.fail_on_data_loss {
            return Err(loss.error().context(format!("reading {}", self.range)));
        }
        loss.tell();
        Ok(())
    }

    fn available(&self, connection: &Connection) -> Result<(i64, i64)> {
        let OffsetRange { topic, partition, .. } = &self.range;
        let at = |at| {
            let offsets = connection.offsets([(topic.as_str(), *partition)], at, self.settings.patience)?;
            offsets.get(topic, *partition).ok_or_else(|| self.failed("has no offsets"))
        };
        Ok((at(At::Beginning)?, at(At::End)?))
    }

    fn failed(&self, what: &str) -> Error {
        Error::retry(format!("{} of Kafka at {} {what}", self.range, self.settings.config.brokers()))
    }
}

impl Iterator for RangeReader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            match self.next_batch() {
                Ok(Some(batch)) => return Some(Ok(batch)),
                Ok(None) => {}
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
