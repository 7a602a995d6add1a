//! `StreamingContext`: the life cycle of a streaming program.

mod anew;
mod creation;
mod replay;
mod start;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_engine::checkpoint::place::CheckpointPlace;
use tidemill_engine::clock::{Clock, SystemClock};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{CallSite, forbid_in_task};
use tidemill_engine::listener::{ListenerBus, ListenerId, StreamingListener, on_listener_thread};
use tidemill_engine::micro_batch::MicroBatchExecution;
use tidemill_engine::planner::BatchPlanner;
use tidemill_engine::time::{Time, millis};
use tidemill_engine::waiter::Waiter;

use crate::conf::SparkConf;
use crate::context::SparkContext;
use crate::graph::DStreamGraph;

pub use replay::{Replay, ReplayedOutput};

/// Where a streaming program is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamingContextState {
    /// Being put together.
    Initialized,
    /// Running.
    Active,
    /// Over; it can't be started again.
    Stopped,
}

/// The entry to DStreams. Cheap to clone; all clones are one context, and dropping the last one stops the stream.
#[derive(Clone)]
pub struct StreamingContext(Arc<Inner>);

struct Inner {
    sc: SparkContext,
    batch_duration: Duration,
    graph: Arc<DStreamGraph>,
    /// Shared with sources that tell the time, too: they must not hold the context, which holds them.
    clock: SharedClock,
    bus: Arc<ListenerBus>,
    waiter: Arc<Waiter>,
    checkpoint: Mutex<Option<PathBuf>>,
    /// What an earlier run has left in the checkpoint folder is set aside: it has gone there.
    begins_anew: AtomicBool,
    set_aside: OnceLock<PathBuf>,
    states_in_memory: AtomicBool,
    /// Locked for a moment only; changes to and from `Active` under the lock of `execution`.
    state: Mutex<StreamingContextState>,
    execution: Mutex<Option<Arc<MicroBatchExecution>>>,
}

impl Inner {
    /// Drops what the program has given to a stream that never ran, which may hold this context. One that ran does so when it has ended.
    fn let_go(&self) {
        self.graph.over();
        self.bus.end();
    }
}

/// A clock that may still be exchanged.
pub(crate) type SharedClock = Arc<Mutex<Arc<dyn Clock>>>;

/// The one active context of the process, and where it was started, unless contexts are allowed beside each other.
static ACTIVE: LazyLock<Mutex<Option<(Weak<Inner>, CallSite)>>> = LazyLock::new(Mutex::default);

impl StreamingContext {
    /// A context whose batches are `batch_duration` apart: whole milliseconds, at least one.
    pub fn new(sc: &SparkContext, batch_duration: Duration) -> Result<Self> {
        let rounded = Duration::from_millis(u64::try_from(millis(batch_duration)).unwrap_or(0));
        if rounded.is_zero() || rounded != batch_duration {
            return Err(Error::usage(format!(
                "the batch duration must be a whole number of milliseconds and at least 1 ms, not {batch_duration:?}"
            )));
        }
        let context = Self(Arc::new(Inner {
            sc: sc.clone(),
            batch_duration,
            graph: DStreamGraph::new(sc)?,
            clock: Arc::new(Mutex::new(Arc::new(SystemClock::default()))),
            bus: Arc::default(),
            waiter: Arc::default(),
            checkpoint: Mutex::default(),
            begins_anew: AtomicBool::new(false),
            set_aside: OnceLock::new(),
            states_in_memory: AtomicBool::new(false),
            state: Mutex::new(StreamingContextState::Initialized),
            execution: Mutex::default(),
        }));
        if let Some(folder) = sc.conf().get("spark.streaming.checkpoint.directory") {
            context.checkpoint(folder)?;
        }
        Ok(context)
    }

    /// A context with a [`SparkContext`] of its own.
    pub fn from_conf(conf: SparkConf, batch_duration: Duration) -> Result<Self> {
        Self::new(&SparkContext::from_conf(conf)?, batch_duration)
    }

    /// The context for RDDs.
    pub fn spark_context(&self) -> &SparkContext {
        &self.0.sc
    }

    /// The time between batches.
    pub fn batch_duration(&self) -> Duration {
        self.0.batch_duration
    }

    /// Where it is in its life.
    pub fn state(&self) -> StreamingContextState {
        *self.0.state.lock()
    }

    /// The graph of the program.
    pub fn graph(&self) -> &Arc<DStreamGraph> {
        &self.0.graph
    }

    /// Who is told what happens.
    pub fn bus(&self) -> &Arc<ListenerBus> {
        &self.0.bus
    }

    /// What tells the time.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.0.clock.lock())
    }

    pub(crate) fn shared_clock(&self) -> SharedClock {
        Arc::clone(&self.0.clock)
    }

    /// Has another clock tell the time: a manual one, in tests. Before the start.
    pub fn set_clock(&self, clock: Arc<dyn Clock>) -> Result<()> {
        self.require_initialized("changing the clock")?;
        *self.0.clock.lock() = clock;
        Ok(())
    }

    /// Keeps the RDDs of all streams at least this long, for [`slice`](crate::stream::DStream::slice) and queries from
    /// outside.
    pub fn remember(&self, duration: Duration) -> Result<()> {
        self.0.graph.set_remember(duration)
    }

    /// Logs offsets and commits of batches in this folder; a restart goes on where they end. One driver at a time.
    ///
    /// A folder may be in an object store: `s3://BUCKET/PREFIX`, with the Cargo feature `s3` and what `AWS_*` variables of the
    /// environment say. There the driver that starts last has the checkpoint, and one that runs on it stops.
    ///
    /// # Errors
    /// After the start; or if it is a URI that can't be used.
    pub fn checkpoint(&self, folder: impl Into<PathBuf>) -> Result<()> {
        self.require_initialized("setting the checkpoint folder")?;
        let folder = folder.into();
        // A local folder as a path, a URI as it is.
        *self.0.checkpoint.lock() = Some(match CheckpointPlace::parse(&folder)? {
            CheckpointPlace::Local(path) => path,
            _ => folder,
        });
        self.0.begins_anew.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// No checkpoint, whatever the settings or the program have said before.
    ///
    /// # Errors
    /// After the start.
    pub fn no_checkpoint(&self) -> Result<()> {
        self.require_initialized("setting the checkpoint folder")?;
        *self.0.checkpoint.lock() = None;
        Ok(())
    }

    /// Lets operators that need a checkpoint folder do without one: their states are then lost with the process.
    pub fn allow_states_in_memory(&self) {
        self.0.states_in_memory.store(true, Ordering::Relaxed);
    }

    /// The checkpoint folder.
    pub fn checkpoint_dir(&self) -> Option<PathBuf> {
        self.0.checkpoint.lock().clone()
    }

    /// Tells `listener` what happens.
    pub fn add_streaming_listener(&self, listener: Arc<dyn StreamingListener>) -> ListenerId {
        self.0.bus.add(listener)
    }

    /// Tells it no more.
    pub fn remove_streaming_listener(&self, listener: ListenerId) {
        self.0.bus.remove(listener);
    }

    /// An error unless the graph may still be changed.
    pub fn check_may_add(&self) -> Result<()> {
        self.require_initialized("Adding new inputs, transformations, and output operations")
    }

    fn require_initialized(&self, what: &str) -> Result<()> {
        let when = match self.state() {
            StreamingContextState::Initialized => return Ok(()),
            StreamingContextState::Active => "after starting a context is not supported",
            StreamingContextState::Stopped => "after stopping a context is not supported",
        };
        Err(Error::usage(format!("{what} {when}")))
    }

    /// Starts the stream. Starting an active one again only warns.
    ///
    /// # Errors
    /// If it was stopped, or another one is active; if there is nothing to do, or a source can't be started: then the context
    /// counts as stopped.
    #[track_caller]
    pub fn start(&self) -> Result<()> {
        let mut execution = self.0.execution.lock();
        match self.state() {
            StreamingContextState::Initialized => {}
            StreamingContextState::Active => {
                tracing::warn!("StreamingContext has already been started");
                return Ok(());
            }
            StreamingContextState::Stopped => {
                return Err(Error::usage("StreamingContext has already been stopped"));
            }
        }
        self.become_active(CallSite::here())?;
        match self.begin() {
            Ok(begun) => {
                *execution = Some(Arc::new(begun));
                Ok(())
            }
            Err(error) => {
                *self.0.state.lock() = StreamingContextState::Stopped;
                self.0.waiter.stop();
                self.0.let_go();
                Err(error)
            }
        }
    }

    fn become_active(&self, site: CallSite) -> Result<()> {
        let mut active = ACTIVE.lock();
        if !self.0.sc.conf().get_parsed("spark.driver.allowMultipleContexts", false)? {
            if let Some((other, site)) = active.as_ref()
                && other.upgrade().is_some_and(|other| *other.state.lock() == StreamingContextState::Active)
            {
                return Err(Error::usage(format!(
                    "Only one StreamingContext may be started in this process. Currently running StreamingContext was \
                     started at {site}; stop it first, or set spark.driver.allowMultipleContexts=true"
                )));
            }
            *active = Some((Arc::downgrade(&self.0), site));
        }
        *self.0.state.lock() = StreamingContextState::Active;
        Ok(())
    }

    /// Waits until the stream has stopped.
    ///
    /// # Errors
    /// The first error of a job, or of making one.
    pub fn await_termination(&self) -> Result<()> {
        self.0.waiter.wait(None).map(drop)
    }

    /// Waits until the stream has stopped (true) or the time is over (false).
    ///
    /// # Errors
    /// The first error of a job, or of making one.
    pub fn await_termination_or_timeout(&self, timeout: Duration) -> Result<bool> {
        self.0.waiter.wait(Some(timeout))
    }

    /// Waits until the batch of `time` is over, and all that were submitted before; on a manual clock that has come there.
    pub fn wait_for_batch(&self, time: Time) {
        let execution = self.0.execution.lock().clone();
        if let Some(execution) = execution {
            execution.wait_for_batch(time);
            self.0.bus.flush();
        }
    }

    /// Stops stream and, unless `spark.streaming.stopSparkContextByDefault` is false, [`SparkContext`]: at once.
    pub fn stop(&self) -> Result<()> {
        let stop_sc = self.0.sc.conf().get_parsed("spark.streaming.stopSparkContextByDefault", true)?;
        self.stop_with(stop_sc, false)
    }

    /// Stops stream and [`SparkContext`] as a program does that is told to end, by a signal or otherwise: gracefully, if
    /// `spark.streaming.stopGracefullyOnShutdown` is true.
    pub fn stop_on_shutdown(&self) -> Result<()> {
        self.stop_with(true, self.0.sc.conf().get_parsed("spark.streaming.stopGracefullyOnShutdown", false)?)
    }

    /// Makes a graceful stop that goes on elsewhere one at once: no job starts any more. Does not wait for its end.
    pub fn hurry_stop(&self) {
        // Not locked while it is stopped.
        let execution = self.0.execution.lock().clone();
        if let Some(execution) = execution {
            execution.halt();
        }
    }

    /// Stops the stream; gracefully means that everything received is processed first, as far as it is made into batches
    /// within `spark.streaming.gracefulStopTimeout` (10 batches). Stopping twice is no error.
    ///
    /// # Errors
    /// If a listener or a task asks for it: the stop would wait for them. If a receiver with the write-ahead log had rows that could not be
    /// written to it: they are lost, and the stream has stopped all the same.
    pub fn stop_with(&self, stop_spark_context: bool, graceful: bool) -> Result<()> {
        if on_listener_thread() {
            return Err(Error::usage("Cannot stop StreamingContext within listener bus thread."));
        }
        if forbid_in_task().is_err() {
            return Err(Error::usage("Cannot stop StreamingContext within a task."));
        }
        let execution = {
            let execution = self.0.execution.lock();
            if self.state() == StreamingContextState::Initialized {
                tracing::warn!("StreamingContext has not been started yet");
                *self.0.state.lock() = StreamingContextState::Stopped;
                self.0.let_go();
            }
            execution.clone()
        };
        // Without the lock: jobs may ask for the stop, too, while they end.
        let stopped = execution.map_or(Ok(()), |execution| {
            let stopped = execution.stop(graceful);
            self.0.bus.flush();
            stopped
        });
        // With the execution goes the lock of the checkpoint folder.
        *self.0.execution.lock() = None;
        *self.0.state.lock() = StreamingContextState::Stopped;
        self.0.waiter.stop();
        if stop_spark_context {
            self.0.sc.stop();
        }
        stopped
    }
}
