//! State that outlives a batch: read at one version, written at the next, a changelog of Arrow batches beneath.
//!
//! An operator owns its state in memory, in whatever form suits it: a [`cell::StateCell`] holds that hot form between
//! batches. To a [`StateStore`] the operator hands what a batch has changed, as rows of key and value; from the store a cell that
//! has lost its hot form, by a restart or a failed task, gets the rows back. [`changelog::ChangelogStore`] keeps them under a
//! checkpoint; a [`reader::StateReader`] looks at them there without touching them.

mod append;
pub mod cell;
pub mod change;
pub mod changelog;
#[cfg(test)]
mod changelog_tests;
mod compaction;
mod entry;
mod index;
pub mod operator_record;
pub mod reader;
pub mod replay;
mod restore;
mod row_writer;
pub mod shape;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::batch::BatchId;
use crate::error::{Error, Result};

/// How far a state has come: version N + 1 is what batch N leaves; version 0 is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct StateVersion(pub u64);

impl StateVersion {
    /// What a batch starts from.
    pub fn before(batch: BatchId) -> Self {
        Self(batch.0)
    }

    /// What a batch leaves.
    pub fn after(batch: BatchId) -> Self {
        Self(batch.0 + 1)
    }
}

impl fmt::Display for StateVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition of one operator's state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId {
    /// The operator's name, which is its own within the program.
    pub operator: Arc<str>,
    /// The partition.
    pub partition: u32,
}

impl fmt::Display for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} of {}", self.partition, self.operator)
    }
}

/// Takes rows of [`change::change_schema`].
pub type Apply<'a> = dyn FnMut(&RecordBatch) -> Result<()> + 'a;

/// Keeps the changes of states.
pub trait StateStore: Send + Sync {
    /// The newest version, at or below `at`, to which the partition was changed; `None` where it is still empty.
    fn latest(&self, id: &StateId, at: StateVersion) -> Option<StateVersion>;

    /// Gives the rows that lead from nothing to the state at version `at`, in order: later ones replace earlier ones of the same
    /// key, and a row without a value removes.
    ///
    /// # Errors
    /// If a file that is needed is missing or damaged: the error names it.
    fn restore(&self, id: &StateId, at: StateVersion, apply: &mut Apply<'_>) -> Result<()>;

    /// Takes what changed from the version before to `version`. It is durable after the commit of its batch.
    fn stage(&self, id: &StateId, version: StateVersion, changes: Vec<RecordBatch>) -> Result<()>;

    /// All changes of `batch` are staged: their way to the disk may begin, but nobody waits for it yet.
    fn states_ready(&self, _batch: BatchId) {}

    /// Makes all changes up to those of `batch` durable. Gives the number of the last durable entry, for the commit log.
    fn commit(&self, batch: BatchId) -> Result<Option<u64>>;

    /// No version before `oldest` is asked for again.
    fn retain_from(&self, oldest: StateVersion) -> Result<()>;

    /// Whether state outlives the process.
    fn is_durable(&self) -> bool;
}

/// A store for programs without a checkpoint: it only knows which versions there were.
#[derive(Default)]
pub struct MemoryStateStore(Mutex<HashMap<StateId, StateVersion>>);

impl StateStore for MemoryStateStore {
    fn latest(&self, id: &StateId, at: StateVersion) -> Option<StateVersion> {
        self.0.lock().get(id).copied().map(|latest| latest.min(at))
    }

    fn restore(&self, id: &StateId, at: StateVersion, _: &mut Apply<'_>) -> Result<()> {
        match self.latest(id, at) {
            None => Ok(()),
            Some(_) => Err(Error::usage(format!(
                "the state of {id} was lost with a failed task, and there is no checkpoint to restore it from: set one by \
                 StreamingContext::checkpoint"
            ))),
        }
    }

    fn stage(&self, id: &StateId, version: StateVersion, _: Vec<RecordBatch>) -> Result<()> {
        self.0.lock().insert(id.clone(), version);
        Ok(())
    }

    fn commit(&self, _: BatchId) -> Result<Option<u64>> {
        Ok(None)
    }

    fn retain_from(&self, _: StateVersion) -> Result<()> {
        Ok(())
    }

    fn is_durable(&self) -> bool {
        false
    }
}
