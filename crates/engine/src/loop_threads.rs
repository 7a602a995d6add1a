//! The threads of the loop: how they start, and what goes with the last of them.

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::error::{Error, Result};
use crate::listener::ListenerBus;
use crate::planner::BatchPlanner;

/// Starts a thread of the loop.
pub fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(|error| Error::retry("a thread of the loop can't be started").with_source(error))
}

/// Releases what the program has given to the stream when the last thread has ended: it may hold who holds the stream.
pub struct ReleaseAtEnd(Arc<Release>);

struct Release {
    planner: Arc<dyn BatchPlanner>,
    bus: Arc<ListenerBus>,
}

impl Drop for Release {
    fn drop(&mut self) {
        self.planner.over();
        self.bus.end();
    }
}

impl ReleaseAtEnd {
    /// For the threads that are started next.
    pub fn new(planner: &Arc<dyn BatchPlanner>, bus: &Arc<ListenerBus>) -> Self {
        Self(Arc::new(Release { planner: Arc::clone(planner), bus: Arc::clone(bus) }))
    }

    /// The body of a thread: when it has returned, and dropped what it held, the thread is counted out.
    pub fn after(&self, body: impl FnOnce() + Send + 'static) -> impl FnOnce() + Send + 'static {
        let release = Arc::clone(&self.0);
        move || {
            body();
            drop(release);
        }
    }
}
