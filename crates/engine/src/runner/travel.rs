//! `TravelingJobRunner`: every plan goes through bytes before it runs, as it would on its way to another machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion_physical_plan::ExecutionPlan;

use super::JobRunner;
use crate::chunk::{Chunk, Element};
use crate::codec::NodeCodec;
use crate::error::{Error, Result};
use crate::function::FunctionRegistry;
use crate::operator::stage::StageExec;

/// Encodes each plan, decodes it against another registry of functions and runs what came out.
///
/// A plan with closures that exist on the driver only runs as it is, and is counted as such.
pub struct TravelingJobRunner {
    inner: Arc<dyn JobRunner>,
    here: NodeCodec,
    there: NodeCodec,
    traveled: AtomicU64,
    stayed: AtomicU64,
}

impl TravelingJobRunner {
    /// Plans go from a process with the functions `here` to one with the functions `there`.
    pub fn new(inner: Arc<dyn JobRunner>, here: Arc<FunctionRegistry>, there: Arc<FunctionRegistry>) -> Self {
        let (here, there) = (NodeCodec::new(here), NodeCodec::new(there));
        Self { inner, here, there, traveled: AtomicU64::new(0), stayed: AtomicU64::new(0) }
    }

    /// How many plans went through bytes, and how many ran as they were.
    pub fn counts(&self) -> (u64, u64) {
        (self.traveled.load(Ordering::Relaxed), self.stayed.load(Ordering::Relaxed))
    }
}

impl JobRunner for TravelingJobRunner {
    fn run(&self, plan: Arc<dyn ExecutionPlan>, partitions: &[usize]) -> Result<Vec<Vec<Chunk>>> {
        match self.here.encode_plan(Arc::clone(&plan)) {
            Ok(bytes) => {
                self.traveled.fetch_add(1, Ordering::Relaxed);
                let arrived = self.there.decode_plan(&bytes)?;
                let results = self.inner.run(Arc::clone(&arrived), partitions)?;
                // What comes back travels, too.
                let (there, here) = (element(&arrived)?, element(&plan)?);
                let back = |chunk: Chunk| here.decode(&there.encode(&chunk)?);
                results.into_iter().map(|chunks| chunks.into_iter().map(back).collect()).collect()
            }
            Err(error) => {
                tracing::debug!(%error, "a plan stays on the driver");
                self.stayed.fetch_add(1, Ordering::Relaxed);
                self.inner.run(plan, partitions)
            }
        }
    }

    fn parallelism(&self) -> usize {
        self.inner.parallelism()
    }
}

/// What the results of a plan consist of.
fn element(plan: &Arc<dyn ExecutionPlan>) -> Result<&'static dyn Element> {
    let stage = plan.downcast_ref::<StageExec>();
    stage.map(|stage| stage.root().element).ok_or_else(|| Error::internal("a plan does not end in a stage"))
}
