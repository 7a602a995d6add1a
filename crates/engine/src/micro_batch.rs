//! `MicroBatchExecution`: the loop. It reads as the protocol:
//!
//! 1. a batch is due: ask each source how far it goes;
//! 2. log the batch, with its offsets, durably;
//! 3. plan its jobs, and queue them;
//! 4. bring states to their next version, then run the jobs, in order;
//! 5. log, durably, that the batch is done; tell the sources.
//!
//! A restart runs again, with the offsets of 2, what was logged in 2 and not in 5.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{JoinHandle, ThreadId};

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::{Condvar, Mutex};

use crate::batch::{Batch, BatchId, BatchStamp, StreamId};
use crate::batch_run::{BatchRun, Moment};
use crate::clock::Waker;
use crate::error::Result;
use crate::failpoint;
use crate::function::{catch_panic, on_driver};
use crate::input::{Input, end_all, start_all, stop_all};
use crate::ledger::Ledger;
use crate::listener::StreamingEvent;
use crate::loop_threads::{ReleaseAtEnd, spawn};
use crate::planner::{Job, StateStep};
use crate::recovery::{Bound, CheckpointLogs, Resume};
pub use crate::setup::Setup;
use crate::source::{Offset, OffsetRange};
use crate::state_turns::StateTurns;
use crate::time::Time;

/// Batches that wait to be run while those are made that were missed: there may be millions.
const MISSED_AHEAD: usize = 16;

/// A running stream of batches. Dropping it stops it.
pub struct MicroBatchExecution {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
    /// The threads of the loop, which can't wait for their own end.
    own: Vec<ThreadId>,
    queue: Receiver<QueuedJob>,
    stopped: Waker,
}

struct Threads {
    generator: JoinHandle<()>,
    jobs: Vec<JoinHandle<()>>,
}

struct Shared {
    setup: Setup,
    ledger: Ledger,
    /// Ends the wait for the next batch.
    waker: Waker,
    /// No job starts any more.
    halted: Waker,
    progress: Mutex<Progress>,
    idle: Condvar,
    turns: StateTurns,
}

struct Progress {
    next: BatchId,
    /// Where the last planned batch ended, source by source.
    ends: BTreeMap<StreamId, Offset>,
    /// Batches submitted and not completed.
    running: usize,
    /// The last batch time that was generated, well or not.
    generated: Option<Time>,
    /// No batch is generated any more.
    over: bool,
}

/// What waits for its turn.
enum Work {
    /// What comes before the jobs of a batch.
    State(Vec<StateStep>),
    Job(Job),
    /// The end of a batch without jobs.
    End,
}

type QueuedJob = (Arc<BatchRun>, Work);

impl MicroBatchExecution {
    /// Starts the sources, runs again what a checkpoint holds unfinished, and begins with the next due batch.
    pub fn start(mut setup: Setup) -> Result<Self> {
        let (logs, resume) = setup.checkpoint.take().map_or((None, Resume::default()), |(l, r)| (Some(l), r));
        let metadata = logs.as_ref().and_then(CheckpointLogs::metadata);
        if let (Some(logs), Some(metadata)) = (&logs, &metadata) {
            for input in setup.inputs.values() {
                input.source.set_checkpoint(&logs.storage, &metadata.source_folder(&input.name))?;
            }
        }
        let Bound { unfinished, ends } = resume.bind(metadata.as_ref(), &setup.inputs)?;
        let now = setup.clock.now();
        start_all(&setup.inputs, &ends, now)?;
        let first = setup.first;
        let progress = Mutex::new(Progress { next: resume.next, ends, running: 0, generated: None, over: false });
        let (waker, halted, ledger) = (Waker::default(), Waker::default(), Ledger::new(logs, setup.retained_batches));
        let (idle, turns) = (Condvar::new(), StateTurns::new(Arc::clone(&setup.state), Arc::clone(&setup.planner)));
        let shared = Arc::new(Shared { setup, ledger, waker, halted, progress, idle, turns });
        shared.setup.bus.post(StreamingEvent::StreamingStarted(now));

        let (sender, queue) = unbounded::<QueuedJob>();
        let spawn_all = || -> Result<Threads> {
            let release = ReleaseAtEnd::new(&shared.setup.planner, &shared.setup.bus);
            let job = |n| {
                let (shared, queue) = (Arc::clone(&shared), queue.clone());
                spawn(format!("tidemill-job-{n}"), release.after(move || shared.run_jobs(&queue)))
            };
            let jobs = (0..shared.setup.concurrent_jobs.max(1)).map(job).collect::<Result<Vec<_>>>()?;
            let shared = Arc::clone(&shared);
            let body = release.after(move || shared.generate_batches(unfinished, first, &sender));
            Ok(Threads { generator: spawn("tidemill-batches".into(), body)?, jobs })
        };
        let threads = spawn_all().inspect_err(|_| stop_all(&shared.setup.inputs))?;
        let own = threads.jobs.iter().chain([&threads.generator]).map(|thread| thread.thread().id()).collect();
        Ok(Self { shared, threads: Mutex::new(Some(threads)), own, queue, stopped: Waker::default() })
    }

    /// Ends the stream, and returns when it has ended. Gracefully: sources stop receiving, what they have received is still
    /// made into batches, and all batches run to their end. Else: no batch and no job starts any more; the job that runs is
    /// waited for.
    ///
    /// A job may stop its own stream: it is not waited for, and the jobs behind it run inside it. What is pending is one more batch.
    ///
    /// # Errors
    /// If a source has lost what a restart should have found. The waiter hears of it, too.
    pub fn stop(&self, graceful: bool) -> Result<()> {
        let (shared, this) = (&self.shared, std::thread::current().id());
        let Some(threads) = self.threads.lock().take() else {
            if !self.own.contains(&this) {
                self.stopped.wait();
            }
            return Ok(());
        };
        let (own, generating) = (self.own.contains(&this), threads.generator.thread().id() == this);
        match graceful {
            true if !generating => shared.turns.step_aside(),
            true => shared.turns.give_up(),
            false => self.halt(),
        }
        stop_all(&shared.setup.inputs);
        if graceful && !own {
            shared.wait_for_pending_input();
        }
        shared.waker.wake();
        shared.notify();
        // Called while a batch is planned, nothing can be waited for: all jobs come after that.
        if !generating {
            if own {
                // Until the generator has ended, which may wait for batches to be over.
                shared.run_jobs(&self.queue);
            }
            let _ = threads.generator.join();
            threads.jobs.into_iter().filter(|job| job.thread().id() != this).for_each(|job| drop(job.join()));
        }
        let ended = end_all(&shared.setup.inputs, &shared.setup.waiter);
        shared.setup.waiter.stop();
        self.stopped.wake();
        ended
    }

    /// Has no job start any more, so that a graceful stop waits only for the one that runs.
    pub fn halt(&self) {
        self.shared.halted.wake();
        self.shared.turns.give_up();
        self.shared.notify();
    }

    /// Waits until the batch of `time` is generated and all batches submitted so far are completed, or the stream has
    /// stopped; for tests on a manual clock, which must have reached `time`.
    pub fn wait_for_batch(&self, time: Time) {
        let mut progress = self.shared.progress.lock();
        while progress.running > 0 || !progress.over && progress.generated.is_none_or(|generated| generated < time) {
            self.shared.idle.wait(&mut progress);
        }
    }
}

impl Drop for MicroBatchExecution {
    fn drop(&mut self) {
        if self.threads.lock().is_some() {
            // The waiter has heard of what went wrong.
            let _ = self.stop(false);
        }
    }
}

impl Shared {
    fn generate_batches(self: &Arc<Self>, unfinished: Vec<Batch>, first: Time, queue: &Sender<QueuedJob>) {
        for batch in unfinished {
            if self.halted.is_awake() {
                break;
            }
            tracing::info!(batch = batch.id.0, time = %batch.time, "running a batch again that was planned and not done");
            self.plan_and_submit(batch, queue);
        }
        let (mut due, now) = (first, self.setup.clock.now());
        while self.setup.clock.wait_until(due, &self.waker) && (due > now || self.wait_for_room()) {
            self.generate(due, queue);
            due = self.setup.trigger.next(due);
        }
        // A graceful stop on a clock that stands still makes the last batch at the next due time.
        if !self.halted.is_awake() && self.has_pending_input() {
            self.generate(due, queue);
        }
        self.progress.lock().over = true;
        self.idle.notify_all();
    }

    fn generate(self: &Arc<Self>, time: Time, queue: &Sender<QueuedJob>) {
        match catch_panic("a source", || self.next_batch(time)) {
            Ok(batch) => self.plan_and_submit(batch, queue),
            Err(error) => self.setup.waiter.fail(error.context(format!("generating the batch of {time}"))),
        }
        self.progress.lock().generated = Some(time);
        self.idle.notify_all();
    }

    /// Waits until few batches wait to be run; false if the stream stops.
    fn wait_for_room(&self) -> bool {
        let mut progress = self.progress.lock();
        while progress.running >= MISSED_AHEAD && !self.waker.is_awake() {
            self.idle.wait(&mut progress);
        }
        !self.waker.is_awake()
    }

    /// Has all who wait for progress look again.
    fn notify(&self) {
        drop(self.progress.lock());
        self.idle.notify_all();
    }

    /// Steps 1 and 2: offsets, logged.
    fn next_batch(&self, time: Time) -> Result<Batch> {
        let mut progress = self.progress.lock();
        let mut ranges = BTreeMap::new();
        for (stream, input) in &self.setup.inputs {
            let start = progress.ends.get(stream).cloned().unwrap_or_default();
            let end = input.source.latest_offset(&start, time)?;
            ranges.insert(*stream, OffsetRange { start, end });
        }
        let batch = Batch { id: progress.next, time, zero: self.setup.zero, ranges };
        self.ledger.planned(&batch, &self.setup)?;
        progress.next = BatchId(batch.id.0 + 1);
        progress.ends.extend(batch.ranges.iter().map(|(stream, range)| (*stream, range.end.clone())));
        Ok(batch)
    }

    /// Step 3: jobs, queued.
    fn plan_and_submit(self: &Arc<Self>, batch: Batch, queue: &Sender<QueuedJob>) {
        let time = batch.time;
        self.ledger.begun(batch.id);
        let submitted = Moment::now(self.setup.clock.as_ref());
        let jobs = match catch_panic("planning", || self.turns.plan(&batch)) {
            Ok(jobs) => jobs,
            Err(error) => {
                let error = error.context(format!("planning the batch of {time}"));
                if self.turns.has_given_up() {
                    tracing::warn!(%error, "a batch is left out; a restart from a checkpoint runs it");
                } else {
                    self.setup.waiter.fail(error);
                }
                if self.setup.planner.has_state() {
                    self.turns.not_planned(&batch);
                }
                self.setup.planner.completed(&batch);
                return self.settle(&batch, false);
            }
        };
        failpoint::hit("batch-planned");
        let run = Arc::new(BatchRun::new(batch, &jobs, submitted));
        metrics::counter!("tidemill_received_records_total").increment(run.records());
        self.progress.lock().running += 1;
        self.setup.bus.post(StreamingEvent::BatchSubmitted(run.info()));
        self.turns.begin(run.batch.id, jobs.jobs.len());
        let state = (!jobs.state.is_empty()).then_some(Work::State(jobs.state));
        let end = jobs.jobs.is_empty().then_some(Work::End);
        for work in state.into_iter().chain(jobs.jobs.into_iter().map(Work::Job)).chain(end) {
            // The receivers live as long as this loop runs.
            let _ = queue.send((Arc::clone(&run), work));
        }
    }

    /// Step 4: a job thread.
    fn run_jobs(self: &Arc<Self>, queue: &Receiver<QueuedJob>) {
        // Ends when the generator has ended and the queue is empty.
        for (run, work) in queue {
            if !matches!(work, Work::State(_)) {
                // On another thread, if there is one: it was taken from the queue before.
                run.ready.wait();
            }
            if self.halted.is_awake() {
                self.abandon(&run, &work);
                continue;
            }
            run.start(self.setup.clock.as_ref(), &self.setup.bus);
            let job = match work {
                Work::Job(job) => job,
                Work::State(steps) => {
                    if let Err(error) = catch_panic("a state", || self.turns.run(&run.batch, steps)) {
                        tracing::error!(%error, "a state could not be brought to its next version");
                        self.setup.waiter.fail(error.context(format!("the states of batch {}", run.batch.time)));
                        run.fail();
                    }
                    run.ready.wake();
                    continue;
                }
                Work::End => {
                    self.complete(&run);
                    continue;
                }
            };
            let span = tracing::info_span!("batch", id = run.batch.id.0, time = %run.batch.time, job = job.name);
            let _inside = span.enter();
            let (op, clock) = (job.output_op, self.setup.clock.as_ref());
            run.job_started(op, clock, &self.setup.bus);
            let place = format!("{} at {}, batch {}", job.name, job.description, run.batch.time);
            let stamp = BatchStamp { id: run.batch.id, time: run.batch.time };
            let body = || self.turns.inside(run.batch.id, || stamp.during(|| on_driver(job.run)));
            let result = catch_panic("the output operation", body);
            if let Err(error) = &result {
                metrics::counter!("tidemill_failed_output_operations_total").increment(1);
                tracing::error!(%error, "an output operation failed");
                self.setup.waiter.fail(error.clone().context(place));
            }
            if run.job_ended(op, result.err(), clock, &self.setup.bus) {
                self.complete(&run);
            }
        }
    }

    /// Step 5: the batch is done, if all its jobs were.
    fn complete(&self, run: &BatchRun) {
        self.settle(&run.batch, !run.has_failed());
        self.setup.planner.completed(&run.batch);
        let info = run.complete(self.setup.clock.as_ref());
        self.setup.inputs.iter().for_each(|(stream, input)| input.adapt_rate(*stream, &info));
        metrics::counter!("tidemill_completed_batches_total").increment(1);
        metrics::counter!("tidemill_processed_records_total").increment(info.records());
        for (name, delay) in [("processing", info.processing_delay), ("scheduling", info.scheduling_delay)] {
            metrics::histogram!(format!("tidemill_{name}_delay_seconds")).record(delay.unwrap_or_default());
        }
        self.setup.bus.post(StreamingEvent::BatchCompleted(info));
        self.ended(run.batch.id);
    }

    fn settle(&self, batch: &Batch, succeeded: bool) {
        let state = succeeded.then(|| self.turns.commit(batch.id));
        for error in self.ledger.over(batch, state, &self.setup) {
            self.setup.waiter.fail(error.context(format!("committing the batch of {}", batch.time)));
        }
    }

    /// A job that will not run; its batch stays uncommitted.
    fn abandon(&self, run: &BatchRun, work: &Work) {
        if matches!(work, Work::State(_)) {
            run.ready.wake();
        } else if run.job_abandoned() {
            self.setup.planner.completed(&run.batch);
            self.ended(run.batch.id);
        }
    }

    fn ended(&self, batch: BatchId) {
        self.turns.end(batch);
        self.progress.lock().running -= 1;
        self.idle.notify_all();
    }

    fn has_pending_input(&self) -> bool {
        let progress = self.progress.lock();
        let pending = |(stream, input): (&StreamId, &Input)| {
            progress.ends.get(stream).is_some_and(|end| input.source.has_pending(end))
        };
        self.setup.inputs.iter().any(pending)
    }

    fn wait_for_pending_input(&self) {
        let clock = &self.setup.clock;
        let deadline = clock.monotonic().saturating_add(self.setup.graceful_timeout);
        // The generator goes on meanwhile; on a manual clock it makes one last batch when it is woken.
        while !clock.is_manual() && !self.halted.is_awake() && self.has_pending_input() {
            let left = deadline.saturating_sub(clock.monotonic());
            let mut progress = self.progress.lock();
            if left.is_zero() || progress.over {
                return tracing::warn!("the stream stops: what was received is made into a last batch before its time");
            }
            // Nothing more is received: only a batch can change what is pending.
            self.idle.wait_for(&mut progress, left.min(self.setup.trigger.interval()));
        }
    }
}
