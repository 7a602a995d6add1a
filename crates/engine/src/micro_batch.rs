//! `MicroBatchExecution`: the loop. It reads as the protocol:
//!
//! 1. a batch is due: ask each source how far it goes;
//! 2. log the batch, with its offsets, durably;
//! 3. plan its jobs, and queue them;
//! 4. run the jobs, in order;
//! 5. log, durably, that the batch is done; tell the sources.
//!
//! A restart runs again, with the offsets of 2, what was logged in 2 and not in 5.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::{Condvar, Mutex};

use crate::batch::{Batch, BatchId, BatchStamp, StreamId};
use crate::batch_run::BatchRun;
use crate::clock::{Clock, Waker};
use crate::error::{Error, Result};
use crate::function::{on_driver, panic_message};
use crate::listener::{ListenerBus, StreamingEvent};
use crate::planner::{BatchPlanner, Job};
use crate::rate::RateEstimator;
use crate::recovery::{CheckpointLogs, Resume};
use crate::source::{Offset, OffsetRange, Source};
use crate::time::Time;
use crate::trigger::Trigger;
use crate::waiter::Waiter;

/// Batches whose offsets are kept for a restart, and commits to hold against them.
const KEPT_BATCHES: u64 = 1024;

/// An input stream of the loop.
pub struct Input {
    /// Where the data comes from.
    pub source: Arc<dyn Source>,
    /// Adapts the source's rate to what the batches can bear, with backpressure on.
    pub estimator: Option<Mutex<Box<dyn RateEstimator>>>,
}

/// All that the loop works with.
pub struct Setup {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// When batches are due.
    pub trigger: Trigger,
    /// The input streams.
    pub inputs: BTreeMap<StreamId, Input>,
    /// Makes jobs of batches.
    pub planner: Arc<dyn BatchPlanner>,
    /// The checkpoint, if there is one, and where to resume.
    pub checkpoint: Option<(CheckpointLogs, Resume)>,
    /// Who hears of it.
    pub bus: Arc<ListenerBus>,
    /// Who waits for the end.
    pub waiter: Arc<Waiter>,
    /// Jobs that run at once; with more than one, jobs of several batches interleave.
    pub concurrent_jobs: usize,
}

/// A running stream of batches.
pub struct MicroBatchExecution {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    generator: JoinHandle<()>,
    jobs: Vec<JoinHandle<()>>,
}

struct Shared {
    setup: Setup,
    logs: Option<CheckpointLogs>,
    /// Ends the wait for the next batch.
    waker: Waker,
    /// No job starts any more.
    halted: Waker,
    progress: Mutex<Progress>,
    idle: Condvar,
}

struct Progress {
    next: BatchId,
    /// Where the last planned batch ended, source by source.
    ends: BTreeMap<StreamId, Offset>,
    /// Batches submitted and not completed.
    running: usize,
    /// The last batch time that was generated, well or not.
    generated: Option<Time>,
}

type QueuedJob = (Arc<BatchRun>, Job);

impl MicroBatchExecution {
    /// Starts the sources, runs again what a checkpoint holds unfinished, and begins with the next due batch.
    pub fn start(mut setup: Setup) -> Result<Self> {
        let (logs, resume) = setup.checkpoint.take().map_or((None, Resume::default()), |(l, r)| (Some(l), r));
        if let Some(logs) = &logs {
            for (stream, input) in &setup.inputs {
                input.source.set_checkpoint(&logs.folder.join("sources").join(stream.to_string()))?;
            }
        }
        let mut ends = resume.ends;
        for (stream, input) in &setup.inputs {
            if !ends.contains_key(stream) {
                ends.insert(*stream, input.source.initial_offset()?);
            }
        }
        let now = setup.clock.now();
        for (stream, input) in &setup.inputs {
            if let Err(error) = input.source.start(&ends[stream], now) {
                setup.inputs.values().for_each(|input| input.source.stop());
                return Err(error.context(format!("starting {}", input.source.name())));
            }
        }
        // A restart goes on behind the last batch time: each batch has a time of its own.
        let first = setup.trigger.first_after(resume.last_time.map_or(now, |last| last.max(now)));
        let progress = Mutex::new(Progress { next: resume.next, ends, running: 0, generated: None });
        let (waker, halted) = (Waker::default(), Waker::default());
        let shared = Arc::new(Shared { setup, logs, waker, halted, progress, idle: Condvar::new() });
        shared.setup.bus.post(StreamingEvent::StreamingStarted(now));

        let (sender, receiver) = unbounded::<QueuedJob>();
        let jobs = (0..shared.setup.concurrent_jobs.max(1))
            .map(|n| {
                spawn(format!("tidemill-job-{n}"), {
                    let (s, r) = (Arc::clone(&shared), receiver.clone());
                    move || s.run_jobs(&r)
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let loop_shared = Arc::clone(&shared);
        let unfinished = resume.unfinished;
        let generator =
            spawn("tidemill-batches".into(), move || loop_shared.generate_batches(unfinished, first, &sender))?;
        Ok(Self { shared, threads: Mutex::new(Some(Threads { generator, jobs })) })
    }

    /// Ends the stream. Gracefully: sources stop receiving, what they have received is still made into batches, and all
    /// batches run to their end. Else: no batch and no job starts any more; the job that runs is waited for.
    pub fn stop(&self, graceful: bool) {
        let Some(threads) = self.threads.lock().take() else { return };
        let shared = &self.shared;
        shared.setup.inputs.values().for_each(|input| input.source.stop());
        if graceful {
            shared.wait_for_pending_input();
        } else {
            shared.halted.wake();
        }
        shared.waker.wake();
        let own = std::thread::current().id();
        // A job may stop its own stream: it can't wait for itself.
        let (mine, others): (Vec<_>, Vec<_>) = threads.jobs.into_iter().partition(|job| job.thread().id() == own);
        let _ = threads.generator.join();
        if mine.is_empty() {
            others.into_iter().for_each(|job| drop(job.join()));
        }
        shared.setup.waiter.stop();
    }

    /// Waits until the batch of `time` is generated and all batches submitted so far are completed; for tests on a manual
    /// clock, which must have reached `time`.
    pub fn wait_for_batch(&self, time: Time) {
        let mut progress = self.shared.progress.lock();
        while progress.generated.is_none_or(|generated| generated < time) || progress.running > 0 {
            self.shared.idle.wait(&mut progress);
        }
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(|error| Error::retry("a thread of the loop can't be started").with_source(error))
}

impl Shared {
    fn generate_batches(self: &Arc<Self>, unfinished: Vec<Batch>, first: Time, queue: &Sender<QueuedJob>) {
        for batch in unfinished {
            tracing::info!(batch = batch.id.0, time = %batch.time, "running a batch again that was planned and not done");
            self.plan_and_submit(batch, queue);
        }
        let mut due = first;
        while self.setup.clock.wait_until(due, &self.waker) {
            self.generate(due, queue);
            due = self.setup.trigger.next(due);
        }
        // A graceful stop on a clock that stands still makes the last batch at the next due time.
        if !self.halted.is_awake() && self.has_pending_input() {
            self.generate(due, queue);
        }
    }

    fn generate(self: &Arc<Self>, time: Time, queue: &Sender<QueuedJob>) {
        match self.next_batch(time) {
            Ok(batch) => self.plan_and_submit(batch, queue),
            Err(error) => self.setup.waiter.fail(error.context(format!("generating the batch of {time}"))),
        }
        self.progress.lock().generated = Some(time);
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
        let batch = Batch { id: progress.next, time, ranges };
        if let Some(logs) = &self.logs {
            logs.offsets.lock().append(&batch)?;
        }
        progress.next = BatchId(batch.id.0 + 1);
        progress.ends.extend(batch.ranges.iter().map(|(stream, range)| (*stream, range.end.clone())));
        Ok(batch)
    }

    /// Step 3: jobs, queued.
    fn plan_and_submit(self: &Arc<Self>, batch: Batch, queue: &Sender<QueuedJob>) {
        let time = batch.time;
        let planned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.setup.planner.plan(&batch)));
        let planned =
            planned.unwrap_or_else(|panic| Err(Error::usage(format!("planning panicked: {}", panic_message(&*panic)))));
        let jobs = match planned {
            Ok(jobs) => jobs,
            Err(error) => return self.setup.waiter.fail(error.context(format!("planning the batch of {time}"))),
        };
        let run = Arc::new(BatchRun::new(batch, &jobs, self.setup.clock.as_ref()));
        metrics::counter!("tidemill_received_records_total").increment(run.records());
        self.progress.lock().running += 1;
        self.setup.bus.post(StreamingEvent::BatchSubmitted(run.info()));
        if jobs.jobs.is_empty() {
            run.start(self.setup.clock.as_ref(), &self.setup.bus);
            self.complete(&run);
        }
        for job in jobs.jobs {
            // The receivers live as long as this loop runs.
            let _ = queue.send((Arc::clone(&run), job));
        }
    }

    /// Step 4: a job thread.
    fn run_jobs(self: &Arc<Self>, queue: &Receiver<QueuedJob>) {
        // Ends when the generator has ended and the queue is empty.
        for (run, job) in queue {
            if self.halted.is_awake() {
                self.abandon(&run);
                continue;
            }
            run.start(self.setup.clock.as_ref(), &self.setup.bus);
            let span = tracing::info_span!("batch", id = run.batch.id.0, time = %run.batch.time, job = job.name);
            let _inside = span.enter();
            let (op, clock) = (job.output_op, self.setup.clock.as_ref());
            run.job_started(op, clock, &self.setup.bus);
            let place = format!("{} at {}, batch {}", job.name, job.description, run.batch.time);
            let stamp = BatchStamp { id: run.batch.id, time: run.batch.time };
            let body = std::panic::AssertUnwindSafe(|| stamp.during(|| on_driver(job.run)));
            let result = std::panic::catch_unwind(body).unwrap_or_else(|panic| {
                Err(Error::usage(format!("the output operation panicked: {}", panic_message(&*panic))))
            });
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
        let failed = run.has_failed();
        if !failed && let Err(error) = self.commit(&run.batch) {
            self.setup.waiter.fail(error.context(format!("committing the batch of {}", run.batch.time)));
        }
        self.setup.planner.completed(&run.batch);
        let info = run.complete(self.setup.clock.as_ref());
        for (stream, input) in &self.setup.inputs {
            if let (Some(estimator), Some(limiter), Some(read)) =
                (&input.estimator, input.source.rate_limiter(), info.inputs.get(stream))
                && let (Some(end), Some(processing), Some(waiting)) =
                    (info.processing_end_time, info.processing_delay, info.scheduling_delay)
            {
                let (processing, waiting) = (processing.as_millis() as u64, waiting.as_millis() as u64);
                if let Some(rate) = estimator.lock().compute(end, read.records, processing, waiting) {
                    limiter.set_rate(rate);
                }
            }
        }
        metrics::counter!("tidemill_completed_batches_total").increment(1);
        metrics::counter!("tidemill_processed_records_total").increment(info.records());
        for (name, delay) in [("processing", info.processing_delay), ("scheduling", info.scheduling_delay)] {
            metrics::histogram!(format!("tidemill_{name}_delay_seconds")).record(delay.unwrap_or_default());
        }
        self.setup.bus.post(StreamingEvent::BatchCompleted(info));
        self.ended();
    }

    fn commit(&self, batch: &Batch) -> Result<()> {
        if let Some(logs) = &self.logs {
            logs.commits.lock().append(batch.id)?;
            if batch.id.0.is_multiple_of(KEPT_BATCHES) {
                logs.offsets.lock().purge_before(BatchId(batch.id.0.saturating_sub(KEPT_BATCHES)))?;
                logs.commits.lock().keep_last(4 * KEPT_BATCHES)?;
            }
        }
        for (stream, range) in &batch.ranges {
            if let Some(input) = self.setup.inputs.get(stream) {
                input.source.commit(&range.end)?;
            }
        }
        Ok(())
    }

    /// A job that will not run; its batch stays uncommitted.
    fn abandon(&self, run: &BatchRun) {
        if run.job_abandoned() {
            self.setup.planner.completed(&run.batch);
            self.ended();
        }
    }

    fn ended(&self) {
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
        // The generator goes on meanwhile; on a manual clock it makes one last batch when it is woken.
        while !self.setup.clock.is_manual() && self.has_pending_input() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}
