//! `Cost`: what a function has cost, and whether its rows are worth their way to another process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Work below this is done here: on its way to a worker it may wait 5 ms for the interpreter's lock.
const LEAST_WORK: Duration = Duration::from_millis(20);
/// What a row costs where nobody knows.
const ROW: u64 = 1_000;
/// Rows cheaper than this cost as much on their way.
const LEAST_ROW: u64 = 300;

/// What a function has cost so far, in nanoseconds per row.
#[derive(Debug, Default)]
pub struct Cost(AtomicU64);

impl Cost {
    /// Takes note of a run.
    pub fn observe(&self, rows: usize, took: Duration) {
        if rows > 0 {
            let (now, before) = (took.as_nanos() as u64 / rows as u64, self.0.load(Ordering::Relaxed));
            self.0.store(if before == 0 { now.max(1) } else { (3 * before + now).max(4) / 4 }, Ordering::Relaxed);
        }
    }

    /// So many rows are worth their way to a worker.
    pub fn is_worth_it(&self, rows: usize) -> bool {
        let row = match self.0.load(Ordering::Relaxed) {
            0 => ROW,
            known => known,
        };
        row >= LEAST_ROW && Duration::from_nanos(row.saturating_mul(rows as u64)) >= LEAST_WORK
    }
}
