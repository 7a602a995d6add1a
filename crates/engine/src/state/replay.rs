//! `ReplayStore`: states as a checkpoint has them, to run one batch on; what changes stays in memory.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use super::reader::StateReader;
use super::{Apply, StateId, StateStore, StateVersion};
use crate::batch::BatchId;
use crate::error::Result;

/// A store above a reader.
pub struct ReplayStore {
    reader: StateReader,
    staged: Mutex<BTreeMap<StateId, (StateVersion, Vec<RecordBatch>)>>,
}

impl ReplayStore {
    /// A store that begins with what the reader has.
    pub fn new(reader: StateReader) -> Self {
        Self { reader, staged: Mutex::default() }
    }
}

impl StateStore for ReplayStore {
    fn latest(&self, id: &StateId, at: StateVersion) -> Option<StateVersion> {
        let staged = self.staged.lock().get(id).map(|(version, _)| *version).filter(|version| *version <= at);
        staged.or_else(|| self.reader.latest(id, at))
    }

    fn restore(&self, id: &StateId, at: StateVersion, apply: &mut Apply<'_>) -> Result<()> {
        let staged = self.staged.lock().get(id).filter(|(version, _)| *version <= at).cloned();
        // A batch that was committed has changed the state already: only what was before it is read.
        let before = staged.as_ref().map_or(at, |(version, _)| StateVersion(version.0.saturating_sub(1)));
        self.reader.restore(id, before, apply)?;
        staged.iter().flat_map(|(_, changes)| changes).try_for_each(apply)
    }

    fn stage(&self, id: &StateId, version: StateVersion, changes: Vec<RecordBatch>) -> Result<()> {
        self.staged.lock().insert(id.clone(), (version, changes));
        Ok(())
    }

    fn commit(&self, _: BatchId) -> Result<Option<u64>> {
        Ok(None)
    }

    fn retain_from(&self, _: StateVersion) -> Result<()> {
        Ok(())
    }

    fn is_durable(&self) -> bool {
        true
    }
}
