//! Where plans of few rows run: on the task threads, or on the thread that asks, whichever took less time before.
//!
//! Threads that sleep between batches take longer to wake than a thousand rows take to count, but closures may do anything with a
//! row. So both ways are timed, plan by plan. The task threads come first: a plan that takes them longer than [`LONGEST`] never
//! runs elsewhere.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::Result;

/// Plans of more rows always go to the task threads.
const MOST_ROWS: usize = 8192;

/// So do plans that take them longer.
const LONGEST: Duration = Duration::from_millis(4);

/// Every so many runs the other way is timed again.
const LOOK_AGAIN: u32 = 64;

/// The weight of the last run in what is known of a way.
const WEIGHT: f64 = 0.2;

/// Plans that are known at once: those made of closures that live for a batch only are never seen again.
const MOST_PLANS: usize = 4096;

/// Where a plan runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the thread that asks.
    Here,
    /// On the task threads.
    TaskThreads,
}

/// What small plans took, by their shape.
#[derive(Default)]
pub struct SmallPlans(Mutex<HashMap<u64, Times>>);

#[derive(Debug, Clone, Copy, Default)]
struct Times {
    here: Option<f64>,
    task_threads: Option<f64>,
    runs: u32,
}

impl SmallPlans {
    /// Runs a plan of this many rows where it was fastest.
    pub fn run<R>(&self, rows: usize, shape: impl FnOnce() -> u64, run: impl FnOnce(Place) -> Result<R>) -> Result<R> {
        if rows == 0 {
            return run(Place::Here);
        }
        if rows > MOST_ROWS {
            return run(Place::TaskThreads);
        }
        let shape = shape();
        let place = self.0.lock().get(&shape).copied().unwrap_or_default().place();
        let began = Instant::now();
        let result = run(place)?;
        let took = began.elapsed();
        let mut plans = self.0.lock();
        if plans.len() >= MOST_PLANS && !plans.contains_key(&shape) {
            plans.clear();
        }
        plans.entry(shape).or_default().took(place, took);
        Ok(result)
    }
}

impl Times {
    fn place(self) -> Place {
        let longest = LONGEST.as_secs_f64();
        let better = match (self.here, self.task_threads) {
            (_, None) => return Place::TaskThreads,
            (_, Some(task_threads)) if task_threads > longest => return Place::TaskThreads,
            (None, Some(_)) => return Place::Here,
            // No second look at what was far worse.
            (Some(here), Some(task_threads)) if here > 4.0 * task_threads => return Place::TaskThreads,
            (Some(here), Some(task_threads)) if here <= task_threads => Place::Here,
            (Some(_), Some(_)) => Place::TaskThreads,
        };
        match (self.runs.is_multiple_of(LOOK_AGAIN), better) {
            (true, Place::Here) | (false, Place::TaskThreads) => Place::TaskThreads,
            (true, Place::TaskThreads) | (false, Place::Here) => Place::Here,
        }
    }

    fn took(&mut self, place: Place, took: Duration) {
        let took = took.as_secs_f64();
        let known = match place {
            Place::Here => &mut self.here,
            Place::TaskThreads => &mut self.task_threads,
        };
        *known = Some(known.map_or(took, |known| known + WEIGHT * (took - known)));
        self.runs = self.runs.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the runs of a plan went that takes so long here and so long there.
    fn places(here_us: u64, task_threads_us: u64, runs: usize) -> Vec<Place> {
        let mut times = Times::default();
        let step = |_| {
            let place = times.place();
            let took = if place == Place::Here { here_us } else { task_threads_us };
            times.took(place, Duration::from_micros(took));
            place
        };
        (0..runs).map(step).collect()
    }

    #[test]
    fn a_plan_runs_where_it_is_faster_and_looks_at_the_other_way_again() {
        use Place::{Here, TaskThreads};
        let count = |places: &[Place], place| places.iter().filter(|p| **p == place).count();
        let fast_here = places(200, 900, 640);
        assert_eq!(fast_here[..3], [TaskThreads, Here, Here]);
        assert_eq!(count(&fast_here, TaskThreads), 10);
        let fast_there = places(900, 400, 640);
        assert_eq!(fast_there[..3], [TaskThreads, Here, TaskThreads]);
        assert_eq!(count(&fast_there, Here), 10);
        // Far slower here: tried once.
        assert_eq!(count(&places(4000, 400, 640), Here), 1);
        // Closures that take long are never tried on one thread.
        assert_eq!(count(&places(1, 5000, 640), Here), 0);
    }

    #[test]
    fn rows_decide_first() {
        let plans = SmallPlans::default();
        let cases = [(0, Place::Here), (MOST_ROWS + 1, Place::TaskThreads), (usize::MAX, Place::TaskThreads)];
        for (rows, expected) in cases {
            assert_eq!(plans.run(rows, || 0, Ok).unwrap(), expected, "{rows}");
        }
        // A plan that fails teaches nothing.
        assert!(plans.run(5, || 1, |_| Err::<(), _>(crate::error::Error::data("no"))).is_err());
        assert_eq!(plans.run(5, || 1, Ok).unwrap(), Place::TaskThreads);
        assert_eq!(plans.run(5, || 1, Ok).unwrap(), Place::Here);
    }
}
