//! `Setup`: all that the loop works with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::StreamId;
use crate::clock::Clock;
use crate::input::Input;
use crate::listener::ListenerBus;
use crate::planner::BatchPlanner;
use crate::recovery::{CheckpointLogs, Resume};
use crate::state::StateStore;
use crate::time::Time;
use crate::trigger::Trigger;
use crate::waiter::Waiter;

/// All that the loop works with.
pub struct Setup {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// When batches are due.
    pub trigger: Trigger,
    /// When the first new batch is due: in the past, if batches were missed.
    pub first: Time,
    /// The time from which batches are counted.
    pub zero: Time,
    /// The input streams.
    pub inputs: BTreeMap<StreamId, Input>,
    /// Makes jobs of batches.
    pub planner: Arc<dyn BatchPlanner>,
    /// The checkpoint, if there is one, and where to resume.
    pub checkpoint: Option<(CheckpointLogs, Resume)>,
    /// How many batches that are done stay in the checkpoint.
    pub retained_batches: u64,
    /// What outlives a batch.
    pub state: Arc<dyn StateStore>,
    /// Who hears of it.
    pub bus: Arc<ListenerBus>,
    /// Who waits for the end.
    pub waiter: Arc<Waiter>,
    /// Jobs that run at once; with more than one, jobs of several batches interleave.
    pub concurrent_jobs: usize,
    /// How long a graceful stop waits until all that was received is made into batches.
    pub graceful_timeout: Duration,
}

#[cfg(test)]
impl Setup {
    /// No inputs, no checkpoint, a clock that stands still.
    pub fn of(planner: Arc<dyn BatchPlanner>) -> Self {
        Self {
            clock: Arc::<crate::clock::ManualClock>::default(),
            trigger: Trigger::Interval(Duration::from_secs(1)),
            first: Time::from_millis(1000),
            zero: Time::default(),
            inputs: BTreeMap::new(),
            planner,
            checkpoint: None,
            retained_batches: 10,
            state: Arc::<crate::state::MemoryStateStore>::default(),
            bus: Arc::default(),
            waiter: Arc::default(),
            concurrent_jobs: 1,
            graceful_timeout: Duration::ZERO,
        }
    }
}
