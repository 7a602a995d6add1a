//! Streams that need no outside: memory, constant, and numbers at a rate.

use std::collections::VecDeque;
use std::sync::Arc;

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
    /// The number of rows that are in memory: added, and not done with.
    pub fn held(&self) -> usize {
        self.0.rows.lock().rows.len()
    }

    /// Adds rows; they are all in the same batch.
    pub fn add(&self, rows: impl IntoIterator<Item = T>) {
        self.0.rows.lock().rows.extend(rows);
    }
}

/// Rows that are not done with, by number.
struct Numbered<T> {
    first: u64,
    rows: VecDeque<T>,
}

impl<T> Numbered<T> {
    fn end(&self) -> u64 {
        self.first + self.rows.len() as u64
    }
}

struct MemorySource<T> {
    rows: Mutex<Numbered<T>>,
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
        Ok(Offset::count(self.rows.lock().end()))
    }

    fn read(&self, range: &OffsetRange, _: Time) -> Result<SourceBatch> {
        let all = self.rows.lock();
        let (start, end) = (range.start.as_count(), range.end.as_count());
        if start < all.first || end > all.end() || end < start {
            return Err(Error::usage(format!(
                "rows {start} to {end} of a memory stream are gone: they lived in another process"
            )));
        }
        // Both lie within what is in memory.
        let rows: Vec<T> = all.rows.range((start - all.first) as usize..(end - all.first) as usize).cloned().collect();
        drop(all);
        let records = end - start;
        let values = Collection::slice(&self.functions, rows, self.partitions);
        debug_assert_eq!(self.decoder.id(), tidemill_engine::lineage::Values::decoder(&values).id());
        let info = InputInfo { name: self.name(), records, description: None };
        Ok(SourceBatch { lineage: Lineage::values(Arc::new(values)), info, lost: false })
    }

    fn commit(&self, end: &Offset) -> Result<()> {
        let mut all = self.rows.lock();
        while all.first < end.as_count() && all.rows.pop_front().is_some() {
            all.first += 1;
        }
        Ok(())
    }

    fn start(&self, start: &Offset, _: Time) -> Result<()> {
        self.rows.lock().first = start.as_count();
        Ok(())
    }

    fn has_pending(&self, end: &Offset) -> bool {
        self.rows.lock().end() > end.as_count()
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
        Ok(SourceBatch { lineage: Arc::clone(&self.lineage), info, lost: false })
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
        Ok(SourceBatch { lineage: Lineage::values(Arc::new(values)), info, lost: false })
    }
}

impl StreamingContext {
    /// A stream of what is added to the [`MemoryStream`]; in the default number of partitions.
    pub fn memory_stream<T: Data>(&self) -> Result<(MemoryStream<T>, DStream<T>)> {
        let sc = self.spark_context();
        let (functions, partitions) = (Arc::clone(sc.functions()), sc.default_parallelism());
        let decoder = decode_values::<T>(&functions);
        let rows = Mutex::new(Numbered { first: 0, rows: VecDeque::new() });
        let source = Arc::new(MemorySource { rows, partitions, functions, decoder });
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
