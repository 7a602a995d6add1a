//! The commit log: what does not stand here did not happen.

use serde::{Deserialize, Serialize};

use super::metadata_log::MetadataLog;
use crate::batch::BatchId;
use crate::checkpoint::CheckpointStorage;
use crate::error::Result;

/// A batch is done. Batches may end out of order where jobs of several run at once, so an entry names its batch and is
/// itself numbered in the order of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The batch.
    pub batch: BatchId,
    /// The last entry of the state log by then.
    #[serde(default)]
    pub state: Option<u64>,
}

/// The batches that are done.
pub struct CommitLog {
    log: MetadataLog<Commit>,
    next: u64,
}

impl CommitLog {
    /// Opens the log of a checkpoint, and gives what it holds.
    pub fn open(storage: &dyn CheckpointStorage) -> Result<(Self, Vec<Commit>)> {
        let (log, entries) = MetadataLog::open(storage, "commits")?;
        let next = entries.last().map_or(0, |(number, _)| number + 1);
        Ok((Self { log, next }, entries.into_iter().map(|(_, commit)| commit).collect()))
    }

    /// Logs that a batch is done, and how far the state log has come; it is durable when this returns.
    pub fn append(&mut self, batch: BatchId, state: Option<u64>) -> Result<()> {
        self.log.append(self.next, &Commit { batch, state })?;
        self.next += 1;
        Ok(())
    }

    /// Forgets all but the last `kept` commits, as far as that is cheap.
    pub fn keep_last(&mut self, kept: u64) -> Result<()> {
        self.log.purge_before(self.next.saturating_sub(kept))
    }
}
