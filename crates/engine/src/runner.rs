//! The contract between a job and whatever runs its plan: this process, or several machines.

pub mod local;
pub mod travel;

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion_physical_plan::ExecutionPlan;

use crate::error::Result;

/// Runs plans.
///
/// A runner never tries again by itself: an error fails the job, and the loop decides.
pub trait JobRunner: Send + Sync {
    /// Computes the listed partitions of `plan`; the batches of each, in the order of the list.
    ///
    /// Blocks the calling thread, which must not be one of the runner's own.
    fn run(&self, plan: Arc<dyn ExecutionPlan>, partitions: &[usize]) -> Result<Vec<Vec<RecordBatch>>>;

    /// The number of tasks that run at once.
    fn parallelism(&self) -> usize;
}
