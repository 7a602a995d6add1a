//! What outlives a process: its storage, its input, what it has written; and lives of the process, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidemill_engine::batch::{BatchId, StreamId};
use tidemill_engine::checkpoint::CheckpointStorage;
use tidemill_engine::checkpoint::metadata::{CheckpointMetadata, Program as Expected};
use tidemill_engine::checkpoint::object::ObjectStorage;
use tidemill_engine::checkpoint::place::Claim;
use tidemill_engine::clock::Clock;
use tidemill_engine::error::Result;
use tidemill_engine::input::Input;
use tidemill_engine::listener::ListenerBus;
use tidemill_engine::micro_batch::{MicroBatchExecution, Setup};
use tidemill_engine::recovery::read_checkpoint;
use tidemill_engine::state::changelog::{ChangelogStore, SnapshotPolicy};
use tidemill_engine::state::{MemoryStateStore, StateStore};
use tidemill_engine::time::Time;
use tidemill_engine::trigger::Trigger;
use tidemill_engine::waiter::Waiter;

use super::faults::{Fault, Faults, FaultyStorage, Mode, PlainStorage};
use super::program::{Hand, Numbers, Program, Sums, Written};

const INTERVAL: Duration = Duration::from_millis(10);

/// The calls at which something may happen.
const KINDS: &[&str] = &[
    "append offsets",
    "append commits",
    "append state/log",
    "put metadata",
    "put state",
    "put state/snapshot/sums",
    "purge offsets",
    "purge commits",
    "purge state/log",
    "truncate state/log",
    "open offsets",
    "open commits",
    "open state/log",
    "read offsets",
    "read state/log",
    "latest offset",
    "tell source",
    "plan",
    "state step",
    "write",
    "check",
    "get",
    "list",
    "delete",
];

/// A bug that the simulation must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// There is none.
    None,
    /// A batch is committed before its rows are in the sink.
    CommitBeforeSink,
    /// A batch that is written again is written beside what it wrote before.
    SinkDoubles,
    /// State does not outlive the process.
    StateForgets,
    /// The source forgets what it has handed out.
    SourceForgets,
}

/// What is outside the process.
pub struct Outside {
    /// How many numbers there are at each multiple of the interval.
    schedule: Vec<u64>,
    /// Numbers before this one can't be read any more.
    forgotten: Mutex<u64>,
    written: Mutex<BTreeMap<u64, Written>>,
    /// What went wrong first.
    wrong: Mutex<Option<String>>,
    bug: Bug,
}

impl Outside {
    /// How many numbers there are at a time.
    pub fn available(&self, time: Time) -> u64 {
        let at = usize::try_from(time.as_millis() / 10).unwrap_or(0);
        self.schedule[at.min(self.schedule.len() - 1)]
    }

    /// Numbers before this one were told to be done with.
    pub fn forget(&self, end: u64) {
        let mut forgotten = self.forgotten.lock();
        *forgotten = end.max(*forgotten);
    }

    /// Numbers from this one on are read.
    pub fn read_from(&self, start: u64) {
        let mut forgotten = self.forgotten.lock();
        if start < *forgotten {
            self.wrong(format!("number {start} is read, though all before {forgotten} are forgotten"));
        }
        if self.bug == Bug::SourceForgets {
            *forgotten = start + 1;
        }
    }

    /// The sink gets a batch: the same as before, if it had it before.
    pub fn write(&self, mut batch: Written, bug: Bug) {
        let mut written = self.written.lock();
        if let Some(before) = written.get(&batch.id) {
            if bug == Bug::SinkDoubles {
                batch.rows = [before.rows.as_slice(), &batch.rows].concat();
            } else if *before != batch {
                self.wrong(format!("a batch was written as {before:?}, and again as {batch:?}"));
            }
        }
        written.insert(batch.id, batch);
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().get_or_insert(what);
    }
}

/// One run of the simulation.
pub struct World {
    seed: u64,
    bug: Bug,
    calm: bool,
    outside: Arc<Outside>,
    /// Gives what is beneath each life's storage, and takes it over from the one before.
    beneath: Box<dyn Fn() -> Result<Arc<dyn CheckpointStorage>> + Send + Sync>,
    now: Mutex<Time>,
    story: Mutex<Vec<String>>,
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64, bug: Bug) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut numbers = 0;
        let schedule = (0..200).map(|_| {
            numbers += rng.random_range(0..4);
            numbers
        });
        let (schedule, forgotten) = (schedule.collect(), Mutex::default());
        let outside = Outside { schedule, forgotten, written: Mutex::default(), wrong: Mutex::default(), bug };
        // Most run on storage that costs nothing, some on the real logs of an object store.
        let beneath: Box<dyn Fn() -> Result<Arc<dyn CheckpointStorage>> + Send + Sync> = if seed.is_multiple_of(8) {
            let store = Arc::<InMemory>::default();
            Box::new(move || {
                let storage = ObjectStorage::new(Arc::clone(&store) as _, "", "memory:simulation")?;
                storage.claim()?;
                Ok(Arc::new(storage))
            })
        } else {
            let plain = Arc::<PlainStorage>::default();
            Box::new(move || Ok(Arc::clone(&plain) as _))
        };
        let (now, story) = (Mutex::default(), Mutex::default());
        Self { seed, bug, calm: false, outside: Arc::new(outside), beneath, now, story }
    }

    /// A world in which nothing fails.
    pub fn calm(bug: Bug) -> Self {
        Self { calm: true, ..Self::new(0, bug) }
    }

    /// What happened, life by life.
    pub fn story(&self) -> Vec<String> {
        self.story.lock().clone()
    }

    /// Runs it: lives with faults, then one without.
    ///
    /// # Errors
    /// What is wrong with what came out.
    pub fn run(&self) -> Result<(), String> {
        let mut rng = SmallRng::seed_from_u64(self.seed.wrapping_add(1 << 32));
        let lives = if self.calm { 0 } else { rng.random_range(1..6) };
        for _ in 0..lives {
            let faults = (0..rng.random_range(1..4)).map(|_| fault(&mut rng)).collect();
            let batches = rng.random_range(1..9);
            // What the process says of it does not matter.
            let _ = self.live(&mut rng, Faults::new(faults), batches)?;
        }
        // Two, for the second one finds what the first has committed.
        for _ in 0..2 {
            let whole = self.live(&mut rng, Faults::new(Vec::new()), 3)?;
            whole.map_err(|error| format!("a life without faults ends with: {error}"))?;
        }
        self.check_all()
    }

    /// One life; the inner result is what the process itself says.
    fn live(&self, rng: &mut SmallRng, faults: Arc<Faults>, batches: u32) -> Result<Result<()>, String> {
        let down = INTERVAL * rng.random_range(0..3);
        let clock = Arc::new(Hand::at(*self.now.lock() + down));
        let settings = Settings {
            retained: rng.random_range(1..4),
            concurrent: rng.random_range(1..3),
            snapshots: rng.random_range(1..5),
            most_missed: if rng.random_bool(0.2) { 1 } else { u64::MAX },
        };
        let (at_once, graceful) = (rng.random_bool(0.25), rng.random_bool(0.3));
        let waiter = Arc::<Waiter>::default();
        let result = self.start(&clock, &faults, &settings, &waiter).map(|execution| {
            for _ in 0..batches {
                let time = clock.advance(INTERVAL);
                if !at_once && !faults.is_dead() {
                    execution.wait_for_batch(time);
                }
            }
            if at_once && !faults.is_dead() {
                execution.wait_for_batch(clock.now());
            }
            clock.end();
            // What could not be written is what the oracle is about to look at.
            let _ = execution.stop(graceful && !faults.is_dead());
        });
        *self.now.lock() = clock.now();
        let result = result.and_then(|()| waiter.wait(Some(Duration::ZERO)).map(drop));
        let says = result.as_ref().map_or_else(ToString::to_string, |()| "ends well".into());
        let mut story = self.story.lock();
        story.push(format!("{batches} batches up to {}, {settings:?}, {:?}: {says}", clock.now(), faults.hit()));
        self.check_commits()?;
        self.outside.wrong.lock().clone().map_or(Ok(result), Err)
    }

    fn start(
        &self,
        clock: &Arc<Hand>,
        faults: &Arc<Faults>,
        settings: &Settings,
        waiter: &Arc<Waiter>,
    ) -> Result<MicroBatchExecution> {
        let storage = FaultyStorage { beneath: (self.beneath)()?, faults: Arc::clone(faults) };
        let (logs, resume) = read_checkpoint(Arc::new(storage), Claim::default())?;
        let trigger = Trigger::Interval(INTERVAL);
        let now = clock.now();
        let first = match resume.last_time {
            Some(last) => trigger.first_after_restart(last, now, settings.most_missed).0,
            None => trigger.first_after(now),
        };
        let metadata = CheckpointMetadata::for_program(
            logs.metadata(),
            &Expected {
                batch_interval: INTERVAL,
                zero: first - INTERVAL,
                next: resume.next,
                streams: vec!["numbers"],
                dropped: "",
            },
        )?;
        let zero = metadata.zero;
        logs.set_metadata(metadata)?;
        let state: Arc<dyn StateStore> = if self.bug == Bug::StateForgets {
            Arc::<MemoryStateStore>::default()
        } else {
            let policy = SnapshotPolicy { deltas: settings.snapshots, ..SnapshotPolicy::default() };
            let storage = Arc::clone(&logs.storage);
            Arc::new(ChangelogStore::open(storage, resume.committed, resume.state_entry, policy)?)
        };
        let (outside, cell) = (Arc::clone(&self.outside), Arc::default());
        let program = Program { outside, cell, faults: Arc::clone(faults), bug: self.bug, late: Arc::default() };
        program.cell.bind("sums", 1, Arc::clone(&state));
        let source = Arc::new(Numbers { outside: Arc::clone(&self.outside), faults: Arc::clone(faults) });
        let input = Input { name: "numbers".into(), source, estimator: None, interval: INTERVAL };
        MicroBatchExecution::start(Setup {
            clock: Arc::clone(clock) as Arc<dyn Clock>,
            trigger,
            first,
            zero,
            inputs: [(StreamId(0), input)].into(),
            planner: Arc::new(program),
            checkpoint: Some((logs, resume)),
            retained_batches: settings.retained,
            state,
            bus: Arc::<ListenerBus>::default(),
            waiter: Arc::clone(waiter),
            concurrent_jobs: settings.concurrent,
            graceful_timeout: Duration::ZERO,
        })
    }

    /// What is committed must have happened.
    fn check_commits(&self) -> Result<(), String> {
        let text = |error: tidemill_engine::error::Error| format!("the checkpoint can't be read: {error}");
        let storage = (self.beneath)().map_err(text)?;
        let (_, resume) = read_checkpoint(storage, Claim::default()).map_err(text)?;
        let open: Vec<BatchId> = resume.unfinished.iter().map(|batch| batch.id).collect();
        let written = self.outside.written.lock();
        let missing = (0..resume.next.0).find(|id| !written.contains_key(id) && !open.contains(&BatchId(*id)));
        missing.map_or(Ok(()), |id| Err(format!("batch {id} is committed, but the sink does not have it")))
    }

    /// All numbers came out once and in order, each batch with the counts up to it.
    fn check_all(&self) -> Result<(), String> {
        let written = self.outside.written.lock();
        let mut end = 0;
        for batch in written.values() {
            let expected: Vec<u64> = (end..end + batch.rows.len() as u64).collect();
            if batch.rows != expected {
                return Err(format!("{batch:?} has other rows than {expected:?}"));
            }
            end += batch.rows.len() as u64;
            if batch.sums != Sums::of(end) {
                return Err(format!("{batch:?} has other sums than {:?}", Sums::of(end)));
            }
        }
        let all = self.outside.available(*self.now.lock());
        if end == all { Ok(()) } else { Err(format!("{end} numbers came out, of {all}")) }
    }
}

#[derive(Debug)]
struct Settings {
    retained: u64,
    concurrent: usize,
    snapshots: usize,
    most_missed: u64,
}

fn fault(rng: &mut SmallRng) -> Fault {
    let modes = [Mode::Fails, Mode::Tears, Mode::DiesBefore, Mode::DiesAfter, Mode::DiesAfter, Mode::Waits];
    let (kind, mode) = (KINDS[rng.random_range(0..KINDS.len())], modes[rng.random_range(0..modes.len())]);
    Fault { kind: kind.into(), passage: rng.random_range(0..8), mode }
}
