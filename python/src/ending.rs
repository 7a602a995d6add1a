//! The end of the process: which threads of the engine's are in the interpreter then, and that no more of them come in.
//!
//! CPython ends a thread that asks for the interpreter's lock while the interpreter goes away, by unwinding its stack. Calls from Rust into Python
//! can't be unwound: the process would end by a signal. (From 3.14 on such threads wait forever.) So functions of the program's have to come
//! to their end before. Threads that call Rust from Python are safe without this: PyO3 has them wait.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::exceptions::PySystemExit;
use pyo3::ffi;
use pyo3::prelude::*;

/// A thread that has been in the interpreter.
struct Known {
    /// Its number, as Python has it.
    ident: std::ffi::c_long,
    /// It is in the interpreter, or on its way there.
    inside: AtomicBool,
}

static KNOWN: Mutex<Vec<Arc<Known>>> = Mutex::new(Vec::new());
/// Nobody comes in any more.
static ENDING: AtomicBool = AtomicBool::new(false);

/// What a thread has of its own.
struct Own {
    known: Arc<Known>,
    /// The interpreter's state for it, if it keeps one.
    state: Cell<*mut ffi::PyThreadState>,
}

thread_local! {
    static OWN: Own = Own::new();
    /// How many stays this thread has begun, one within the other.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

impl Own {
    fn new() -> Self {
        // Of the C library, which `std` is linked to.
        unsafe extern "C" {
            fn pthread_self() -> std::ffi::c_ulong;
        }
        // SAFETY: only asks. Python takes the same for a thread's number.
        let ident = unsafe { pthread_self() }.cast_signed();
        let known = Arc::new(Known { ident, inside: AtomicBool::new(false) });
        KNOWN.lock().push(Arc::clone(&known));
        Self { known, state: Cell::new(std::ptr::null_mut()) }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let state = self.state.get();
        if !state.is_null() {
            // As in a stay, within which what is freed may begin others.
            DEPTH.set(DEPTH.get() + 1);
            self.known.inside.store(true, Ordering::SeqCst);
            if !ENDING.load(Ordering::SeqCst) {
                // SAFETY: the state is this thread's, which does not hold the interpreter's lock: it takes it, and gives back what
                // `keep_thread_state` has taken, which frees the state.
                unsafe {
                    ffi::PyEval_RestoreThread(state);
                    ffi::PyGILState_Release(ffi::PyGILState_STATE::PyGILState_UNLOCKED);
                }
            }
        }
        KNOWN.lock().retain(|other| !Arc::ptr_eq(other, &self.known));
    }
}

/// Gives this thread, in a stay of its and without the interpreter's lock, a state of the interpreter's that lasts until the thread ends.
pub fn keep_thread_state() {
    OWN.with(|own| {
        if own.state.get().is_null() {
            // SAFETY: takes the lock, which makes the state, and gives the lock back, which leaves the state.
            unsafe {
                ffi::PyGILState_Ensure();
                own.state.set(ffi::PyEval_SaveThread());
            }
        }
    });
}

/// A thread's stay in the interpreter, for which the end of the process waits.
pub struct Stay {
    of_this_thread: PhantomData<*const ()>,
}

impl Stay {
    /// Begins a stay. Once the process ends, a thread of the engine's that is outside waits here forever; `is_ours` says that it is one, though the
    /// interpreter knows it.
    pub fn begin(is_ours: bool) -> Self {
        if DEPTH.get() == 0 {
            // In this order: who ends the process says so first, and looks then who is inside.
            OWN.with(|own| own.known.inside.store(true, Ordering::SeqCst));
            // SAFETY: only asks whether the interpreter has a state for this thread. A thread of Python's own, which has one, may hold the
            // interpreter's lock: it must not wait.
            let must_wait = || is_ours || unsafe { ffi::PyGILState_GetThisThreadState() }.is_null();
            if ENDING.load(Ordering::SeqCst) && must_wait() {
                OWN.with(|own| own.known.inside.store(false, Ordering::SeqCst));
                loop {
                    std::thread::park();
                }
            }
        }
        DEPTH.set(DEPTH.get() + 1);
        Self { of_this_thread: PhantomData }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 {
            OWN.with(|own| own.known.inside.store(false, Ordering::SeqCst));
        }
    }
}

/// The program has ended, and this thread ends the process: no thread of the engine's comes into the interpreter any more. Waits so long for
/// those that are inside. Those that have not come out then get `SystemExit` where they are, and the same time again; says how many stay. Ctrl-C ends
/// each wait.
#[pyfunction]
pub fn leave_interpreter(py: Python<'_>, patience_ms: u64) -> usize {
    // This thread itself may go on, as in a stay that does not end.
    DEPTH.set(DEPTH.get() + 1);
    ENDING.store(true, Ordering::SeqCst);
    let patience = Duration::from_millis(patience_ms);
    wait_for_others(py, patience);
    for ident in inside() {
        // SAFETY: with the interpreter's lock. A number that is no thread's any more is ignored.
        unsafe { ffi::PyThreadState_SetAsyncExc(ident, py.get_type::<PySystemExit>().as_ptr()) };
    }
    wait_for_others(py, patience);
    inside().len()
}

fn inside() -> Vec<std::ffi::c_long> {
    KNOWN.lock().iter().filter(|known| known.inside.load(Ordering::SeqCst)).map(|known| known.ident).collect()
}

fn wait_for_others(py: Python<'_>, patience: Duration) {
    let deadline = Instant::now() + patience;
    while !inside().is_empty() && Instant::now() < deadline && py.check_signals().is_ok() {
        py.detach(|| std::thread::sleep(Duration::from_millis(5)));
    }
}
