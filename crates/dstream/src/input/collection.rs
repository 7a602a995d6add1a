//! Streams that need no outside: memory, constant, and numbers at a rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tidemill_engine::chunk::Data;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::Function;
use tidemill_engine::lineage::Lineage;
use tidemill_engine::source::{InputInfo, Offset, OffsetRange, Source, SourceBatch};
use tidemill_engine::time::Time;

use crate::op::narrow::{Collection, decode_values};
use crate::rdd::Rdd;
use crate::stream::DStream;
use crate::streaming_context::StreamingContext;

/// What a test puts into a stream: a batch covers all that was added before it.
pub struct MemoryStream<T>(Arc<MemorySource<T>>);

impl<T> Clone for MemoryStream<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Data> MemoryStream<T> {
    /// Adds rows; they are all in the same batch.
    pub fn add(&self, rows: impl IntoIterator<Item = T>) {
        self.0.rows.lock().extend(rows);
    }
}

struct MemorySource<T> {
    rows: Mutex<Vec<T>>,
    /// The offset of the first row: after a restart, where the last run's batches ended.
    first: AtomicU64,
    partitions: usize,
    functions: Arc<tidemill_engine::function::FunctionRegistry>,
    decoder: Arc<Function>,
}

impl<T: Data> Source for MemorySource<T> {
    fn name(&self) -> String {
        "memory".into()
    }

    fn is_replayable(&self) -> bool {
        false
    }

    fn initial_offset(&self) -> Result<Offset> {
        Ok(Offset::count(0))
    }

    fn latest_offset(&self, _: &Offset, _: Time) -> Result<Offset> {
        Ok(Offset::count(self.first.load(Ordering::SeqCst) + self.rows.lock().len() as u64))
    }

    fn read(&self, range: &OffsetRange, _: Time) -> Result<SourceBatch> {
        let rows = self.rows.lock();
        let (start, end, first) = (range.start.as_count(), range.end.as_count(), self.first.load(Ordering::SeqCst));
        let place = |offset: u64| offset.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        let found = place(start).zip(place(end)).and_then(|(start, end)| rows.get(start..end));
        let rows = found.ok_or_else(|| {
            Error::usage(format!("rows {start} to {end} of a memory stream are gone: they lived in another process"))
        })?;
        let values = Collection::slice(&self.functions, rows.to_vec(), self.partitions);
        debug_assert_eq!(self.decoder.id(), tidemill_engine::lineage::Values::decoder(&values).id());
        let info = InputInfo { name: self.name(), records: rows.len() as u64, description: None };
        Ok(SourceBatch { lineage: Lineage::values(Arc::new(values)), info })
    }

    fn start(&self, start: &Offset, _: Time) -> Result<()> {
        self.first.store(start.as_count(), Ordering::SeqCst);
        Ok(())
    }
}

/// The same rows for every batch.
struct ConstantSource {
    lineage: Arc<Lineage>,
}

impl Source for ConstantSource {
    fn name(&self) -> String {
        "constant".into()
    }

    fn is_replayable(&self) -> bool {
        true
    }

    fn initial_offset(&self) -> Result<Offset> {
        Ok(Offset::default())
    }

    fn latest_offset(&self, _: &Offset, _: Time) -> Result<Offset> {
        Ok(Offset::default())
    }

    fn read(&self, _: &OffsetRange, _: Time) -> Result<SourceBatch> {
        let info = InputInfo { name: self.name(), ..InputInfo::default() };
        Ok(SourceBatch { lineage: Arc::clone(&self.lineage), info })
    }
}

/// Numbers 0, 1, 2 ... at a rate; number n is due n / rate seconds after the start.
struct RateSource {
    rows_per_second: u64,
    partitions: usize,
    functions: Arc<tidemill_engine::function::FunctionRegistry>,
    /// The batch time and the offset from which it counts.
    began: Mutex<Option<(Time, u64)>>,
}

impl Source for RateSource {
    fn name(&self) -> String {
        format!("rate {} rows/s", self.rows_per_second)
    }

    fn is_replayable(&self) -> bool {
        true
    }

    fn initial_offset(&self) -> Result<Offset> {
        Ok(Offset::count(0))
    }

    fn latest_offset(&self, start: &Offset, time: Time) -> Result<Offset> {
        let mut began = self.began.lock();
        let (zero, from) = *began.get_or_insert((time, start.as_count()));
        let elapsed_ms = u64::try_from(time.millis_since(zero)).unwrap_or(0);
        let due = u128::from(elapsed_ms) * u128::from(self.rows_per_second) / 1000;
        Ok(Offset::count(from.saturating_add(u64::try_from(due).unwrap_or(u64::MAX))))
    }

    fn read(&self, range: &OffsetRange, _: Time) -> Result<SourceBatch> {
        let (start, end) = (range.start.as_count(), range.end.as_count());
        let values = Collection::slice(&self.functions, (start..end).collect(), self.partitions);
        let info = InputInfo { name: self.name(), records: end.saturating_sub(start), description: None };
        Ok(SourceBatch { lineage: Lineage::values(Arc::new(values)), info })
    }
}

impl StreamingContext {
    /// A stream of what is added to the [`MemoryStream`]; in the default number of partitions.
    pub fn memory_stream<T: Data>(&self) -> Result<(MemoryStream<T>, DStream<T>)> {
        let sc = self.spark_context();
        let (functions, partitions) = (Arc::clone(sc.functions()), sc.default_parallelism());
        let decoder = decode_values::<T>(&functions);
        let source =
            Arc::new(MemorySource { rows: Mutex::default(), first: AtomicU64::new(0), partitions, functions, decoder });
        let stream = self.source_stream("memory_stream", Arc::clone(&source) as Arc<dyn Source>, |data| data)?;
        Ok((MemoryStream(source), stream))
    }

    /// The same RDD for every batch.
    pub fn constant_stream<T: Data>(&self, rdd: &Rdd<T>) -> Result<DStream<T>> {
        let data = rdd.dataset().clone();
        let source = Arc::new(ConstantSource { lineage: Arc::clone(&data.lineage) });
        self.source_stream("constant_stream", source, move |read| read.placed(data.placement))
    }

    /// The numbers from 0, `rows_per_second` of them; the first batch has none. They can be read again after a restart.
    pub fn rate_stream(&self, rows_per_second: u64) -> Result<DStream<u64>> {
        let sc = self.spark_context();
        let (functions, partitions) = (Arc::clone(sc.functions()), sc.default_parallelism());
        decode_values::<u64>(&functions);
        let source = Arc::new(RateSource { rows_per_second, partitions, functions, began: Mutex::default() });
        self.source_stream("rate_stream", source, |data| data)
    }
}
