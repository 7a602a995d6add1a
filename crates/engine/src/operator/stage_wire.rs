//! The wire form of a stage: its tree, flattened, functions by id.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion_physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};

use super::stage::{StageExec, StageKind, StageNode, StageOutput};
use crate::batch::BatchStamp;
use crate::cache::CachedBlocks;
use crate::chunk::{ArrowBatches, Element, rows_schema};
use crate::codec::{NodeWire, from_wire, to_wire};
use crate::error::{Error, Result};
use crate::function::{Function, FunctionId, FunctionRegistry, Reach};
use crate::lineage::Deps;

/// How a `StageExec` travels.
pub const WIRE: NodeWire = NodeWire { name: "StageExec", encode, decode };

#[derive(Serialize, Deserialize)]
struct Stage {
    output: StageOutput,
    batch: Option<BatchStamp>,
    /// Inputs before those who read them; the last one is the root.
    nodes: Vec<Node>,
}

#[derive(Serialize, Deserialize)]
struct Node {
    kind: Kind,
    partitions: usize,
    /// Kept partitions stay where they are; where the plan arrives it keeps its own while it runs.
    cached: bool,
}

#[derive(Serialize, Deserialize)]
enum Kind {
    Input(usize),
    Encoded(Vec<Vec<u8>>),
    Op { function: FunctionId, reach: Reach, inputs: Vec<usize>, deps: Deps },
}

fn encode(plan: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
    let stage = plan.downcast_ref::<StageExec>()?;
    let mut flat = Flat::default();
    Some(
        flat.add(stage.root())
            .and_then(|_| to_wire(&Stage { output: stage.output(), batch: stage.batch(), nodes: flat.nodes })),
    )
}

#[derive(Default)]
struct Flat {
    nodes: Vec<Node>,
    seen: HashMap<*const StageNode, usize>,
}

impl Flat {
    fn add(&mut self, node: &Arc<StageNode>) -> Result<usize> {
        if let Some(index) = self.seen.get(&Arc::as_ptr(node)) {
            return Ok(*index);
        }
        let (cached, partitions) = (node.cache.is_some() || node.kept.is_some(), node.partitions);
        let kind = match &node.kind {
            StageKind::Input(child) => Kind::Input(*child),
            StageKind::Encoded(batches) => Kind::Encoded(batches.iter().map(to_ipc).collect::<Result<_>>()?),
            StageKind::Values(values) => {
                let batches = (0..partitions).map(|p| to_ipc(&values.encode(p)?)).collect::<Result<_>>()?;
                self.nodes.push(Node { kind: Kind::Encoded(batches), partitions, cached: false });
                let inputs = vec![self.nodes.len() - 1];
                let decoder = values.decoder();
                Kind::Op { function: decoder.id(), reach: reach(&decoder)?, inputs, deps: Deps::Aligned }
            }
            StageKind::Op { function, inputs, deps } => {
                let reach = reach(function)?;
                let inputs = inputs.iter().map(|input| self.add(input)).collect::<Result<_>>()?;
                Kind::Op { function: function.id(), reach, inputs, deps: deps.clone() }
            }
        };
        self.nodes.push(Node { kind, partitions, cached });
        self.seen.insert(Arc::as_ptr(node), self.nodes.len() - 1);
        Ok(self.nodes.len() - 1)
    }
}

/// How far a function reaches.
///
/// # Errors
/// If that is the driver only.
fn reach(function: &Function) -> Result<Reach> {
    match function.reach() {
        Reach::Driver => Err(Error::usage(format!(
            "{function:?} was made in the body of an output operation, or after the start, and exists on the driver only"
        ))),
        reach => Ok(reach),
    }
}

fn decode(
    bytes: &[u8],
    children: &[Arc<dyn ExecutionPlan>],
    functions: &Arc<FunctionRegistry>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let stage: Stage = from_wire(bytes)?;
    let mut nodes: Vec<Arc<StageNode>> = Vec::with_capacity(stage.nodes.len());
    for Node { kind, partitions, cached } in stage.nodes {
        let mut element: &'static dyn Element = &ArrowBatches;
        let kind = match kind {
            Kind::Input(child) if child < children.len() => StageKind::Input(child),
            Kind::Input(child) => {
                return Err(Error::data(format!("a plan that arrived reads child {child}, which it lacks")));
            }
            Kind::Encoded(batches) => {
                StageKind::Encoded(batches.iter().map(|batch| from_ipc(batch)).collect::<Result<_>>()?)
            }
            Kind::Op { function, reach, inputs, deps } => {
                let function = functions.lookup_within(function, reach)?;
                let inputs = inputs
                    .into_iter()
                    .map(|input| nodes.get(input).cloned())
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(|| Error::data("a plan that arrived refers to a node that it lacks"))?;
                element = function.output();
                StageKind::Op { function, inputs, deps }
            }
        };
        let kept = cached.then(|| CachedBlocks::transient(element, partitions));
        nodes.push(Arc::new(StageNode { kind, partitions, element, cache: None, kept }));
    }
    let root = nodes.pop().ok_or_else(|| Error::data("a plan that arrived has a stage without nodes"))?;
    Ok(Arc::new(StageExec::new(root, children.to_vec(), stage.output, stage.batch)))
}

fn to_ipc(batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    Ok(writer.into_inner()?)
}

fn from_ipc(bytes: &[u8]) -> Result<RecordBatch> {
    match StreamReader::try_new(bytes, None)?.next() {
        Some(batch) => Ok(batch?),
        None => Ok(RecordBatch::new_empty(rows_schema())),
    }
}
