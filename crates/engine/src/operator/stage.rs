//! `StageExec`: one stage of a job. A tree of narrow operators over leaves and shuffles, run in one go per partition.
//!
//! Inside a stage nothing is encoded: typed chunks go from operator to operator by call, [`CHUNK_ROWS`] rows at a time.
//!
//! [`CHUNK_ROWS`]: crate::chunk::CHUNK_ROWS

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{DataFusionError, Result as DfResult};
use datafusion_execution::TaskContext;
use datafusion_physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion_physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::batch::BatchStamp;
use crate::cache::CachedBlocks;
use crate::chunk::{BATCH_ROWS, Chunk, Element, rows_schema};
use crate::error::{Error, Result};
use crate::function::{Flow, Function, OperatorTask, TaskInfo, in_task};
use crate::lineage::{Deps, Values};
use crate::shuffle::shuffle_schema;

/// What the batches that leave a stage are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageOutput {
    /// Rows for the driver; encoded where they must travel.
    Rows,
    /// Rows on their way to the next stage.
    Shuffle,
}

impl StageOutput {
    fn schema(self) -> SchemaRef {
        match self {
            StageOutput::Rows => rows_schema(),
            StageOutput::Shuffle => shuffle_schema(),
        }
    }
}

/// What a node of a stage's tree does.
#[derive(Clone)]
pub enum StageKind {
    /// Reads child plan number n, partition by partition.
    Input(usize),
    /// Reads rows that the driver holds.
    Values(Arc<dyn Values>),
    /// Reads encoded rows that came with the plan.
    Encoded(Vec<RecordBatch>),
    /// Runs an operator.
    Op {
        /// The operator.
        function: Arc<Function>,
        /// Its inputs.
        inputs: Vec<Arc<StageNode>>,
        /// Which of their partitions go where.
        deps: Deps,
    },
}

/// A node of a stage's tree.
pub struct StageNode {
    /// What it does.
    pub kind: StageKind,
    /// The number of its partitions.
    pub partitions: usize,
    /// What its chunks consist of.
    pub element: &'static dyn Element,
    /// Where its partitions are kept once computed, if they are persisted.
    pub cache: Option<Arc<CachedBlocks>>,
    /// Where its partitions are kept while the plan runs, if they are read more than once.
    pub kept: Option<Arc<CachedBlocks>>,
}

/// The plan node of a stage.
pub struct StageExec {
    root: Arc<StageNode>,
    children: Vec<Arc<dyn ExecutionPlan>>,
    output: StageOutput,
    batch: Option<BatchStamp>,
    no_input: bool,
    properties: Arc<PlanProperties>,
}

impl StageExec {
    /// A stage whose root emits batches of the given kind; of a plan for this batch.
    pub fn new(
        root: Arc<StageNode>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        output: StageOutput,
        batch: Option<BatchStamp>,
    ) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(output.schema()),
            Partitioning::UnknownPartitioning(root.partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { root, children, output, batch, no_input: false, properties }
    }

    /// The tree.
    pub fn root(&self) -> &Arc<StageNode> {
        &self.root
    }

    /// What leaves it.
    pub fn output(&self) -> StageOutput {
        self.output
    }

    /// Says that no leaf of the plan has a row: there is nothing to share out among threads.
    pub fn without_input(mut self) -> Self {
        self.no_input = true;
        self
    }

    /// Whether it is known that no leaf of the plan has a row.
    pub fn has_no_input(&self) -> bool {
        self.no_input
    }

    /// The chunks of one partition as they are: rows of a stage that ends here need not be encoded to stay here.
    pub fn chunks(&self, partition: usize, context: Arc<TaskContext>) -> BoxStream<'static, Result<Chunk>> {
        let inputs = Arc::new(Inputs { children: self.children.clone(), batch: self.batch, context });
        open(Arc::clone(&self.root), partition, inputs)
    }

    /// The batch that its plan runs for.
    pub fn batch(&self) -> Option<BatchStamp> {
        self.batch
    }
}

impl fmt::Debug for StageExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StageExec {{ ")?;
        self.fmt_as(DisplayFormatType::Default, f)?;
        write!(f, " }}")
    }
}

impl DisplayAs for StageExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StageExec: {:?}, ", self.output)?;
        write_tree(&self.root, f)
    }
}

fn write_tree(node: &StageNode, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &node.kind {
        StageKind::Input(child) => write!(f, "input {child}"),
        StageKind::Values(_) | StageKind::Encoded(_) => write!(f, "values"),
        StageKind::Op { function, inputs, .. } => {
            write!(f, "{}(", function.name())?;
            for (n, input) in inputs.iter().enumerate() {
                if n > 0 {
                    write!(f, ", ")?;
                }
                write_tree(input, f)?;
            }
            write!(f, ")")
        }
    }
}

impl ExecutionPlan for StageExec {
    fn name(&self) -> &str {
        "StageExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.children.iter().collect()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.children.len()]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(StageExec::new(Arc::clone(&self.root), children, self.output, self.batch)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let (output, element) = (self.output, self.root.element);
        let batch = move |chunk: Chunk| match output {
            StageOutput::Rows => element.encode(&chunk),
            StageOutput::Shuffle => chunk.take::<RecordBatch>(),
        };
        let batches = self
            .chunks(partition, context)
            .and_then(move |chunk| futures::future::ready(batch(chunk)))
            .map_err(DataFusionError::from);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

struct Inputs {
    children: Vec<Arc<dyn ExecutionPlan>>,
    batch: Option<BatchStamp>,
    context: Arc<TaskContext>,
}

/// The chunks of one partition of a node.
fn open(node: Arc<StageNode>, partition: usize, inputs: Arc<Inputs>) -> BoxStream<'static, Result<Chunk>> {
    let Some(kept) = node.kept.clone() else { return open_persisted(node, partition, inputs) };
    once_computed(kept, partition, move || open_persisted(Arc::clone(&node), partition, Arc::clone(&inputs)))
}

fn open_persisted(node: Arc<StageNode>, partition: usize, inputs: Arc<Inputs>) -> BoxStream<'static, Result<Chunk>> {
    let Some(cache) = node.cache.clone() else { return open_uncached(&node, partition, inputs) };
    once_computed(cache, partition, move || open_uncached(&node, partition, Arc::clone(&inputs)))
}

fn once_computed(
    cache: Arc<CachedBlocks>,
    partition: usize,
    open: impl Fn() -> BoxStream<'static, Result<Chunk>> + Send + Sync + 'static,
) -> BoxStream<'static, Result<Chunk>> {
    let chunks = async move {
        let compute = || open().try_collect::<Vec<_>>();
        cache.get_or_compute(partition, compute).await.map(|chunks| stream::iter(chunks.into_iter().map(Ok)))
    };
    stream::once(chunks).try_flatten().boxed()
}

fn open_uncached(node: &Arc<StageNode>, partition: usize, inputs: Arc<Inputs>) -> BoxStream<'static, Result<Chunk>> {
    match &node.kind {
        StageKind::Input(child) => match inputs.children[*child].execute(partition, Arc::clone(&inputs.context)) {
            Ok(batches) => batches
                .map_err(Error::from)
                .map_ok(|batch| stream::iter(pieces(&batch).into_iter().map(|piece| Ok(Chunk::of(piece)))))
                .try_flatten()
                .boxed(),
            Err(error) => stream::once(futures::future::ready(Err(error.into()))).boxed(),
        },
        StageKind::Values(values) => stream::iter(Arc::clone(values).chunks(partition)).boxed(),
        StageKind::Encoded(partitions) => stream::iter([Ok(Chunk::of(partitions[partition].clone()))]).boxed(),
        StageKind::Op { .. } => match Chain::open(Arc::clone(node), partition, inputs) {
            Ok(chain) => stream::try_unfold(chain, Chain::next).boxed(),
            Err(error) => stream::once(futures::future::ready(Err(error))).boxed(),
        },
    }
}

/// Slices of a large batch, so that a chain never holds the output of all of it.
fn pieces(batch: &RecordBatch) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    (0..rows).step_by(BATCH_ROWS).map(|start| batch.slice(start, BATCH_ROWS.min(rows - start))).collect()
}

struct Link {
    function: Arc<Function>,
    task: Box<dyn OperatorTask>,
    enough: bool,
}

/// A run of operators, each the one input of the next, fed from the sources of the first.
struct Chain {
    links: Vec<Link>,
    sources: VecDeque<(usize, Arc<StageNode>, usize)>,
    current: Option<(usize, BoxStream<'static, Result<Chunk>>)>,
    inputs: Arc<Inputs>,
    ready: VecDeque<Chunk>,
    finished: bool,
}

impl Chain {
    fn open(node: Arc<StageNode>, partition: usize, inputs: Arc<Inputs>) -> Result<Self> {
        let mut links = VecDeque::new();
        let mut bottom = node;
        loop {
            let StageKind::Op { function, inputs: parents, deps } = &bottom.kind else {
                return Err(Error::internal("a chain of operators starts with something else"));
            };
            let info = TaskInfo { partition, batch: inputs.batch };
            let task = in_task(function, || function.operator().open(info))?;
            links.push_front(Link { function: Arc::clone(function), task, enough: false });
            match parents.as_slice() {
                [parent]
                    if *deps == Deps::Aligned
                        && parent.cache.is_none()
                        && parent.kept.is_none()
                        && matches!(parent.kind, StageKind::Op { .. }) =>
                {
                    bottom = Arc::clone(parent);
                }
                _ => {
                    let counts: Vec<usize> = parents.iter().map(|parent| parent.partitions).collect();
                    let sources = deps
                        .sources(&counts, partition)
                        .into_iter()
                        .map(|(input, partition)| (input, Arc::clone(&parents[input]), partition))
                        .collect();
                    let (links, ready) = (links.into(), VecDeque::new());
                    return Ok(Chain { links, sources, current: None, inputs, ready, finished: false });
                }
            }
        }
    }

    async fn next(mut self) -> Result<Option<(Chunk, Chain)>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some((chunk, self)));
            }
            if self.finished {
                return Ok(None);
            }
            // Sources that are always ready never pause: a task must, to be ended and to let others run.
            tokio::task::consume_budget().await;
            if let Some((input, stream)) = &mut self.current {
                match stream.next().await {
                    Some(chunk) => {
                        if drive(&mut self.links, *input, chunk?, &mut self.ready)? == Flow::Enough {
                            self.current = None;
                            self.sources.clear();
                        }
                    }
                    None => self.current = None,
                }
            } else if let Some((input, node, partition)) = self.sources.pop_front() {
                self.current = Some((input, open(node, partition, Arc::clone(&self.inputs))));
            } else {
                self.finish()?;
            }
        }
    }

    fn finish(&mut self) -> Result<()> {
        for first in 0..self.links.len() {
            let (link, rest) =
                self.links[first..].split_first_mut().ok_or_else(|| Error::internal("an empty chain"))?;
            let ready = &mut self.ready;
            let mut emit = |chunk| if rest.is_empty() { keep(chunk, ready) } else { drive(rest, 0, chunk, ready) };
            in_task(&link.function, || link.task.finish(&mut emit))?;
        }
        self.finished = true;
        Ok(())
    }
}

fn keep(chunk: Chunk, ready: &mut VecDeque<Chunk>) -> Result<Flow> {
    ready.push_back(chunk);
    Ok(Flow::More)
}

/// Pushes a chunk through all links; what leaves the last one is ready.
fn drive(links: &mut [Link], input: usize, chunk: Chunk, ready: &mut VecDeque<Chunk>) -> Result<Flow> {
    let Some((link, rest)) = links.split_first_mut() else { return keep(chunk, ready) };
    if link.enough {
        return Ok(Flow::Enough);
    }
    let flow = in_task(&link.function, || link.task.push(input, chunk, &mut |chunk| drive(rest, 0, chunk, ready)))?;
    link.enough = flow == Flow::Enough;
    Ok(flow)
}
