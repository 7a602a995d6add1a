//! Operators over pieces: a Python function of a whole partition, and the ways into pieces and out of them.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, RecordBatch, StringArray};
use pyo3::prelude::*;
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::dataset::{Dataset, Transform, register, two};
use tidemill_engine::chunk::{BATCH_ROWS, Chunk, Data};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{CallSite, Emit, Flow, Operator, OperatorTask, PerChunk, TaskInfo};
use tidemill_engine::lineage::{Deps, Lineage};

use crate::arrow_rows::map_batch;
use crate::interpreter::with_python;
use crate::piece::{Items, Piece, gather, iterate};
use crate::travel::{self, End};
use crate::user_function::Run;
pub use crate::user_function::UserFunction;
use crate::workers;

/// A text that lives as long as the process: each is kept once.
pub fn interned(text: String) -> &'static str {
    static KEPT: parking_lot::Mutex<std::collections::BTreeSet<&'static str>> =
        parking_lot::Mutex::new(std::collections::BTreeSet::new());
    let mut kept = KEPT.lock();
    match kept.get(text.as_str()) {
        Some(text) => text,
        None => {
            let text: &'static str = Box::leak(text.into_boxed_str());
            kept.insert(text);
            text
        }
    }
}

/// Runs `body`, whose operators are made at this place of the Python program.
pub fn at<R>(call_site: &str, body: impl FnOnce() -> R) -> R {
    CallSite::within(interned(call_site.to_string()), body)
}

/// Hands pieces on until the reader has enough.
pub fn emit<'py>(objects: &Bound<'py, PyAny>, out: &mut Emit<'_>) -> PyResult<Result<()>> {
    // What nobody has looked at goes on as it came.
    if let Some(pieces) = objects.cast::<Items>().ok().and_then(|items| items.get().take_pieces()) {
        return Ok(if pieces.is_empty() { Ok(()) } else { out(Chunk::of(pieces)).map(drop) });
    }
    let mut failed = None;
    gather(objects, |piece| match out(Chunk::of(vec![piece])) {
        Ok(flow) => Ok(flow == Flow::More),
        Err(error) => {
            failed = Some(error);
            Ok(false)
        }
    })?;
    Ok(failed.map_or(Ok(()), Err))
}

/// Gathers what comes, input by input, and then runs a function once.
struct Gathered<T, F> {
    inputs: Vec<Vec<T>>,
    partition: usize,
    finish: Arc<F>,
}

struct Gathering<T, F> {
    inputs: usize,
    finish: Arc<F>,
    rows: std::marker::PhantomData<fn() -> T>,
}

impl<T: Data, F> Operator for Gathering<T, F>
where
    F: Fn(usize, Vec<Vec<T>>, &mut Emit<'_>) -> Result<()> + Send + Sync + 'static,
{
    fn open(&self, task: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        let inputs = (0..self.inputs).map(|_| Vec::new()).collect();
        Ok(Box::new(Gathered { inputs, partition: task.partition, finish: Arc::clone(&self.finish) }))
    }
}

impl<T: Data, F> OperatorTask for Gathered<T, F>
where
    F: Fn(usize, Vec<Vec<T>>, &mut Emit<'_>) -> Result<()> + Send + Sync + 'static,
{
    fn push(&mut self, input: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        let rows = self.inputs.get_mut(input).ok_or_else(|| Error::internal("an operator got an input too many"))?;
        rows.extend(chunk.take::<Vec<T>>()?);
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
        (self.finish)(self.partition, std::mem::take(&mut self.inputs), out)
    }
}

/// An operator of one input that sees all rows of a partition at once.
pub fn whole_partition<T: Data, U: Data>(
    sc: &SparkContext,
    name: &'static str,
    finish: impl Fn(usize, Vec<T>, &mut Emit<'_>) -> Result<()> + Send + Sync + 'static,
) -> Transform<U> {
    let finish = move |partition, mut inputs: Vec<Vec<T>>, out: &mut Emit<'_>| {
        finish(partition, inputs.pop().unwrap_or_default(), out)
    };
    let operator = Gathering { inputs: 1, finish: Arc::new(finish), rows: std::marker::PhantomData };
    Transform::narrow(name, register::<U>(sc, name, operator))
}

/// `f(split, iterator) -> iterable`, once for each partition, in this process or in a worker.
pub fn map_partitions(sc: &SparkContext, function: Arc<UserFunction>) -> Transform<Piece> {
    whole_partition(sc, "map_partitions", move |split, pieces: Vec<Piece>, out: &mut Emit<'_>| {
        let rows = pieces.iter().map(Piece::count).sum();
        let _here = match function.place(rows)? {
            Run::Worker(lent, travelling) => match travel::run(lent, &function, travelling, split, &pieces, out)? {
                End::Done => return Ok(()),
                End::Unreadable(why) => {
                    workers::stays(&function.whose, &why)?;
                    None
                }
            },
            Run::Here(here) => here,
        };
        let began = Instant::now();
        function.run(|py, f| emit(&f.call1((split, iterate(py, pieces)?))?, out))??;
        function.cost.observe(rows, began.elapsed());
        Ok(())
    })
}

/// `f(iterator, iterator) -> iterable` of a partition of each of two inputs: of the same number, or of every two.
pub fn two_partitions(sc: &SparkContext, function: Arc<UserFunction>, deps: Deps) -> Transform<Piece> {
    let finish = move |_, inputs: Vec<Vec<Piece>>, out: &mut Emit<'_>| {
        let mut inputs = inputs.into_iter();
        let (left, right) = (inputs.next().unwrap_or_default(), inputs.next().unwrap_or_default());
        function.run(|py, f| emit(&f.call1((iterate(py, left)?, iterate(py, right)?))?, out))?
    };
    let operator = Gathering { inputs: 2, finish: Arc::new(finish), rows: std::marker::PhantomData };
    let function = register::<Piece>(sc, "zip_partitions", operator);
    Transform::new("zip_partitions", move |inputs| {
        let (left, right) = two(inputs)?;
        if deps == Deps::Aligned && left.partitions() != right.partitions() {
            return Err(Error::usage("Can only zip with RDD which has the same number of partitions"));
        }
        let inputs = vec![Arc::clone(&left.lineage), Arc::clone(&right.lineage)];
        Ok(Dataset::new(Lineage::op(Arc::clone(&function), inputs, deps.clone())))
    })
}

/// `f(RecordBatch) -> RecordBatch`, piece by piece.
pub fn map_arrow(sc: &SparkContext, function: Arc<UserFunction>) -> Transform<Piece> {
    let operator = PerChunk(move |chunk: Chunk, out: &mut Emit<'_>| {
        for piece in chunk.take::<Vec<Piece>>()? {
            let batch = function.run(|py, _| {
                // Objects have no columns where there are none; and there is nothing to do.
                let batch = piece.batch(py)?;
                if batch.num_rows() == 0 { Ok(None) } else { map_batch(py, &function.f, &batch).map(Some) }
            })?;
            let Some(batch) = batch else { continue };
            if out(Chunk::of(vec![Piece::rows(batch)]))? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    });
    Transform::narrow("map_arrow", register::<Piece>(sc, "map_arrow", operator))
}

/// Arrow text to pieces of lines.
pub fn text_to_pieces(sc: &SparkContext, unicode: bool) -> Transform<Piece> {
    let operator = PerChunk(move |chunk: Chunk, out: &mut Emit<'_>| {
        let batch: RecordBatch = chunk.take()?;
        let lines = batch.column(0).as_any().downcast_ref::<StringArray>();
        let lines = lines.ok_or_else(|| Error::internal("text is not a column of strings"))?;
        for start in (0..lines.len()).step_by(BATCH_ROWS) {
            let piece = Piece::text(lines.slice(start, BATCH_ROWS.min(lines.len() - start)), unicode);
            if out(Chunk::of(vec![piece]))? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    });
    Transform::narrow("lines", register::<Piece>(sc, "lines", operator))
}

/// Rows of Rust's to pieces of the objects that `make` makes of them.
pub fn rows_to_pieces<T: Data>(
    sc: &SparkContext,
    make: impl for<'py> Fn(Python<'py>, T) -> PyResult<Bound<'py, PyAny>> + Send + Sync + Clone + 'static,
) -> Transform<Piece> {
    let operator = PerChunk(move |chunk: Chunk, out: &mut Emit<'_>| {
        let rows: Vec<T> = chunk.take()?;
        let piece = with_python(|py| {
            let objects = rows.into_iter().map(|row| make(py, row)).collect::<PyResult<Vec<_>>>()?;
            Ok(Piece::of(pyo3::types::PyList::new(py, objects)?))
        });
        out(Chunk::of(vec![
            piece.map_err(|raised: PyErr| Error::data(format!("a row can't be made an object: {raised}")))?,
        ]))
    });
    Transform::narrow("objects", register::<Piece>(sc, "objects", operator))
}
