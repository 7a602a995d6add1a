//! Operators with state: what outlives a batch, by key or by batch.
//!
//! A stateful operator runs twice for a batch. First, as a *state step* before all output operations, it brings the state of each
//! partition to its next version, once, whoever reads it after. Then its *views* read what that left: the whole state, or
//! what the step put out.

pub mod inverse;
pub mod keyed;
pub mod logic;
pub mod update;
pub mod window;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use tidemill_engine::batch::BatchStamp;
use tidemill_engine::chunk::{Chunk, Data, Element, binary_column, decode_row, rows_schema};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{CallSite, Emit, Flow, Function, FunctionRegistry, Operator, OperatorTask, TaskInfo};
use tidemill_engine::lineage::{Chunks, Deps, Lineage, Values};
use tidemill_engine::operator::lower::lower;
use tidemill_engine::operator::stage::StageOutput;
use tidemill_engine::planner::StateStep;
use tidemill_engine::state::StateStore;
use tidemill_engine::state::cell::{HotState, StateCell};
use tidemill_engine::state::shape::Shape;
use tidemill_engine::time::Time;

use crate::context::SparkContext;
use crate::dataset::Dataset;
use crate::op::narrow::decode_values;
use crate::op::pair::KeyMap;
use crate::op::partition::Key;

/// A stateful operator of the graph, without its types.
pub struct StateCore {
    /// Its state.
    pub cell: Arc<StateCell>,
    /// What it does: `update_state_by_key`.
    pub kind: &'static str,
    /// Where the program defines it.
    pub call_site: CallSite,
    /// Whether it refuses to run without a checkpoint.
    pub must_checkpoint: bool,
    name: Mutex<Option<String>>,
    shapes: Mutex<Option<fn() -> (Shape, Shape)>>,
    asked: usize,
    settled: OnceLock<usize>,
}

impl StateCore {
    /// An operator that asks for this many partitions; a checkpoint that has its state decides.
    #[track_caller]
    pub fn new(kind: &'static str, partitions: usize, must_checkpoint: bool) -> Arc<Self> {
        let (cell, call_site) = (Arc::default(), CallSite::here());
        let (name, shapes, settled) = (Mutex::default(), Mutex::default(), OnceLock::new());
        Arc::new(Self { cell, kind, call_site, must_checkpoint, name, shapes, asked: partitions.max(1), settled })
    }

    /// Says of what types the keys and values of its changelog are.
    pub fn describe<K: Data, S: Data>(&self) {
        *self.shapes.lock() = Some(|| (Shape::of::<K>(), Shape::of::<S>()));
    }

    /// What the keys and values of its changelog look like.
    pub fn shapes(&self) -> (Shape, Shape) {
        let shapes = *self.shapes.lock();
        shapes.map_or_else(|| (Shape::of::<()>(), Shape::of::<()>()), |shapes| shapes())
    }

    /// The name that the program gave it.
    pub fn name(&self) -> Option<String> {
        self.name.lock().clone()
    }

    /// Names it: a restart finds its state by that.
    pub fn set_name(&self, name: impl Into<String>) {
        *self.name.lock() = Some(name.into());
    }

    /// The number of its partitions.
    pub fn partitions(&self) -> usize {
        self.settled.get().copied().unwrap_or(self.asked)
    }

    /// Ties it to its state, which has this many partitions.
    pub fn bind(&self, operator: &str, partitions: usize, store: Arc<dyn StateStore>) {
        let partitions = *self.settled.get_or_init(|| partitions);
        self.cell.bind(operator, partitions, store);
    }

    /// Ties it to the state of the same operator in another graph of this process.
    pub fn share(&self, other: &StateCore) {
        self.settled.get_or_init(|| other.partitions());
        self.cell.share(&other.cell);
    }

    /// The step that runs `lineage`, whose tasks bring the state to its next version.
    pub fn step(&self, sc: &SparkContext, lineage: Arc<Lineage>) -> StateStep {
        let (sc, done) = (sc.clone(), AtomicBool::new(false));
        let run = move || {
            if done.load(Ordering::Acquire) {
                return Ok(());
            }
            let partitions: Vec<usize> = (0..lineage.partitions()).collect();
            sc.runner()?.run(lower(&lineage, StageOutput::Rows)?, &partitions)?;
            done.store(true, Ordering::Release);
            Ok(())
        };
        StateStep { name: self.kind.to_string(), description: self.call_site.to_string(), run: Arc::new(run) }
    }
}

/// A leaf without rows, of as many partitions as are wanted: what a reader of states stands on.
struct Nothing {
    partitions: usize,
    rows: usize,
    decoder: Arc<Function>,
}

impl Values for Nothing {
    fn partitions(&self) -> usize {
        self.partitions
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn chunks(self: Arc<Self>, _: usize) -> Chunks {
        Box::new(std::iter::empty())
    }

    fn encode(&self, _: usize) -> Result<RecordBatch> {
        Ok(RecordBatch::new_empty(rows_schema()))
    }

    fn decoder(&self) -> Arc<Function> {
        Arc::clone(&self.decoder)
    }
}

/// A leaf of `partitions` partitions without a `T`; `rows` says how much work stands above it.
pub fn nothing<T: Data>(functions: &Arc<FunctionRegistry>, partitions: usize, rows: usize) -> Arc<Lineage> {
    Lineage::values(Arc::new(Nothing { partitions, rows, decoder: decode_values::<T>(functions) }))
}

type Read = dyn Fn(&StateCell, usize, u64, &mut Emit<'_>) -> Result<()> + Send + Sync;

/// How a reader gets at a state: made with the graph, applied to every batch.
#[derive(Clone)]
pub struct View {
    cell: Arc<StateCell>,
    types: String,
    element: &'static dyn Element,
    read: Arc<Read>,
}

impl View {
    /// A view that emits what `read` makes of (the state, a partition of the view, a number that says which batch). `name` is that of
    /// the graph's node that it belongs to, and makes it its own.
    pub fn new(
        sc: &SparkContext,
        name: &str,
        cell: &Arc<StateCell>,
        element: &'static dyn Element,
        read: impl Fn(&StateCell, usize, u64, &mut Emit<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let types = format!("{name} {}", element.type_name());
        let view = Self { cell: Arc::clone(cell), types, element, read: Arc::new(read) };
        // Where plans arrive the function must be known before the first of them does.
        view.function(sc.functions(), 0);
        decode_values::<()>(sc.functions());
        view
    }

    fn function(&self, functions: &Arc<FunctionRegistry>, which: u64) -> Arc<Function> {
        let (cell, read) = (Arc::clone(&self.cell), Arc::clone(&self.read));
        let make = move |which: u64| {
            Arc::new(ReadState { cell: Arc::clone(&cell), read: Arc::clone(&read), which }) as Arc<dyn Operator>
        };
        functions.builtin_of("read_state", &self.types, self.element, which, make)
    }

    /// The data set of a batch; `rows` is a guess at its size.
    pub fn at(&self, sc: &SparkContext, which: u64, partitions: usize, rows: usize) -> Dataset {
        let leaf = nothing::<()>(sc.functions(), partitions, rows);
        Dataset::new(Lineage::op(self.function(sc.functions(), which), vec![leaf], Deps::Aligned))
    }
}

/// A batch time as the number of a view.
pub fn number_of(time: Time) -> u64 {
    time.as_millis().cast_unsigned()
}

/// The batch time that a view's number is.
pub fn time_of(number: u64) -> Time {
    Time::from_millis(number.cast_signed())
}

struct ReadState {
    cell: Arc<StateCell>,
    read: Arc<Read>,
    which: u64,
}

struct ReadStateTask {
    cell: Arc<StateCell>,
    read: Arc<Read>,
    which: u64,
    partition: usize,
}

impl Operator for ReadState {
    fn open(&self, task: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        let (cell, read) = (Arc::clone(&self.cell), Arc::clone(&self.read));
        Ok(Box::new(ReadStateTask { cell, read, which: self.which, partition: task.partition }))
    }
}

impl OperatorTask for ReadStateTask {
    fn push(&mut self, _: usize, _: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
        (self.read)(&self.cell, self.partition, self.which, out)
    }
}

/// The batch of a task that changes a state.
pub fn batch_of(task: TaskInfo) -> Result<BatchStamp> {
    task.batch.ok_or_else(|| Error::internal("a state is changed outside a batch"))
}

/// States by key; one is taken out while a function of the user's owns it.
pub type Slots<K, S> = KeyMap<K, Option<S>>;

/// States by key, as rows of a changelog have them.
pub struct ByKey<K, S>(pub Slots<K, S>);

impl<K: Key, S: Data> ByKey<K, S> {
    /// Applies rows of a changelog.
    pub fn apply_rows(&mut self, rows: &RecordBatch) -> Result<()> {
        each_change(rows, |key, value| {
            let key = decode_row::<K>(key)?;
            match value {
                Some(value) => drop(self.0.insert(key, Some(decode_row::<S>(value)?))),
                None => drop(self.0.remove(&key)),
            }
            Ok(())
        })
    }
}

impl<K: Key, S: Data> HotState for ByKey<K, S> {
    fn apply(&mut self, rows: &RecordBatch) -> Result<()> {
        self.apply_rows(rows)
    }

    fn rows(&self) -> usize {
        self.0.len()
    }
}

/// Calls `f` with every key of a batch of changes, and its value, or none where it was removed.
pub fn each_change(rows: &RecordBatch, mut f: impl FnMut(&[u8], Option<&[u8]>) -> Result<()>) -> Result<()> {
    use arrow::array::Array;
    let (keys, values) = (binary_column(rows, 0)?, binary_column(rows, 1)?);
    (0..keys.len()).try_for_each(|row| f(keys.value(row), values.is_valid(row).then(|| values.value(row))))
}
