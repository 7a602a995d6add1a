//! Operators on pairs: combining by key with a map-side combine, grouping, co-grouping and joining.

use std::hash::{BuildHasher, Hash, RandomState};
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use tidemill_engine::chunk::{ArrowBatches, Chunk, Data};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{CallSite, Emit, Flow, Operator, OperatorTask, TaskInfo};
use tidemill_engine::lineage::{Deps, Lineage};

use crate::context::SparkContext;
use crate::dataset::{Dataset, Transform, one, register, two};
use crate::op::narrow::ChunkWriter;
use crate::op::partition::{Key, PairExchange, Partitioning, pair_writer, write_all};

/// A map by key. Its order depends on its content's history and on the process, not on threads.
pub type KeyMap<K, V> = HashMap<K, V, FixedState>;

/// An empty map. The hash has a seed of this process's own: who sends keys can't choose keys that collide.
pub fn key_map<K, V>() -> KeyMap<K, V> {
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(()));
    KeyMap::with_hasher(FixedState::with_seed(*SEED))
}

/// Makes room in a map for the first chunk of rows at once, rather than step by step. The room follows from the input alone, and with
/// it the map's order.
pub fn make_room<K: Hash + Eq, V>(map: &mut KeyMap<K, V>, rows: usize) {
    if map.is_empty() {
        map.reserve(rows);
    }
}

/// The three functions of `combine_by_key`.
pub struct Combiner<V, C> {
    create: Arc<dyn Fn(V) -> C + Send + Sync>,
    merge_value: Arc<dyn Fn(C, V) -> C + Send + Sync>,
    merge_combiners: Arc<dyn Fn(C, C) -> C + Send + Sync>,
}

impl<V, C> Clone for Combiner<V, C> {
    fn clone(&self) -> Self {
        Self {
            create: Arc::clone(&self.create),
            merge_value: Arc::clone(&self.merge_value),
            merge_combiners: Arc::clone(&self.merge_combiners),
        }
    }
}

impl<V: Data, C: Data> Combiner<V, C> {
    /// Combines by these functions.
    pub fn new(
        create: impl Fn(V) -> C + Send + Sync + 'static,
        merge_value: impl Fn(C, V) -> C + Send + Sync + 'static,
        merge_combiners: impl Fn(C, C) -> C + Send + Sync + 'static,
    ) -> Self {
        let (create, merge_value) = (Arc::new(create), Arc::new(merge_value));
        Self { create, merge_value, merge_combiners: Arc::new(merge_combiners) }
    }

    /// The same, for values that are combiners already.
    fn of_combiners(&self) -> Combiner<C, C> {
        let merge_value = Arc::clone(&self.merge_combiners);
        Combiner { create: Arc::new(|c| c), merge_value, merge_combiners: Arc::clone(&self.merge_combiners) }
    }
}

/// A combiner in its place in the map, taken out while a closure owns it.
type Slot<C> = Option<C>;

struct Combining<K, V, C> {
    map: KeyMap<K, Slot<C>>,
    combiner: Combiner<V, C>,
}

impl<K: Key, V: Data, C: Data> Combining<K, V, C> {
    fn new(combiner: Combiner<V, C>) -> Self {
        Self { map: key_map(), combiner }
    }

    fn push(&mut self, chunk: Chunk) -> Result<()> {
        let Combiner { create, merge_value, .. } = &self.combiner;
        let rows = chunk.take::<Vec<(K, V)>>()?;
        make_room(&mut self.map, rows.len());
        for (key, value) in rows {
            match self.map.entry(key) {
                Entry::Occupied(mut entry) => {
                    let slot = entry.get_mut();
                    *slot = slot.take().map(|so_far| merge_value(so_far, value));
                }
                Entry::Vacant(entry) => {
                    entry.insert(Some(create(value)));
                }
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> impl Iterator<Item = (K, C)> {
        let map = std::mem::replace(&mut self.map, key_map());
        map.into_iter().filter_map(|(key, slot)| slot.map(|value| (key, value)))
    }
}

struct Combine<K, V, C>(Combiner<V, C>, PhantomData<fn() -> K>);

impl<K: Key, V: Data, C: Data> Operator for Combine<K, V, C> {
    fn open(&self, _: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        Ok(Box::new(CombineTask(Combining::<K, V, C>::new(self.0.clone()))))
    }
}

struct CombineTask<K, V, C>(Combining<K, V, C>);

impl<K: Key, V: Data, C: Data> OperatorTask for CombineTask<K, V, C> {
    fn push(&mut self, _: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        self.0.push(chunk)?;
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
        let mut writer = ChunkWriter::new(out);
        writer.extend(self.0.drain())?;
        writer.flush().map(drop)
    }
}

struct CombineAndWrite<K, V, C>(Combiner<V, C>, Partitioning<K>);

struct CombineAndWriteTask<K, V, C> {
    combining: Combining<K, V, C>,
    partitioning: Partitioning<K>,
    partition: usize,
}

impl<K: Key, V: Data, C: Data> Operator for CombineAndWrite<K, V, C> {
    fn open(&self, task: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        let (combining, partitioning) = (Combining::new(self.0.clone()), self.1.clone());
        Ok(Box::new(CombineAndWriteTask { combining, partitioning, partition: task.partition }))
    }
}

impl<K: Key, V: Data, C: Data> OperatorTask for CombineAndWriteTask<K, V, C> {
    fn push(&mut self, _: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        self.combining.push(chunk)?;
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
        let mut writer = pair_writer(&self.partitioning, self.partition)?;
        write_all(&mut writer, self.combining.drain(), out)
    }
}

/// `combine_by_key`: values are combined where they are, then combiners are moved, then combined.
#[track_caller]
pub fn combine_by_key<K: Key, V: Data, C: Data>(
    sc: &SparkContext,
    name: &'static str,
    combiner: Combiner<V, C>,
    partitioning: Partitioning<K>,
    map_side_combine: bool,
) -> Transform<(K, C)> {
    let in_place = register::<(K, C)>(sc, name, Combine::<K, V, C>(combiner.clone(), PhantomData));
    if !map_side_combine {
        let exchange = PairExchange::<K, V>::new(sc, partitioning);
        return Transform::new(name, move |inputs| {
            let input = one(inputs)?;
            let placement = exchange.placement(&[input]);
            Ok(exchange.apply(input, placement).op(&in_place).placed(Some(placement)))
        });
    }
    let merge = register::<(K, C)>(sc, name, Combine::<K, C, C>(combiner.of_combiners(), PhantomData));
    let exchange = PairExchange::<K, C>::new(sc, partitioning.clone());
    let operator = Arc::new(CombineAndWrite::<K, V, C>(combiner, partitioning));
    let write = sc.functions().register(name, CallSite::here(), &ArrowBatches, operator);
    Transform::new(name, move |inputs| {
        let input = one(inputs)?;
        let placement = exchange.placement(&[input]);
        if input.placement == Some(placement) {
            return Ok(input.op(&in_place).placed(Some(placement)));
        }
        Ok(exchange.finish(&input.op(&write), placement).op(&merge).placed(Some(placement)))
    })
}

/// `reduce_by_key`
#[track_caller]
pub fn reduce_by_key<K: Key, V: Data>(
    sc: &SparkContext,
    f: impl Fn(V, V) -> V + Send + Sync + 'static,
    partitioning: Partitioning<K>,
) -> Transform<(K, V)> {
    let f = Arc::new(f);
    let again = Arc::clone(&f);
    let combiner = Combiner::new(|value| value, move |a, b| f(a, b), move |a, b| again(a, b));
    combine_by_key(sc, "reduce_by_key", combiner, partitioning, true)
}

/// `group_by_key`: the values of a key in the order of their partitions.
#[track_caller]
pub fn group_by_key<K: Key, V: Data>(sc: &SparkContext, partitioning: Partitioning<K>) -> Transform<(K, Vec<V>)> {
    let combiner = Combiner::new(
        |value| vec![value],
        |mut group: Vec<V>, value| {
            group.push(value);
            group
        },
        |mut group: Vec<V>, more: Vec<V>| {
            group.extend(more);
            group
        },
    );
    // Combining first would move as many values and build more lists.
    combine_by_key(sc, "group_by_key", combiner, partitioning, false)
}

/// The values of one key on both sides.
pub type Groups<V, W> = (Vec<V>, Vec<W>);

/// `cogroup` of two data sets of pairs.
#[track_caller]
pub fn cogroup<K: Key, V: Data, W: Data>(
    sc: &SparkContext,
    name: &'static str,
    partitioning: Partitioning<K>,
) -> Transform<(K, Groups<V, W>)> {
    let left_exchange = PairExchange::<K, V>::new(sc, partitioning.clone());
    let right_exchange = PairExchange::<K, W>::new(sc, partitioning);
    let function = register::<(K, Groups<V, W>)>(sc, name, CoGroup::<K, V, W>(PhantomData));
    Transform::new(name, move |inputs| {
        let (left, right) = two(inputs)?;
        let placement = left_exchange.placement(&[left, right]);
        let (left, right) = (left_exchange.apply(left, placement), right_exchange.apply(right, placement));
        let lineage = Lineage::op(Arc::clone(&function), vec![left.lineage, right.lineage], Deps::Aligned);
        Ok(Dataset::new(lineage).placed(Some(placement)))
    })
}

type Marker<K, V, W> = PhantomData<fn() -> (K, V, W)>;

struct CoGroup<K, V, W>(Marker<K, V, W>);

struct CoGroupTask<K, V, W>(KeyMap<K, Groups<V, W>>);

impl<K: Key, V: Data, W: Data> Operator for CoGroup<K, V, W> {
    fn open(&self, _: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        Ok(Box::new(CoGroupTask::<K, V, W>(key_map())))
    }
}

impl<K: Key, V: Data, W: Data> OperatorTask for CoGroupTask<K, V, W> {
    fn push(&mut self, input: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        match input {
            0 => chunk.take::<Vec<(K, V)>>()?.into_iter().for_each(|(key, value)| {
                self.0.entry(key).or_insert_with(|| (Vec::new(), Vec::new())).0.push(value);
            }),
            1 => chunk.take::<Vec<(K, W)>>()?.into_iter().for_each(|(key, value)| {
                self.0.entry(key).or_insert_with(|| (Vec::new(), Vec::new())).1.push(value);
            }),
            other => return Err(Error::internal(format!("cogroup got input {other} of two"))),
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
        let mut writer = ChunkWriter::new(out);
        writer.extend(self.0.drain())?;
        writer.flush().map(drop)
    }
}
