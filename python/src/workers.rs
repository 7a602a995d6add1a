//! Where Python functions run: in this process, under the interpreter's lock, or in workers, which have locks of their own.
//!
//! A partition goes to a worker if it is worth it, by what the function has cost per row so far: where rows are few or cheap, the way there
//! costs more than it brings. One function at a time runs here, so that this process and `N - 1` workers make the `N` of `local[N]`. Workers
//! are started when they are first wanted, in the background: until then the work is done here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex, RwLock};
use pyo3::prelude::*;
use tidemill_engine::error::{Error, Result};

use crate::interpreter::with_python;
use crate::worker::Worker;

/// Which process runs functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// This one or a worker, whichever is better.
    Auto,
    /// This one.
    Driver,
    /// A worker, always.
    Workers,
}

/// The workers of a context.
pub struct Workers {
    /// Which process runs functions.
    pub place: Place,
    most: usize,
    command: Vec<String>,
    state: Mutex<State>,
    changed: Condvar,
    /// A function runs here that a worker could have run.
    busy_here: AtomicBool,
}

#[derive(Default)]
struct State {
    idle: Vec<Worker>,
    /// Idle, lent, or about to start.
    alive: usize,
    closed: bool,
    /// Why the last one did not start.
    failed: Option<Error>,
}

static CURRENT: RwLock<Option<Arc<Workers>>> = RwLock::new(None);

/// The workers of the active context.
pub fn current() -> Option<Arc<Workers>> {
    CURRENT.read().clone()
}

/// Has the functions of the active context run in this place; `command` starts a worker.
pub fn configure(place: Place, tasks: usize, command: Vec<String>) {
    let most = match place {
        Place::Auto if command.is_empty() => 0,
        Place::Auto => tasks.saturating_sub(1),
        Place::Driver => 0,
        Place::Workers => tasks.max(1),
    };
    let (state, changed) = (Mutex::default(), Condvar::new());
    let workers = Workers { place, most, command, state, changed, busy_here: AtomicBool::new(false) };
    let before = CURRENT.write().replace(Arc::new(workers));
    close(before);
}

/// Ends the workers of the active context.
pub fn stop() {
    let before = CURRENT.write().take();
    close(before);
}

fn close(workers: Option<Arc<Workers>>) {
    if let Some(workers) = workers {
        let mut state = workers.state.lock();
        state.closed = true;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        workers.changed.notify_all();
        drop(idle);
    }
}

impl Workers {
    /// The right to run a function here; None while another has it.
    pub fn here(self: &Arc<Self>) -> Option<Here> {
        (!self.busy_here.swap(true, Ordering::Acquire)).then(|| Here(Arc::clone(self)))
    }

    /// A worker, if one is idle. Otherwise one more is started, in the background, as long as there may be more.
    pub fn idle(self: &Arc<Self>) -> Option<Lent> {
        let mut state = self.state.lock();
        if let Some(worker) = state.idle.pop() {
            return Some(Lent { worker: Some(worker), workers: Arc::clone(self) });
        }
        self.start_one(&mut state);
        None
    }

    /// A worker, when there is one.
    pub fn wait(self: &Arc<Self>) -> Result<Lent> {
        let mut state = self.state.lock();
        loop {
            if let Some(worker) = state.idle.pop() {
                return Ok(Lent { worker: Some(worker), workers: Arc::clone(self) });
            }
            // The next task tries again.
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            if state.closed {
                return Err(Error::usage("the context was stopped"));
            }
            self.start_one(&mut state);
            self.changed.wait(&mut state);
        }
    }

    fn start_one(self: &Arc<Self>, state: &mut State) {
        if state.closed || state.failed.is_some() || state.alive >= self.most {
            return;
        }
        state.alive += 1;
        let workers = Arc::clone(self);
        let start = move || {
            let started = Worker::start(&workers.command);
            if let Err(error) = &started
                && workers.place == Place::Auto
                && !workers.state.lock().closed
            {
                warn(&format!("functions run in this process only, for a worker did not start: {error}"));
            }
            workers.came(started);
        };
        if let Err(error) = std::thread::Builder::new().name("tidemill-start".into()).spawn(start) {
            state.alive -= 1;
            state.failed = Some(Error::retry("a thread to start a worker can't be started").with_source(error));
        }
    }

    /// A worker has started, or has not.
    fn came(&self, started: Result<Worker>) {
        let mut state = self.state.lock();
        match started {
            Ok(worker) if !state.closed => state.idle.push(worker),
            Ok(worker) => {
                state.alive -= 1;
                drop(state);
                drop(worker);
            }
            Err(error) => {
                state.alive -= 1;
                state.failed = Some(error);
            }
        }
        self.changed.notify_all();
    }

    fn gone(&self) {
        self.state.lock().alive -= 1;
        self.changed.notify_all();
    }
}

/// A worker can't read a function, which then runs here; that is an error where functions must not.
pub fn stays(whose: &str, why: &str) -> Result<()> {
    let text = format!("the function of {whose} can't be read in a Python worker: {why}");
    match current() {
        Some(workers) if workers.place == Place::Workers => Err(Error::usage(text)),
        _ => {
            warn(&format!("{text}. It runs in the program's own process"));
            Ok(())
        }
    }
}

fn warn(text: &str) {
    with_python(|py| {
        let logged =
            || py.import("logging")?.call_method1("getLogger", ("tidemill",))?.call_method1("warning", (text,));
        // Who can't log can't be told.
        drop(logged());
    });
}

/// The right to run a function in this process.
pub struct Here(Arc<Workers>);

impl Drop for Here {
    fn drop(&mut self) {
        self.0.busy_here.store(false, Ordering::Release);
    }
}

/// A worker that runs a task. If it is not given back, it ends.
pub struct Lent {
    worker: Option<Worker>,
    workers: Arc<Workers>,
}

impl Lent {
    /// The worker.
    pub fn worker(&mut self) -> Result<&mut Worker> {
        self.worker.as_mut().ok_or_else(|| Error::internal("a worker was given back already"))
    }

    /// It is at the end of its task.
    pub fn give_back(mut self) {
        if let Some(worker) = self.worker.take() {
            self.workers.came(Ok(worker));
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            drop(worker);
            self.workers.gone();
        }
    }
}
