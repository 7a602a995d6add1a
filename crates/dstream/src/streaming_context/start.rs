//! The start of a context: from its settings, its graph and its checkpoint to the running loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_engine::checkpoint::metadata::{CheckpointMetadata, Program};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::input::Input;
use tidemill_engine::micro_batch::{MicroBatchExecution, Setup};
use tidemill_engine::rate::{PidRateEstimator, RateEstimator};
use tidemill_engine::recovery::open_checkpoint;
use tidemill_engine::time::Time;
use tidemill_engine::trigger::Trigger;

use super::StreamingContext;
use crate::conf::check_keys;
use crate::state_names::open_states;

impl StreamingContext {
    pub(super) fn begin(&self) -> Result<MicroBatchExecution> {
        let (inner, conf) = (&self.0, self.0.sc.conf());
        inner.sc.runner()?;
        inner.graph.validate(self.checkpoint_dir().is_some() || inner.states_in_memory.load(Ordering::Relaxed))?;
        self.make_room()?;
        let clock = self.clock();
        let trigger = Trigger::Interval(inner.batch_duration);
        let checkpoint = self.checkpoint_dir().map(|folder| open_checkpoint(&folder)).transpose()?;
        let mut names = inner.graph.input_names();
        let mut inputs = BTreeMap::new();
        for input in inner.graph.inputs() {
            let estimator = self.rate_estimator()?.filter(|_| input.source.rate_limiter().is_some());
            let name = names.remove(&input.stream).unwrap_or_default();
            let replayable = input.source.is_replayable();
            let (estimator, interval) = (estimator.map(Mutex::new), inner.batch_duration);
            inputs.insert(input.stream, Input { name, source: input.source, estimator, interval });
            if checkpoint.is_some() && !replayable {
                tracing::warn!(
                    stream = inputs[&input.stream].name,
                    "this source can't be read again after a restart: what it gave to unfinished batches is lost"
                );
            }
        }
        let resume = checkpoint.as_ref().map(|(_, resume)| resume);
        let first = self.first_batch(trigger, clock.now(), resume.and_then(|resume| resume.last_time))?;
        let (mut zero, mut saved) = (first - inner.batch_duration, None);
        if let Some((logs, resume)) = &checkpoint {
            let program = Program {
                batch_interval: inner.batch_duration,
                zero,
                next: resume.next,
                streams: inputs.values().map(|input| input.name.as_str()).collect(),
                dropped: conf.get("spark.tidemill.checkpoint.drop").unwrap_or_default(),
            };
            let metadata = CheckpointMetadata::for_program(logs.metadata(), &program)?;
            zero = metadata.zero;
            saved = Some((logs, resume, metadata));
        }
        check_keys(conf)?;
        let state = open_states(conf, &inner.graph.states(), saved)?;
        inner.graph.start(zero);
        let graceful_timeout = "spark.streaming.gracefulStopTimeout";
        MicroBatchExecution::start(Setup {
            clock,
            trigger,
            first,
            zero,
            inputs,
            planner: Arc::clone(&inner.graph) as Arc<dyn tidemill_engine::planner::BatchPlanner>,
            checkpoint,
            state,
            retained_batches: conf.get_parsed("spark.tidemill.checkpoint.retainedBatches", 10u64)?,
            bus: Arc::clone(&inner.bus),
            waiter: Arc::clone(&inner.waiter),
            concurrent_jobs: conf.get_parsed("spark.streaming.concurrentJobs", 1usize)?,
            graceful_timeout: conf.get_duration(
                graceful_timeout,
                Duration::from_millis(1),
                10 * inner.batch_duration,
            )?,
        })
    }

    /// When the first new batch is due. A restart makes up for the batches since the last one, each at its own time.
    fn first_batch(&self, trigger: Trigger, now: Time, last: Option<Time>) -> Result<Time> {
        let Some(last) = last else { return Ok(trigger.first_after(now)) };
        let key = "spark.tidemill.recovery.maxMissedBatches";
        let (first, skipped) = trigger.first_after_restart(last, now, self.0.sc.conf().get_parsed(key, u64::MAX)?);
        if skipped > 0 {
            tracing::warn!(skipped, %first, "{key} leaves out the oldest of the batches that were missed");
        }
        Ok(first)
    }

    fn rate_estimator(&self) -> Result<Option<Box<dyn RateEstimator>>> {
        let conf = self.0.sc.conf();
        let key = |name: &str| format!("spark.streaming.backpressure.{name}");
        if !conf.get_parsed(&key("enabled"), false)? {
            return Ok(None);
        }
        match conf.get(&key("rateEstimator")).unwrap_or("pid") {
            "pid" => Ok(Some(Box::new(PidRateEstimator::new(
                self.0.batch_duration,
                conf.get_parsed(&key("pid.proportional"), 1.0)?,
                conf.get_parsed(&key("pid.integral"), 0.2)?,
                conf.get_parsed(&key("pid.derived"), 0.0)?,
                conf.get_parsed(&key("pid.minRate"), 100.0)?,
            )?))),
            other => Err(Error::usage(format!("Unknown rate estimator: {other}; there is pid"))),
        }
    }
}
