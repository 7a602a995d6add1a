//! Threads of the engine's in the interpreter, and its signals while the engine works.

use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use pyo3::prelude::*;
use tidemill_engine::error::{Error, Result};

use crate::ending::{Stay, keep_thread_state};
use crate::error::raise;

/// How long a wait lasts before signals are looked for.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// This is the thread that signals reach.
fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    main.eq(threading.call_method0("get_ident")?)
}

/// Whether this thread is the engine's, or a job's: none of Python's own.
fn is_of_engine() -> bool {
    std::thread::current().name().is_some_and(|name| name.starts_with("tidemill-"))
}

/// Runs a job of the engine's without the interpreter. On the main thread, Ctrl-C ends the wait: the job then ends for itself.
pub fn run_job<R: Send + 'static>(py: Python<'_>, job: impl FnOnce() -> Result<R> + Send + 'static) -> PyResult<R> {
    run_interruptibly(py, job)?.map_err(raise)
}

/// As `run_job`, but that `cancelled`, which raises if the job was cancelled, ends the wait, too, on all threads of the program's. Where the wait
/// ends before the job, `given_up` is called.
pub fn run_job_unless<R: Send + 'static>(
    py: Python<'_>,
    cancelled: Option<Py<PyAny>>,
    job: impl FnOnce() -> Result<R> + Send + 'static,
    given_up: impl Fn() + Sync,
) -> PyResult<R> {
    let is_main = is_main_thread(py)?;
    // Threads of the engine's run it themselves, so that it is seen where one job waits for another.
    let Some(cancelled) = cancelled.filter(|_| is_main || !is_of_engine()) else { return run_job(py, job) };
    let look = |py: Python<'_>| {
        if is_main {
            py.check_signals()?;
        }
        cancelled.call0(py).map(drop)
    };
    run_beside(py, job, |py| look(py).inspect_err(|_| py.detach(&given_up)))?.map_err(raise)
}

/// As `run_job`, but that only what ends the wait is raised: what the handler of a signal says.
pub fn run_interruptibly<R: Send + 'static>(
    py: Python<'_>,
    job: impl FnOnce() -> Result<R> + Send + 'static,
) -> PyResult<Result<R>> {
    if !is_main_thread(py)? {
        return Ok(py.detach(job));
    }
    run_beside(py, job, |py| py.check_signals())
}

/// Runs a job on a thread of its own, and looks every now and then for what ends the wait.
fn run_beside<R: Send + 'static>(
    py: Python<'_>,
    job: impl FnOnce() -> Result<R> + Send + 'static,
    look: impl Fn(Python<'_>) -> PyResult<()>,
) -> PyResult<Result<R>> {
    let (sender, receiver) = bounded(1);
    // Nobody waits for what was interrupted.
    let body = move || drop(sender.send(job()));
    let started = std::thread::Builder::new().name("tidemill-driver".into()).spawn(body);
    started.map_err(|error| raise(Error::retry("a thread for a job can't be started").with_source(error)))?;
    loop {
        match py.detach(|| receiver.recv_timeout(PATIENCE)) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => look(py)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(Err(Error::internal("a job ended without a result"))),
        }
    }
}

/// Runs `body` with the interpreter, on a thread of the engine's or of Python's. On one of the engine's it does not return once the process
/// ends.
///
/// A thread that lives as long as the engine, or as a stream, gets a thread state of its own: to make one for each call would cost a
/// microsecond, and there are calls by key. Others get one for the call.
pub fn with_python<R>(body: impl FnOnce(Python<'_>) -> R) -> R {
    let lasts = lasts();
    let _stay = Stay::begin(lasts);
    if !lasts {
        return Python::attach(body);
    }
    keep_thread_state();
    Python::attach(body)
}

/// Whether this thread lives as long as the engine, or as a stream.
fn lasts() -> bool {
    let known = ["tidemill-task", "tidemill-job", "tidemill-batches"];
    std::thread::current().name().is_some_and(|name| known.iter().any(|known| name.starts_with(known)))
}
