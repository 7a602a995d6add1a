//! Threads of the engine's in the interpreter, and its signals while the engine works.

use std::thread::ThreadId;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tidemill_engine::error::{Error, Result};

use crate::ending::Stay;
use crate::error::raise;

/// How long a wait lasts before signals are looked for.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// The thread that Python's signals reach: the one that imported this.
static MAIN_THREAD: PyOnceLock<ThreadId> = PyOnceLock::new();

/// This is the thread that signals reach.
pub fn is_main_thread(py: Python<'_>) -> bool {
    *MAIN_THREAD.get_or_init(py, || std::thread::current().id()) == std::thread::current().id()
}

/// Runs a job of the engine's without the interpreter. On the main thread, Ctrl-C ends the wait: the job then ends for itself.
pub fn run_job<R: Send + 'static>(py: Python<'_>, job: impl FnOnce() -> Result<R> + Send + 'static) -> PyResult<R> {
    run_interruptibly(py, job)?.map_err(raise)
}

/// As `run_job`, but that only what ends the wait is raised: what the handler of a signal says.
pub fn run_interruptibly<R: Send + 'static>(
    py: Python<'_>,
    job: impl FnOnce() -> Result<R> + Send + 'static,
) -> PyResult<Result<R>> {
    if !is_main_thread(py) {
        return Ok(py.detach(job));
    }
    let (sender, receiver) = bounded(1);
    // Nobody waits for what was interrupted.
    let body = move || drop(sender.send(job()));
    let started = std::thread::Builder::new().name("tidemill-driver".into()).spawn(body);
    started.map_err(|error| raise(Error::retry("a thread for a job can't be started").with_source(error)))?;
    loop {
        match py.detach(|| receiver.recv_timeout(PATIENCE)) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(Err(Error::internal("a job ended without a result"))),
        }
    }
}

/// Runs `body` with the interpreter, on a thread of the engine's or of Python's. On one of the engine's it does not return once the process
/// ends.
///
/// A thread that lives as long as the engine gets a thread state of its own, which stays: to make one for each call would cost a
/// microsecond, and there are calls by key. Others get one for the call, for nobody would free it.
pub fn with_python<R>(body: impl FnOnce(Python<'_>) -> R) -> R {
    let lasts = lasts();
    let _stay = Stay::begin(lasts);
    if !lasts {
        return Python::attach(body);
    }
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

/// Whether this thread lives as long as the engine, or as a stream.
fn lasts() -> bool {
    let known = ["tidemill-task", "tidemill-job", "tidemill-batches"];
    std::thread::current().name().is_some_and(|name| known.iter().any(|known| name.starts_with(known)))
}
