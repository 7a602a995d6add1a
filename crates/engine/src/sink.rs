//! The contract of a sink: partitions are written where they are, then the batch is committed as one.

pub mod console;
pub mod files;
pub mod foreach;
pub mod memory;
pub mod once;
pub mod text_files;

use arrow::array::{Array, RecordBatch, StringArray};
use serde::{Deserialize, Serialize};

use crate::batch::BatchStamp;
use crate::chunk::column;
use crate::error::Result;

/// What a written partition leaves for the commit: only the sink knows what it means.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Receipt(pub String);

/// A sink of batches of text (one column `value: Utf8`), or of any Arrow batches that its program gives it.
///
/// **Idempotent by batch.** A batch may be written several times: by a task that runs again, or after a restart by a batch that was
/// not known to be done. However often, a reader sees it once: what `write` makes stays invisible until `commit`, and a commit of
/// a batch that is there already replaces it or does nothing. A sink that can't promise this says so by
/// [`Sink::is_idempotent`].
pub trait Sink: Send + Sync {
    /// Its name, for people.
    fn name(&self) -> String;

    /// Whether a reader sees a batch once, however often it is written.
    fn is_idempotent(&self) -> bool;

    /// Writes one partition; runs in the task that computed it.
    fn write(&self, batch: BatchStamp, partition: usize, rows: Vec<RecordBatch>) -> Result<Receipt>;

    /// Makes a batch visible, its partitions' receipts in order; runs on the driver.
    fn commit(&self, batch: BatchStamp, receipts: Vec<Receipt>) -> Result<()>;
}

/// The lines of text batches, in order.
pub fn lines(rows: &[RecordBatch]) -> Result<Vec<&str>> {
    let mut lines = Vec::with_capacity(rows.iter().map(RecordBatch::num_rows).sum());
    for batch in rows {
        let values = column::<StringArray>(batch, 0)?;
        lines.extend((0..values.len()).map(|row| values.value(row)));
    }
    Ok(lines)
}
