//! How a data set is computed: a graph of narrow operators, leaves and shuffles, from which plans are made.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use datafusion_physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::cache::CachedBlocks;
use crate::chunk::{ArrowBatches, Chunk, Element};
use crate::error::Result;
use crate::function::Function;

/// Which partitions of its inputs a partition of an operator's output reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deps {
    /// Partition p of every input, input after input.
    Aligned,
    /// The inputs' partitions one after the other: a union.
    Concat,
    /// Of the one input, the listed partitions: coalescing and pruning.
    Groups(Vec<Vec<usize>>),
    /// All partitions of the first input, which is small, then partition p of the second.
    Broadcast,
    /// Every pair of a partition of the left and one of the right input.
    Cartesian,
}

impl Deps {
    /// The number of output partitions over inputs with these numbers of partitions.
    pub fn partitions(&self, inputs: &[usize]) -> usize {
        match self {
            Deps::Aligned => inputs.first().copied().unwrap_or(0),
            Deps::Concat => inputs.iter().sum(),
            Deps::Groups(groups) => groups.len(),
            Deps::Broadcast => inputs.get(1).copied().unwrap_or(0),
            Deps::Cartesian => inputs.iter().product(),
        }
    }

    /// The (input, partition) pairs that output partition `partition` reads, in order.
    pub fn sources(&self, inputs: &[usize], partition: usize) -> Vec<(usize, usize)> {
        match self {
            Deps::Aligned => (0..inputs.len()).map(|input| (input, partition)).collect(),
            Deps::Concat => {
                let mut rest = partition;
                for (input, count) in inputs.iter().enumerate() {
                    if rest < *count {
                        return vec![(input, rest)];
                    }
                    rest -= count;
                }
                Vec::new()
            }
            Deps::Groups(groups) => groups[partition].iter().map(|p| (0, *p)).collect(),
            Deps::Broadcast => (0..inputs[0]).map(|p| (0, p)).chain([(1, partition)]).collect(),
            Deps::Cartesian => vec![(0, partition / inputs[1]), (1, partition % inputs[1])],
        }
    }
}

/// Chunks, made one by one.
pub type Chunks = Box<dyn Iterator<Item = Result<Chunk>> + Send>;

/// Rows that the driver holds: the leaf of a parallelized collection.
pub trait Values: Send + Sync {
    /// The number of partitions.
    fn partitions(&self) -> usize;
    /// The number of rows of all partitions; the largest number where that is not known.
    fn rows(&self) -> usize;
    /// The rows of one partition, as chunks; each is made when it is asked for.
    fn chunks(self: Arc<Self>, partition: usize) -> Chunks;
    /// The rows of one partition, encoded, to travel.
    fn encode(&self, partition: usize) -> Result<RecordBatch>;
    /// The builtin that turns encoded rows into chunks, where they arrive.
    fn decoder(&self) -> Arc<Function>;
}

/// What a node of the lineage graph does.
pub enum LineageKind {
    /// Reads batches from a plan, and how many rows they have: the leaf of a source.
    Scan(Arc<dyn ExecutionPlan>, usize),
    /// Reads rows that the driver holds.
    Values(Arc<dyn Values>),
    /// Runs a narrow operator over its inputs.
    Op {
        /// The operator.
        function: Arc<Function>,
        /// Its inputs.
        inputs: Vec<Arc<Lineage>>,
        /// Which of their partitions go where.
        deps: Deps,
    },
    /// Moves rows to the partition that their column `key` hashes to; the input emits batches of
    /// [`crate::shuffle::shuffle_schema`].
    Shuffle(Arc<Lineage>),
}

/// One node of the lineage graph; immutable but for its name and its cache.
pub struct Lineage {
    id: u64,
    kind: LineageKind,
    partitions: usize,
    depth: usize,
    has_shuffle: bool,
    leaf_rows: usize,
    element: &'static dyn Element,
    cache: RwLock<Option<Arc<CachedBlocks>>>,
    name: RwLock<Option<String>>,
}

impl Lineage {
    fn new(kind: LineageKind, partitions: usize, element: &'static dyn Element) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let depth = match &kind {
            LineageKind::Scan(..) | LineageKind::Values(_) => 1,
            LineageKind::Shuffle(input) => input.depth + 1,
            LineageKind::Op { inputs, .. } => inputs.iter().map(|input| input.depth).max().unwrap_or(0) + 1,
        };
        let has_shuffle = match &kind {
            LineageKind::Scan(..) | LineageKind::Values(_) => false,
            LineageKind::Shuffle(_) => true,
            LineageKind::Op { inputs, .. } => inputs.iter().any(|input| input.has_shuffle),
        };
        let leaf_rows = match &kind {
            LineageKind::Scan(_, rows) => *rows,
            LineageKind::Values(values) => values.rows(),
            LineageKind::Shuffle(input) => input.leaf_rows,
            LineageKind::Op { inputs, .. } => {
                inputs.iter().fold(0, |sum: usize, input| sum.saturating_add(input.leaf_rows))
            }
        };
        let (cache, name) = (RwLock::default(), RwLock::default());
        Arc::new(Self { id, kind, partitions, depth, has_shuffle, leaf_rows, element, cache, name })
    }

    /// A leaf over a plan of this many rows; the largest number where that is not known.
    pub fn scan(plan: Arc<dyn ExecutionPlan>, rows: usize) -> Arc<Self> {
        let partitions = plan.output_partitioning().partition_count();
        Self::new(LineageKind::Scan(plan, rows), partitions, &ArrowBatches)
    }

    /// A leaf over rows that the driver holds.
    pub fn values(values: Arc<dyn Values>) -> Arc<Self> {
        let (partitions, element) = (values.partitions(), values.decoder().output());
        Self::new(LineageKind::Values(values), partitions, element)
    }

    /// A narrow operator over `inputs`.
    pub fn op(function: Arc<Function>, inputs: Vec<Arc<Lineage>>, deps: Deps) -> Arc<Self> {
        let counts: Vec<usize> = inputs.iter().map(|input| input.partitions).collect();
        let (partitions, element) = (deps.partitions(&counts), function.output());
        Self::new(LineageKind::Op { function, inputs, deps }, partitions, element)
    }

    /// A shuffle into `partitions` partitions.
    pub fn shuffle(input: Arc<Lineage>, partitions: usize) -> Arc<Self> {
        Self::new(LineageKind::Shuffle(input), partitions, &ArrowBatches)
    }

    /// A number of its own within the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What it does.
    pub fn kind(&self) -> &LineageKind {
        &self.kind
    }

    /// The number of its partitions.
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// The number of nodes on the longest way to a leaf.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// What its chunks consist of.
    pub fn element(&self) -> &'static dyn Element {
        self.element
    }

    /// Where its partitions are kept once computed, if they are.
    pub fn cache(&self) -> Option<Arc<CachedBlocks>> {
        self.cache.read().clone()
    }

    /// Sets or drops its cache.
    pub fn set_cache(&self, cache: Option<Arc<CachedBlocks>>) {
        *self.cache.write() = cache;
    }

    /// The name that the user gave it.
    pub fn name(&self) -> Option<String> {
        self.name.read().clone()
    }

    /// Names it, for people.
    pub fn set_name(&self, name: impl Into<String>) {
        *self.name.write() = Some(name.into());
    }

    /// The rows of all its leaves; the largest number where that is not known. What is read twice counts twice.
    pub fn leaf_rows(&self) -> usize {
        self.leaf_rows
    }

    /// Whether a shuffle lies between this node and its leaves.
    pub fn has_shuffle(&self) -> bool {
        self.has_shuffle
    }

    /// The graph as an indented tree, this node first; a deeper `*` starts a stage.
    pub fn explain(&self) -> String {
        let mut text = String::new();
        self.explain_into(0, &mut text);
        text
    }

    fn explain_into(&self, depth: usize, text: &mut String) {
        let indent = "  ".repeat(depth);
        let what = match &self.kind {
            LineageKind::Scan(plan, _) => format!("scan {}", plan.name()),
            LineageKind::Values(_) => "values".to_string(),
            LineageKind::Op { function, .. } => format!("{function:?}"),
            LineageKind::Shuffle(_) => "* shuffle by hash of key".to_string(),
        };
        let name = self.name().map(|name| format!(" {name:?}")).unwrap_or_default();
        let cached = self.cache().map(|cache| format!(" [{}]", cache.describe())).unwrap_or_default();
        let element = self.element.type_name();
        // Writing to a String can't fail.
        let _ = writeln!(text, "{indent}({}){name} {what}: {element}{cached}", self.partitions);
        match &self.kind {
            LineageKind::Scan(..) | LineageKind::Values(_) => {}
            LineageKind::Shuffle(input) => input.explain_into(depth + 1, text),
            LineageKind::Op { inputs, .. } => inputs.iter().for_each(|input| input.explain_into(depth + 1, text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deps_say_what_is_read() {
        type Case = (Deps, &'static [usize], usize, &'static [&'static [(usize, usize)]]);
        let cases: [Case; 5] = [
            (Deps::Aligned, &[2, 2], 2, &[&[(0, 0), (1, 0)], &[(0, 1), (1, 1)]]),
            (Deps::Concat, &[1, 0, 2], 3, &[&[(0, 0)], &[(2, 0)], &[(2, 1)]]),
            (Deps::Groups(vec![vec![0, 2], vec![1]]), &[3], 2, &[&[(0, 0), (0, 2)], &[(0, 1)]]),
            (Deps::Broadcast, &[2, 2], 2, &[&[(0, 0), (0, 1), (1, 0)], &[(0, 0), (0, 1), (1, 1)]]),
            (Deps::Cartesian, &[1, 2], 2, &[&[(0, 0), (1, 0)], &[(0, 0), (1, 1)]]),
        ];
        for (deps, inputs, partitions, sources) in cases {
            assert_eq!(deps.partitions(inputs), partitions, "{deps:?}");
            for (partition, expected) in sources.iter().enumerate() {
                assert_eq!(deps.sources(inputs, partition), *expected, "{deps:?} {partition}");
            }
        }
    }
}
