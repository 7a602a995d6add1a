//! State, batch after batch: a batch's states are brought to their next version when all earlier batches are over, and before its
//! output operations.
//!
//! A step that fails is owed: it runs again before the steps of the next batch, which start from what it leaves. So is the
//! whole batch, if it could not even be planned. As in Spark, where the next batch computes what the last one failed to.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::batch::{Batch, BatchId, BatchStamp};
use crate::error::{Error, Result};
use crate::function::catch_panic;
use crate::planner::{BatchPlanner, JobSet, StateStep};
use crate::state::StateStore;

/// The order of state steps.
pub struct StateTurns {
    store: Arc<dyn StateStore>,
    planner: Arc<dyn BatchPlanner>,
    owed: Mutex<BTreeMap<BatchId, Owed>>,
    /// Batches that are submitted and not over.
    open: Mutex<BTreeSet<BatchId>>,
    over: Condvar,
    given_up: AtomicBool,
}

struct Owed {
    batch: Batch,
    /// `None`: it is still to be planned.
    steps: Option<Vec<StateStep>>,
}

thread_local! {
    /// The batches whose jobs run on this thread: one inside the other, where a job stops its own stream.
    static INSIDE: RefCell<Vec<BatchId>> = const { RefCell::new(Vec::new()) };
}

/// Runs `body` as part of a batch, for which state steps inside it don't wait.
pub fn inside<R>(batch: BatchId, body: impl FnOnce() -> R) -> R {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            INSIDE.with_borrow_mut(|inside| inside.pop());
        }
    }
    INSIDE.with_borrow_mut(|inside| inside.push(batch));
    let _guard = Guard;
    body()
}

impl StateTurns {
    /// No batch yet.
    pub fn new(store: Arc<dyn StateStore>, planner: Arc<dyn BatchPlanner>) -> Self {
        let (owed, open, over) = (Mutex::default(), Mutex::default(), Condvar::new());
        Self { store, planner, owed, open, over, given_up: AtomicBool::new(false) }
    }

    /// A batch is submitted.
    pub fn begin(&self, batch: BatchId) {
        self.open.lock().insert(batch);
    }

    /// A batch is over, well or not.
    pub fn end(&self, batch: BatchId) {
        self.open.lock().remove(&batch);
        self.over.notify_all();
    }

    /// A batch could not be planned: what it would have done to states is owed.
    pub fn not_planned(&self, batch: &Batch) {
        // Its steps hold the batch's data, which its sources may forget.
        let steps = catch_panic("planning", || self.planner.steps(batch)).ok();
        self.owed.lock().insert(batch.id, Owed { batch: batch.clone(), steps });
    }

    /// Brings all states to the version after `batch`, when it is its turn.
    pub fn run(&self, batch: &Batch, steps: Vec<StateStep>) -> Result<()> {
        self.wait_for_turn(batch.id);
        self.owed.lock().insert(batch.id, Owed { batch: batch.clone(), steps: Some(steps) });
        self.settle(batch)?;
        self.store.states_ready(batch.id);
        Ok(())
    }

    /// Plans a batch. Where planning may run its state steps, its turn is waited for, and all states are brought to the version before it.
    pub fn plan(&self, batch: &Batch) -> Result<JobSet> {
        if self.planner.plans_in_turn() {
            let mut open = self.open.lock();
            while !self.has_given_up() && open.iter().any(|other| *other < batch.id) {
                self.over.wait(&mut open);
            }
            drop(open);
            if self.has_given_up() {
                return Err(Error::retry("the stream was stopped by one of its own jobs before the batch's turn came"));
            }
            self.settle(batch)?;
        }
        self.planner.plan(batch)
    }

    /// No batch is planned in turn any more: a job stops the stream, and waits for the planning that would wait for that job's batch.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        drop(self.open.lock());
        self.over.notify_all();
    }

    /// Whether no batch is planned in turn any more.
    pub fn has_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Runs what is owed up to a batch.
    fn settle(&self, batch: &Batch) -> Result<()> {
        let mut owed = self.owed.lock();
        // A later batch may be owed already: batches are planned ahead of their turn.
        while let Some(mut first) = owed.first_entry().filter(|first| *first.key() <= batch.id) {
            let time = first.get().batch.time;
            let place = |error: Error| match time == batch.time {
                true => error,
                false => error.context(format!("the state is still that before the batch of {time}")),
            };
            first.get_mut().run(self.planner.as_ref()).map_err(place)?;
            first.remove();
        }
        Ok(())
    }

    /// Makes the states of a batch durable; gives the number of the last entry, for the commit log.
    pub fn commit(&self, batch: BatchId) -> Result<Option<u64>> {
        self.store.commit(batch)
    }

    fn wait_for_turn(&self, batch: BatchId) {
        let mut open = self.open.lock();
        while open.iter().any(|other| *other < batch && !INSIDE.with_borrow(|inside| inside.contains(other))) {
            self.over.wait(&mut open);
        }
    }
}

impl Owed {
    fn run(&mut self, planner: &dyn BatchPlanner) -> Result<()> {
        let steps = match self.steps.take() {
            Some(steps) => steps,
            None => planner.plan(&self.batch)?.state,
        };
        // A step that was done before does nothing.
        let steps = self.steps.insert(steps);
        let stamp = BatchStamp { id: self.batch.id, time: self.batch.time };
        steps.iter().try_for_each(|step| step.run_for(stamp))
    }
}
