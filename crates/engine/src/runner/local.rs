//! `LocalJobRunner`: DataFusion in this process.

use std::cell::OnceCell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::channel;

use datafusion_execution::TaskContext;
use datafusion_physical_plan::ExecutionPlan;
use futures::{FutureExt, TryStreamExt};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::AbortHandle;

use super::JobRunner;
use super::spread::spread;
use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::function::{forbid_in_task, panic_message};
use crate::operator::stage::StageExec;

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
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads).thread_name("tidemill-task").enable_time();
        // Operators call one another, as deep as `lower` lets them.
        builder.thread_stack_size(16 << 20);
        spread(&mut builder, threads);
        let runtime =
            builder.build().map_err(|error| Error::retry("the task threads can't be started").with_source(error))?;
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
    fn run(&self, plan: Arc<dyn ExecutionPlan>, partitions: &[usize]) -> Result<Vec<Vec<Chunk>>> {
        forbid_in_task()?;
        let Some(runtime) = &self.runtime else { return Err(Error::internal("the task threads are gone")) };
        if has_nothing_to_share(&plan) {
            return run_here(&plan, partitions, &self.context);
        }
        // The caller waits on a plain channel, not in `block_on`: it may be a thread of somebody else's async runtime. And it
        // starts the tasks itself: a task that did so would cost a batch of a few rows another change of threads.
        let (sender, receiver) = channel();
        let tasks: Vec<AbortHandle> = partitions
            .iter()
            .enumerate()
            .map(|(slot, partition)| {
                let task = run_task(Arc::clone(&plan), *partition, Arc::clone(&self.context));
                let sender = sender.clone();
                // A task that is ended drops its sender unused.
                runtime.spawn(async move { drop(sender.send((slot, task.await))) }).abort_handle()
            })
            .collect();
        drop(sender);
        let mut results: Vec<Option<Vec<Chunk>>> = partitions.iter().map(|_| None).collect();
        let mut failed = None;
        // Ends when every task has ended, also after an error: nothing of a failed job still writes when its caller cleans
        // up or runs it again.
        for (slot, result) in receiver {
            match result {
                Ok(batches) => results[slot] = Some(batches),
                Err(error) => {
                    failed.get_or_insert(error);
                    tasks.iter().for_each(AbortHandle::abort);
                }
            }
        }
        match (failed, results.into_iter().collect()) {
            (Some(error), _) => Err(error),
            (None, Some(results)) => Ok(results),
            (None, None) => Err(Error::internal("a task was cancelled")),
        }
    }

    fn parallelism(&self) -> usize {
        self.threads
    }
}

async fn run_task(plan: Arc<dyn ExecutionPlan>, partition: usize, context: Arc<TaskContext>) -> Result<Vec<Chunk>> {
    let task = async move {
        match plan.downcast_ref::<StageExec>() {
            Some(stage) => stage.chunks(partition, context).try_collect().await,
            None => Err(Error::internal(format!("a plan ends in {}, not in a stage", plan.name()))),
        }
    };
    AssertUnwindSafe(task)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(Error::internal(format!("a task panicked: {}", panic_message(&*panic)))))
}

/// Whether a plan has no rows to work on, and the calling thread may run it itself.
fn has_nothing_to_share(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<StageExec>().is_some_and(StageExec::has_no_input) && Handle::try_current().is_err()
}

/// Runs the tasks one after the other on the calling thread: to wake others would take longer than what there is to do.
fn run_here(
    plan: &Arc<dyn ExecutionPlan>,
    partitions: &[usize],
    context: &Arc<TaskContext>,
) -> Result<Vec<Vec<Chunk>>> {
    thread_local! {
        static HERE: OnceCell<Runtime> = const { OnceCell::new() };
    }
    HERE.with(|here| {
        let runtime = match here.get() {
            Some(runtime) => runtime,
            None => {
                let built = Builder::new_current_thread().enable_time().build();
                let built = built.map_err(|error| Error::retry("a task can't be started").with_source(error))?;
                here.get_or_init(|| built)
            }
        };
        let run = |partition: &usize| runtime.block_on(run_task(Arc::clone(plan), *partition, Arc::clone(context)));
        partitions.iter().map(run).collect()
    })
}
