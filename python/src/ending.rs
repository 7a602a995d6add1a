//! The end of the process: which threads of the engine's are in the interpreter then, and that no more of them come in.
//!
//! CPython ends a thread that asks for the interpreter's lock while the interpreter goes away, by unwinding its stack. Calls from Rust into Python
//! can't be unwound: the process would end by SIGABRT. (From 3.14 on such threads wait forever.) So functions of the program's get a moment to
//! come to their end, before. Threads that call Rust from Python are safe without this: PyO3 has them wait.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::time::{Duration, Instant};

use pyo3::ffi;
use pyo3::prelude::*;

/// How many threads of the engine's are in the interpreter, or on their way there.
static INSIDE: AtomicIsize = AtomicIsize::new(0);
/// Nobody comes in any more.
static ENDING: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// How many stays this thread has begun, one within the other.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// A thread's stay in the interpreter, for which the end of the process waits.
pub struct Stay {
    of_this_thread: PhantomData<*const ()>,
}

impl Stay {
    /// Begins a stay. Once the process ends, a thread of the engine's that is outside waits here forever; `is_ours` says that it is one, though the
    /// interpreter knows it.
    pub fn begin(is_ours: bool) -> Self {
        Self::try_begin(is_ours).unwrap_or_else(|| {
            loop {
                std::thread::park();
            }
        })
    }

    /// Begins a stay; None once the process ends.
    pub fn try_begin(is_ours: bool) -> Option<Self> {
        if DEPTH.get() == 0 {
            // In this order: who ends the process says so first, and counts then.
            INSIDE.fetch_add(1, Ordering::SeqCst);
            // SAFETY: only asks whether the interpreter has a state for this thread. A thread of Python's own, which has one, may hold the
            // interpreter's lock: it must not wait.
            let must_wait = || is_ours || unsafe { ffi::PyGILState_GetThisThreadState() }.is_null();
            if ENDING.load(Ordering::SeqCst) && must_wait() {
                INSIDE.fetch_sub(1, Ordering::SeqCst);
                return None;
            }
        }
        DEPTH.set(DEPTH.get() + 1);
        Some(Self { of_this_thread: PhantomData })
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The program has ended, and this thread ends the process: no thread of the engine's comes into the interpreter any more. Waits so long, or
/// until Ctrl-C, for those that are inside, and says how many stay: each waits forever when the interpreter is gone.
#[pyfunction]
pub fn leave_interpreter(py: Python<'_>, patience_ms: u64) -> usize {
    // This thread itself may go on, as in a stay that does not end.
    DEPTH.set(DEPTH.get() + 1);
    ENDING.store(true, Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_millis(patience_ms);
    let inside = || usize::try_from(INSIDE.load(Ordering::SeqCst)).unwrap_or(0);
    while inside() > 0 && Instant::now() < deadline && py.check_signals().is_ok() {
        py.detach(|| std::thread::sleep(Duration::from_millis(5)));
    }
    let staying = inside();
    if staying > 0 {
        hold_threads_that_abort();
    }
    staying
}

/// In a process that was forked: threads of the engine's are not there.
#[pyfunction]
pub fn forget_stays() {
    INSIDE.store(0, Ordering::SeqCst);
}

/// Has every thread but this one wait where it would end the process by SIGABRT: its stack was to be unwound.
#[cfg(unix)]
fn hold_threads_that_abort() {
    use std::sync::atomic::AtomicUsize;

    const SIGABRT: i32 = 6;
    const DEFAULT: usize = 0;
    // Of the C library, which `std` is linked to.
    unsafe extern "C" {
        fn signal(number: i32, handler: usize) -> usize;
        fn pthread_self() -> usize;
        fn pause() -> i32;
    }
    static ENDS_THE_PROCESS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn hold(_: i32) {
        // SAFETY: functions that may be called in a signal handler. `abort` raises the signal again when this returns.
        unsafe {
            if pthread_self() == ENDS_THE_PROCESS.load(Ordering::SeqCst) {
                signal(SIGABRT, DEFAULT);
                return;
            }
            loop {
                pause();
            }
        }
    }
    // SAFETY: a handler of the type that `signal` wants, which lives as long as the process: the module is never unloaded.
    unsafe {
        ENDS_THE_PROCESS.store(pthread_self(), Ordering::SeqCst);
        signal(SIGABRT, hold as *const () as usize);
    }
}

#[cfg(not(unix))]
fn hold_threads_that_abort() {}
