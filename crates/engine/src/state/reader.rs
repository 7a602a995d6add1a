//! `StateReader`: the states of a checkpoint as they are, for people and for a replay. It writes nothing, so a driver may run.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::changelog::STATE_LOG;
use super::compaction::SnapshotFiles;
use super::index::{Index, Versions};
use super::{Apply, StateId, StateVersion, restore};
use crate::batch::BatchId;
use crate::checkpoint::{AppendLog, CheckpointStorage};
use crate::chunk::binary_column;
use crate::error::Result;

pub use super::index::{Span, in_both};

/// The encoded rows of a state, by key.
pub type StateRows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The states of a checkpoint.
pub struct StateReader {
    storage: Arc<dyn CheckpointStorage>,
    log: Mutex<Box<dyn AppendLog>>,
    index: Index,
    purged: Option<u64>,
    reached: StateVersion,
}

impl StateReader {
    /// Reads what there is of the states of a checkpoint. `committed` is the last batch that is done, `logged` the last entry of
    /// the state log by then: both were read before, so that what they name is there.
    ///
    /// # Errors
    /// If an entry or a list of snapshots is missing or damaged: the error names its file.
    pub fn open(storage: Arc<dyn CheckpointStorage>, committed: Option<BatchId>, logged: Option<u64>) -> Result<Self> {
        let reached = committed.map(StateVersion::after).unwrap_or_default();
        let mut index = Index::default();
        // In this order: the log is cut only behind a snapshot that is listed already. What a driver has cut off meanwhile is
        // missed, but nothing is taken for whole that is not.
        let log = storage.open_log(STATE_LOG)?;
        restore::check_end(log.as_ref(), logged, &storage.place(STATE_LOG))?;
        let purged = restore::read_log(log.as_ref(), reached, &mut index)?;
        for (id, snapshots) in SnapshotFiles::read(&*storage, purged)?.iter() {
            index.entry(id).or_default().snapshots.clone_from(snapshots);
        }
        let reader = Self { storage, log: Mutex::new(log), index, purged, reached };
        for id in reader.index.keys() {
            if !reader.is_restorable(id, reached) {
                return Err(restore::gone(id, reached));
            }
        }
        Ok(reader)
    }

    /// The version that the last committed batch has left.
    pub fn reached(&self) -> StateVersion {
        self.reached
    }

    /// The newest version, at or below `at`, to which a partition was changed.
    pub fn latest(&self, id: &StateId, at: StateVersion) -> Option<StateVersion> {
        self.index.get(id).and_then(|versions| versions.latest(at))
    }

    /// The versions of a partition that can be restored.
    pub fn restorable(&self, id: &StateId) -> Vec<Span> {
        let spans = match self.index.get(id) {
            Some(versions) => versions.restorable(self.purged),
            None => Versions::default().restorable(None),
        };
        in_both(&spans, &[StateVersion(0)..=self.reached])
    }

    /// Whether a version of a partition can be restored.
    pub fn is_restorable(&self, id: &StateId, at: StateVersion) -> bool {
        self.restorable(id).iter().any(|span| span.contains(&at))
    }

    /// The bytes on disk of a partition: of its snapshots, and of its changes.
    pub fn sizes(&self, id: &StateId) -> (u64, u64) {
        self.index.get(id).map_or((0, 0), Versions::sizes)
    }

    /// Gives the rows that lead from nothing to the state at version `at`, as a store does.
    ///
    /// # Errors
    /// If that version can't be restored, or a file is missing or damaged: the error names it.
    pub fn restore(&self, id: &StateId, at: StateVersion, apply: &mut Apply<'_>) -> Result<()> {
        let Some(versions) = self.index.get(id) else { return Ok(()) };
        if !self.is_restorable(id, at) {
            return Err(restore::gone(id, at));
        }
        let Some((rows, deltas)) = restore::begin(&*self.storage, id, versions.ways(at, self.purged))? else {
            return Ok(());
        };
        rows.iter().try_for_each(&mut *apply)?;
        for delta in &deltas {
            let changes = restore::read_changes(self.log.lock().as_ref(), delta)?;
            changes.iter().try_for_each(&mut *apply)?;
        }
        Ok(())
    }

    /// The rows of a partition at version `at`.
    ///
    /// # Errors
    /// As [`StateReader::restore`].
    pub fn rows(&self, id: &StateId, at: StateVersion) -> Result<StateRows> {
        use arrow::array::Array;
        let mut rows = StateRows::new();
        self.restore(id, at, &mut |changes| {
            let (keys, values) = (binary_column(changes, 0)?, binary_column(changes, 1)?);
            for row in 0..keys.len() {
                match values.is_valid(row) {
                    true => drop(rows.insert(keys.value(row).to_vec(), values.value(row).to_vec())),
                    false => drop(rows.remove(keys.value(row))),
                }
            }
            Ok(())
        })?;
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::local::LocalStorage;
    use crate::state::change::ChangeWriter;
    use crate::state::changelog::{ChangelogStore, SnapshotPolicy};
    use crate::state::{StateStore, shape::Shape};

    const LAST: u64 = 1030;

    /// What partition 0 holds at a version: a key that is always there, one that comes and goes.
    fn rows(version: u64) -> Vec<(u8, u64)> {
        let always = (version > 0).then_some((0, version));
        always.into_iter().chain((version % 3 == 1).then_some((1, version))).collect()
    }

    fn commit(store: &ChangelogStore, version: u64) {
        let mut changes = ChangeWriter::default();
        changes.put(&0u8, &version).unwrap();
        match version % 3 {
            1 => changes.put(&1u8, &version).unwrap(),
            _ => changes.remove(&1u8).unwrap(),
        }
        store.stage(&id(0), StateVersion(version), changes.finish().unwrap()).unwrap();
        if version > LAST - 2 {
            let mut changes = ChangeWriter::default();
            changes.put(&9u8, &version).unwrap();
            store.stage(&id(1), StateVersion(version), changes.finish().unwrap()).unwrap();
        }
        store.commit(BatchId(version - 1)).unwrap();
    }

    fn id(partition: u32) -> StateId {
        StateId { operator: "a".into(), partition }
    }

    fn shown(reader: &StateReader, id: &StateId, at: u64) -> Result<Vec<(u8, u64)>> {
        let decode = |(key, value): (Vec<u8>, Vec<u8>)| {
            let number = |shape: Shape, bytes: &[u8]| shape.show(bytes).unwrap().as_u64().unwrap();
            (number(Shape::of::<u8>(), &key) as u8, number(Shape::of::<u64>(), &value))
        };
        Ok(reader.rows(id, StateVersion(at))?.into_iter().map(decode).collect())
    }

    #[test]
    fn every_version_that_can_be_restored_is_right_and_the_others_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let storage: Arc<dyn CheckpointStorage> = Arc::new(LocalStorage::open(folder.path()).unwrap());
        let never = SnapshotPolicy { deltas: usize::MAX, bytes: u64::MAX };
        let store = ChangelogStore::open(Arc::clone(&storage), None, None, never).unwrap();
        let look = |committed: u64| {
            let storage: Arc<dyn CheckpointStorage> = Arc::new(LocalStorage::open_read_only(folder.path()).unwrap());
            StateReader::open(storage, committed.checked_sub(1).map(BatchId), None)
        };
        assert_eq!(look(0).unwrap().restorable(&id(0)), [StateVersion(0)..=StateVersion(0)]);
        (1..=5).for_each(|version| commit(&store, version));
        // The store goes on, and what is not committed is not shown.
        let reader = look(4).unwrap();
        (0..=4).for_each(|at| assert_eq!(shown(&reader, &id(0), at).unwrap(), rows(at), "version {at}"));
        assert!(shown(&reader, &id(0), 5).unwrap_err().message().contains("version 5 is gone"));
        assert_eq!((shown(&reader, &id(7), 4).unwrap(), reader.latest(&id(7), StateVersion(4))), (vec![], None));

        (6..=1026).for_each(|version| commit(&store, version));
        (1027..=LAST).for_each(|version| {
            // Confirmed is the batch before: versions 1026 and 1028.
            commit(&store, version);
            if version == 1027 || version == 1029 {
                store.snapshot_all().unwrap();
            }
        });
        store.retain_from(StateVersion(LAST)).unwrap();
        let reader = look(LAST).unwrap();
        assert_eq!(reader.purged, Some(1024));
        assert_eq!(reader.restorable(&id(0)), [StateVersion(1026)..=StateVersion(LAST)]);
        (1026..=LAST).for_each(|at| assert_eq!(shown(&reader, &id(0), at).unwrap(), rows(at), "version {at}"));
        assert!(shown(&reader, &id(0), 1025).is_err());
        // A partition that was first changed after the log was cut, and has no snapshot.
        assert_eq!(shown(&reader, &id(1), LAST - 2).unwrap(), []);
        assert_eq!(shown(&reader, &id(1), LAST).unwrap(), [(9, LAST)]);
        assert!(reader.sizes(&id(0)).0 > 0 && reader.sizes(&id(1)).0 == 0);
    }
}
