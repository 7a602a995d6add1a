//! Operators that keep something between batches.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::dataset::Transform;
use tidemill_dstream::op::state::logic::{Session, State};
use tidemill_dstream::rdd::Rdd;
use tidemill_dstream::state_spec;
use tidemill_dstream::stream::DStream;
use tidemill_engine::chunk::Chunk;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::Emit;
use tidemill_engine::time::Time;

use crate::combine::{combine, group, halves};
use crate::operator::{UserFunction, rows_to_pieces, whole_partition};
use crate::piece::{Piece, iterate};
use crate::state_handle::NativeState;
use crate::state_value::{Key, Value};

/// The stream or RDD of pairs of an operator by key.
type Pairs = (Key, Value);

fn emit_pairs<'py>(
    pairs: impl Iterator<Item = (Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    out: &mut Emit<'_>,
) -> PyResult<Result<()>> {
    let pair = |(key, value): (Bound<'py, PyAny>, Bound<'py, PyAny>)| Key::with(&key, Value::encoded(value)?);
    let pairs = pairs.map(pair).collect::<PyResult<Vec<Pairs>>>()?;
    Ok(if pairs.is_empty() { Ok(()) } else { out(Chunk::of(pairs)).map(drop) })
}

/// Pairs, one by one.
fn pairs(sc: &SparkContext, whose: &Arc<UserFunction>) -> Transform<Pairs> {
    let whose = Arc::clone(whose);
    whole_partition(sc, "pairs", move |_, pieces: Vec<Piece>, out: &mut Emit<'_>| {
        for piece in pieces {
            whose.run(|py, _| {
                let objects = piece.list(py)?;
                let halves = objects.iter().map(|object| halves(&object)).collect::<PyResult<Vec<_>>>()?;
                emit_pairs(halves.into_iter(), out)
            })??;
        }
        Ok(())
    })
}

/// Lists of the values of each key within a partition.
fn grouped(sc: &SparkContext, whose: &Arc<UserFunction>) -> Transform<Pairs> {
    let whose = Arc::clone(whose);
    whole_partition(sc, "grouped", move |_, pieces: Vec<Piece>, out: &mut Emit<'_>| {
        whose.run(|py, _| emit_pairs(group(&iterate(py, pieces)?)?.iter(), out))?
    })
}

/// The values of each key within a partition, reduced to one.
fn reduced(sc: &SparkContext, reduce: &Arc<UserFunction>) -> Transform<Pairs> {
    let reduce = Arc::clone(reduce);
    whole_partition(sc, "reduced", move |_, pieces: Vec<Piece>, out: &mut Emit<'_>| {
        reduce.run(|py, f| emit_pairs(combine(&iterate(py, pieces)?, None, f)?.iter(), out))?
    })
}

/// Pairs as tuples.
fn tuples(sc: &SparkContext) -> Transform<Piece> {
    rows_to_pieces(sc, |py, (key, value): Pairs| {
        Ok(PyTuple::new(py, [key.object(py, Some(&value))?, value.own(py)?])?.into_any())
    })
}

/// Ends the task with an error of the user's function, from within a closure that can't return one.
fn give_up(error: Error) -> ! {
    std::panic::resume_unwind(Box::new(error))
}

fn initial_pairs(initial: Option<&Rdd<Piece>>, whose: &Arc<UserFunction>) -> Option<Rdd<Pairs>> {
    initial.map(|rdd| rdd.then(&pairs(rdd.context(), whose)))
}

/// `updateStateByKey`: `f(values, state or None) -> state or None`. `listed`: the stream has each key with a list of its values.
pub fn update_state(
    stream: &DStream<Piece>,
    function: Arc<UserFunction>,
    partitions: usize,
    initial: Option<&Rdd<Piece>>,
    listed: bool,
) -> DStream<Piece> {
    let sc = stream.context().spark_context().clone();
    let initial = initial_pairs(initial, &function);
    let grouped = stream.then(if listed { pairs(&sc, &function) } else { grouped(&sc, &function) });
    let update = move |lists: Vec<Value>, state: Option<Value>| -> Option<Value> {
        let next = function.run(|py, f| {
            let values = PyList::empty(py);
            for list in &lists {
                values.getattr("extend")?.call1((list.object(py)?,))?;
            }
            let before = state.as_ref().map(|state| state.own(py)).transpose()?;
            let next = f.call1((values, before))?;
            let first = state.as_ref().or(lists.first());
            if next.is_none() { Ok(None) } else { Ok(Some(Value::kept(&next)?.under_key_of(first))) }
        });
        next.unwrap_or_else(|error| give_up(error))
    };
    grouped.update_state_by_key_with(update, partitions.max(1), initial).then(tuples(&sc))
}

/// `reduceByKeyAndWindow` with an inverse: what enters is added, what leaves is taken away, where its key has not been dropped by the filter.
pub fn inverse_window(
    stream: &DStream<Piece>,
    [reduce, inverse]: [Arc<UserFunction>; 2],
    filter: Option<Arc<UserFunction>>,
    window: Duration,
    slide: Duration,
    partitions: usize,
) -> Result<DStream<Piece>> {
    let sc = stream.context().spark_context().clone();
    let reduced = stream.then(reduced(&sc, &reduce));
    let call = |function: Arc<UserFunction>| {
        move |left: Value, right: Value| -> Value {
            let value = function.run(|py, f| Value::kept(&f.call1((left.own(py)?, right.own(py)?))?));
            value.unwrap_or_else(|error| give_up(error)).under_key_of(Some(&left))
        }
    };
    let filter = filter.map(|function| {
        move |(key, value): &Pairs| -> bool {
            let stays = function.run(|py, f| f.call1(((key.object(py, Some(value))?, value.own(py)?),))?.is_truthy());
            stays.unwrap_or_else(|error| give_up(error))
        }
    });
    let windows = reduced.reduce_by_key_and_window_inverse_lenient(
        call(reduce),
        call(inverse),
        window,
        slide,
        partitions.max(1),
        filter,
    )?;
    Ok(windows.then(tuples(&sc)))
}

/// `mapWithState`: `f(time, key, value or None, state) -> object or None`; and the stream of all states.
pub fn map_with_state(
    stream: &DStream<Piece>,
    function: Arc<UserFunction>,
    partitions: usize,
    timeout: Option<Duration>,
    initial: Option<&Rdd<Piece>>,
) -> [DStream<Piece>; 2] {
    let sc = stream.context().spark_context().clone();
    let initial = initial_pairs(initial, &function);
    let pairs = stream.then(pairs(&sc, &function));
    let call = move |time: Time, key: &Key, value: Option<Value>, state: &mut State<Value>| -> Option<Value> {
        let mapped = function.run(|py, f| {
            let before = state.get_option().map(|state| Ok::<_, PyErr>(state.own(py)?.unbind())).transpose()?;
            let handle = Bound::new(py, NativeState::new(before, state.is_timing_out()))?;
            let first = state.get_option().or(value.as_ref()).cloned();
            let value = value.as_ref().map(|value| value.object(py)).transpose()?;
            let mapped = f.call1((time.as_millis(), key.object(py, first.as_ref())?, value, &handle))?;
            let handle = handle.get();
            if handle.is_removed() {
                state.remove();
            } else if let Some(next) = handle.updated(py) {
                state.update(Value::kept(next.bind(py))?.under_key_of(first.as_ref()));
            }
            if mapped.is_none() { Ok(None) } else { Value::kept(&mapped).map(Some) }
        });
        mapped.unwrap_or_else(|error| give_up(error))
    };
    let mut spec = state_spec::function_with_time(call).num_partitions(partitions.max(1));
    if let Some(timeout) = timeout {
        spec = spec.timeout(timeout);
    }
    if let Some(initial) = initial {
        spec = spec.initial_state(initial);
    }
    let mapped = pairs.map_with_state(spec);
    let snapshots = mapped.state_snapshots().then(tuples(&sc));
    [mapped.then(rows_to_pieces(&sc, |py, value: Value| value.own(py))), snapshots]
}

/// Sessions by key: (key, (start, end, values)), times in milliseconds.
pub fn session_window(stream: &DStream<Piece>, whose: &Arc<UserFunction>, gap: Duration) -> DStream<Piece> {
    let sc = stream.context().spark_context().clone();
    let sessions = stream.then(pairs(&sc, whose)).session_window(gap);
    sessions.then(rows_to_pieces(&sc, |py, (key, session): (Key, Session<Vec<Value>>)| {
        let first = session.value.first();
        let values = session.value.iter().map(|value| value.own(py)).collect::<PyResult<Vec<_>>>()?;
        let session = (session.start.as_millis(), session.end.as_millis(), values);
        Ok((key.object(py, first)?, session).into_pyobject(py)?.into_any())
    }))
}

/// Windows by count: lists of the last `size` objects, after every `slide`.
pub fn count_window(stream: &DStream<Piece>, whose: &Arc<UserFunction>, size: usize, slide: usize) -> DStream<Piece> {
    let sc = stream.context().spark_context().clone();
    let whose = Arc::clone(whose);
    let values = whole_partition(&sc, "values", move |_, pieces: Vec<Piece>, out: &mut Emit<'_>| {
        for piece in pieces {
            let values =
                whose.run(|py, _| Ok(piece.list(py)?.iter().map(|o| Value::of(o.unbind())).collect::<Vec<_>>()))?;
            out(Chunk::of(values))?;
        }
        Ok(())
    });
    let windows = stream.then::<Value>(values).sliding_count_window(size, slide);
    windows.then(rows_to_pieces(&sc, |py, window: Vec<Value>| {
        let objects = window.iter().map(|value| value.own(py)).collect::<PyResult<Vec<_>>>()?;
        Ok(PyList::new(py, objects)?.into_any())
    }))
}
