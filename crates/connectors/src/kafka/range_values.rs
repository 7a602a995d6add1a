//! The leaf of a batch: a partition for each of Kafka's, out of the buffer, or read when a task asks for it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tidemill_engine::chunk::Chunk;
use tidemill_engine::error::Result;
use tidemill_engine::function::Function;
use tidemill_engine::lineage::{Chunks, Lineage, Values};

use super::offsets::OffsetRange;
use super::range_reader::{RangeReader, RangeSettings};

/// One partition.
pub(super) enum Part {
    /// Its records are here.
    Here(Vec<RecordBatch>),
    /// Its records are read from the broker.
    There(OffsetRange),
}

/// The records of ranges.
pub(super) struct RangeValues {
    pub parts: Vec<Part>,
    pub settings: RangeSettings,
    /// Hands on the batches of a plan that traveled.
    pub decoder: Arc<Function>,
}

impl RangeValues {
    /// As a leaf.
    pub fn lineage(self) -> Arc<Lineage> {
        Lineage::values(Arc::new(self))
    }

    fn batches(&self, partition: usize) -> Box<dyn Iterator<Item = Result<RecordBatch>> + Send> {
        match &self.parts[partition] {
            Part::Here(batches) => Box::new(batches.clone().into_iter().map(Ok)),
            Part::There(range) => Box::new(RangeReader::new(self.settings.clone(), range.clone())),
        }
    }
}

impl Values for RangeValues {
    fn partitions(&self) -> usize {
        self.parts.len()
    }

    fn rows(&self) -> usize {
        let rows = |part: &Part| match part {
            Part::Here(batches) => batches.iter().map(RecordBatch::num_rows).sum(),
            Part::There(range) if range.count() == 0 => 0,
            Part::There(_) => usize::MAX,
        };
        self.parts.iter().map(rows).fold(0, usize::saturating_add)
    }

    fn chunks(self: Arc<Self>, partition: usize) -> Chunks {
        Box::new(self.batches(partition).map(|batch| batch.map(Chunk::of)))
    }

    fn encode(&self, partition: usize) -> Result<RecordBatch> {
        let batches = self.batches(partition).collect::<Result<Vec<_>>>()?;
        Ok(arrow::compute::concat_batches(&self.settings.columns.schema(), &batches)?)
    }

    fn decoder(&self) -> Arc<Function> {
        Arc::clone(&self.decoder)
    }
}
