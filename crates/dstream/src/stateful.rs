//! The nodes of stateful operators: one that brings the state forward with every batch of its parent, and views of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_engine::batch::{BatchId, BatchStamp};
use tidemill_engine::error::Result;
use tidemill_engine::lineage::Lineage;
use tidemill_engine::time::Time;

use crate::dataset::{Dataset, Placement};
use crate::node::{Compute, Planning, StreamNode};
use crate::op::state::{StateCore, View};

/// What the state step of a batch may depend on.
pub struct StepInput<'a> {
    /// The parent's data set, if it has one.
    pub data: Option<Dataset>,
    /// No state has been written before this batch.
    pub first: bool,
    /// The batch time.
    pub time: Time,
    /// How long the node keeps what it has.
    pub remembered: Duration,
    /// The batch's planning.
    pub planning: &'a Planning<'a>,
}

type MakeStep = Box<dyn Fn(StepInput<'_>) -> Result<Arc<Lineage>> + Send + Sync>;

/// Brings a state forward. It has no data sets: its views do.
pub struct StatefulNode {
    core: Arc<StateCore>,
    step: MakeStep,
    first: Mutex<Option<BatchId>>,
}

impl StatefulNode {
    /// A node whose step is the lineage that `step` makes, run in all partitions.
    pub fn new(
        core: &Arc<StateCore>,
        step: impl Fn(StepInput<'_>) -> Result<Arc<Lineage>> + Send + Sync + 'static,
    ) -> Self {
        Self { core: Arc::clone(core), step: Box::new(step), first: Mutex::default() }
    }

    /// Whether a batch is the first one of its state: also when it is planned again.
    fn is_first(&self, batch: BatchStamp) -> bool {
        !self.core.cell.has_state_before(batch) && *self.first.lock().get_or_insert(batch.id) == batch.id
    }
}

impl Compute for StatefulNode {
    fn compute(&self, node: &StreamNode, time: Time, planning: &Planning<'_>) -> Result<Option<Dataset>> {
        if planning.past || planning.stand_in.is_some() || time != planning.batch.time {
            return Ok(None);
        }
        let data = match node.parents.first() {
            Some(parent) => parent.get_or_compute(time, planning)?,
            None => None,
        };
        let first = self.is_first(BatchStamp { id: planning.batch.id, time });
        let lineage = (self.step)(StepInput { data, first, time, remembered: node.remembered(), planning })?;
        planning.state.lock().push(self.core.step(planning.sc, lineage));
        Ok(None)
    }

    fn state(&self) -> Option<&Arc<StateCore>> {
        Some(&self.core)
    }
}

/// Says of the batch of a time which number its view has, how many partitions, and how its rows are placed.
type Which = Box<dyn Fn(Time, &Planning<'_>) -> (u64, usize, Option<Placement>) + Send + Sync>;

/// What a state looks like after a batch.
pub struct ViewNode {
    core: Arc<StateCore>,
    view: View,
    which: Which,
    /// The state still has what it had at earlier batches: for so long, and by so many ms longer.
    remembers: Option<(Duration, Arc<AtomicU64>)>,
}

impl ViewNode {
    /// A view of the state that its parent brings forward.
    pub fn new(
        core: &Arc<StateCore>,
        view: View,
        which: impl Fn(Time, &Planning<'_>) -> (u64, usize, Option<Placement>) + Send + Sync + 'static,
    ) -> Self {
        Self { core: Arc::clone(core), view, which: Box::new(which), remembers: None }
    }

    /// Earlier batches can be looked at, too: the state has what came within `window` before the last batch, and by as many ms
    /// as `longer` says more.
    pub fn remembering(mut self, window: Duration, longer: Arc<AtomicU64>) -> Self {
        self.remembers = Some((window, longer));
        self
    }

    /// Whether the state has all that a view of an earlier batch shows.
    fn reaches(&self, time: Time, zero: Time) -> bool {
        let (Some((window, longer)), Some(seen)) = (&self.remembers, self.core.cell.seen()) else { return false };
        let held = Duration::from_millis(longer.load(Ordering::Relaxed)).saturating_add(*window);
        time <= seen && (time - *window).max(zero) >= (seen - held).min(seen)
    }
}

impl Compute for ViewNode {
    fn compute(&self, node: &StreamNode, time: Time, planning: &Planning<'_>) -> Result<Option<Dataset>> {
        if (planning.past || time != planning.batch.time) && !self.reaches(time, planning.zero) {
            return Ok(None);
        }
        if !planning.past
            && let Some(state) = node.parents.first()
        {
            state.get_or_compute(time, planning)?;
        }
        let (which, partitions, placement) = (self.which)(time, planning);
        let rows = self.core.cell.rows().max(1);
        Ok(Some(self.view.at(planning.sc, which, partitions, rows).placed(placement)))
    }
}
