//! A small result of a whole data set beside the rows of another: what `sort_by` and `zip_with_index` need to know about
//! all partitions before they can treat one. It is part of the same plan, so that no job runs while a graph is built.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::BinaryBuilder;
use tidemill_engine::chunk::{ArrowBatches, Chunk, Data, append_encoded};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{CallSite, Emit, Flow, Function, Operator, OperatorTask, TaskInfo};
use tidemill_engine::lineage::{Deps, Lineage};
use tidemill_engine::shuffle::{routes, shuffle_batch};

use crate::context::SparkContext;
use crate::dataset::{Dataset, Transform, register, two};
use crate::op::narrow::{ChunkWriter, whole_partition};
use crate::op::partition::{read_rows, route_rows};

/// Makes one row of all rows, which are in the order of their partitions.
#[track_caller]
pub fn gather<T: Data, S: Data>(
    sc: &SparkContext,
    name: &'static str,
    f: impl Fn(Vec<T>) -> S + Send + Sync + 'static,
) -> Transform<S> {
    let to_one = route_rows::<T>(sc, name, 1, |_, _, _| 0);
    to_one.then(whole_partition(sc, name, move |_, rows, writer| writer.push(f(rows))))
}

/// Runs `f` on the one row of the first input and each partition's number and rows of the second.
#[track_caller]
pub fn map_beside<S: Data, T: Data, U: Data>(
    sc: &SparkContext,
    name: &'static str,
    f: impl Fn(&S, usize, Vec<T>, &mut ChunkWriter<'_, '_, U>) -> Result<Flow> + Send + Sync + 'static,
) -> Transform<U> {
    let function = register::<U>(sc, name, MapBeside::<S, T, U>(Arc::new(f)));
    Transform::new(name, move |inputs| broadcast(&function, inputs))
}

/// Sends each row of the second input to the partition that `f` computes from the one row of the first input and it.
#[track_caller]
pub fn route_beside<S: Data, T: Data>(
    sc: &SparkContext,
    name: &'static str,
    partitions: usize,
    f: impl Fn(&S, &T) -> usize + Send + Sync + 'static,
) -> Transform<T> {
    let partitions = partitions.max(1);
    let operator = Arc::new(RouteBeside { partitions, f: Arc::new(f) });
    let write = sc.functions().register(name, CallSite::here(), &ArrowBatches, operator);
    let read = read_rows::<T>(sc.functions());
    Transform::new(name, move |inputs| {
        let written = broadcast(&write, inputs)?;
        Ok(Dataset::new(Lineage::shuffle(written.lineage, partitions)).op(&read))
    })
}

fn broadcast(function: &Arc<Function>, inputs: &[Dataset]) -> Result<Dataset> {
    let (side, rows) = two(inputs)?;
    let inputs = vec![Arc::clone(&side.lineage), Arc::clone(&rows.lineage)];
    Ok(Dataset::new(Lineage::op(Arc::clone(function), inputs, Deps::Broadcast)))
}

fn take_side<S: Data>(chunk: Chunk) -> Result<Option<S>> {
    Ok(chunk.take::<Vec<S>>()?.pop())
}

fn missing() -> Error {
    Error::internal("an operator got rows before what should lie beside them")
}

type MapFn<S, T, U> = dyn Fn(&S, usize, Vec<T>, &mut ChunkWriter<'_, '_, U>) -> Result<Flow> + Send + Sync;

struct MapBeside<S, T, U: Data>(Arc<MapFn<S, T, U>>);

struct MapBesideTask<S, T, U: Data> {
    f: Arc<MapFn<S, T, U>>,
    partition: usize,
    side: Option<S>,
    rows: Vec<T>,
}

impl<S: Data, T: Data, U: Data> Operator for MapBeside<S, T, U> {
    fn open(&self, task: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        let (f, partition) = (Arc::clone(&self.0), task.partition);
        Ok(Box::new(MapBesideTask { f, partition, side: None, rows: Vec::new() }))
    }
}

impl<S: Data, T: Data, U: Data> OperatorTask for MapBesideTask<S, T, U> {
    fn push(&mut self, input: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        match input {
            0 => self.side = take_side(chunk)?,
            _ => self.rows.extend(chunk.take::<Vec<T>>()?),
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
        let mut writer = ChunkWriter::new(out);
        let side = self.side.as_ref().ok_or_else(missing)?;
        (self.f)(side, self.partition, std::mem::take(&mut self.rows), &mut writer)?;
        writer.flush().map(drop)
    }
}

type RouteFn<S, T> = dyn Fn(&S, &T) -> usize + Send + Sync;

struct RouteBeside<S, T> {
    partitions: usize,
    f: Arc<RouteFn<S, T>>,
}

struct RouteBesideTask<S, T> {
    f: Arc<RouteFn<S, T>>,
    routes: Arc<Vec<[u8; 4]>>,
    from: usize,
    side: Option<S>,
    scratch: Vec<u8>,
    rows: PhantomData<fn(T)>,
}

impl<S: Data, T: Data> Operator for RouteBeside<S, T> {
    fn open(&self, task: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        let (f, routes) = (Arc::clone(&self.f), routes(self.partitions)?);
        let (from, scratch, rows) = (task.partition, Vec::new(), PhantomData);
        Ok(Box::new(RouteBesideTask { f, routes, from, side: None, scratch, rows }))
    }
}

impl<S: Data, T: Data> OperatorTask for RouteBesideTask<S, T> {
    fn push(&mut self, input: usize, chunk: Chunk, out: &mut Emit<'_>) -> Result<Flow> {
        if input == 0 {
            self.side = take_side(chunk)?;
            return Ok(Flow::More);
        }
        let side = self.side.as_ref().ok_or_else(missing)?;
        let (mut keys, mut values) = (BinaryBuilder::new(), BinaryBuilder::new());
        for row in chunk.get::<Vec<T>>()? {
            keys.append_value(self.routes[(self.f)(side, row) % self.routes.len()]);
            append_encoded(&mut values, &mut self.scratch, row)?;
        }
        out(Chunk::of(shuffle_batch(keys, values, self.from)?))
    }
}
