//! Task threads that wake on different processors.
//!
//! Linux wakes a thread on the processor of the one that wakes it, more often than not, even if that one goes on and another processor is
//! idle. Task threads wake one another, so a batch of a few milliseconds ran on one processor of two: it was over before the load
//! was balanced.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Builder;

/// Ties every task thread of a runtime to a processor of its own while it sleeps, so that it wakes there, if there are as many threads
/// as processors. A thread that runs is free: what it starts inherits nothing, and the scheduler may move it, among the processors
/// that the caller may use now.
pub fn spread(builder: &mut Builder, threads: usize) {
    let Some(allowed) = Processors::allowed().filter(|allowed| allowed.count() > 1 && threads >= allowed.count())
    else {
        return;
    };
    let started = AtomicUsize::new(0);
    let allowed = Arc::new(allowed);
    builder.on_thread_start(move || {
        let own = started.fetch_add(1, Ordering::Relaxed);
        // Threads above that number are of no task.
        let home = (own < threads).then(|| Home { own: allowed.only(own % allowed.count()), all: allowed.all() });
        HOME.set(home);
    });
    builder.on_thread_park(|| HOME.with_borrow(|home| home.as_ref().map_or((), Home::sleep)));
    builder.on_thread_unpark(|| HOME.with_borrow(|home| home.as_ref().map_or((), Home::wake)));
}

thread_local! {
    static HOME: RefCell<Option<Home>> = const { RefCell::new(None) };
}

#[cfg(target_os = "linux")]
mod affinity {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// Processors that this process may use.
    pub struct Processors(CpuSet);

    /// Where a thread sleeps, and where it may run.
    pub struct Home {
        pub own: CpuSet,
        pub all: CpuSet,
    }

    impl Processors {
        pub fn allowed() -> Option<Self> {
            sched_getaffinity(None).ok().map(Self)
        }

        pub fn count(&self) -> usize {
            self.0.count() as usize
        }

        pub fn all(&self) -> CpuSet {
            self.0
        }

        pub fn only(&self, place: usize) -> CpuSet {
            let mut one = CpuSet::new();
            if let Some(n) = (0..CpuSet::MAX_CPU).filter(|n| self.0.is_set(*n)).nth(place) {
                one.set(n);
            }
            one
        }
    }

    impl Home {
        // What can't be tied works all the same.
        pub fn sleep(&self) {
            let _ = sched_setaffinity(None, &self.own);
        }

        pub fn wake(&self) {
            let _ = sched_setaffinity(None, &self.all);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod affinity {
    pub struct Processors;

    pub struct Home {
        pub own: (),
        pub all: (),
    }

    impl Processors {
        pub fn allowed() -> Option<Self> {
            None
        }

        pub fn count(&self) -> usize {
            0
        }

        pub fn all(&self) {}

        pub fn only(&self, _: usize) {}
    }

    impl Home {
        pub fn sleep(&self) {}

        pub fn wake(&self) {}
    }
}

use affinity::{Home, Processors};

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::sync::Barrier;
    use std::time::Duration;

    use super::*;

    #[test]
    fn threads_sleep_on_processors_of_their_own_and_run_anywhere() {
        let allowed = Processors::allowed().unwrap();
        let threads = allowed.count();
        if threads == 1 {
            return;
        }
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads);
        spread(&mut builder, threads);
        let runtime = builder.build().unwrap();
        // All of them run at once, so each task has a thread of its own.
        let together = Arc::new(Barrier::new(threads));
        let tasks: Vec<_> = (0..threads).map(|_| Arc::clone(&together)).collect();
        let tasks: Vec<_> = tasks
            .into_iter()
            .map(|together| {
                runtime.spawn(async move {
                    together.wait();
                    (rustix::thread::gettid(), Processors::allowed().unwrap().count())
                })
            })
            .collect();
        let ran: Vec<_> = tasks.into_iter().map(|task| futures::executor::block_on(task).unwrap()).collect();
        assert!(ran.iter().all(|(_, processors)| *processors == threads), "{ran:?}");
        let place = |thread: i32| {
            let status = fs::read_to_string(format!("/proc/self/task/{thread}/status")).unwrap();
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
            list.trim().parse::<usize>().ok()
        };
        // Each goes to sleep soon; the test's own time limit is the only one.
        let mut places: Vec<usize> = Vec::new();
        for (thread, _) in ran {
            places.push(loop {
                match place(thread.as_raw_nonzero().get()) {
                    Some(place) => break place,
                    None => std::thread::sleep(Duration::from_millis(1)),
                }
            });
        }
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), threads);
    }
}
