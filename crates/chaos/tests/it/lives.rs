//! Programs under test, and how they die.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidemill_chaos::input::Pace;
use tidemill_chaos::life::{Ended, Life};
use tidemill_chaos::program::Program;
use tidemill_chaos::trial::Trial;

/// The program that is killed.
pub const CHAOS: &str = env!("CARGO_BIN_EXE_chaos");

/// Longer than anything takes here: what does not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder in memory, where the system has that: what a process has written outlives a kill there as it does on a disk, and a
/// hundred lives don't wait for a disk to sync.
pub fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A trial in a folder of its own, of the program that `change` makes.
pub fn trial(change: impl FnOnce(&mut Program)) -> (TempDir, Trial) {
    let folder = folder();
    let mut program =
        Program { interval_ms: 40, snapshot_deltas: 3, retained_batches: 3, ..Program::new(folder.path()) };
    change(&mut program);
    let pace = Pace { every: Duration::from_millis(15), records: 5 };
    (folder, Trial::start(CHAOS, program, pace).unwrap())
}

/// Waits for a life to end by itself.
pub fn end_of(mut life: Life, what: &str) -> Ended {
    let began = Instant::now();
    while !life.has_ended().unwrap() {
        assert!(began.elapsed() < PATIENCE, "{what}: this never came: {}", life.kill().unwrap().said);
        std::thread::sleep(Duration::from_millis(1));
    }
    life.wait().unwrap()
}

/// A life that ends at a step of the protocol: `name:passage`.
pub fn killed_at(trial: &Trial, point: &str) {
    let life = Life::start(&mut trial.command(Some(point))).unwrap();
    let ended = end_of(life, point);
    let there = ended.said.contains(&format!("killed at {point}"));
    assert!(ended.was_killed() && there, "{point} was not passed: {}: {}", ended.status, ended.said);
}

/// Works the input off; what was written must be exact.
pub fn finish_exact(mut trial: Trial, what: &str) {
    let verdict = trial.finish().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(verdict.is_exact() && verdict.records > 0, "{what}: {verdict}");
}
