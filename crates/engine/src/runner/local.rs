//! `LocalJobRunner`: DataFusion in this process.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion_execution::TaskContext;
use datafusion_physical_plan::ExecutionPlan;
use futures::TryStreamExt;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::JobRunner;
use crate::error::{Error, Result};
use crate::function::{forbid_in_task, panic_message};

/// Runs plans on threads of its own.
pub struct LocalJobRunner {
    runtime: Option<Runtime>,
    context: Arc<TaskContext>,
    threads: usize,
}

impl LocalJobRunner {
    /// A runner with this many task threads.
    pub fn new(threads: usize) -> Result<Self> {
        let threads = threads.max(1);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("tidemill-task")
            // Operators call one another, as deep as `lower` lets them.
            .thread_stack_size(16 << 20)
            .enable_time()
            .build()
            .map_err(|error| Error::retry("the task threads can't be started").with_source(error))?;
        Ok(Self { runtime: Some(runtime), context: Arc::new(TaskContext::default()), threads })
    }
}

impl Drop for LocalJobRunner {
    fn drop(&mut self) {
        // Waiting for the threads would panic where the last handle goes inside somebody's async code.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl JobRunner for LocalJobRunner {
    fn run(&self, plan: Arc<dyn ExecutionPlan>, partitions: &[usize]) -> Result<Vec<Vec<RecordBatch>>> {
        forbid_in_task()?;
        let Some(runtime) = &self.runtime else { return Err(Error::internal("the task threads are gone")) };
        let (context, partitions) = (Arc::clone(&self.context), partitions.to_vec());
        // A plain channel and not `block_on`: the caller may be a thread of somebody else's async runtime.
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        runtime.spawn(async move {
            let result = run_tasks(plan, partitions, context).await;
            let _ = sender.send(result);
        });
        receiver.recv().unwrap_or_else(|_| Err(Error::internal("a job ended without a result")))
    }

    fn parallelism(&self) -> usize {
        self.threads
    }
}

async fn run_tasks(
    plan: Arc<dyn ExecutionPlan>,
    partitions: Vec<usize>,
    context: Arc<TaskContext>,
) -> Result<Vec<Vec<RecordBatch>>> {
    if let [partition] = partitions.as_slice() {
        return Ok(vec![plan.execute(*partition, context)?.try_collect().await?]);
    }
    let mut results: Vec<Vec<RecordBatch>> = partitions.iter().map(|_| Vec::new()).collect();
    let mut tasks = JoinSet::new();
    for (slot, partition) in partitions.into_iter().enumerate() {
        let (plan, context) = (Arc::clone(&plan), Arc::clone(&context));
        tasks.spawn(async move {
            let batches: Vec<RecordBatch> = plan.execute(partition, context)?.try_collect().await?;
            Ok::<_, Error>((slot, batches))
        });
    }
    while let Some(joined) = tasks.join_next().await {
        match joined.map_err(task_died).and_then(|done| done) {
            Ok((slot, batches)) => results[slot] = batches,
            Err(error) => {
                // The tasks that are left end within some chunks. They are waited for, so that nothing of a failed job
                // still writes when its caller cleans up or runs it again.
                tasks.shutdown().await;
                return Err(error);
            }
        }
    }
    Ok(results)
}

fn task_died(error: tokio::task::JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => Error::internal(format!("a task panicked: {}", panic_message(&*panic))),
        Err(error) => Error::internal("a task was cancelled").with_source(error),
    }
}
