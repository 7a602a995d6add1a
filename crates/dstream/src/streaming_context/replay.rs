//! `replay`: one logged batch of a checkpoint once more, to look at what comes out. Nothing is written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tidemill_engine::batch::{Batch, BatchId, BatchStamp, StreamId};
use tidemill_engine::checkpoint::metadata::{CheckpointMetadata, Program};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{CallSite, catch_panic, on_driver};
use tidemill_engine::input::Input;
use tidemill_engine::inspection::{CheckpointView, inspect};
use tidemill_engine::recovery::Resume;
use tidemill_engine::state::reader::StateReader;
use tidemill_engine::state::replay::ReplayStore;
use tidemill_engine::state::{StateId, StateStore, StateVersion};
use tidemill_engine::time::Time;

use super::{StreamingContext, StreamingContextState};
use crate::state_names::match_states;

/// What came out when a batch ran once more.
#[derive(Debug)]
pub struct Replay {
    /// The number of the batch.
    pub batch: BatchId,
    /// Its time.
    pub time: Time,
    /// The output operations that were due, in the order of the program.
    pub outputs: Vec<ReplayedOutput>,
}

/// The rows for one output operation.
#[derive(Debug)]
pub struct ReplayedOutput {
    /// What it does: `print`.
    pub name: &'static str,
    /// Where the program defines it.
    pub call_site: CallSite,
    /// The rows, as JSON.
    pub rows: Vec<Value>,
}

impl StreamingContext {
    /// Runs a batch that the checkpoint has logged once more, on its input and on the states as they were before it, and gives the rows for
    /// each output operation. These are not run, and nothing is written: the checkpoint is read only, and its driver may run. What the
    /// program's own closures do they do again.
    ///
    /// The context counts as stopped then; its [`SparkContext`](crate::context::SparkContext) goes on.
    ///
    /// # Errors
    /// If the context was started before or has no checkpoint; if the program does not fit the checkpoint; if the batch is not in
    /// the log, a source can't read it again, or a state before it can't be restored any more.
    pub fn replay(&self, batch: BatchId) -> Result<Replay> {
        let place = {
            let _execution = self.0.execution.lock();
            self.require_initialized("replaying a batch")?;
            let place = self.checkpoint_dir().ok_or_else(|| {
                Error::usage("a batch is replayed from a checkpoint: set it by StreamingContext.checkpoint()")
            })?;
            *self.0.state.lock() = StreamingContextState::Stopped;
            place
        };
        let result = self.replay_from(&place, batch);
        result.map_err(|error| error.context(format!("batch {batch} can't be replayed")))
    }

    fn replay_from(&self, place: &Path, id: BatchId) -> Result<Replay> {
        let graph = &self.0.graph;
        graph.validate(true)?;
        let batch = inspect(place, |view| self.look_up(view, id))?;
        graph.start(batch.zero);
        let stamp = BatchStamp { id, time: batch.time };
        let (steps, outputs) = catch_panic("planning", || graph.plan_shown(&batch))?;
        for step in steps {
            let place = |error: Error| error.context(format!("{} at {}", step.name, step.description));
            catch_panic("a state", || stamp.during(|| on_driver(|| (step.run)()))).map_err(place)?;
        }
        let mut shown = Vec::with_capacity(outputs.len());
        for (output, data) in outputs {
            let (name, call_site) = (output.name, output.call_site);
            let place = |error: Error| error.context(format!("{name} at {call_site}"));
            let rows = catch_panic("an output", || stamp.during(|| on_driver(|| (output.show)(data))));
            shown.push(ReplayedOutput { name, call_site, rows: rows.map_err(place)? });
        }
        Ok(Replay { batch: id, time: batch.time, outputs: shown })
    }

    /// Finds the batch, has the sources find what they know of it, and ties the states to what they were before it.
    fn look_up(&self, view: &CheckpointView, id: BatchId) -> Result<Batch> {
        let (graph, conf) = (&self.0.graph, self.0.sc.conf());
        let logged = view.batches.iter().find(|batch| batch.id == id).ok_or_else(|| {
            let there = match (view.batches.first(), view.batches.last()) {
                (Some(first), Some(last)) => format!("it has {} to {}", first.id, last.id),
                _ => "it has none".to_string(),
            };
            Error::usage(format!("it is not in the log of the checkpoint any more, or not yet: {there}"))
        })?;
        let inputs = self.replayable_inputs()?;
        let next = view.batches.last().map_or(id, |last| BatchId(last.id.0 + 1));
        let dropped = conf.get("spark.tidemill.checkpoint.drop").unwrap_or_default();
        let program = Program {
            batch_interval: self.0.batch_duration,
            zero: view.metadata.zero,
            next,
            streams: inputs.values().map(|input| input.name.as_str()).collect(),
            dropped,
        };
        let metadata = CheckpointMetadata::for_program(Some(view.metadata.clone()), &program)?;
        for input in inputs.values() {
            input.source.set_checkpoint(&view.storage, &metadata.source_folder(&input.name))?;
        }
        let ends = logged.ranges.iter().map(|(name, range)| (name.clone(), (id, range.start.clone()))).collect();
        let resume = Resume { unfinished: vec![logged.clone()], ends, ..Resume::default() };
        let bound = resume.bind(Some(&metadata), &inputs)?;
        let batch = bound.unfinished.into_iter().next().ok_or_else(|| Error::internal("a batch was not bound"))?;

        let reader = view.states()?;
        let matched = match_states(&graph.states(), &metadata.operators, next, dropped)?;
        for (_, name, partitions) in &matched.states {
            check_restorable(&reader, name, *partitions, StateVersion::before(id))?;
        }
        let store: Arc<dyn StateStore> = Arc::new(ReplayStore::new(reader));
        for (state, name, partitions) in &matched.states {
            state.bind(name, *partitions, Arc::clone(&store));
        }
        Ok(batch)
    }

    fn replayable_inputs(&self) -> Result<BTreeMap<StreamId, Input>> {
        let mut names = self.0.graph.input_names();
        let mut inputs = BTreeMap::new();
        for input in self.0.graph.inputs() {
            let name = names.remove(&input.stream).unwrap_or_default();
            if !input.source.is_replayable() {
                return Err(Error::usage(format!(
                    "the input stream {name:?} can't be read again: what it gave was in the memory of its driver"
                )));
            }
            let (source, interval) = (input.source, self.0.batch_duration);
            inputs.insert(input.stream, Input { name, source, estimator: None, interval });
        }
        Ok(inputs)
    }
}

fn check_restorable(reader: &StateReader, operator: &str, partitions: usize, at: StateVersion) -> Result<()> {
    let id = |partition| StateId { operator: operator.into(), partition };
    let partitions = 0..u32::try_from(partitions).unwrap_or(u32::MAX);
    match partitions.map(id).find(|id| !reader.is_restorable(id, at)) {
        None => Ok(()),
        Some(id) => {
            let spans = reader.restorable(&id).into_iter().map(|span| format!("{} to {}", span.start(), span.end()));
            let there = spans.collect::<Vec<_>>().join(", ");
            Err(Error::usage(format!("the state of {id} can't be restored at version {at}, but at {there}")))
        }
    }
}
