//! The contract between a job and whatever runs its plan: this process, or several machines.

pub mod local;
mod spread;
pub mod travel;

use std::sync::Arc;

use datafusion_physical_plan::ExecutionPlan;

use crate::chunk::Chunk;
use crate::error::Result;

/// Runs plans.
///
/// A runner never tries again by itself: an error fails the job, and the loop decides.
pub trait JobRunner: Send + Sync {
    /// Computes the listed partitions of `plan`, a [`StageExec`](crate::operator::stage::StageExec); the chunks of each, in the
    /// order of the list. A runner that runs it elsewhere decodes what comes back by the element of the plan's root.
    ///
    /// Blocks the calling thread, which must not be one of the runner's own.
    fn run(&self, plan: Arc<dyn ExecutionPlan>, partitions: &[usize]) -> Result<Vec<Vec<Chunk>>>;

    /// The number of tasks that run at once.
    fn parallelism(&self) -> usize;
}
