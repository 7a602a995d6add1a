//! `StateCell`: the hot form of one operator's state, partition by partition, between batches.

use std::any::Any;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parking_lot::{Mutex, RwLock};

use super::{StateId, StateStore, StateVersion};
use crate::batch::BatchStamp;
use crate::error::{Error, Result};
use crate::time::Time;

/// The form in which an operator keeps a partition's state in memory.
pub trait HotState: Send + 'static {
    /// Takes rows of a changelog, while it is restored.
    fn apply(&mut self, rows: &RecordBatch) -> Result<()>;

    /// The number of rows, for people and for planning.
    fn rows(&self) -> usize;
}

/// An operator's state.
#[derive(Default)]
pub struct StateCell(RwLock<Option<Arc<Bound>>>);

struct Bound {
    operator: Arc<str>,
    store: Arc<dyn StateStore>,
    slots: Vec<Mutex<Slot>>,
}

#[derive(Default)]
struct Slot {
    hot: Option<Box<dyn Any + Send>>,
    /// The version to which it was last changed.
    version: Option<StateVersion>,
    /// The last batch that it has seen, whether that changed anything or not.
    seen: Option<BatchStamp>,
    rows: usize,
}

/// A partition's state in the hands of the task that brings it to its next version. Dropped before it is finished, the state is
/// restored from the store when it is next wanted.
pub struct Work<'a, S> {
    cell: &'a StateCell,
    partition: usize,
    batch: BatchStamp,
    version: Option<StateVersion>,
    /// The state.
    pub state: S,
}

impl StateCell {
    /// Ties the cell to its name, the number of its partitions and its store: at the start of the stream.
    pub fn bind(&self, operator: &str, partitions: usize, store: Arc<dyn StateStore>) {
        let slots = (0..partitions).map(|_| Mutex::default()).collect();
        *self.0.write() = Some(Arc::new(Bound { operator: operator.into(), store, slots }));
    }

    /// Makes this cell another name of `other`: the same operator, in another graph of this process.
    pub fn share(&self, other: &StateCell) {
        let bound = other.0.read().clone();
        *self.0.write() = bound;
    }

    /// Forgets the hot form: the stream has ended.
    pub fn unbind(&self) {
        *self.0.write() = None;
    }

    /// Whether what changes is kept elsewhere, too.
    pub fn is_durable(&self) -> bool {
        self.0.read().as_ref().is_some_and(|bound| bound.store.is_durable())
    }

    /// The time of the last batch that it has seen.
    pub fn seen(&self) -> Option<Time> {
        let bound = self.0.read();
        bound.as_ref().and_then(|bound| bound.slots.first()?.lock().seen).map(|batch| batch.time)
    }

    /// The number of rows in memory.
    pub fn rows(&self) -> usize {
        let bound = self.0.read();
        bound.as_ref().map_or(0, |bound| bound.slots.iter().map(|slot| slot.lock().rows).sum())
    }

    /// Whether any version before that of `batch` has ever been written.
    pub fn has_state_before(&self, batch: BatchStamp) -> bool {
        let bound = self.0.read();
        bound.as_ref().is_some_and(|bound| {
            let before = StateVersion::before(batch.id);
            (0..bound.slots.len()).any(|partition| bound.store.latest(&bound.id(partition), before).is_some())
        })
    }

    /// The state of a partition as `batch` finds it; `None` if the batch was worked in already. `empty` makes the form that
    /// restored rows are applied to.
    pub fn begin<S: HotState>(
        &self,
        partition: usize,
        batch: BatchStamp,
        empty: impl FnOnce() -> S,
    ) -> Result<Option<Work<'_, S>>> {
        let bound = self.0.read();
        let bound = bound.as_ref().ok_or_else(unbound)?;
        let (id, before) = (bound.id(partition), StateVersion::before(batch.id));
        let mut slot = bound.slot(partition)?.lock();
        if slot.hot.is_some() && slot.seen.is_some_and(|seen| seen.id == batch.id) {
            return Ok(None);
        }
        let latest = bound.store.latest(&id, before);
        let fits = slot.version == latest && slot.seen.is_none_or(|seen| seen.id < batch.id);
        let hot = slot.hot.take().filter(|_| fits).and_then(|hot| hot.downcast::<S>().ok());
        let state = match hot {
            Some(hot) => *hot,
            None => {
                let mut state = empty();
                if latest.is_some() {
                    bound
                        .store
                        .restore(&id, before, &mut |rows| state.apply(rows))
                        .map_err(|error| error.context(format!("restoring {id} at version {before}")))?;
                }
                state
            }
        };
        (slot.version, slot.seen) = (None, None);
        Ok(Some(Work { cell: self, partition, batch, version: latest, state }))
    }

    /// What `f` reads of the state of a partition as the batch of `time` left it; with `or_later`, as a later one did.
    ///
    /// # Errors
    /// If that batch did not get so far, or the state has moved on.
    pub fn read<S: HotState, R>(
        &self,
        partition: usize,
        time: Time,
        or_later: bool,
        f: impl FnOnce(&S) -> Result<R>,
    ) -> Result<R> {
        let bound = self.0.read();
        let bound = bound.as_ref().ok_or_else(unbound)?;
        let slot = bound.slot(partition)?.lock();
        let id = bound.id(partition);
        match (&slot.hot, slot.seen) {
            (Some(hot), Some(seen)) if seen.time == time || or_later && seen.time > time => {
                match hot.downcast_ref::<S>() {
                    Some(hot) => f(hot),
                    None => Err(Error::internal(format!("the state of {id} has another form than its reader expects"))),
                }
            }
            (Some(_), Some(seen)) if seen.time > time => Err(Error::usage(format!(
                "the state of {id} at {time} is gone: it has moved on to {}; persist() the stream to read it later",
                seen.time
            ))),
            _ => Err(Error::usage(format!(
                "the state of {id} did not come to {time}: an error before this one says why"
            ))),
        }
    }
}

impl<S: HotState> Work<'_, S> {
    /// The batch is worked in: `changes` lead to its version.
    pub fn finish(self, changes: Vec<RecordBatch>) -> Result<()> {
        let Self { cell, partition, batch, version, state } = self;
        let bound = cell.0.read();
        let bound = bound.as_ref().ok_or_else(unbound)?;
        let after = StateVersion::after(batch.id);
        let mut slot = bound.slot(partition)?.lock();
        slot.version = version;
        if !changes.is_empty() {
            bound.store.stage(&bound.id(partition), after, changes)?;
            slot.version = Some(after);
        }
        slot.rows = state.rows();
        slot.hot = Some(Box::new(state));
        slot.seen = Some(batch);
        Ok(())
    }
}

impl Bound {
    fn id(&self, partition: usize) -> StateId {
        StateId { operator: Arc::clone(&self.operator), partition: partition as u32 }
    }

    fn slot(&self, partition: usize) -> Result<&Mutex<Slot>> {
        self.slots.get(partition).ok_or_else(|| {
            let (name, count) = (&self.operator, self.slots.len());
            Error::internal(format!("partition {partition} of the state {name} is asked for, which has {count}"))
        })
    }
}

fn unbound() -> Error {
    Error::usage("a state is used outside its running stream")
}
