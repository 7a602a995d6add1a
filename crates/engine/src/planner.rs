//! The contract between the loop and whatever turns a batch into jobs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::batch::{Batch, BatchStamp, StreamId};
use crate::error::{Error, Result};
use crate::function::on_driver;
use crate::source::InputInfo;

/// One output operation of one batch.
pub struct Job {
    /// The number of the output operation within its program.
    pub output_op: usize,
    /// What it does: `foreach_rdd`.
    pub name: String,
    /// Where the program defines it.
    pub description: String,
    /// Does it. Runs on a thread of the loop's.
    pub run: Box<dyn FnOnce() -> Result<()> + Send>,
}

/// Brings one state to the version after the batch. Done once, running it again does nothing.
pub struct StateStep {
    /// What it does: `update_state_by_key`.
    pub name: String,
    /// Where the program defines it.
    pub description: String,
    /// Does it.
    pub run: Arc<dyn Fn() -> Result<()> + Send + Sync>,
}

impl StateStep {
    /// Runs it for a batch; an error says which step it was.
    pub fn run_for(&self, batch: BatchStamp) -> Result<()> {
        let context = |error: Error| error.context(format!("{} at {}", self.name, self.description));
        batch.during(|| on_driver(|| (self.run)())).map_err(context)
    }
}

/// All output operations of one batch.
#[derive(Default)]
pub struct JobSet {
    /// What comes before the jobs, in order: one step after the other.
    pub state: Vec<StateStep>,
    /// The jobs, in the order in which the program defines them.
    pub jobs: Vec<Job>,
    /// What each source gave to the batch.
    pub inputs: BTreeMap<StreamId, InputInfo>,
}

/// Turns batches into jobs. Pure: the same batch gives the same jobs, in this process and in the next.
pub trait BatchPlanner: Send + Sync {
    /// The jobs of a batch.
    ///
    /// A planner with states has a step for every batch that changes one; a batch whose steps did not run is planned again
    /// before later batches run theirs.
    fn plan(&self, batch: &Batch) -> Result<JobSet>;

    /// The state steps of a batch alone, which are run later: what a batch leaves that can't be planned. No function of the program's is
    /// called that might look at states.
    fn steps(&self, batch: &Batch) -> Result<Vec<StateStep>> {
        self.plan(batch).map(|jobs| jobs.state)
    }

    /// Whether batches change states.
    fn has_state(&self) -> bool {
        false
    }

    /// Whether a batch must not be planned before all earlier ones are over, for planning it may run its state steps.
    fn plans_in_turn(&self) -> bool {
        false
    }

    /// A batch is done: what is kept for it can go.
    fn completed(&self, _batch: &Batch) {}

    /// The stream has ended: no batch is planned any more, and what batches were planned of can go.
    fn over(&self) {}
}
