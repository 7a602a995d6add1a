//! `KafkaSource`: Kafka's offsets are the stream's offsets; a partition of Kafka's is one of the batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::Function;
use tidemill_engine::rate::RateLimiter;
use tidemill_engine::source::{InputInfo, Offset, OffsetRange as LoggedRange, Source, SourceBatch};
use tidemill_engine::time::Time;

use super::beginning::Beginning;
use super::buffer::Buffer;
use super::client::{Connection, read_ahead};
use super::columns::Columns;
use super::discovery::look_out;
use super::limits::RateLimits;
use super::offsets::{OffsetRange, Offsets};
use super::prefetch::read;
use super::range_reader::RangeSettings;
use super::range_values::{Part, RangeValues};
use super::source_options::KafkaOptions;

/// What the program's settings say beside the options.
pub(super) struct SourceSettings {
    pub limits: RateLimits,
    pub max_buffered_bytes: u64,
    /// How long a read of a replay waits for the brokers.
    pub read_timeout: Duration,
    pub columns: Columns,
    pub decoder: Arc<Function>,
}

/// Records of topics. Replayable for as long as the topics keep them.
///
/// Batches end where the buffer ends: no question to the brokers stands between one batch and the next.
pub(super) struct KafkaSource {
    options: KafkaOptions,
    limits: RateLimits,
    ranges: RangeSettings,
    decoder: Arc<Function>,
    buffer: Arc<Buffer>,
    connection: Mutex<Option<Arc<Connection>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The ranges of batches that are not over, and where they end.
    batches: Mutex<BTreeMap<Time, (Vec<OffsetRange>, Offsets)>>,
    exhausted: AtomicBool,
}

impl KafkaSource {
    /// A source, which connects when it is started.
    pub fn new(options: KafkaOptions, settings: SourceSettings) -> Self {
        let SourceSettings { limits, max_buffered_bytes, read_timeout: patience, columns, decoder } = settings;
        let (config, fail_on_data_loss) = (options.config.clone(), options.fail_on_data_loss);
        let buffer = Arc::new(Buffer::new(columns, max_buffered_bytes, fail_on_data_loss));
        let ranges = RangeSettings { config, columns, fail_on_data_loss, patience };
        let (connection, threads, batches) = (Mutex::default(), Mutex::default(), Mutex::default());
        let exhausted = AtomicBool::new(false);
        Self { options, limits, ranges, decoder, buffer, connection, threads, batches, exhausted }
    }

    /// The ranges of the batch of `time`, one for each of its partitions; none if it is over, or not made.
    pub fn offset_ranges(&self, time: Time) -> Vec<OffsetRange> {
        self.batches.lock().get(&time).map(|(ranges, _)| ranges.clone()).unwrap_or_default()
    }

    /// How far the records were read that the next batch may cover.
    pub fn reached(&self) -> Offsets {
        self.buffer.reached()
    }

    /// Whether all batches that had records up to the ends of the stream are over.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted.load(Ordering::SeqCst)
    }

    /// Commits to the group, in the background.
    pub fn commit_to_group(&self, offsets: &Offsets) -> Result<()> {
        let connection = self.connection.lock().clone();
        let connection = connection.ok_or_else(|| Error::usage("offsets are committed while the stream runs"))?;
        connection.commit(offsets)
    }

    fn connection(&self) -> Result<Arc<Connection>> {
        let mut connection = self.connection.lock();
        if let Some(connection) = connection.as_ref() {
            return Ok(Arc::clone(connection));
        }
        let settings = read_ahead(self.buffer.max_bytes);
        let settings = settings.each_ref().map(|(key, value)| (*key, value.as_str()));
        let new = Arc::new(Connection::new(&self.options.config, &settings)?);
        *connection = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Adds the partitions of `start` to the buffer, where they are and have the records that come next.
    fn begin(&self, connection: &Connection, start: &Offsets) -> Result<()> {
        let Beginning { begins, ends, log_ends, losses } =
            Beginning::find(connection, &self.options, start, &self.buffer.stop)?;
        if self.options.fail_on_data_loss
            && let Some(loss) = losses.first()
        {
            return Err(loss.error());
        }
        if let Some(ends) = ends {
            tracing::info!(stream = self.name(), %ends, "the stream ends before these offsets");
            self.buffer.end_at(ends);
        }
        self.buffer.add(&begins, &log_ends);
        losses.iter().try_for_each(|loss| self.buffer.lose(loss))
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let failed = |error| Error::retry("a thread of a Kafka stream can't be started").with_source(error);
        let thread = std::thread::Builder::new().name(name.into()).spawn(body).map_err(failed)?;
        self.threads.lock().push(thread);
        Ok(())
    }

    fn forget(&self, end: &Offset) -> Result<Offsets> {
        let end = Offsets::from_logged(end)?;
        self.buffer.release(&end);
        let mut batches = self.batches.lock();
        // Batches are told in order, and several may end at the same place.
        let over = batches.iter().find(|(_, (_, ends))| *ends == end).map(|(time, _)| *time);
        batches.retain(|time, _| over.is_none_or(|over| *time > over));
        Ok(end)
    }
}

impl Source for KafkaSource {
    fn name(&self) -> String {
        format!("kafka {}", self.options.strategy.describe())
    }

    fn is_replayable(&self) -> bool {
        true
    }

    fn initial_offset(&self) -> Result<Offset> {
        let (connection, patience) = (self.connection()?, self.options.start_timeout);
        let partitions = self.options.strategy.find_all(&connection, patience)?;
        Ok(self.options.starting.resolve(&connection, &partitions, patience)?.to_logged())
    }

    fn latest_offset(&self, start: &Offset, _: Time) -> Result<Offset> {
        Ok(self.buffer.end_of_batch(&Offsets::from_logged(start)?, &self.limits)?.to_logged())
    }

    fn read(&self, range: &LoggedRange, time: Time) -> Result<SourceBatch> {
        let (start, end) = (Offsets::from_logged(&range.start)?, Offsets::from_logged(&range.end)?);
        let (mut parts, mut ranges, mut records) = (Vec::new(), Vec::new(), 0);
        for (topic, partition, until) in end.iter() {
            // A partition that is new begins where its first batch ends.
            let from = start.get(topic, partition).unwrap_or(until).min(until);
            let range = OffsetRange::new(topic, partition, from, until);
            ranges.push(range.clone());
            parts.push(match self.buffer.slices(topic, partition, from, until) {
                Some(batches) => {
                    records += batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
                    Part::Here(batches)
                }
                None => {
                    // As many at most: which offsets are no records is not known here.
                    records += range.count();
                    Part::There(range)
                }
            });
        }
        let lines = ranges.iter().filter(|range| range.count() > 0).map(OffsetRange::to_string).collect::<Vec<_>>();
        let description = (!lines.is_empty()).then(|| lines.join("\n"));
        self.batches.lock().insert(time, (ranges, end));
        let values = RangeValues { parts, settings: self.ranges.clone(), decoder: Arc::clone(&self.decoder) };
        let info = InputInfo { name: self.name(), records, description };
        Ok(SourceBatch { lineage: values.lineage(), info, lost: false })
    }

    fn commit(&self, end: &Offset) -> Result<()> {
        let end = self.forget(end)?;
        if self.buffer.is_exhausted(&end) && !self.exhausted.swap(true, Ordering::SeqCst) {
            tracing::info!(stream = self.name(), %end, "all records up to the ends of the stream are in batches that are over");
        }
        if self.options.commit_to_group
            && let Some(connection) = self.connection.lock().as_ref()
        {
            connection.note(end);
        }
        Ok(())
    }

    fn release(&self, end: &Offset) {
        if let Err(error) = self.forget(end) {
            tracing::error!(%error, "a position was logged that is none");
        }
    }

    fn start(&self, start: &Offset, _: Time) -> Result<()> {
        let connection = self.connection()?;
        self.begin(&connection, &Offsets::from_logged(start)?)?;
        let (reader, buffer) = (Arc::clone(&connection), Arc::clone(&self.buffer));
        self.spawn("tidemill-kafka-reader", move || read(&reader, &buffer))?;
        let (strategy, interval) = (self.options.strategy.clone(), self.options.discovery_interval);
        let buffer = Arc::clone(&self.buffer);
        self.spawn("tidemill-kafka-lookout", move || look_out(&connection, &strategy, &buffer, interval))
    }

    fn stop(&self) {
        self.buffer.stop.wake();
        let threads = std::mem::take(&mut *self.threads.lock());
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }

    fn end(&self) -> Result<()> {
        // The client waits for what is on its way when it is closed.
        let Some(connection) = self.connection.lock().take() else { return Ok(()) };
        if let Err(error) = connection.commit_noted() {
            tracing::warn!(%error, "offsets were not committed to the group");
        }
        Ok(())
    }

    fn rate_limiter(&self) -> Option<&Arc<RateLimiter>> {
        self.limits.limiter.as_ref()
    }
}
