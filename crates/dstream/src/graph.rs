//! The graph of a streaming program, and the planner that it is: from a batch to the jobs of its output operations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tidemill_engine::batch::{Batch, BatchId, StreamId};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::CallSite;
use tidemill_engine::planner::{BatchPlanner, Job, JobSet, StateStep};
use tidemill_engine::sink::Sink;
use tidemill_engine::source::{InputInfo, Source};
use tidemill_engine::time::Time;

use crate::context::SparkContext;
use crate::dataset::{Dataset, failed};
use crate::node::{Compute, Planning, StreamNode};
use crate::op::state::StateCore;

/// What happens with a data set of an output operation.
pub type OutputBody = Arc<dyn Fn(Dataset, Time) -> Result<()> + Send + Sync>;

/// The rows of a data set, for people.
pub type ShowRows = Arc<dyn Fn(Dataset) -> Result<Vec<Value>> + Send + Sync>;

/// An output operation.
pub struct OutputOp {
    /// What it does: `print`.
    pub name: &'static str,
    /// Where the program defines it.
    pub call_site: CallSite,
    /// The stream whose batches it gets.
    pub node: Arc<StreamNode>,
    /// What it does with a batch.
    pub body: OutputBody,
    /// The stream whose rows it is for: where tasks write, the one before they do.
    pub shown: Arc<StreamNode>,
    /// The rows of a batch of that stream.
    pub show: ShowRows,
}

/// What a batch needs of the graph.
struct Planned {
    state: Vec<StateStep>,
    /// The output operations that are due, with their numbers and data sets.
    outputs: Vec<(usize, Arc<OutputOp>, Dataset)>,
    inputs: BTreeMap<StreamId, InputInfo>,
    /// Data of the batch is lost: neither states nor outputs have it.
    lost: bool,
}

/// An input stream.
#[derive(Clone)]
pub struct InputStream {
    /// Its number.
    pub stream: StreamId,
    /// Its node.
    pub node: Arc<StreamNode>,
    /// Where its data comes from.
    pub source: Arc<dyn Source>,
}

/// Planned again to learn functions: the data sets are kept so that the functions live, by node and time.
type Learned = BTreeMap<(Time, u32), Option<Dataset>>;

/// The data sets of input streams, by node.
type Read = Vec<(Arc<StreamNode>, Option<Dataset>)>;

/// How many (node, time) plannings a worker keeps.
const LEARNED: usize = 256;

/// The graph.
pub struct DStreamGraph {
    sc: SparkContext,
    /// Which graph of its context it is.
    number: u32,
    next_node: AtomicU32,
    nodes: Mutex<BTreeMap<u32, Arc<StreamNode>>>,
    inputs: Mutex<Vec<InputStream>>,
    outputs: Mutex<Vec<Arc<OutputOp>>>,
    remember: Mutex<Option<Duration>>,
    zero: Mutex<Option<Time>>,
    learned: Mutex<Learned>,
    /// What batches have read that are still to be planned: their sources may have forgotten it.
    held: Mutex<BTreeMap<Time, Read>>,
    claimed: Mutex<BTreeSet<String>>,
    /// The nodes that bring states forward, parents first: of the outputs, once the graph is complete.
    stateful: Mutex<Vec<Arc<StreamNode>>>,
    /// Functions of the program's that may run jobs on states while a batch is planned.
    plans_in_turn: AtomicBool,
    fault: Mutex<Option<Error>>,
    unpersist: bool,
}

impl DStreamGraph {
    /// An empty graph.
    pub fn new(sc: &SparkContext) -> Result<Arc<Self>> {
        let unpersist = sc.conf().get_parsed("spark.streaming.unpersist", true)?;
        let graph = Arc::new(Self {
            sc: sc.clone(),
            number: sc.next_graph(),
            next_node: AtomicU32::new(1),
            nodes: Mutex::default(),
            inputs: Mutex::default(),
            outputs: Mutex::default(),
            remember: Mutex::default(),
            zero: Mutex::default(),
            learned: Mutex::default(),
            held: Mutex::default(),
            claimed: Mutex::default(),
            stateful: Mutex::default(),
            plans_in_turn: AtomicBool::new(false),
            fault: Mutex::default(),
            unpersist,
        });
        let weak = Arc::downgrade(&graph);
        sc.functions().set_resolver(move |node, time| weak.upgrade().map_or(Ok(()), |graph| graph.learn(node, time)));
        Ok(graph)
    }

    /// Adds a node.
    pub fn add_node(
        &self,
        name: &'static str,
        slide: Duration,
        parents: Vec<Arc<StreamNode>>,
        compute: impl Compute + 'static,
    ) -> Arc<StreamNode> {
        let node = StreamNode::new(self.next_node.fetch_add(1, Ordering::Relaxed), name, slide, parents, compute);
        self.nodes.lock().insert(node.id, Arc::clone(&node));
        node
    }

    /// The name of the next node's view of a state: no other graph of the same context has it.
    pub fn next_view(&self) -> String {
        format!("node {} of graph {}", self.next_node.load(Ordering::Relaxed), self.number)
    }

    /// Whether a node is one of this graph's.
    pub fn has_node(&self, node: &Arc<StreamNode>) -> bool {
        self.nodes.lock().get(&node.id).is_some_and(|own| Arc::ptr_eq(own, node))
    }

    /// Adds an input stream over a source.
    pub fn add_input(
        &self,
        name: &'static str,
        slide: Duration,
        source: Arc<dyn Source>,
        compute: impl FnOnce(StreamId) -> Box<dyn Compute>,
    ) -> Arc<StreamNode> {
        let mut inputs = self.inputs.lock();
        let stream = StreamId(inputs.len() as u32);
        let node = self.add_node(name, slide, Vec::new(), Boxed(compute(stream)));
        inputs.push(InputStream { stream, node: Arc::clone(&node), source });
        node
    }

    /// The number that the next input stream will have.
    pub fn next_stream(&self) -> StreamId {
        StreamId(self.inputs.lock().len() as u32)
    }

    /// Adds an output operation.
    pub fn add_output(&self, op: OutputOp) {
        self.outputs.lock().push(Arc::new(op));
    }

    /// The input streams.
    pub fn inputs(&self) -> Vec<InputStream> {
        self.inputs.lock().clone()
    }

    /// What each input stream is called: what the program calls it, or else its source's name, with a number behind it for the second of the same
    /// name.
    pub fn input_names(&self) -> BTreeMap<StreamId, String> {
        let inputs = self.inputs.lock();
        let mut names: BTreeMap<StreamId, String> =
            inputs.iter().filter_map(|input| Some((input.stream, input.node.user_name()?))).collect();
        let mut taken: BTreeSet<String> = names.values().cloned().collect();
        for input in inputs.iter() {
            names.entry(input.stream).or_insert_with(|| {
                let base = input.source.name();
                let numbered = (2..).map(|n| format!("{base} ({n})"));
                // There are more numbers than names that are taken.
                let name = std::iter::once(base.clone()).chain(numbered).find(|name| !taken.contains(name));
                let name = name.unwrap_or(base);
                taken.insert(name.clone());
                name
            });
        }
        names
    }

    /// Keeps all data sets at least this long.
    pub fn set_remember(&self, duration: Duration) -> Result<()> {
        let mut remember = self.remember.lock();
        if let Some(already) = *remember {
            return Err(Error::usage(format!(
                "Remember duration already set as {} ms. Cannot set it again.",
                already.as_millis()
            )));
        }
        *remember = Some(duration);
        Ok(())
    }

    /// The program is wrong, where a method can't say so itself: the start will. The first fault counts.
    pub fn refuse(&self, fault: Error) {
        self.fault.lock().get_or_insert(fault);
    }

    /// Checks that the program is right, and that there is something to do; `checkpoint` says whether it has a checkpoint folder.
    pub fn validate(&self, checkpoint: bool) -> Result<()> {
        if let Some(fault) = self.fault.lock().clone() {
            return Err(fault);
        }
        let mut names = BTreeMap::new();
        for node in self.nodes.lock().values() {
            let Some(name) = node.user_name() else { continue };
            if let Some(other) = names.insert(name.clone(), node.name) {
                let node = node.name;
                return Err(Error::usage(format!(
                    "two streams ({other} and {node}) are named {name:?}: give each a name of its own"
                )));
            }
        }
        if self.outputs.lock().is_empty() {
            return Err(Error::usage("requirement failed: No output operations registered, so nothing to execute"));
        }
        self.in_use().values().try_for_each(|node| node.validate(checkpoint))
    }

    /// The nodes of outputs and inputs, and all between.
    fn in_use(&self) -> BTreeMap<u32, Arc<StreamNode>> {
        let mut nodes = BTreeMap::new();
        self.outputs.lock().iter().for_each(|output| output.node.walk(&mut nodes));
        self.inputs.lock().iter().for_each(|input| input.node.walk(&mut nodes));
        nodes
    }

    /// Takes a place to write to for one output operation.
    ///
    /// # Errors
    /// If another one has it.
    pub fn claim(&self, place: String) -> Result<()> {
        let mut claimed = self.claimed.lock();
        if claimed.contains(&place) {
            return Err(Error::usage(format!(
                "two output operations write to {place}: give each a prefix or suffix of its own"
            )));
        }
        claimed.insert(place);
        Ok(())
    }

    /// Takes a sink for one output operation: of two that write the same batch to it, it would take one for a repetition of the other.
    ///
    /// # Errors
    /// If another one has it.
    pub fn claim_sink(&self, sink: &Arc<dyn Sink>) -> Result<()> {
        if sink.is_idempotent() && !self.claimed.lock().insert(format!("sink {:p}", Arc::as_ptr(sink))) {
            return Err(Error::usage(format!(
                "two output operations write to one sink of {}: make a sink, with a name of its own, for each",
                sink.name()
            )));
        }
        Ok(())
    }

    /// The stateful operators that output operations depend on, in the order of the graph.
    pub fn states(&self) -> Vec<Arc<StateCore>> {
        self.in_use().values().filter_map(|node| node.state().cloned()).collect()
    }

    /// Ties the states to those of `other`, a graph of the same program in this process.
    pub fn share_states(&self, other: &DStreamGraph) {
        self.states().iter().zip(other.states()).for_each(|(own, other)| own.share(&other));
    }

    /// The graph is complete; batches come after `zero`.
    pub fn start(&self, zero: Time) {
        *self.zero.lock() = Some(zero);
        let remember = self.remember.lock().unwrap_or_default();
        self.outputs.lock().iter().for_each(|output| output.node.remember(remember));
        self.inputs.lock().iter().for_each(|input| input.node.remember(remember));
        *self.stateful.lock() = self.in_use().into_values().filter(|node| node.state().is_some()).collect();
        let in_turn = self.in_use().values().any(|node| node.runs_program() && node.is_after_state());
        self.plans_in_turn.store(in_turn, Ordering::Relaxed);
        self.sc.functions().seal();
    }

    /// Whether batches have begun.
    pub fn zero(&self) -> Option<Time> {
        *self.zero.lock()
    }

    fn planning<'a>(&'a self, batch: &'a Batch) -> Planning<'a> {
        let (inputs, state, lost) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Planning {
            sc: &self.sc,
            zero: batch.zero,
            batch,
            inputs,
            state,
            lost,
            past: false,
            steps_only: false,
            stand_in: None,
        }
    }

    fn planned(&self, batch: &Batch, node: impl Fn(&OutputOp) -> &Arc<StreamNode>) -> Result<Planned> {
        let planned = self.planned_once(batch, node).inspect_err(|_| self.discard(batch.time))?;
        self.held.lock().remove(&batch.time);
        Ok(planned)
    }

    /// Planned again, the batch of `time` must find all its steps again.
    fn discard(&self, time: Time) {
        self.in_use().values().for_each(|node| node.discard(time));
    }

    /// Every input is read for every batch, though a window may ask for it batches later: by then its source is past it.
    fn read_inputs(&self, planning: &Planning<'_>) -> Result<()> {
        let time = planning.batch.time;
        let held = self.held.lock().get(&time).cloned().unwrap_or_default();
        held.into_iter().for_each(|(node, data)| node.supply(time, data));
        let inputs = self.inputs.lock().clone();
        inputs.iter().try_for_each(|input| input.node.get_or_compute(time, planning).map(drop))
    }

    /// Holds what was read for the batch of `time`, until it is planned.
    fn hold(&self, time: Time) {
        let inputs = self.inputs.lock().clone();
        let read = inputs.into_iter().filter_map(|input| Some((Arc::clone(&input.node), input.node.known(time)?)));
        self.held.lock().insert(time, read.collect());
    }

    fn planned_once(&self, batch: &Batch, node: impl Fn(&OutputOp) -> &Arc<StreamNode>) -> Result<Planned> {
        let planning = self.planning(batch);
        self.read_inputs(&planning)?;
        let lost = planning.lost.load(Ordering::Relaxed);
        let mut due = Vec::new();
        if !lost {
            self.plan_steps(&planning)?;
            let outputs = self.outputs.lock().clone();
            for (id, output) in outputs.into_iter().enumerate() {
                let place = |error: Error| error.context(format!("{} at {}", output.name, output.call_site));
                if let Some(data) = node(&output).get_or_compute(batch.time, &planning).map_err(place)? {
                    due.push((id, output, data));
                }
            }
        }
        let (state, inputs) = (planning.state.into_inner(), planning.inputs.into_inner());
        Ok(Planned { state, outputs: due, inputs, lost })
    }

    /// States move with every batch, whether or not an output operation looks at them this time.
    fn plan_steps(&self, planning: &Planning<'_>) -> Result<()> {
        self.stateful.lock().iter().try_for_each(|node| {
            let place = |error: Error| error.context(node.name);
            node.get_or_compute(planning.batch.time, planning).map_err(place).map(drop)
        })
    }

    /// What brings the states forward in a batch, and then the rows of the output operations that are due, which are not run.
    ///
    /// # Errors
    /// If data of the batch is lost.
    pub fn plan_shown(&self, batch: &Batch) -> Result<(Vec<StateStep>, Vec<(Arc<OutputOp>, Dataset)>)> {
        let planned = self.planned(batch, |output| &output.shown)?;
        if planned.lost {
            return Err(Error::data(format!("data of the batch of {} is lost", batch.time)));
        }
        Ok((planned.state, planned.outputs.into_iter().map(|(_, output, data)| (output, data)).collect()))
    }

    /// A data set of a batch that is past, if it is still remembered or can be computed of what is.
    pub fn compute_past(&self, node: &StreamNode, time: Time) -> Result<Option<Dataset>> {
        let batch = Batch { id: BatchId(0), time, zero: self.zero().unwrap_or_default(), ranges: BTreeMap::new() };
        node.get_or_compute(time, &Planning { past: true, ..self.planning(&batch) })
    }

    /// Plans one node's batch again, on stand-ins for its parents, to register the closures that this makes.
    fn learn(&self, node: u32, time: Time) -> Result<()> {
        // Locked until the end: of two who learn the same, the first one's functions are those that stay.
        let mut learned = self.learned.lock();
        if learned.contains_key(&(time, node)) {
            return Ok(());
        }
        let found = self.nodes.lock().get(&node).cloned();
        let found = found.ok_or_else(|| Error::usage(format!("the graph of this process has no node {node}")))?;
        let batch = Batch { id: BatchId(0), time, zero: self.zero().unwrap_or_default(), ranges: BTreeMap::new() };
        let stand_in =
            failed(&self.sc, Error::usage("this data set stands in for another while functions are learned"));
        let planning = Planning { stand_in: Some(stand_in), ..self.planning(&batch) };
        let data = found.compute_afresh(time, &planning)?;
        learned.insert((time, node), data);
        while learned.len() > LEARNED {
            learned.pop_first();
        }
        Ok(())
    }
}

struct Boxed(Box<dyn Compute>);

impl Compute for Boxed {
    fn compute(&self, node: &StreamNode, time: Time, planning: &Planning<'_>) -> Result<Option<Dataset>> {
        self.0.compute(node, time, planning)
    }
}

impl BatchPlanner for DStreamGraph {
    fn plan(&self, batch: &Batch) -> Result<JobSet> {
        let Planned { state, outputs, inputs, lost } = self.planned(batch, |output| &output.node)?;
        if lost {
            // Run without its data, the batch would replace what it wrote before by nothing.
            tracing::error!(time = %batch.time, "the outputs of a batch are left out: data of it was lost in a restart");
        }
        let time = batch.time;
        let job = |(id, output, data): (usize, Arc<OutputOp>, Dataset)| {
            let (name, description) = (output.name.to_string(), output.call_site.to_string());
            Job { output_op: id, name, description, run: Box::new(move || (output.body)(data, time)) }
        };
        Ok(JobSet { state, jobs: outputs.into_iter().map(job).collect(), inputs })
    }

    fn steps(&self, batch: &Batch) -> Result<Vec<StateStep>> {
        let planning = Planning { steps_only: true, ..self.planning(batch) };
        let lost = || planning.lost.load(Ordering::Relaxed);
        let planned = self.read_inputs(&planning).and_then(|()| match lost() {
            true => Err(Error::data(format!("data of the batch of {} is lost", batch.time))),
            false => self.plan_steps(&planning),
        });
        if planned.is_err() {
            if !lost() {
                self.hold(batch.time);
            }
            self.discard(batch.time);
        }
        planned?;
        Ok(planning.state.into_inner())
    }

    fn has_state(&self) -> bool {
        !self.stateful.lock().is_empty()
    }

    fn plans_in_turn(&self) -> bool {
        self.plans_in_turn.load(Ordering::Relaxed)
    }

    fn completed(&self, batch: &Batch) {
        self.in_use().values().for_each(|node| node.forget(batch.time, self.unpersist));
    }

    fn over(&self) {
        // What the program gave may hold the context, and so this graph: its functions in outputs and nodes, its receivers in inputs. Data sets
        // do not need the graph, nor do streams for `slice`. Dropped without the locks, for it is code of the program's.
        let outputs = std::mem::take(&mut *self.outputs.lock());
        let inputs = std::mem::take(&mut *self.inputs.lock());
        let nodes = std::mem::take(&mut *self.nodes.lock());
        let (stateful, learned) =
            (std::mem::take(&mut *self.stateful.lock()), std::mem::take(&mut *self.learned.lock()));
        let held = std::mem::take(&mut *self.held.lock());
        drop((outputs, inputs, nodes, stateful, learned, held));
    }
}
