//! A node of the stream graph: untyped, computes the data set of a batch from those of its parents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::{Mutex, ReentrantMutex};
use tidemill_engine::batch::{Batch, BatchStamp, StreamId};
use tidemill_engine::cache::StorageLevel;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::planner::StateStep;
use tidemill_engine::source::{InputInfo, OffsetRange};
use tidemill_engine::time::{Time, is_multiple, millis, pretty};

use crate::context::SparkContext;
use crate::dataset::Dataset;
use crate::op::state::StateCore;
use crate::rdd::Rdd;

/// What every kind of DStream must say: how it computes a batch. Slide duration and parents stand in its [`StreamNode`].
pub trait Compute: Send + Sync {
    /// The data set of the batch of `time`; `None` where the stream has none.
    fn compute(&self, node: &StreamNode, time: Time, planning: &Planning<'_>) -> Result<Option<Dataset>>;

    /// How long its parents must keep their data sets, if it keeps its own for `own`.
    fn parent_remember(&self, own: Duration) -> Duration {
        own
    }

    /// The state that it brings forward, if it does.
    fn state(&self) -> Option<&Arc<StateCore>> {
        None
    }

    /// Whether it runs a function of the program's on RDDs, which may run jobs.
    fn runs_program(&self) -> bool {
        false
    }
}

/// The planning of one batch.
pub struct Planning<'a> {
    /// The context whose program this is.
    pub sc: &'a SparkContext,
    /// Batches are valid after this time.
    pub zero: Time,
    /// The batch that is planned.
    pub batch: &'a Batch,
    /// What the sources gave; filled on the way.
    pub inputs: Mutex<BTreeMap<StreamId, InputInfo>>,
    /// What brings states forward; filled on the way.
    pub state: Mutex<Vec<StateStep>>,
    /// Whether a source has lost data of the batch.
    pub lost: AtomicBool,
    /// Whether the batch is past, and only looked at.
    pub past: bool,
    /// Only steps are wanted, to be run later: no function of the program's may look at states now.
    pub steps_only: bool,
    /// What every parent has, where a node is planned only to learn its functions.
    pub stand_in: Option<Dataset>,
}

impl Planning<'_> {
    /// Brings states forward now that a function of the program's may ask for: all that the batch has so far.
    pub fn run_steps(&self) -> Result<()> {
        if self.past || self.stand_in.is_some() || self.sc.is_shadow() {
            return Ok(());
        }
        if self.steps_only {
            return Err(Error::usage("the states of the batch can't be looked at before those of earlier batches"));
        }
        let stamp = BatchStamp { id: self.batch.id, time: self.batch.time };
        self.state.lock().iter().try_for_each(|step| step.run_for(stamp))
    }

    /// The part of an input stream that the batch of `time` covers, if that is the batch being planned.
    pub fn range(&self, stream: StreamId, time: Time) -> Option<&OffsetRange> {
        if time == self.batch.time { self.batch.ranges.get(&stream) } else { None }
    }
}

/// A node of the graph.
pub struct StreamNode {
    /// Its number within the graph.
    pub id: u32,
    /// What it does: `flat_map`.
    pub name: &'static str,
    /// The time between its batches.
    pub slide: Duration,
    /// The streams that it is computed of.
    pub parents: Vec<Arc<StreamNode>>,
    compute: Box<dyn Compute>,
    settings: Mutex<Settings>,
    /// Held while a batch is computed, so that two who ask for the same batch get the same data set.
    generated: ReentrantMutex<std::cell::RefCell<BTreeMap<Time, Option<Dataset>>>>,
}

#[derive(Default)]
struct Settings {
    /// What the program calls it.
    user_name: Option<String>,
    checkpoint_interval: Option<Duration>,
    storage: StorageLevel,
    remember: Duration,
    /// The data sets, by number, that this node persisted: those that the user did are the user's to forget.
    persisted: BTreeSet<u64>,
}

impl StreamNode {
    /// A node.
    pub fn new(
        id: u32,
        name: &'static str,
        slide: Duration,
        parents: Vec<Arc<StreamNode>>,
        compute: impl Compute + 'static,
    ) -> Arc<Self> {
        let (settings, generated) = (Mutex::default(), ReentrantMutex::default());
        Arc::new(Self { id, name, slide, parents, compute: Box::new(compute), settings, generated })
    }

    /// Whether a batch of this stream falls on `time`.
    pub fn is_valid(&self, time: Time, zero: Time) -> bool {
        let since = u64::try_from(time.millis_since(zero)).unwrap_or(0);
        since > 0 && is_multiple(Duration::from_millis(since), self.slide)
    }

    /// The data set of the batch of `time`: the one that was computed before, or a new one.
    pub fn get_or_compute(&self, time: Time, planning: &Planning<'_>) -> Result<Option<Dataset>> {
        if planning.stand_in.is_some() {
            return Ok(planning.stand_in.clone());
        }
        let generated = self.generated.lock();
        if let Some(known) = generated.borrow().get(&time) {
            return Ok(known.clone());
        }
        if !self.is_valid(time, planning.zero) {
            return Ok(None);
        }
        let data = self.compute.compute(self, time, planning)?;
        // What is only looked at is not kept.
        if !planning.past {
            if let Some(data) = &data {
                self.settings.lock().persist(planning.sc, data);
            }
            generated.borrow_mut().insert(time, data.clone());
        }
        Ok(data)
    }

    /// The data sets of all its parents.
    pub fn inputs(&self, time: Time, planning: &Planning<'_>) -> Result<Result<Vec<Dataset>, Missing>> {
        let inputs = self.parents.iter().map(|parent| parent.get_or_compute(time, planning));
        Ok(inputs.collect::<Result<Option<Vec<_>>>>()?.ok_or(Missing))
    }

    /// The state that it brings forward, if it does.
    pub fn state(&self) -> Option<&Arc<StateCore>> {
        self.compute.state()
    }

    /// Whether it runs a function of the program's on RDDs, which may run jobs.
    pub fn runs_program(&self) -> bool {
        self.compute.runs_program()
    }

    /// Whether it is computed of a stream with state.
    pub fn is_after_state(&self) -> bool {
        self.parents.iter().any(|parent| parent.state().is_some() || parent.is_after_state())
    }

    /// Computes it again without keeping it: to learn the functions that planning registers.
    pub fn compute_afresh(&self, time: Time, planning: &Planning<'_>) -> Result<Option<Dataset>> {
        self.compute.compute(self, time, planning)
    }

    /// The data sets that it still has.
    pub fn generated(&self) -> Vec<(Time, Option<Dataset>)> {
        self.generated.lock().borrow().iter().map(|(time, data)| (*time, data.clone())).collect()
    }

    /// Keeps data sets at least this long, and has its parents keep theirs.
    pub fn remember(&self, duration: Duration) {
        let own = {
            let mut settings = self.settings.lock();
            // As in Spark, but only where the program asked for it: what a restart needs is not kept as data sets here.
            let checkpoint = 2 * settings.checkpoint_interval.unwrap_or_default();
            settings.remember = settings.remember.max(duration).max(self.slide).max(checkpoint);
            settings.remember
        };
        for parent in &self.parents {
            parent.remember(self.compute.parent_remember(own));
        }
    }

    /// How long data sets are kept.
    pub fn remembered(&self) -> Duration {
        self.settings.lock().remember
    }

    /// What the program calls it, if it does: by this name a restart finds it again.
    pub fn user_name(&self) -> Option<String> {
        self.settings.lock().user_name.clone()
    }

    /// Has the program call it `name`. No two nodes of a graph have the same name: the start sees to that.
    pub fn set_name(&self, name: impl Into<String>) {
        self.settings.lock().user_name = Some(name.into());
    }

    /// How often what it needs for a restart is written, if it is: as the program says, else, for one that must have an interval, the least
    /// multiple of its slide duration that is 10 s or more.
    pub fn checkpoint_interval(&self) -> Option<Duration> {
        let default = || {
            let slides = 10_000u64.div_ceil(millis(self.slide).max(1).unsigned_abs());
            self.must_checkpoint().then(|| self.slide * u32::try_from(slides).unwrap_or(u32::MAX))
        };
        self.settings.lock().checkpoint_interval.or_else(default)
    }

    /// Sets how often what it needs for a restart is written.
    pub fn set_checkpoint_interval(&self, interval: Duration) {
        self.settings.lock().checkpoint_interval = Some(interval);
    }

    /// Whether it keeps state without which it can't run.
    pub fn must_checkpoint(&self) -> bool {
        self.state().is_some_and(|state| state.must_checkpoint)
    }

    /// Checks what the program says of its checkpoints, `folder` being whether it has a place for them.
    ///
    /// # Errors
    /// As in Spark, and in its words.
    pub fn validate(&self, folder: bool) -> Result<()> {
        let Some(interval) = self.checkpoint_interval() else { return Ok(()) };
        let place = self.state().map(|state| format!("{} at {}: ", state.kind, state.call_site)).unwrap_or_default();
        let (name, slide, of) = (self.name, pretty(self.slide), pretty(interval));
        let interval_of = format!("The checkpoint interval for {name} has been set to {of} which");
        let fault = if !folder {
            "The checkpoint directory has not been set. Please set it by StreamingContext.checkpoint().".to_string()
        } else if interval < self.slide {
            format!("{interval_of} is lower than its slide time ({slide}). Please set it to at least {slide}.")
        } else if !is_multiple(interval, self.slide) {
            format!("{interval_of} not a multiple of its slide time ({slide}). Please set it to a multiple of {slide}.")
        } else {
            return Ok(());
        };
        Err(Error::usage(format!("requirement failed: {place}{fault}")))
    }

    /// Where the partitions of its data sets are kept.
    pub fn storage(&self) -> StorageLevel {
        self.settings.lock().storage
    }

    /// Sets where the partitions of its data sets are kept.
    pub fn set_storage(&self, level: StorageLevel) {
        self.settings.lock().storage = level;
    }

    /// The data set of the batch of `time`, if it was computed.
    pub fn known(&self, time: Time) -> Option<Option<Dataset>> {
        self.generated.lock().borrow().get(&time).cloned()
    }

    /// Has the data set of the batch of `time` be this one, if it is not known yet.
    pub fn supply(&self, time: Time, data: Option<Dataset>) {
        self.generated.lock().borrow_mut().entry(time).or_insert(data);
    }

    /// Forgets the data set of the batch of `time`, whose planning failed.
    pub fn discard(&self, time: Time) {
        self.generated.lock().borrow_mut().remove(&time);
    }

    /// Forgets the data sets that nobody will ask for after the batch of `time`.
    pub fn forget(&self, time: Time, unpersist: bool) {
        let oldest = time - self.remembered();
        let generated = self.generated.lock();
        let mut generated = generated.borrow_mut();
        let kept = generated.split_off(&Time::from_millis(oldest.as_millis().saturating_add(1)));
        let old = std::mem::replace(&mut *generated, kept);
        if !unpersist {
            return;
        }
        // One data set may be that of many batches.
        let still: BTreeSet<u64> = generated.values().flatten().map(|data| data.lineage.id()).collect();
        let mut settings = self.settings.lock();
        for data in old.values().flatten().filter(|data| !still.contains(&data.lineage.id())) {
            if settings.persisted.remove(&data.lineage.id()) {
                data.lineage.set_cache(None);
            }
        }
    }

    /// This node and all that it is computed of, each once, parents first.
    pub fn walk(self: &Arc<Self>, seen: &mut BTreeMap<u32, Arc<StreamNode>>) {
        if !seen.contains_key(&self.id) {
            self.parents.iter().for_each(|parent| parent.walk(seen));
            seen.insert(self.id, Arc::clone(self));
        }
    }
}

impl Settings {
    fn persist(&mut self, sc: &SparkContext, data: &Dataset) {
        // Keeping partitions does not depend on the type of their rows: any typed shell will do.
        let shell = Rdd::<()>::from_dataset(sc, data.clone());
        let wanted = self.storage != StorageLevel::NONE && shell.storage_level() == StorageLevel::NONE;
        if wanted && shell.persist(self.storage).is_ok() {
            self.persisted.insert(data.lineage.id());
        }
    }
}

/// One data set per parent data set: what map, filter and all operations on single batches are.
pub struct Transformed(pub Arc<dyn Fn(&[Dataset]) -> Result<Dataset> + Send + Sync>);

impl Compute for Transformed {
    fn compute(&self, node: &StreamNode, time: Time, planning: &Planning<'_>) -> Result<Option<Dataset>> {
        match node.inputs(time, planning)? {
            Ok(inputs) => (self.0)(&inputs).map(Some),
            Err(Missing) => Ok(None),
        }
    }
}

/// The data sets of all parents put together; each must have one.
pub struct Unioned(pub Arc<dyn Fn(&[Dataset]) -> Result<Dataset> + Send + Sync>);

impl Compute for Unioned {
    fn compute(&self, node: &StreamNode, time: Time, planning: &Planning<'_>) -> Result<Option<Dataset>> {
        match node.inputs(time, planning)? {
            Ok(inputs) => (self.0)(&inputs).map(Some),
            Err(Missing) if planning.past || time != planning.batch.time => Ok(None),
            Err(Missing) => {
                Err(Error::usage(format!("Could not generate RDD from a parent for unifying at time {time}")))
            }
        }
    }
}

/// A parent has no data set at a time.
pub struct Missing;
