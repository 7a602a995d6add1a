//! The contract between the loop and whatever turns a batch into jobs.

use std::collections::BTreeMap;

use crate::batch::{Batch, BatchId, StreamId};
use crate::error::Result;
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

/// All output operations of one batch.
pub struct JobSet {
    /// The jobs, in the order in which the program defines them.
    pub jobs: Vec<Job>,
    /// What each source gave to the batch.
    pub inputs: BTreeMap<StreamId, InputInfo>,
}

/// Turns batches into jobs. Pure: the same batch gives the same jobs, in this process and in the next.
pub trait BatchPlanner: Send + Sync {
    /// The jobs of a batch.
    fn plan(&self, batch: &Batch) -> Result<JobSet>;

    /// No batch before this one will be run again, in this process or after a restart: what only they need can go. Called
    /// now and then, in ascending order; programs without a checkpoint are not told.
    fn forget_before(&self, _batch: BatchId) -> Result<()> {
        Ok(())
    }

    /// A batch is done: what is kept for it can go.
    fn completed(&self, _batch: &Batch) {}
}
