//! From lineage to a plan: one [`StageExec`] per stage, an exchange between stages.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion_physical_plan::ExecutionPlan;

use super::stage::{StageExec, StageKind, StageNode, StageOutput};
use crate::cache::CachedBlocks;
use crate::error::Result;
use crate::lineage::{Deps, Lineage, LineageKind};
use crate::shuffle::exchange;

/// The plan that computes `root`, whose chunks must be batches of the given kind.
///
/// A plan runs once: exchanges hold the rows that are under way.
pub fn lower(root: &Arc<Lineage>, output: StageOutput) -> Result<Arc<dyn ExecutionPlan>> {
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
        let kind = match lineage.kind() {
            LineageKind::Values(values) => StageKind::Values(Arc::clone(values)),
            LineageKind::Scan(plan) => {
                let next = self.children.len();
                let child = *self.scans.entry(lineage.id()).or_insert(next);
                if child == next {
                    self.children.push(Arc::clone(plan));
                }
                StageKind::Input(child)
            }
            LineageKind::Shuffle(input) => {
                let input = lower(input, StageOutput::Shuffle)?;
                self.children.push(exchange(input, lineage.partitions())?);
                StageKind::Input(self.children.len() - 1)
            }
            LineageKind::Op { function, inputs, deps } => {
                let reread = |input: usize| match deps {
                    Deps::Cartesian => true,
                    Deps::Broadcast => input == 0,
                    Deps::Aligned | Deps::Concat | Deps::Groups(_) => false,
                };
                let inputs = inputs.iter().enumerate().map(|(n, input)| self.input(input, reread(n)));
                let inputs = inputs.collect::<Result<_>>()?;
                StageKind::Op { function: Arc::clone(function), inputs, deps: deps.clone() }
            }
        };
        Ok(Arc::new(StageNode { kind, partitions: lineage.partitions(), cache: lineage.cache() }))
    }

    /// An input; one that is read more than once and holds a shuffle is kept while the plan runs.
    fn input(&mut self, input: &Arc<Lineage>, reread: bool) -> Result<Arc<StageNode>> {
        let node = self.node(input)?;
        if !reread || node.cache.is_some() || !input.has_shuffle() {
            return Ok(node);
        }
        let cache = Some(CachedBlocks::transient(input.element(), input.partitions()));
        let StageNode { kind, partitions, .. } = Arc::into_inner(node)
            .ok_or_else(|| crate::error::Error::internal("a node of a stage that was just made is shared already"))?;
        Ok(Arc::new(StageNode { kind, partitions, cache }))
    }
}
