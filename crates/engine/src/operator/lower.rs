//! From lineage to a plan: one [`StageExec`] per stage, an exchange between stages.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion_physical_plan::ExecutionPlan;

use super::stage::{StageExec, StageKind, StageNode, StageOutput};
use crate::batch::BatchStamp;
use crate::cache::CachedBlocks;
use crate::error::{Error, Result};
use crate::lineage::{Deps, Lineage, LineageKind};
use crate::shuffle::exchange;

/// The deepest lineage that is run: operators call one another, and a stack that overflows ends the process.
pub const MAX_DEPTH: usize = 1000;

/// The plan that computes `root`. Before a shuffle its chunks must be batches of that schema.
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
    let no_input = root.leaf_rows() == 0;
    let mut stage = Stage { shared: shared(root), ..Stage::default() };
    let root = stage.node(root)?;
    let exec = StageExec::new(root, stage.children, output, BatchStamp::current());
    Ok(Arc::new(if no_input { exec.without_input() } else { exec }))
}

#[derive(Default)]
struct Stage {
    children: Vec<Arc<dyn ExecutionPlan>>,
    /// The nodes so far, by lineage id.
    nodes: HashMap<u64, Arc<StageNode>>,
    /// Nodes above a shuffle that have several readers in this stage: an exchange can be read once, so they are kept.
    shared: HashSet<u64>,
}

/// The lineage ids within the stage of `root` that lie above a shuffle, or are one, and have several readers.
fn shared(root: &Arc<Lineage>) -> HashSet<u64> {
    let mut readers: HashMap<u64, usize> = HashMap::new();
    let mut open = vec![root];
    while let Some(lineage) = open.pop() {
        let LineageKind::Op { inputs, .. } = lineage.kind() else { continue };
        for input in inputs.iter().filter(|input| input.has_shuffle()) {
            let count = readers.entry(input.id()).or_insert(0);
            *count += 1;
            if *count == 1 {
                open.push(input);
            }
        }
    }
    readers.into_iter().filter(|(_, count)| *count > 1).map(|(id, _)| id).collect()
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
            if let Some(known) = self.nodes.get(&lineage.id()) {
                below = Some(Arc::clone(known));
                continue;
            }
            let kind = match lineage.kind() {
                LineageKind::Op { function, inputs, deps } => {
                    let mut nodes = Vec::with_capacity(inputs.len());
                    for (n, input) in inputs.iter().enumerate() {
                        let node = below.take().map_or_else(|| self.node(input), Ok)?;
                        nodes.push(if is_reread(deps, n) { kept(node, input) } else { node });
                    }
                    StageKind::Op { function: Arc::clone(function), inputs: nodes, deps: deps.clone() }
                }
                _ => self.leaf(lineage)?,
            };
            let mut node = Arc::new(StageNode {
                kind,
                partitions: lineage.partitions(),
                element: lineage.element(),
                cache: lineage.cache(),
                kept: None,
            });
            if self.shared.contains(&lineage.id()) {
                node = kept(node, lineage);
            }
            self.nodes.insert(lineage.id(), Arc::clone(&node));
            below = Some(node);
        }
        below.ok_or_else(|| Error::internal("a chain of operators has no end"))
    }

    fn leaf(&mut self, lineage: &Lineage) -> Result<StageKind> {
        match lineage.kind() {
            LineageKind::Values(values) => Ok(StageKind::Values(Arc::clone(values))),
            LineageKind::Scan(plan, _) => {
                self.children.push(Arc::clone(plan));
                Ok(StageKind::Input(self.children.len() - 1))
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
fn kept(node: Arc<StageNode>, input: &Lineage) -> Arc<StageNode> {
    if node.kept.is_some() || !input.has_shuffle() {
        return node;
    }
    let kept = Some(CachedBlocks::transient(input.element(), input.partitions()));
    // Persisted or not: what is persisted may not fit.
    let StageNode { partitions, element, .. } = *node;
    Arc::new(StageNode { kind: node.kind.clone(), partitions, element, cache: node.cache.clone(), kept })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{Chunk, Rows};
    use crate::function::{CallSite, Emit, FunctionRegistry, PerChunk};
    use datafusion_physical_plan::empty::EmptyExec;

    #[test]
    fn a_shuffle_with_many_readers_stands_once_in_a_stage() {
        let functions = Arc::<FunctionRegistry>::default();
        let pass = PerChunk(|chunk: Chunk, out: &mut Emit<'_>| out(chunk));
        let pass = functions.register("pass", CallSite::here(), Rows::<u8>::ELEMENT, Arc::new(pass));
        let scan = Lineage::scan(Arc::new(EmptyExec::new(crate::shuffle::shuffle_schema())), 0);
        let mut data = Lineage::shuffle(Lineage::op(Arc::clone(&pass), vec![scan], Deps::Aligned), 2);
        // Each level reads the one before twice: as a tree this has 2^40 leaves.
        for _ in 0..40 {
            data = Lineage::op(Arc::clone(&pass), vec![Arc::clone(&data), data], Deps::Aligned);
        }
        let plan = lower(&data, StageOutput::Rows).unwrap();
        assert_eq!(plan.children().len(), 1);
    }
}
