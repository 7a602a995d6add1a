//! From lineage to a plan: one [`StageExec`] per stage, an exchange between stages.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion_physical_plan::ExecutionPlan;

use super::stage::{StageExec, StageKind, StageNode, StageOutput};
use crate::cache::CachedBlocks;
use crate::error::{Error, Result};
use crate::lineage::{Deps, Lineage, LineageKind};
use crate::shuffle::exchange;

/// The deepest lineage that is run: operators call one another, and a stack that overflows ends the process.
pub const MAX_DEPTH: usize = 1000;

/// The plan that computes `root`, whose chunks must be batches of the given kind.
///
/// A plan runs once: exchanges hold the rows that are under way.
pub fn lower(root: &Arc<Lineage>, output: StageOutput) -> Result<Arc<dyn ExecutionPlan>> {
    if root.depth() > MAX_DEPTH {
        return Err(Error::usage(format!(
            "{} operators upon one another are too many: save what an iteration makes and go on from there, or unite many \
             data sets at once",
            root.depth()
        )));
    }
    let mut stage = Stage::default();
    let root = stage.node(root)?;
    Ok(Arc::new(StageExec::new(root, stage.children, output)))
}

#[derive(Default)]
struct Stage {
    children: Vec<Arc<dyn ExecutionPlan>>,
    /// Scans by lineage id: one child serves all readers. A shuffle gets a child for each reader, for it can be read once.
    scans: HashMap<u64, usize>,
}

impl Stage {
    fn node(&mut self, lineage: &Arc<Lineage>) -> Result<Arc<StageNode>> {
        // Down along the first inputs and up again in a loop: a long chain needs no deep stack.
        let mut chain = vec![lineage];
        let mut bottom = lineage;
        while let LineageKind::Op { inputs, .. } = bottom.kind()
            && let Some(first) = inputs.first()
        {
            chain.push(first);
            bottom = first;
        }
        let mut below = None;
        while let Some(lineage) = chain.pop() {
            let kind = match lineage.kind() {
                LineageKind::Op { function, inputs, deps } => {
                    let mut nodes = Vec::with_capacity(inputs.len());
                    for (n, input) in inputs.iter().enumerate() {
                        let node = below.take().map_or_else(|| self.node(input), Ok)?;
                        nodes.push(if is_reread(deps, n) { kept(node, input)? } else { node });
                    }
                    StageKind::Op { function: Arc::clone(function), inputs: nodes, deps: deps.clone() }
                }
                _ => self.leaf(lineage)?,
            };
            below = Some(Arc::new(StageNode { kind, partitions: lineage.partitions(), cache: lineage.cache() }));
        }
        below.ok_or_else(|| Error::internal("a chain of operators has no end"))
    }

    fn leaf(&mut self, lineage: &Lineage) -> Result<StageKind> {
        match lineage.kind() {
            LineageKind::Values(values) => Ok(StageKind::Values(Arc::clone(values))),
            LineageKind::Scan(plan) => {
                let next = self.children.len();
                let child = *self.scans.entry(lineage.id()).or_insert(next);
                if child == next {
                    self.children.push(Arc::clone(plan));
                }
                Ok(StageKind::Input(child))
            }
            LineageKind::Shuffle(input) => {
                let input = lower(input, StageOutput::Shuffle)?;
                self.children.push(exchange(input, lineage.partitions())?);
                Ok(StageKind::Input(self.children.len() - 1))
            }
            LineageKind::Op { .. } => Err(Error::internal("an operator is no leaf")),
        }
    }
}

/// Whether several output partitions read the same partition of input number `input`.
fn is_reread(deps: &Deps, input: usize) -> bool {
    match deps {
        Deps::Cartesian => true,
        Deps::Broadcast => input == 0,
        Deps::Aligned | Deps::Concat | Deps::Groups(_) => false,
    }
}

/// An input that is read more than once: if it holds a shuffle, it is kept while the plan runs.
fn kept(node: Arc<StageNode>, input: &Lineage) -> Result<Arc<StageNode>> {
    if node.cache.is_some() || !input.has_shuffle() {
        return Ok(node);
    }
    let cache = Some(CachedBlocks::transient(input.element(), input.partitions()));
    let StageNode { kind, partitions, .. } = Arc::into_inner(node)
        .ok_or_else(|| Error::internal("a node of a stage that was just made is shared already"))?;
    Ok(Arc::new(StageNode { kind, partitions, cache }))
}
