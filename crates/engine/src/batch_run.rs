//! A batch on its way through its jobs: counts them down and keeps what listeners are told.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::batch::Batch;
use crate::clock::{Clock, Waker};
use crate::error::Error;
use crate::listener::{BatchInfo, ListenerBus, OutputOperationInfo, StreamingEvent};
use crate::planner::JobSet;
use crate::time::Time;

/// A submitted batch.
pub struct BatchRun {
    /// The batch.
    pub batch: Batch,
    /// Its states have come to their next version, or will not: its jobs may begin.
    pub ready: Waker,
    state: Mutex<State>,
}

struct State {
    info: BatchInfo,
    left: usize,
    failed: bool,
    submitted: Duration,
    started: Option<Duration>,
    jobs_started: BTreeMap<usize, Duration>,
}

/// A moment, for people and for measuring.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    time: Time,
    monotonic: Duration,
}

impl Moment {
    /// This one.
    pub fn now(clock: &dyn Clock) -> Self {
        Self { time: clock.now(), monotonic: clock.monotonic() }
    }
}

impl BatchRun {
    /// A batch with these jobs.
    pub fn new(batch: Batch, jobs: &JobSet, submitted: Moment) -> Self {
        let operation = |job: &crate::planner::Job| OutputOperationInfo {
            batch_time: batch.time,
            id: job.output_op,
            name: format!("{} at {}", job.name, job.description),
            description: job.description.clone(),
            start_time: None,
            end_time: None,
            duration: None,
            failure_reason: None,
        };
        let info = BatchInfo {
            id: batch.id,
            batch_time: batch.time,
            inputs: jobs.inputs.clone(),
            submission_time: submitted.time,
            processing_start_time: None,
            processing_end_time: None,
            scheduling_delay: None,
            processing_delay: None,
            output_operations: jobs.jobs.iter().map(|job| (job.output_op, operation(job))).collect(),
        };
        let (left, submitted) = (jobs.jobs.len(), submitted.monotonic);
        let state = State { info, left, failed: false, submitted, started: None, jobs_started: BTreeMap::new() };
        let ready = Waker::default();
        if jobs.state.is_empty() {
            ready.wake();
        }
        Self { batch, ready, state: Mutex::new(state) }
    }

    /// The records of all sources.
    pub fn records(&self) -> u64 {
        self.state.lock().info.records()
    }

    /// As far as it has come.
    pub fn info(&self) -> BatchInfo {
        self.state.lock().info.clone()
    }

    /// Whether a job has failed, or did not run.
    pub fn has_failed(&self) -> bool {
        self.state.lock().failed
    }

    /// The first job begins; later calls change nothing.
    pub fn start(&self, clock: &dyn Clock, bus: &ListenerBus) {
        let mut state = self.state.lock();
        if state.started.is_none() {
            let now = clock.monotonic();
            state.started = Some(now);
            state.info.processing_start_time = Some(clock.now());
            state.info.scheduling_delay = Some(now.saturating_sub(state.submitted));
            bus.post(StreamingEvent::BatchStarted(state.info.clone()));
        }
    }

    /// A job begins.
    pub fn job_started(&self, op: usize, clock: &dyn Clock, bus: &ListenerBus) {
        let mut state = self.state.lock();
        state.jobs_started.insert(op, clock.monotonic());
        if let Some(operation) = state.info.output_operations.get_mut(&op) {
            operation.start_time = Some(clock.now());
            bus.post(StreamingEvent::OutputOperationStarted(operation.clone()));
        }
    }

    /// A job has ended; true if it was the last one.
    pub fn job_ended(&self, op: usize, error: Option<Error>, clock: &dyn Clock, bus: &ListenerBus) -> bool {
        let mut state = self.state.lock();
        let duration = state.jobs_started.get(&op).map(|started| clock.monotonic().saturating_sub(*started));
        state.failed |= error.is_some();
        if let Some(operation) = state.info.output_operations.get_mut(&op) {
            operation.end_time = Some(clock.now());
            operation.duration = duration;
            operation.failure_reason = error.map(|error| error.to_string());
            bus.post(StreamingEvent::OutputOperationCompleted(operation.clone()));
        }
        state.left = state.left.saturating_sub(1);
        state.left == 0
    }

    /// What comes before the jobs has failed.
    pub fn fail(&self) {
        self.state.lock().failed = true;
    }

    /// A job will not run; true if it was the last one.
    pub fn job_abandoned(&self) -> bool {
        let mut state = self.state.lock();
        state.failed = true;
        state.left = state.left.saturating_sub(1);
        state.left == 0
    }

    /// The last job has ended.
    pub fn complete(&self, clock: &dyn Clock) -> BatchInfo {
        let mut state = self.state.lock();
        state.info.processing_end_time = Some(clock.now());
        state.info.processing_delay = state.started.map(|started| clock.monotonic().saturating_sub(started));
        state.info.clone()
    }
}
