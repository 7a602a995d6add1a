//! Threads for the tasks to come, where those of a job that nobody waits for any more are at work.

use std::sync::Arc;

use tidemill_dstream::context::SparkContext;
use tidemill_engine::runner::local::LocalJobRunner;

/// Gives a context new task threads. A function can't be interrupted: one that sleeps for an hour keeps its thread, and whatever its job
/// was cancelled for would wait behind it. The threads that there were end with what is still at work on them.
pub fn relieve(context: &SparkContext) {
    // A context that was stopped needs no threads; and without new ones, jobs wait as they would have.
    let Ok(before) = context.runner() else { return };
    if let Ok(runner) = LocalJobRunner::new(before.parallelism()) {
        context.set_runner(Arc::new(runner));
    }
}
