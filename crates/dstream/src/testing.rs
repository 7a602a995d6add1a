//! A kit for testing streams without a server and without waiting: batches in, batches out, on a manual clock.
//!
//! ```
//! use tidemill_dstream::testing::StreamTest;
//!
//! StreamTest::new(|_, numbers| Ok(numbers.map(|n: i32| n * 2)))
//!     .add_data([1, 2]).check_batch([2, 4])
//!     .add_data([3]).check_batch([6])
//!     .check_batch([])
//!     .run()?;
//! # Ok::<(), tidemill_engine::error::Error>(())
//! ```
//!
//! Unless told otherwise, every plan of the test travels: it is encoded, decoded against the functions of a second context
//! on which the same graph was built, and what comes out is run. So a test that passes here passes on a cluster.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_engine::chunk::Data;
use tidemill_engine::clock::{Clock, ManualClock};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::runner::travel::TravelingJobRunner;
use tidemill_engine::time::Time;

use crate::conf::SparkConf;
use crate::context::SparkContext;
use crate::input::MemoryStream;
use crate::stream::DStream;
use crate::streaming_context::StreamingContext;

/// Settings for a test's context: two task threads, other contexts allowed beside it.
pub fn test_conf() -> SparkConf {
    SparkConf::new().set_master("local[2]").set_app_name("test").set("spark.driver.allowMultipleContexts", true)
}

/// A program on a manual clock, with what its plans do on their way.
pub struct TestContext {
    /// The context.
    pub ssc: StreamingContext,
    clock: ManualClock,
    runner: Option<Arc<TravelingJobRunner>>,
    _twin: Option<StreamingContext>,
}

impl TestContext {
    /// Builds a program on a manual clock at 0 ms and starts it. Where plans travel, `build` is run a second time, on a context
    /// for the functions only.
    pub fn start(
        conf: SparkConf,
        batch: Duration,
        travel: bool,
        build: impl Fn(&StreamingContext) -> Result<()>,
    ) -> Result<Self> {
        Self::start_at(Time::from_millis(0), conf, batch, travel, build)
    }

    /// [`TestContext::start`], with the clock at a given time: one that fits the times of real files.
    pub fn start_at(
        time: Time,
        conf: SparkConf,
        batch: Duration,
        travel: bool,
        build: impl Fn(&StreamingContext) -> Result<()>,
    ) -> Result<Self> {
        Self::start_on(ManualClock::at(time), conf, batch, travel, build)
    }

    /// [`TestContext::start`] on a clock that may have run before: a restart goes on where that was.
    pub fn start_on(
        clock: ManualClock,
        conf: SparkConf,
        batch: Duration,
        travel: bool,
        build: impl Fn(&StreamingContext) -> Result<()>,
    ) -> Result<Self> {
        let sc = SparkContext::from_conf(conf.clone())?;
        let (mut runner, mut twin) = (None, None);
        if travel {
            let shadow = StreamingContext::new(&SparkContext::shadow(conf)?, batch)?;
            build(&shadow)?;
            let there = Arc::clone(shadow.spark_context().functions());
            let traveling = Arc::new(TravelingJobRunner::new(sc.runner()?, Arc::clone(sc.functions()), there));
            sc.set_runner(Arc::clone(&traveling) as Arc<dyn tidemill_engine::runner::JobRunner>);
            (runner, twin) = (Some(traveling), Some(shadow));
        }
        let ssc = StreamingContext::new(&sc, batch)?;
        ssc.set_clock(Arc::new(clock.clone()))?;
        build(&ssc)?;
        if let Some(twin) = &twin
            && twin.spark_context().functions().fingerprint() != sc.functions().fingerprint()
        {
            return Err(Error::usage("building the graph twice gave two different graphs: its plans can't travel"));
        }
        ssc.start()?;
        if let Some(twin) = &twin {
            twin.graph().share_states(ssc.graph());
        }
        Ok(Self { ssc, clock, runner, _twin: twin })
    }

    /// The clock.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Moves the clock to the next batch time and waits until that batch is over; its time.
    pub fn run_batch(&self) -> Time {
        let batch = self.ssc.batch_duration();
        self.run_batch_at(Clock::now(&self.clock).floor(batch) + batch)
    }

    /// Waits until the batch of `time`, and all before it, are over; the clock moves there if it is not past it.
    pub fn run_batch_at(&self, time: Time) -> Time {
        self.clock.advance_to(time);
        self.ssc.wait_for_batch(time);
        time
    }

    /// How many plans traveled, and how many stayed on the driver.
    pub fn traveled(&self) -> (u64, u64) {
        self.runner.as_ref().map_or((0, 0), |runner| runner.counts())
    }

    /// Stops, and gives the first error of the stream.
    pub fn stop(self) -> Result<()> {
        let result = self.ssc.await_termination_or_timeout(Duration::ZERO);
        self.ssc.stop_with(true, false)?;
        result.map(drop)
    }
}

enum Step<T, U> {
    Add(Vec<T>),
    Check(Vec<U>),
    Advance,
    Restart(Duration),
}

type Build<T, U> = dyn Fn(&StreamingContext, DStream<T>) -> Result<DStream<U>>;

/// A test of one stream: steps, and what they must give.
pub struct StreamTest<T, U> {
    build: Box<Build<T, U>>,
    steps: Vec<Step<T, U>>,
    conf: SparkConf,
    batch: Duration,
    travel: bool,
    ordered: bool,
    restarts: bool,
}

impl<T: Data, U: Data + Debug + PartialEq> StreamTest<T, U> {
    /// A test of the stream that `build` makes of an input stream. Batches are one second apart.
    pub fn new(build: impl Fn(&StreamingContext, DStream<T>) -> Result<DStream<U>> + 'static) -> Self {
        let (build, batch) = (Box::new(build), Duration::from_secs(1));
        Self { build, steps: Vec::new(), conf: test_conf(), batch, travel: true, ordered: false, restarts: false }
    }

    /// Sets a key of the configuration.
    pub fn conf(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.conf = self.conf.set(key, value);
        self
    }

    /// The time between batches.
    pub fn batch_duration(mut self, batch: Duration) -> Self {
        self.batch = batch;
        self
    }

    /// Plans run as they are: for programs whose closures can't be found by building the graph again.
    pub fn stay(mut self) -> Self {
        self.travel = false;
        self
    }

    /// Rows are compared in their order; by default a batch is a bag.
    pub fn ordered(mut self) -> Self {
        self.ordered = true;
        self
    }

    /// Adds rows to the input.
    pub fn add_data(mut self, rows: impl IntoIterator<Item = T>) -> Self {
        self.steps.push(Step::Add(rows.into_iter().collect()));
        self
    }

    /// Runs a batch and compares its rows. A batch on which the stream has no RDD has no rows.
    pub fn check_batch(mut self, rows: impl IntoIterator<Item = U>) -> Self {
        self.steps.push(Step::Check(rows.into_iter().collect()));
        self
    }

    /// Runs a batch and compares nothing.
    pub fn advance(mut self) -> Self {
        self.steps.push(Step::Advance);
        self
    }

    /// Stops the program and starts it anew, as a new process would; the clock goes on.
    pub fn restart(self) -> Self {
        self.restart_after(Duration::ZERO)
    }

    /// [`StreamTest::restart`] with a time between in which the program is down. The batches of that time are run at the start: the checks that
    /// follow are theirs.
    pub fn restart_after(mut self, down: Duration) -> Self {
        self.steps.push(Step::Restart(down));
        self
    }

    /// Stops the program and starts it anew after every batch.
    pub fn restart_after_each_batch(mut self) -> Self {
        self.restarts = true;
        self
    }

    /// Adds data and checks the batch, for each pair.
    pub fn batches<I, O>(self, batches: impl IntoIterator<Item = (I, O)>) -> Self
    where
        I: IntoIterator<Item = T>,
        O: IntoIterator<Item = U>,
    {
        batches.into_iter().fold(self, |test, (input, output)| test.add_data(input).check_batch(output))
    }

    fn start(&self, clock: &ManualClock) -> Result<(TestContext, MemoryStream<T>, Collected<U>)> {
        let (input, output) = (Mutex::new(None), Collected::default());
        let context = TestContext::start_on(clock.clone(), self.conf.clone(), self.batch, self.travel, |ssc| {
            let (memory, stream) = ssc.memory_stream()?;
            *input.lock() = Some(memory);
            let rows = output.clone();
            (self.build)(ssc, stream)?.foreach_rdd_with_time(move |rdd, time| {
                let collected = rdd.collect()?;
                rows.0.lock().insert(time, collected);
                Ok(())
            })
        })?;
        let input = input.into_inner().ok_or_else(|| Error::internal("the test's graph was not built"))?;
        Ok((context, input, output))
    }

    /// Runs the steps.
    ///
    /// # Errors
    /// If a batch is not as it should be, or the stream fails.
    pub fn run(self) -> Result<()> {
        let clock = ManualClock::at(Time::from_millis(0));
        let (mut context, mut input, mut output) = self.start(&clock)?;
        let mut time = Time::from_millis(0);
        for (number, step) in self.steps.iter().enumerate() {
            match step {
                Step::Add(rows) => input.add(rows.iter().cloned()),
                Step::Advance => time = context.run_batch_at(time + self.batch),
                Step::Check(expected) => {
                    time = context.run_batch_at(time + self.batch);
                    context.ssc.await_termination_or_timeout(Duration::ZERO)?;
                    let got = output.0.lock().remove(&time).unwrap_or_default();
                    if !self.same(&got, expected) {
                        return Err(Error::data(format!(
                            "step {number}, batch {time}: expected {expected:?}, got {got:?}"
                        )));
                    }
                }
                Step::Restart(down) => {
                    context.stop()?;
                    clock.advance(*down);
                    (context, input, output) = self.start(&clock)?;
                }
            }
            if self.restarts && matches!(step, Step::Check(_) | Step::Advance) && number + 1 < self.steps.len() {
                context.stop()?;
                (context, input, output) = self.start(&clock)?;
            }
        }
        let (_, stayed) = context.traveled();
        if stayed > 0 {
            return Err(Error::usage(format!("{stayed} plans could not travel; `stay` allows that")));
        }
        context.stop()
    }

    fn same(&self, got: &[U], expected: &[U]) -> bool {
        if self.ordered {
            return got == expected;
        }
        let mut left: Vec<&U> = got.iter().collect();
        got.len() == expected.len()
            && expected.iter().all(|row| {
                let found = left.iter().position(|other| *other == row);
                found.map(|at| left.swap_remove(at)).is_some()
            })
    }
}

/// The rows of each batch that came out.
struct Collected<U>(Arc<Mutex<BTreeMap<Time, Vec<U>>>>);

impl<U> Default for Collected<U> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<U> Clone for Collected<U> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
