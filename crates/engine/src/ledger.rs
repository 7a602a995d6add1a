//! `Ledger`: what is durable of a batch, and how far logs and sources forget.

use parking_lot::Mutex;

use crate::batch::{Batch, BatchId, StreamId};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::frontier::Frontier;
use crate::input::Input;
use crate::log::commit_log::Commit;
use crate::log::offset_log::LoggedBatch;
use crate::recovery::CheckpointLogs;
use crate::setup::Setup;
use crate::source::OffsetRange;
use crate::state::{StateStore, StateVersion};

/// The books of the loop. Without a checkpoint nothing is durable, but sources are told all the same.
pub struct Ledger {
    logs: Option<CheckpointLogs>,
    retained: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    frontier: Frontier,
    /// Batches before this one were forgotten.
    forgotten: BatchId,
}

impl Ledger {
    /// Books in the logs of a checkpoint, which keep the last `retained` batches that are done.
    pub fn new(logs: Option<CheckpointLogs>, retained: u64) -> Self {
        Self { logs, retained: retained.max(1), state: Mutex::default() }
    }

    /// A batch is planned: durable when this returns.
    pub fn planned(&self, batch: &Batch, setup: &Setup) -> Result<()> {
        let Some(logs) = &self.logs else { return Ok(()) };
        let named = |(stream, range): (&StreamId, &OffsetRange)| {
            setup.inputs.get(stream).map(|input| (input.name.clone(), range.clone()))
        };
        let ranges = batch.ranges.iter().filter_map(named).collect();
        logs.storage.check_alone()?;
        failpoint::hit("offsets-planned");
        logs.offsets.lock().append(&LoggedBatch { id: batch.id, time: batch.time, ranges })?;
        failpoint::hit("offsets-logged");
        Ok(())
    }

    /// The work on a batch begins; its number is higher than those before.
    pub fn begun(&self, batch: BatchId) {
        self.state.lock().frontier.begin(batch);
    }

    /// A batch is over, and well if `state` is what became of its states: says so durably, and tells sources and states how far
    /// they may forget. Gives all that went wrong.
    pub fn over(&self, batch: &Batch, state: Option<Result<Option<u64>>>, setup: &Setup) -> Vec<Error> {
        let mut errors = Vec::new();
        let done = state.is_some_and(|state| {
            let logged = state.and_then(|state| self.commit(batch.id, state));
            logged.map_err(|error| errors.push(error)).is_ok()
        });
        // Held until the sources are told: jobs of several batches may end at once.
        let mut state = self.state.lock();
        for passed in state.frontier.end(batch, done) {
            for (stream, end) in &passed.ends {
                let Some(Input { source, .. }) = setup.inputs.get(stream) else { continue };
                // Without a checkpoint, or from a source that forgets, nothing is ever read again.
                if passed.held && self.logs.is_some() && source.is_replayable() {
                    source.release(end);
                } else {
                    errors.extend(source.commit(end).err());
                }
            }
        }
        failpoint::hit("sources-told");
        errors.extend(self.forget(&mut state, setup.state.as_ref()).err());
        errors
    }

    fn commit(&self, batch: BatchId, state: Option<u64>) -> Result<()> {
        let Some(logs) = &self.logs else { return Ok(()) };
        failpoint::hit("jobs-done");
        logs.storage.check_alone()?;
        let before = self.state.lock().frontier.first_not_done().unwrap_or(batch);
        logs.commits.lock().append(Commit { batch, before, state })?;
        failpoint::hit("commit-logged");
        Ok(())
    }

    /// As many batches at once as are retained: for storage where every entry costs a request.
    fn forget(&self, state: &mut State, states: &dyn StateStore) -> Result<()> {
        let Some(logs) = &self.logs else { return Ok(()) };
        let before = state.frontier.forgettable(self.retained);
        if before.0 < state.forgotten.0 + self.retained {
            return Ok(());
        }
        state.forgotten = before;
        states.retain_from(StateVersion::before(before))?;
        logs.offsets.lock().purge_before(before)?;
        failpoint::hit("offsets-purged");
        logs.commits.lock().purge_before(before)?;
        failpoint::hit("commits-purged");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::checkpoint::metadata::{CheckpointMetadata, Program};
    use crate::planner::{BatchPlanner, JobSet};
    use crate::recovery::{Resume, open_checkpoint};
    use crate::time::Time;

    struct NoJobs;

    impl BatchPlanner for NoJobs {
        fn plan(&self, _: &Batch) -> Result<JobSet> {
            Ok(JobSet::default())
        }
    }

    fn open(place: &str) -> (CheckpointLogs, Resume) {
        let (logs, resume) = open_checkpoint(Path::new(place)).unwrap();
        let batch_interval = Duration::from_millis(10);
        let program =
            Program { batch_interval, zero: Time::default(), next: resume.next, streams: Vec::new(), dropped: "" };
        logs.set_metadata(CheckpointMetadata::for_program(logs.metadata(), &program).unwrap()).unwrap();
        (logs, resume)
    }

    #[test]
    fn logs_hold_what_a_restart_needs_and_the_last_batches() {
        let place = "memory:ledger";
        let (logs, _) = open(place);
        let storage = std::sync::Arc::clone(&logs.storage);
        let (ledger, setup) = (Ledger::new(Some(logs), 3), Setup::of(std::sync::Arc::new(NoJobs)));
        let held = |log: &str| {
            let numbers = storage.open_log(log).unwrap().numbers();
            (numbers[0], *numbers.last().unwrap())
        };
        let run = |id: u64, succeeds: bool| {
            let (id, time) = (BatchId(id), Time::from_millis(id as i64));
            let batch = Batch { id, time, zero: Time::default(), ranges: [].into() };
            ledger.planned(&batch, &setup).unwrap();
            ledger.begun(id);
            assert!(ledger.over(&batch, succeeds.then_some(Ok(None)), &setup).is_empty());
        };
        (0..100).for_each(|id| run(id, true));
        assert!(held("offsets").0 >= 92 && held("commits").0 >= 92, "{:?}", held("offsets"));
        // A batch that has failed is held, as are the commits after it; what lies before goes.
        run(100, false);
        (101..130).for_each(|id| run(id, true));
        assert!((95..=100).contains(&held("offsets").0), "{:?}", held("offsets"));
        assert_eq!((held("offsets").1, held("commits").1), (129, 128));
        drop(ledger);
        let (logs, resume) = open(place);
        let ids = |resume: &Resume| resume.unfinished.iter().map(|batch| batch.id.0).collect::<Vec<_>>();
        assert_eq!((ids(&resume), resume.next), (vec![100], BatchId(130)));
        // Run again it holds nothing any more.
        let ledger = Ledger::new(Some(logs), 3);
        let batch = Batch { id: BatchId(100), time: Time::default(), zero: Time::default(), ranges: [].into() };
        ledger.begun(batch.id);
        assert!(ledger.over(&batch, Some(Ok(None)), &setup).is_empty());
        for id in 130..140 {
            let batch = Batch { id: BatchId(id), ..batch.clone() };
            ledger.planned(&batch, &setup).unwrap();
            ledger.begun(batch.id);
            assert!(ledger.over(&batch, Some(Ok(None)), &setup).is_empty());
        }
        assert!(held("offsets").0 >= 132 && held("commits").0 >= 132, "{:?}", held("commits"));
        drop(ledger);
        let (_, resume) = open(place);
        assert_eq!((ids(&resume), resume.next, resume.committed), (vec![], BatchId(140), Some(BatchId(139))));
    }
}
