//! The program of the simulation: numbers come in, are written as they are, and counted by their remainder.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use parking_lot::{Condvar, Mutex};
use tidemill_engine::batch::{Batch, BatchStamp, StreamId};
use tidemill_engine::chunk::binary_column;
use tidemill_engine::clock::{Clock, Waker};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::planner::{BatchPlanner, Job, JobSet, StateStep};
use tidemill_engine::source::{Offset, OffsetRange, Source, SourceBatch};
use tidemill_engine::state::cell::{HotState, StateCell};
use tidemill_engine::state::change::ChangeWriter;
use tidemill_engine::time::Time;

use super::faults::Faults;
use super::world::{Bug, Outside};

/// Counts by remainder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums(pub BTreeMap<u64, u64>);

impl Sums {
    /// The counts of the numbers below `end`.
    pub fn of(end: u64) -> Self {
        let mut sums = Self::default();
        (0..end).for_each(|n| *sums.0.entry(n % 3).or_default() += 1);
        sums
    }
}

impl HotState for Sums {
    fn apply(&mut self, rows: &RecordBatch) -> Result<()> {
        let (keys, values) = (binary_column(rows, 0)?, binary_column(rows, 1)?);
        let number = |bytes: &[u8]| postcard::from_bytes(bytes).map_err(|_| Error::data("not a number"));
        for row in 0..keys.len() {
            self.0.insert(number(keys.value(row))?, number(values.value(row))?);
        }
        Ok(())
    }

    fn rows(&self) -> usize {
        self.0.len()
    }
}

/// The source's end of the world outside.
pub struct Numbers {
    /// Where the numbers come from.
    pub outside: Arc<Outside>,
    /// What this life suffers.
    pub faults: Arc<Faults>,
}

impl Source for Numbers {
    fn name(&self) -> String {
        "numbers".into()
    }

    fn is_replayable(&self) -> bool {
        true
    }

    fn initial_offset(&self) -> Result<Offset> {
        Ok(Offset::count(0))
    }

    fn latest_offset(&self, _: &Offset, time: Time) -> Result<Offset> {
        self.faults.around("latest offset", || Ok(Offset::count(self.outside.available(time))))
    }

    fn read(&self, _: &OffsetRange, _: Time) -> Result<SourceBatch> {
        Err(Error::internal("the planner of the simulation reads for itself"))
    }

    fn commit(&self, end: &Offset) -> Result<()> {
        self.faults.around("tell source", || {
            self.outside.forget(end.as_count());
            Ok(())
        })
    }
}

/// The planner: one state, one output.
pub struct Program {
    /// What comes in and goes out.
    pub outside: Arc<Outside>,
    /// The counts.
    pub cell: Arc<StateCell>,
    /// What this life suffers.
    pub faults: Arc<Faults>,
    /// What is wrong with it.
    pub bug: Bug,
    /// What a bug makes the sink write too late.
    pub late: Arc<Mutex<Vec<Written>>>,
}

/// What the sink gets of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The batch's number.
    pub id: u64,
    /// Its records.
    pub rows: Vec<u64>,
    /// The counts after it.
    pub sums: Sums,
}

impl BatchPlanner for Program {
    fn plan(&self, batch: &Batch) -> Result<JobSet> {
        let range = &batch.ranges[&StreamId(0)];
        let (start, end) = (range.start.as_count(), range.end.as_count());
        self.faults.around("plan", || Ok(()))?;
        self.outside.read_from(start);
        let stamp = BatchStamp { id: batch.id, time: batch.time };
        let (cell, faults) = (Arc::clone(&self.cell), Arc::clone(&self.faults));
        let step = move || {
            faults.around("state step", || Ok(()))?;
            let Some(mut work) = cell.begin(0, stamp, Sums::default)? else { return Ok(()) };
            let mut changes = ChangeWriter::default();
            for n in start..end {
                let sum = work.state.0.entry(n % 3).or_default();
                *sum += 1;
                changes.put(&(n % 3), sum)?;
            }
            work.finish(changes.finish()?)
        };
        let (cell, faults, outside) = (Arc::clone(&self.cell), Arc::clone(&self.faults), Arc::clone(&self.outside));
        let (bug, late) = (self.bug, Arc::clone(&self.late));
        let write = move || {
            let sums = cell.read(0, stamp.time, false, |sums: &Sums| Ok(sums.clone()))?;
            let written = Written { id: stamp.id.0, rows: (start..end).collect(), sums };
            faults.around("write", || {
                if bug == Bug::CommitBeforeSink {
                    std::mem::replace(&mut *late.lock(), vec![written]).into_iter().for_each(|w| outside.write(w, bug));
                } else {
                    outside.write(written, bug);
                }
                Ok(())
            })
        };
        let (name, description) = ("write".to_string(), "simulation".to_string());
        let state = StateStep { name: "count".into(), description: description.clone(), run: Arc::new(step) };
        let jobs = vec![Job { output_op: 0, name, description, run: Box::new(write) }];
        Ok(JobSet { state: vec![state], jobs, ..JobSet::default() })
    }

    fn has_state(&self) -> bool {
        true
    }
}

/// A clock that the test moves; whoever waits on it can be told that it will not move again.
#[derive(Default)]
pub struct Hand(Mutex<(Time, bool)>, Condvar);

impl Hand {
    /// A clock that shows `time`.
    pub fn at(time: Time) -> Self {
        Self(Mutex::new((time, false)), Condvar::new())
    }

    /// Moves it.
    pub fn advance(&self, by: Duration) -> Time {
        let mut state = self.0.lock();
        state.0 = state.0 + by;
        self.1.notify_all();
        state.0
    }

    /// Nobody waits on it any more.
    pub fn end(&self) {
        self.0.lock().1 = true;
        self.1.notify_all();
    }
}

impl Clock for Hand {
    fn now(&self) -> Time {
        self.0.lock().0
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now().as_millis().unsigned_abs())
    }

    fn wait_until(&self, target: Time, waker: &Waker) -> bool {
        let mut state = self.0.lock();
        while state.0 < target && !state.1 && !waker.is_awake() {
            self.1.wait(&mut state);
        }
        state.0 >= target && !waker.is_awake()
    }

    fn is_manual(&self) -> bool {
        true
    }
}
