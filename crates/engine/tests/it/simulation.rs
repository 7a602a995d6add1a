//! A seeded simulation of programs that crash: the real loop, logs and states, over storage that fails, tears and dies at chosen
//! calls, on a clock that the test moves, life after life. In the end each program must have written what its input says.
//!
//! `TIDEMILL_SIMULATION_SEED=N` runs one seed and tells what it does; `TIDEMILL_SIMULATION_RUNS=N` runs so many.

mod faults;
mod program;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use world::{Bug, World};

/// Runs the seeds from 0 on, on as many threads as there are; gives the first that goes wrong, and what.
fn find_fault(seeds: u64, bug: Bug) -> Option<(u64, String)> {
    let (next, found) = (AtomicU64::new(0), parking_lot::Mutex::new(None::<(u64, String)>));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || found.lock().is_some() {
                        return;
                    }
                    if let Err(fault) = World::new(seed, bug).run() {
                        let mut found = found.lock();
                        if found.as_ref().is_none_or(|(other, _)| seed < *other) {
                            *found = Some((seed, fault));
                        }
                    }
                }
            });
        }
    });
    found.into_inner()
}

#[test]
fn whatever_fails_every_record_comes_out_once_and_in_order() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("TIDEMILL_SIMULATION_SEED") {
        let world = World::new(seed, Bug::None);
        let result = world.run();
        world.story().iter().for_each(|line| eprintln!("{line}"));
        return result.unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
    }
    if let Some((seed, fault)) = find_fault(number("TIDEMILL_SIMULATION_RUNS").unwrap_or(2000), Bug::None) {
        panic!("{fault}\nrun it again with TIDEMILL_SIMULATION_SEED={seed}");
    }
}

#[test]
fn a_planted_bug_is_found() {
    let bugs = [
        (Bug::CommitBeforeSink, "is committed, but the sink"),
        (Bug::SinkDoubles, "other rows"),
        (Bug::StateForgets, "other sums"),
        (Bug::SourceForgets, "forgotten"),
    ];
    for (bug, said) in bugs {
        let (seed, fault) = find_fault(1000, bug).unwrap_or_else(|| panic!("{bug:?} was not found"));
        assert!(fault.contains(said), "{bug:?}, seed {seed}: {fault}");
    }
}

#[test]
fn without_faults_nothing_is_wrong_with_or_without_a_planted_bug() {
    for bug in [Bug::None, Bug::SinkDoubles] {
        World::calm(bug).run().unwrap();
    }
}
