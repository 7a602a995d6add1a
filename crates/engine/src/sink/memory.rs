//! `MemorySink`: batches of text in this process, for tests and for a look from outside.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use super::{Receipt, Sink, lines};
use crate::batch::{BatchId, BatchStamp};
use crate::error::Result;

type Partitions = BTreeMap<usize, Vec<String>>;

/// Keeps the lines of every batch, for as long as it lives: not for streams that run for long.
#[derive(Default)]
pub struct MemorySink {
    written: Mutex<BTreeMap<BatchId, Partitions>>,
    committed: Mutex<BTreeMap<BatchId, Vec<String>>>,
}

impl MemorySink {
    /// The lines of all batches, in order.
    pub fn all(&self) -> Vec<String> {
        self.committed.lock().values().flatten().cloned().collect()
    }

    /// The lines of a batch; `None` of one that is not committed.
    pub fn batch(&self, id: BatchId) -> Option<Vec<String>> {
        self.committed.lock().get(&id).cloned()
    }
}

impl Sink for MemorySink {
    fn name(&self) -> String {
        "memory".into()
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    fn write(&self, batch: BatchStamp, partition: usize, rows: Vec<RecordBatch>) -> Result<Receipt> {
        let rows = lines(&rows)?.into_iter().map(String::from).collect();
        self.written.lock().entry(batch.id).or_default().insert(partition, rows);
        Ok(Receipt::default())
    }

    fn commit(&self, batch: BatchStamp, _: Vec<Receipt>) -> Result<()> {
        let rows = self.written.lock().remove(&batch.id).unwrap_or_default();
        self.committed.lock().insert(batch.id, rows.into_values().flatten().collect());
        Ok(())
    }
}
