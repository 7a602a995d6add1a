//! The offset log: a batch stands here, durably, before any of its work begins.

use std::path::Path;

use super::metadata_log::MetadataLog;
use crate::batch::Batch;
use crate::error::Result;

/// The batches that were planned.
pub struct OffsetLog(MetadataLog<Batch>);

impl OffsetLog {
    /// Opens the log in the checkpoint folder, and gives what it holds.
    pub fn open(checkpoint: &Path) -> Result<(Self, Vec<Batch>)> {
        let (log, entries) = MetadataLog::open(checkpoint.join("offsets"))?;
        Ok((Self(log), entries.into_iter().map(|(_, batch)| batch).collect()))
    }

    /// Logs a batch; it is on disk when this returns.
    pub fn append(&mut self, batch: &Batch) -> Result<()> {
        self.0.append(batch.id.0, batch)
    }

    /// Forgets batches before `id`, as far as whole segments go.
    pub fn purge_before(&mut self, id: crate::batch::BatchId) -> Result<()> {
        self.0.purge_before(id.0)
    }
}
