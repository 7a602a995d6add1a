//! `ChangelogStore`: states under a checkpoint, as a log of changes and snapshots that are made of it in the background.
//!
//! `state/log` has an entry for every batch that changed anything, numbered by version, with the changes of all partitions of
//! all operators: one durable write for each batch, beside the batch's jobs (`state/append.rs`). Each entry names the one before it, and the commit log names the last
//! one, so that a missing one is noticed. `state/snapshots` names the snapshots that must be there. A restart takes the newest
//! snapshot and the changes after it; if that is damaged, an older one and more changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use super::append;
use super::compaction::{self, SnapshotFiles};
use super::index::{Delta, Index, Way};
use super::{Apply, StateId, StateStore, StateVersion, restore};
use crate::batch::BatchId;
use crate::checkpoint::{AppendLog, CheckpointStorage};
use crate::error::{Error, Result};

pub use super::index::SnapshotPolicy;

/// The name of the state log.
pub const STATE_LOG: &str = "state/log";

/// The store.
pub struct ChangelogStore {
    shared: Arc<Shared>,
    /// Batches whose states are there; closing it ends the thread that appends them.
    ready: Option<Sender<BatchId>>,
    background: Vec<JoinHandle<()>>,
}

pub(super) struct Shared {
    pub(super) storage: Arc<dyn CheckpointStorage>,
    pub(super) inner: Mutex<Inner>,
    /// The store is closed: snapshots that are due stay so.
    pub(super) closed: AtomicBool,
    pub(super) policy: SnapshotPolicy,
}

pub(super) struct Inner {
    pub(super) log: Box<dyn AppendLog>,
    pub(super) index: Index,
    pub(super) snapshots: SnapshotFiles,
    /// The last entry.
    pub(super) last: Option<u64>,
    /// The last entry that the log has forgotten.
    pub(super) purged: Option<u64>,
    pub(super) staged: BTreeMap<StateVersion, BTreeMap<StateId, Vec<RecordBatch>>>,
    /// The version of the last batch that is known to be in the commit log: snapshots go as far as that.
    pub(super) confirmed: StateVersion,
    /// What went wrong with the append ahead of the last commit.
    pub(super) failed: Option<Error>,
    /// The version of the last batch that was to be committed: its entry may be in the commit log.
    committing: StateVersion,
    oldest: StateVersion,
    /// Partitions whose snapshot is due; closing it ends the thread that makes them.
    pub(super) due: Option<Sender<StateId>>,
}

impl ChangelogStore {
    /// Opens the states of a checkpoint. `committed` is the last batch that is done: what lies behind it did not happen. `logged`
    /// is the number of the last entry, as the commit log has it.
    ///
    /// # Errors
    /// If an entry or a snapshot is missing or damaged, and no older one can stand in for it.
    pub fn open(
        storage: Arc<dyn CheckpointStorage>,
        committed: Option<BatchId>,
        logged: Option<u64>,
        policy: SnapshotPolicy,
    ) -> Result<Self> {
        let reached = committed.map(StateVersion::after).unwrap_or_default();
        let mut log = storage.open_log(STATE_LOG)?;
        if log.numbers().last().is_some_and(|last| *last > reached.0) {
            log.truncate_from(reached.0 + 1)?;
        }
        restore::check_end(log.as_ref(), logged, &storage.place(STATE_LOG))?;
        let mut index = Index::default();
        let purged = restore::read_log(log.as_ref(), reached, &mut index)?;
        let snapshots = SnapshotFiles::open(&*storage, reached, purged, &mut index)?;
        let (due, snapshots_due) = channel();
        let inner = Inner {
            last: log.numbers().last().copied(),
            log,
            index,
            snapshots,
            purged,
            staged: BTreeMap::new(),
            confirmed: reached,
            failed: None,
            committing: reached,
            oldest: StateVersion::default(),
            due: Some(due),
        };
        let shared = Arc::new(Shared { storage, inner: Mutex::new(inner), closed: AtomicBool::new(false), policy });
        let (ready, batches) = channel();
        let mut store = Self { shared, ready: Some(ready), background: Vec::new() };
        store.spawn("tidemill-snapshots", move |shared| compaction::run(shared, &snapshots_due))?;
        store.spawn("tidemill-state-log", move |shared| append::run(shared, &batches))?;
        Ok(store)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce(&Shared) + Send + 'static) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || body(&shared))
            .map_err(|error| Error::retry(format!("the thread {name} can't be started")).with_source(error))?;
        self.background.push(thread);
        Ok(())
    }

    /// The partitions that have state at version `at`.
    pub fn partitions(&self, at: StateVersion) -> Vec<StateId> {
        let inner = self.shared.inner.lock();
        inner.index.iter().filter(|(_, versions)| versions.latest(at).is_some()).map(|(id, _)| id.clone()).collect()
    }

    /// The versions that can be restored of a partition: to which it was changed, or of which there is a snapshot.
    pub fn versions(&self, id: &StateId) -> Vec<StateVersion> {
        let inner = self.shared.inner.lock();
        let Some(versions) = inner.index.get(id) else { return Vec::new() };
        let all = versions.snapshots.iter().map(|s| s.version).chain(versions.deltas.iter().map(|d| d.version));
        let mut all: Vec<_> = all.filter(|at| !versions.ways(*at, inner.purged).is_empty()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The bytes on disk of a partition: of its snapshots, and of its changes.
    pub fn sizes(&self, id: &StateId) -> (u64, u64) {
        let inner = self.shared.inner.lock();
        inner.index.get(id).map_or((0, 0), super::index::Versions::sizes)
    }

    /// Forgets the states of all operators but these.
    pub fn keep_operators(&self, names: &std::collections::BTreeSet<&str>) -> Result<()> {
        let mut inner = self.shared.inner.lock();
        let inner = &mut *inner;
        inner.index.retain(|id, _| names.contains(&*id.operator));
        for file in inner.snapshots.keep_operators(names, &*self.shared.storage)? {
            self.shared.storage.delete(&file)?;
        }
        Ok(())
    }

    /// Makes a snapshot of every partition that has changed since its last one, now.
    pub fn snapshot_all(&self) -> Result<()> {
        let ids: Vec<StateId> = self.shared.inner.lock().index.keys().cloned().collect();
        ids.iter().try_for_each(|id| compaction::snapshot(&self.shared, id))
    }
}

impl Drop for ChangelogStore {
    fn drop(&mut self) {
        // Whoever opens the checkpoint next must be alone with it.
        self.shared.closed.store(true, Ordering::Relaxed);
        self.shared.inner.lock().due = None;
        self.ready = None;
        self.background.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Shared {
    /// The changes of one entry to one partition.
    pub(super) fn changes(&self, delta: &Delta) -> Result<Vec<RecordBatch>> {
        restore::read_changes(self.inner.lock().log.as_ref(), delta)
    }

    /// The ways to a version of a partition, the shortest first.
    pub(super) fn ways(&self, id: &StateId, at: StateVersion) -> Vec<Way> {
        let inner = self.inner.lock();
        inner.index.get(id).map(|versions| versions.ways(at, inner.purged)).unwrap_or_default()
    }
}

impl StateStore for ChangelogStore {
    fn latest(&self, id: &StateId, at: StateVersion) -> Option<StateVersion> {
        let inner = self.shared.inner.lock();
        let durable = inner.index.get(id).and_then(|versions| versions.latest(at));
        let staged = inner.staged.range(..=at).rev().find(|(_, ids)| ids.contains_key(id)).map(|(version, _)| *version);
        durable.max(staged)
    }

    fn restore(&self, id: &StateId, at: StateVersion, apply: &mut Apply<'_>) -> Result<()> {
        let durable = self.shared.inner.lock().index.get(id).and_then(|versions| versions.latest(at)).is_some();
        match restore::begin(&*self.shared.storage, id, self.shared.ways(id, at))? {
            Some((rows, deltas)) => {
                rows.iter().try_for_each(&mut *apply)?;
                for delta in &deltas {
                    self.shared.changes(delta)?.iter().try_for_each(&mut *apply)?;
                }
            }
            None if durable => return Err(restore::gone(id, at)),
            None => {}
        }
        let staged: Vec<Vec<RecordBatch>> = {
            let inner = self.shared.inner.lock();
            inner.staged.range(..=at).filter_map(|(_, ids)| ids.get(id).cloned()).collect()
        };
        staged.iter().flatten().try_for_each(apply)
    }

    fn stage(&self, id: &StateId, version: StateVersion, changes: Vec<RecordBatch>) -> Result<()> {
        let mut inner = self.shared.inner.lock();
        // Of a batch that runs again though later ones are done: its changes stand in the log.
        if inner.last.is_none_or(|last| version.0 > last) {
            inner.staged.entry(version).or_default().insert(id.clone(), changes);
        }
        Ok(())
    }

    fn states_ready(&self, batch: BatchId) {
        if let Some(ready) = &self.ready {
            // The thread lives as long as the sender.
            let _ = ready.send(batch);
        }
    }

    fn commit(&self, batch: BatchId) -> Result<Option<u64>> {
        let mut inner = self.shared.inner.lock();
        inner.confirmed = inner.confirmed.max(inner.committing.min(StateVersion::before(batch)));
        match inner.failed.take() {
            Some(error) => return Err(error),
            None => inner.append(StateVersion::after(batch), self.shared.policy)?,
        }
        inner.committing = inner.committing.max(StateVersion::after(batch));
        Ok(inner.last)
    }

    fn retain_from(&self, oldest: StateVersion) -> Result<()> {
        let mut inner = self.shared.inner.lock();
        let inner = &mut *inner;
        inner.oldest = inner.oldest.max(oldest);
        inner.purge()
    }

    fn is_durable(&self) -> bool {
        true
    }
}

impl Inner {
    /// Has the log forget what no partition needs, a segment at a time.
    fn purge(&mut self) -> Result<()> {
        let oldest = self.oldest;
        let needed = self.index.values().filter_map(|versions| versions.needed_from(oldest)).min();
        let before = needed.unwrap_or(oldest).min(oldest);
        self.log.purge_before(before.0)?;
        let Some(first) = self.log.numbers().first().copied() else { return Ok(()) };
        for versions in self.index.values_mut() {
            let gone = versions.deltas.partition_point(|delta| delta.version.0 < first);
            if let Some(last) = gone.checked_sub(1).map(|last| versions.deltas[last].version.0) {
                self.purged = self.purged.max(Some(last));
                versions.deltas.drain(..gone);
            }
        }
        Ok(())
    }

    /// The snapshots that nobody needs any more.
    pub(super) fn retire_snapshots(&mut self, id: &StateId) -> Vec<super::index::Snapshot> {
        let oldest = self.oldest;
        self.index.get_mut(id).map(|versions| versions.retire_snapshots(oldest)).unwrap_or_default()
    }
}
