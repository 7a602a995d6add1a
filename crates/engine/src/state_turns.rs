//! State, batch after batch: a batch's states are brought to their next version when all earlier batches are over, and before its
//! output operations.
//!
//! A step that fails is owed: it runs again before the steps of the next batch, which start from what it leaves. So is the
//! whole batch, if it could not even be planned. As in Spark, where the next batch computes what the last one failed to.

use std::cell::RefCell;
use std::collections::BTreeMap;
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
    open: Mutex<BTreeMap<BatchId, Open>>,
    over: Condvar,
    given_up: AtomicBool,
}

struct Owed {
    batch: Batch,
    /// `None`: it is still to be planned.
    steps: Option<Vec<StateStep>>,
}

/// A batch that is not over.
struct Open {
    /// Its jobs that have not ended.
    left: usize,
    /// Those of them that stop the stream, and wait for the batches behind theirs.
    stopping: usize,
}

impl Open {
    /// Whether a later batch has to wait for it.
    fn is_in_the_way(&self) -> bool {
        self.stopping == 0 || self.left > self.stopping
    }
}

thread_local! {
    /// The batches whose jobs run on this thread: one inside the other, where a job stops its own stream.
    static INSIDE: RefCell<Vec<BatchId>> = const { RefCell::new(Vec::new()) };
}

impl StateTurns {
    /// No batch yet.
    pub fn new(store: Arc<dyn StateStore>, planner: Arc<dyn BatchPlanner>) -> Self {
        let (owed, open, over) = (Mutex::default(), Mutex::default(), Condvar::new());
        Self { store, planner, owed, open, over, given_up: AtomicBool::new(false) }
    }

    /// A batch is submitted that has so many jobs.
    pub fn begin(&self, batch: BatchId, jobs: usize) {
        self.open.lock().insert(batch, Open { left: jobs, stopping: 0 });
    }

    /// Runs `body`, a job of a batch, for which state steps inside it don't wait.
    pub fn inside<R>(&self, batch: BatchId, body: impl FnOnce() -> R) -> R {
        struct Guard<'a>(&'a StateTurns, BatchId);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                INSIDE.with_borrow_mut(|inside| inside.pop());
                if let Some(open) = self.0.open.lock().get_mut(&self.1) {
                    open.left = open.left.saturating_sub(1);
                }
                self.0.over.notify_all();
            }
        }
        INSIDE.with_borrow_mut(|inside| inside.push(batch));
        let _guard = Guard(self, batch);
        body()
    }

    /// The job of this thread stops the stream: the batches behind its own need not wait for it, only for the other jobs of its batch.
    pub fn step_aside(&self) {
        let mut open = self.open.lock();
        for batch in INSIDE.with_borrow(Clone::clone) {
            if let Some(open) = open.get_mut(&batch) {
                open.stopping += 1;
            }
        }
        self.over.notify_all();
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
        if !self.wait_for_turn(batch.id) {
            // Its jobs do not run, either.
            return Ok(());
        }
        self.owed.lock().insert(batch.id, Owed { batch: batch.clone(), steps: Some(steps) });
        self.settle(batch)?;
        self.store.states_ready(batch.id);
        Ok(())
    }

    /// Plans a batch. Where planning may run its state steps, its turn is waited for, and all states are brought to the version before it.
    pub fn plan(&self, batch: &Batch) -> Result<JobSet> {
        if self.planner.plans_in_turn() {
            if !self.wait_for_turn(batch.id) {
                return Err(Error::retry("the stream was stopped before the batch's turn came"));
            }
            self.settle(batch)?;
        }
        self.planner.plan(batch)
    }

    /// No batch's turn comes any more: the stream ends at once, and nobody must wait for a job that waits for its end.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        drop(self.open.lock());
        self.over.notify_all();
    }

    /// Whether no batch's turn comes any more.
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

    /// False if it does not come any more.
    fn wait_for_turn(&self, batch: BatchId) -> bool {
        let mut open = self.open.lock();
        let is_in_the_way = |(other, open): (&BatchId, &Open)| {
            *other < batch && open.is_in_the_way() && !INSIDE.with_borrow(|inside| inside.contains(other))
        };
        while !self.has_given_up() && open.iter().any(is_in_the_way) {
            self.over.wait(&mut open);
        }
        !self.has_given_up()
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
