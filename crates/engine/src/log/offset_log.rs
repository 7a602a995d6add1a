//! The offset log: a batch stands here, durably, before any of its work begins.

use super::metadata_log::MetadataLog;
use crate::batch::{Batch, BatchId};
use crate::checkpoint::CheckpointStorage;
use crate::error::Result;

/// The batches that were planned.
pub struct OffsetLog(MetadataLog<Batch>);

impl OffsetLog {
    /// Opens the log of a checkpoint, and gives what it holds.
    pub fn open(storage: &dyn CheckpointStorage) -> Result<(Self, Vec<Batch>)> {
        let (log, entries) = MetadataLog::open(storage, "offsets")?;
        Ok((Self(log), entries.into_iter().map(|(_, batch)| batch).collect()))
    }

    /// Logs a batch; it is durable when this returns.
    pub fn append(&mut self, batch: &Batch) -> Result<()> {
        self.0.append(batch.id.0, batch)
    }

    /// Forgets batches before `id`, as far as that is cheap.
    pub fn purge_before(&mut self, id: BatchId) -> Result<()> {
        self.0.purge_before(id.0)
    }
}
