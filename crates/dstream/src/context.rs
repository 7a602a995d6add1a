//! `SparkContext`: the driver's hold on runner, functions and memory; makes the first RDDs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::RwLock;
use tidemill_engine::cache::MemoryBudget;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::FunctionRegistry;
use tidemill_engine::runner::JobRunner;
use tidemill_engine::runner::local::LocalJobRunner;

use crate::conf::SparkConf;

/// The entry to RDDs. Cheap to clone; all clones are one context.
#[derive(Clone)]
pub struct SparkContext(Arc<Inner>);

struct Inner {
    conf: SparkConf,
    functions: Arc<FunctionRegistry>,
    runner: RwLock<Arc<dyn JobRunner>>,
    budget: Arc<MemoryBudget>,
    stopped: AtomicBool,
    shadow: bool,
    /// How many graphs of streams were begun.
    graphs: AtomicU32,
}

impl SparkContext {
    /// A context that runs tasks as `master` says: `local`, `local[N]`, `local[*]`.
    pub fn new(master: &str, app_name: &str) -> Result<Self> {
        Self::from_conf(SparkConf::new().set_master(master).set_app_name(app_name))
    }

    /// A context with these settings.
    ///
    /// `spark.memory.storageBytes` bounds what persisted RDDs hold in memory together (default: 1 GiB).
    pub fn from_conf(conf: SparkConf) -> Result<Self> {
        let runner: Arc<dyn JobRunner> = Arc::new(LocalJobRunner::new(conf.task_threads()?)?);
        Self::build(conf, runner, false)
    }

    /// A context for building a graph only, as a worker does to learn the program's functions: no action runs on it.
    pub fn shadow(conf: SparkConf) -> Result<Self> {
        struct Nothing;
        impl JobRunner for Nothing {
            fn run(
                &self,
                _: Arc<dyn datafusion_physical_plan::ExecutionPlan>,
                _: &[usize],
            ) -> Result<Vec<Vec<tidemill_engine::chunk::Chunk>>> {
                Err(Error::usage("actions run on the driver only; this context just learns the program's functions"))
            }
            fn parallelism(&self) -> usize {
                1
            }
        }
        Self::build(conf, Arc::new(Nothing), true)
    }

    fn build(conf: SparkConf, runner: Arc<dyn JobRunner>, shadow: bool) -> Result<Self> {
        let budget = MemoryBudget::new(conf.get_parsed("spark.memory.storageBytes", 1usize << 30)?);
        if conf.get_parsed("spark.default.parallelism", 1usize)? == 0 {
            return Err(Error::usage("spark.default.parallelism=0 is not a number of partitions"));
        }
        let (functions, stopped) = (Arc::default(), AtomicBool::new(false));
        let (runner, graphs) = (RwLock::new(runner), AtomicU32::new(0));
        Ok(Self(Arc::new(Inner { conf, functions, runner, budget, stopped, shadow, graphs })))
    }

    /// The settings.
    pub fn conf(&self) -> &SparkConf {
        &self.0.conf
    }

    /// The application's name.
    pub fn app_name(&self) -> &str {
        self.conf().get("spark.app.name").unwrap_or("tidemill")
    }

    /// The number of partitions where nobody asks for another: `spark.default.parallelism`, or the task threads.
    pub fn default_parallelism(&self) -> usize {
        let threads = self.conf().task_threads().unwrap_or(1);
        self.conf().get_parsed("spark.default.parallelism", threads).unwrap_or(threads).max(1)
    }

    /// The least number of partitions of a text file: at most 2.
    pub fn default_min_partitions(&self) -> usize {
        self.default_parallelism().min(2)
    }

    /// Ends the context: actions fail from here on. Stopping twice is no error.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Relaxed)
    }

    /// Whether it exists for its functions only.
    pub fn is_shadow(&self) -> bool {
        self.0.shadow
    }

    /// The registry of all closures of this context's program.
    pub fn functions(&self) -> &Arc<FunctionRegistry> {
        &self.0.functions
    }

    /// The number of a new graph of streams: programs that build the same graphs in the same order give them the same numbers.
    pub(crate) fn next_graph(&self) -> u32 {
        self.0.graphs.fetch_add(1, Ordering::Relaxed)
    }

    /// What runs the jobs.
    pub fn runner(&self) -> Result<Arc<dyn JobRunner>> {
        if self.is_stopped() {
            return Err(Error::usage("Cannot call methods on a stopped SparkContext"));
        }
        Ok(Arc::clone(&self.0.runner.read()))
    }

    /// Has jobs run elsewhere from here on: on a cluster, or through a test's runner.
    pub fn set_runner(&self, runner: Arc<dyn JobRunner>) {
        *self.0.runner.write() = runner;
    }

    /// The memory that persisted RDDs share.
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.0.budget
    }
}
