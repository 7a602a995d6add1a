//! Functions of partitions that travel to workers, and a task there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tidemill_engine::chunk::Chunk;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{Emit, Flow};

use crate::codec;
use crate::ending::Stay;
use crate::error::raised_elsewhere;
use crate::piece::Piece;
use crate::user_function::UserFunction;
use crate::worker::{self, Worker};
use crate::workers::Lent;

/// A worker that has had so many functions forgets them.
const MOST_FUNCTIONS: usize = 256;

/// A function in the form in which it travels.
pub struct Travelling {
    number: u64,
    pickled: Vec<u8>,
    broadcasts: Vec<u64>,
    /// Raises if the job was cancelled; of jobs that can be.
    cancelled: Option<Py<PyAny>>,
    unreadable: AtomicBool,
}

impl Travelling {
    /// The form of a `TaskFunction`; None of one that stays.
    pub fn of(f: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let Ok(travels) = f.getattr("travels") else { return Ok(None) };
        let Some((pickled, broadcasts, cancelled)) = travels.call0()?.extract()? else { return Ok(None) };
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Self { number, pickled, broadcasts, cancelled, unreadable: AtomicBool::new(false) }))
    }

    /// No worker could read it.
    pub fn is_unreadable(&self) -> bool {
        self.unreadable.load(Ordering::Relaxed)
    }
}

/// Which copies of broadcast values the program does not need any more, and since when.
static UNNEEDED: Mutex<Option<HashMap<u64, u64>>> = Mutex::new(None);
static EVENTS: AtomicU64 = AtomicU64::new(0);

/// Has workers give up their copies of a broadcast value.
#[pyfunction]
pub fn forget_broadcast(number: u64) {
    let now = EVENTS.fetch_add(1, Ordering::Relaxed);
    UNNEEDED.lock().get_or_insert_default().insert(number, now);
}

/// The list of a piece that another process has sent.
#[pyfunction]
pub fn piece_objects<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let piece = Piece::from_bytes(bytes).map_err(pyo3::exceptions::PyValueError::new_err)?;
    Ok(piece.list(py)?.into_any())
}

/// A piece of this list, for another process.
#[pyfunction]
pub fn piece_bytes<'py>(objects: Bound<'py, pyo3::types::PyList>) -> PyResult<Bound<'py, PyBytes>> {
    let py = objects.py();
    Ok(PyBytes::new(py, &Piece::of(objects).to_bytes().map_err(pyo3::exceptions::PyValueError::new_err)?))
}

/// How a task has ended.
pub enum End {
    /// All that it gave was handed on.
    Done,
    /// The worker can't read the function, for this reason: nothing was done.
    Unreadable(String),
}

/// Runs a task in a worker: pieces of the partition go there one by one, when they are asked for.
pub fn run(
    mut lent: Lent,
    function: &UserFunction,
    travelling: &Travelling,
    split: usize,
    pieces: &[Piece],
    out: &mut Emit<'_>,
) -> Result<End> {
    // The end of the process waits for the task, and so for the worker: a function there must not go on without anybody who wants its result.
    let _stay = Stay::begin(true);
    // All that needs the interpreter's lock, at once: others may hold it for 5 ms each time.
    let prepared = function.run(|py, f| {
        check(py, travelling)?;
        let pieces = pieces.iter().map(|piece| piece.encoded(py)).collect::<PyResult<Vec<_>>>()?;
        let (attempt, properties): (Bound<'_, PyAny>, Bound<'_, PyAny>) = f.getattr("next_task")?.call0()?.extract()?;
        let task = codec::encode((travelling.number, split, attempt, properties).into_pyobject(py)?.as_any())?;
        Ok((pieces, task, news_for(py, lent.worker().ok(), travelling)?))
    });
    let (pieces, task, news) = prepared?;
    let worker = lent.worker()?;
    let result = exchange(worker, function, travelling, &news, &task, pieces, out);
    // What the program's function has done wrong is no fault of the worker's.
    if matches!(&result, Ok(Ended::At(_) | Ended::Raised(_))) {
        lent.give_back();
    }
    match result? {
        Ended::At(end) => Ok(end),
        Ended::Raised(error) => Err(error),
    }
}

enum Ended {
    At(End),
    Raised(Error),
}

fn check(py: Python<'_>, travelling: &Travelling) -> PyResult<()> {
    travelling.cancelled.as_ref().map_or(Ok(()), |cancelled| cancelled.call0(py).map(drop))
}

/// What a worker has to hear of before it can run a function.
fn news_for(py: Python<'_>, worker: Option<&mut Worker>, travelling: &Travelling) -> PyResult<Vec<(u8, Vec<u8>)>> {
    let Some(worker) = worker else { return Ok(Vec::new()) };
    let mut news = Vec::new();
    let unneeded: Vec<u64> = match &*UNNEEDED.lock() {
        Some(unneeded) => {
            let old =
                |(number, sent): (&u64, &u64)| unneeded.get(number).is_some_and(|at| at >= sent).then_some(*number);
            worker.broadcasts.iter().filter_map(old).collect()
        }
        None => Vec::new(),
    };
    for number in unneeded {
        worker.broadcasts.remove(&number);
        news.push((worker::FORGET, number.to_le_bytes().to_vec()));
    }
    for number in &travelling.broadcasts {
        if !worker.broadcasts.contains_key(number) {
            let now = EVENTS.fetch_add(1, Ordering::Relaxed);
            let pickled = py.import("tidemill.broadcast")?.getattr("pickled_value")?.call1((*number,))?;
            let pickled = pickled.cast::<PyBytes>()?.as_bytes();
            news.push((worker::BROADCAST, [&number.to_le_bytes(), pickled].concat()));
            worker.broadcasts.insert(*number, now);
        }
    }
    if !worker.functions.contains(&travelling.number) {
        if worker.functions.len() >= MOST_FUNCTIONS {
            worker.functions.clear();
            news.push((worker::FORGET, Vec::new()));
        }
        news.push((worker::FUNCTION, [&travelling.number.to_le_bytes(), travelling.pickled.as_slice()].concat()));
        worker.functions.insert(travelling.number);
    }
    Ok(news)
}

fn exchange(
    worker: &mut Worker,
    function: &UserFunction,
    travelling: &Travelling,
    news: &[(u8, Vec<u8>)],
    task: &[u8],
    pieces: Vec<Piece>,
    out: &mut Emit<'_>,
) -> Result<Ended> {
    let cancels = travelling.cancelled.is_some();
    let mut late = || if cancels { function.run(|py, _| check(py, travelling)) } else { Ok(()) };
    worker.can_be_cancelled(cancels)?;
    for (kind, body) in news {
        worker.send(*kind, body)?;
    }
    worker.send(worker::TASK, task)?;
    let mut pieces = pieces.into_iter();
    loop {
        let (kind, body) = worker.receive(&mut late).map_err(|error| error.context(&function.whose))?;
        match kind {
            worker::NEXT => match pieces.next() {
                Some(piece) => worker.send(worker::PIECE, &piece.to_bytes().map_err(Error::internal)?)?,
                None => worker.send(worker::END, &[])?,
            },
            worker::RESULT => {
                let piece = Piece::from_bytes(&body).map_err(Error::internal)?;
                let flow = out(Chunk::of(vec![piece]))?;
                worker.send(if flow == Flow::More { worker::MORE } else { worker::STOP }, &[])?;
            }
            worker::ADDED => function.run(|py, _| {
                let added = PyBytes::new(py, &body);
                py.import("tidemill.accumulators")?.getattr("add_from_worker")?.call1((added,)).map(drop)
            })?,
            worker::DONE => return Ok(Ended::At(End::Done)),
            worker::RAISED => return Ok(Ended::Raised(raised_elsewhere(&function.whose, &body))),
            worker::UNREADABLE => {
                worker.functions.remove(&travelling.number);
                travelling.unreadable.store(true, Ordering::Relaxed);
                return Ok(Ended::At(End::Unreadable(String::from_utf8_lossy(&body).into_owned())));
            }
            other => return Err(worker::strange(other)),
        }
    }
}
