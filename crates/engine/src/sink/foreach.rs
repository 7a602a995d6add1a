//! `ForeachSink`: a function of your own for every partition. At least once: the function may see a batch again.

use arrow::array::RecordBatch;

use super::{Receipt, Sink};
use crate::batch::BatchStamp;
use crate::error::Result;

/// Calls a function where the rows are.
pub struct ForeachSink<F>(F);

impl<F: Fn(BatchStamp, usize, Vec<RecordBatch>) -> Result<()> + Send + Sync> ForeachSink<F> {
    /// Calls `f` with the batch, the partition and its rows.
    pub fn new(f: F) -> Self {
        Self(f)
    }
}

impl<F: Fn(BatchStamp, usize, Vec<RecordBatch>) -> Result<()> + Send + Sync> Sink for ForeachSink<F> {
    fn name(&self) -> String {
        "foreach".into()
    }

    fn is_idempotent(&self) -> bool {
        false
    }

    fn write(&self, batch: BatchStamp, partition: usize, rows: Vec<RecordBatch>) -> Result<Receipt> {
        (self.0)(batch, partition, rows)?;
        Ok(Receipt::default())
    }

    fn commit(&self, _: BatchStamp, _: Vec<Receipt>) -> Result<()> {
        Ok(())
    }
}
