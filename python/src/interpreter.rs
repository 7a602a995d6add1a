//! Threads of the engine's in the interpreter.

use pyo3::ffi;
use pyo3::prelude::*;

/// Runs `body` with the interpreter, on a thread of the engine's or of Python's.
///
/// A thread that the interpreter has not seen gets a thread state of its own, which stays until the thread ends: to make one for each call
/// would cost a microsecond, and there are calls by key.
pub fn with_python<R>(body: impl FnOnce(Python<'_>) -> R) -> R {
    // SAFETY: asks for the state of this thread, without the interpreter's lock, as the function is made for. A thread without one does not
    // hold the lock: it takes it, which makes the state, and gives it back, which leaves the state.
    unsafe {
        if ffi::PyGILState_GetThisThreadState().is_null() {
            ffi::PyGILState_Ensure();
            ffi::PyEval_SaveThread();
        }
    }
    Python::attach(body)
}
