//! The commit log: what does not stand here did not happen.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::metadata_log::MetadataLog;
use crate::batch::BatchId;
use crate::checkpoint::CheckpointStorage;
use crate::error::Result;

/// The name of the log.
pub const COMMIT_LOG: &str = "commits";

/// A batch is done. Batches may end out of order where jobs of several run at once, so an entry names its batch and is
/// itself numbered in the order of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The batch.
    pub batch: BatchId,
    /// All batches before this one are done, too: their own entries are not needed.
    pub before: BatchId,
    /// The last entry of the state log by then.
    pub state: Option<u64>,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Done {
    /// All batches before this one.
    pub before: BatchId,
    /// These, too.
    pub batches: BTreeSet<BatchId>,
    /// The last entry of the state log.
    pub state: Option<u64>,
}

impl Done {
    /// What a log with these entries says.
    pub fn of(commits: impl IntoIterator<Item = Commit>) -> Self {
        commits.into_iter().fold(Self::default(), |mut done, commit| {
            done.before = done.before.max(commit.before);
            done.batches.insert(commit.batch);
            done.state = done.state.max(commit.state);
            done
        })
    }

    /// Whether a batch is done.
    pub fn contains(&self, batch: BatchId) -> bool {
        batch < self.before || self.batches.contains(&batch)
    }

    /// The last batch that is done.
    pub fn last(&self) -> Option<BatchId> {
        self.batches.last().copied().max(self.before.0.checked_sub(1).map(BatchId))
    }
}

/// The batches that are done.
pub struct CommitLog {
    log: MetadataLog<Commit>,
    next: u64,
    /// The entries that it holds: their numbers and batches.
    held: VecDeque<(u64, BatchId)>,
}

impl CommitLog {
    /// Opens the log of a checkpoint, and gives what it holds.
    pub fn open(storage: &dyn CheckpointStorage) -> Result<(Self, Done)> {
        let (log, entries) = MetadataLog::<Commit>::open(storage, COMMIT_LOG)?;
        let next = entries.last().map_or(0, |(number, _)| number + 1);
        let held = entries.iter().map(|(number, commit)| (*number, commit.batch)).collect();
        Ok((Self { log, next, held }, Done::of(entries.into_iter().map(|(_, commit)| commit))))
    }

    /// Logs that a batch is done; it is durable when this returns.
    pub fn append(&mut self, commit: Commit) -> Result<()> {
        self.log.append(self.next, &commit)?;
        self.held.push_back((self.next, commit.batch));
        self.next += 1;
        Ok(())
    }

    /// Forgets the commits of batches before `batch`, as far as that is cheap; but the last commit stays.
    pub fn purge_before(&mut self, batch: BatchId) -> Result<()> {
        while self.held.len() > 1 && self.held.front().is_some_and(|(_, done)| *done < batch) {
            self.held.pop_front();
        }
        self.held.front().map_or(Ok(()), |(number, _)| self.log.purge_before(*number))
    }
}
