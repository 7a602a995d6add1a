//! Partitioners and the shuffle: rows to the partition where they belong.

use std::any::TypeId;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, BinaryBuilder, RecordBatch, UInt32Array};
use tidemill_engine::chunk::{
    ArrowBatches, BATCH_BYTES, BATCH_ROWS, Chunk, Data, Rows, append_encoded, binary_column, column, decode_row,
};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{CallSite, Emit, Flow, Function, FunctionRegistry, Operator, OperatorTask, TaskInfo};
use tidemill_engine::lineage::{Deps, Lineage};
use tidemill_engine::shuffle::{routes, shuffle_batch};

use crate::context::SparkContext;
use crate::dataset::{Dataset, Placement, Transform, one};
use crate::op::narrow::ChunkWriter;

/// What a key must be: equal keys have equal hashes and equal encoded forms.
pub trait Key: Data + Hash + Eq {}
impl<K: Data + Hash + Eq> Key for K {}

/// Says to which partition a key belongs.
pub trait Partitioner<K>: Send + Sync {
    /// The number of partitions.
    fn partitions(&self) -> usize;
    /// The partition of a key, below [`Partitioner::partitions`].
    fn partition(&self, key: &K) -> usize;
}

/// A function as a partitioner.
pub struct PartitionBy<F> {
    partitions: usize,
    f: F,
}

impl<F> PartitionBy<F> {
    /// The partition of a key is `f(key)` modulo `partitions`.
    pub fn new(partitions: usize, f: F) -> Self {
        Self { partitions, f }
    }
}

impl<K, F: Fn(&K) -> usize + Send + Sync> Partitioner<K> for PartitionBy<F> {
    fn partitions(&self) -> usize {
        self.partitions
    }

    fn partition(&self, key: &K) -> usize {
        (self.f)(key) % self.partitions.max(1)
    }
}

/// How the output of a shuffle is to be placed.
pub enum Partitioning<K> {
    /// By hash of the key, in the default number of partitions.
    Default,
    /// By hash of the key, in this many partitions.
    Hash(usize),
    /// As a partitioner says.
    Custom(Arc<dyn Partitioner<K>>),
}

impl<K> Clone for Partitioning<K> {
    fn clone(&self) -> Self {
        match self {
            Partitioning::Default => Partitioning::Default,
            Partitioning::Hash(n) => Partitioning::Hash(*n),
            Partitioning::Custom(partitioner) => Partitioning::Custom(Arc::clone(partitioner)),
        }
    }
}

impl<K> From<usize> for Partitioning<K> {
    fn from(partitions: usize) -> Self {
        Partitioning::Hash(partitions)
    }
}

impl<K, P: Partitioner<K> + 'static> From<Arc<P>> for Partitioning<K> {
    fn from(partitioner: Arc<P>) -> Self {
        Partitioning::Custom(partitioner)
    }
}

impl<K> From<Arc<dyn Partitioner<K>>> for Partitioning<K> {
    fn from(partitioner: Arc<dyn Partitioner<K>>) -> Self {
        Partitioning::Custom(partitioner)
    }
}

impl<K: Key> Partitioning<K> {
    /// The placement that a shuffle of `inputs` makes.
    ///
    /// By default, as Spark's `Partitioner.defaultPartitioner`: the one that all inputs have; else the largest one by hash
    /// that an input has, unless it has both fewer partitions than the default and at most a tenth of the largest
    /// input's; else `spark.default.parallelism` partitions by hash, or as many as the largest input has.
    pub fn placement(&self, sc: &SparkContext, inputs: &[&Dataset]) -> Placement {
        let key = TypeId::of::<K>();
        match self {
            Partitioning::Hash(n) => Placement { partitions: (*n).max(1), key, custom: None },
            Partitioning::Custom(partitioner) => {
                let id = Arc::as_ptr(partitioner).cast::<()>() as usize;
                Placement { partitions: partitioner.partitions().max(1), key, custom: Some(id) }
            }
            Partitioning::Default => {
                let placed = || inputs.iter().filter_map(|input| input.placement).filter(|p| p.key == key);
                if let Some(first) = placed().next()
                    && placed().filter(|p| *p == first).count() == inputs.len()
                {
                    return first;
                }
                let largest = inputs.iter().map(|input| input.partitions()).max().unwrap_or(1);
                let set = sc.conf().contains("spark.default.parallelism");
                let default = if set { sc.default_parallelism() } else { largest.max(1) };
                // Of a partitioner of one input's, the other inputs know no more than that it is another one.
                let by_hash = placed().filter(|p| p.custom.is_none()).max_by_key(|p| p.partitions);
                let eligible = by_hash.filter(|p| largest < 10 * p.partitions || default <= p.partitions);
                eligible.unwrap_or(Placement { partitions: default, key, custom: None })
            }
        }
    }

    fn custom(&self) -> Option<Arc<dyn Partitioner<K>>> {
        match self {
            Partitioning::Custom(partitioner) => Some(Arc::clone(partitioner)),
            _ => None,
        }
    }
}

/// Encodes pairs on their way to where their key belongs.
pub struct PairWriter<K> {
    keys: BinaryBuilder,
    values: BinaryBuilder,
    scratch: Vec<u8>,
    rows: usize,
    from: usize,
    custom: Option<(Arc<dyn Partitioner<K>>, Arc<Vec<[u8; 4]>>)>,
}

impl<K: Key> PairWriter<K> {
    fn new(partitioning: &Partitioning<K>, from: usize) -> Result<Self> {
        let custom = match partitioning.custom() {
            Some(partitioner) => {
                let routes = routes(partitioner.partitions().max(1))?;
                Some((partitioner, routes))
            }
            None => None,
        };
        let (keys, values) = (BinaryBuilder::new(), BinaryBuilder::new());
        Ok(Self { keys, values, scratch: Vec::new(), rows: 0, from, custom })
    }

    fn push<V: Data>(&mut self, key: &K, value: &V, out: &mut Emit<'_>) -> Result<Flow> {
        match &self.custom {
            None => {
                append_encoded(&mut self.keys, &mut self.scratch, key)?;
                append_encoded(&mut self.values, &mut self.scratch, value)?;
            }
            Some((partitioner, routes)) => {
                let partition = partitioner.partition(key);
                let route = routes.get(partition).ok_or_else(|| {
                    let (partitions, kind) = (routes.len(), std::any::type_name::<K>());
                    Error::usage(format!("a partitioner of {kind} named partition {partition}, but has {partitions}"))
                })?;
                self.keys.append_value(route);
                append_encoded(&mut self.values, &mut self.scratch, &(key, value))?;
            }
        }
        self.rows += 1;
        let bytes = self.keys.values_slice().len().max(self.values.values_slice().len());
        if self.rows < BATCH_ROWS && bytes < BATCH_BYTES { Ok(Flow::More) } else { self.flush(out) }
    }

    fn flush(&mut self, out: &mut Emit<'_>) -> Result<Flow> {
        if self.rows == 0 {
            return Ok(Flow::More);
        }
        self.rows = 0;
        let (keys, values) = (std::mem::take(&mut self.keys), std::mem::take(&mut self.values));
        out(Chunk::of(shuffle_batch(keys, values, self.from)?))
    }
}

struct WritePairs<K, V> {
    partitioning: Partitioning<K>,
    values: PhantomData<fn() -> V>,
}

struct WritePairsTask<K, V> {
    writer: PairWriter<K>,
    values: PhantomData<fn() -> V>,
}

impl<K: Key, V: Data> Operator for WritePairs<K, V> {
    fn open(&self, task: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        let writer = PairWriter::new(&self.partitioning, task.partition)?;
        Ok(Box::new(WritePairsTask::<K, V> { writer, values: PhantomData }))
    }
}

impl<K: Key, V: Data> OperatorTask for WritePairsTask<K, V> {
    fn push(&mut self, _: usize, chunk: Chunk, out: &mut Emit<'_>) -> Result<Flow> {
        for (key, value) in chunk.get::<Vec<(K, V)>>()? {
            self.writer.push(key, value, out)?;
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
        self.writer.flush(out).map(drop)
    }
}

/// Gathers the rows of a shuffle and gives them in the order of the map partitions they come from: what order the
/// network or the threads delivered them in does not matter.
#[derive(Default)]
struct Gathered {
    batches: Vec<RecordBatch>,
}

impl Gathered {
    fn for_each(self, mut f: impl FnMut(&[u8], &[u8]) -> Result<Flow>) -> Result<()> {
        let mut by_origin: Vec<Vec<(u32, std::ops::Range<u32>)>> = Vec::new();
        for (index, batch) in self.batches.iter().enumerate() {
            let from = column::<UInt32Array>(batch, 2)?.values();
            let mut start = 0;
            while start < from.len() {
                let origin = from[start];
                let length = from[start..].iter().take_while(|other| **other == origin).count();
                if by_origin.len() <= origin as usize {
                    by_origin.resize_with(origin as usize + 1, Vec::new);
                }
                by_origin[origin as usize].push((index as u32, start as u32..(start + length) as u32));
                start += length;
            }
        }
        for (index, rows) in by_origin.into_iter().flatten() {
            let batch = &self.batches[index as usize];
            let (keys, values) = (binary_column(batch, 0)?, binary_column(batch, 1)?);
            for row in rows {
                if f(keys.value(row as usize), values.value(row as usize))? == Flow::Enough {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Reads what came out of a shuffle. `PAIRS`: key and value lie in a column each; else the value column has the whole row.
struct ReadShuffle<T>(PhantomData<fn() -> T>);

struct ReadTask<T, D> {
    gathered: Gathered,
    decode: D,
    rows: PhantomData<fn() -> T>,
}

impl<T: Data, D> OperatorTask for ReadTask<T, D>
where
    D: Fn(&[u8], &[u8]) -> Result<T> + Send,
{
    fn push(&mut self, _: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        self.gathered.batches.push(chunk.take()?);
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
        let mut writer = ChunkWriter::new(out);
        let decode = &self.decode;
        std::mem::take(&mut self.gathered).for_each(|key, value| writer.push(decode(key, value)?))?;
        writer.flush().map(drop)
    }
}

impl<K: Data, V: Data> Operator for ReadShuffle<(K, V)> {
    fn open(&self, _: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        let decode = |key: &[u8], value: &[u8]| Ok((decode_row::<K>(key)?, decode_row::<V>(value)?));
        Ok(Box::new(ReadTask { gathered: Gathered::default(), decode, rows: PhantomData }))
    }
}

struct ReadRows<T>(PhantomData<fn() -> T>);

impl<T: Data> Operator for ReadRows<T> {
    fn open(&self, _: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        let decode = |_: &[u8], value: &[u8]| decode_row::<T>(value);
        Ok(Box::new(ReadTask { gathered: Gathered::default(), decode, rows: PhantomData }))
    }
}

fn read_pairs<K: Data, V: Data>(functions: &Arc<FunctionRegistry>) -> Arc<Function> {
    let types = std::any::type_name::<(K, V)>();
    let operator = || Arc::new(ReadShuffle::<(K, V)>(PhantomData)) as Arc<dyn Operator>;
    functions.builtin("read_pairs", types, Rows::<(K, V)>::ELEMENT, operator)
}

/// The builtin that reads whole rows behind a shuffle.
pub(crate) fn read_rows<T: Data>(functions: &Arc<FunctionRegistry>) -> Arc<Function> {
    let types = std::any::type_name::<T>();
    functions.builtin("read_rows", types, Rows::<T>::ELEMENT, || Arc::new(ReadRows::<T>(PhantomData)))
}

/// Both ends of a shuffle of pairs, made once, applied to any number of data sets.
pub struct PairExchange<K, V> {
    sc: SparkContext,
    partitioning: Partitioning<K>,
    write: Arc<Function>,
    read: Arc<Function>,
    values: PhantomData<fn() -> V>,
}

impl<K: Key, V: Data> PairExchange<K, V> {
    /// The shuffle that places pairs as `partitioning` says.
    #[track_caller]
    pub fn new(sc: &SparkContext, partitioning: Partitioning<K>) -> Self {
        let (sc, functions) = (sc.clone(), sc.functions());
        let read = match partitioning.custom() {
            None => read_pairs::<K, V>(functions),
            Some(_) => read_rows::<(K, V)>(functions),
        };
        let operator = Arc::new(WritePairs::<K, V> { partitioning: partitioning.clone(), values: PhantomData });
        let write = functions.register("write_pairs", CallSite::here(), &ArrowBatches, operator);
        Self { sc, partitioning, write, read, values: PhantomData }
    }

    /// How this exchange places the rows of `inputs`.
    pub fn placement(&self, inputs: &[&Dataset]) -> Placement {
        self.partitioning.placement(&self.sc, inputs)
    }

    /// The rows where they belong; no shuffle where they lie right already.
    pub fn apply(&self, input: &Dataset, placement: Placement) -> Dataset {
        if input.placement == Some(placement) {
            return input.clone();
        }
        self.finish(&input.op(&self.write), placement)
    }

    /// The shuffle behind an operator that has written the rows itself.
    pub fn finish(&self, written: &Dataset, placement: Placement) -> Dataset {
        let shuffle = Lineage::shuffle(Arc::clone(&written.lineage), placement.partitions);
        Dataset::new(shuffle).op(&self.read).placed(Some(placement))
    }
}

/// Emits pairs, encoded, to where a [`PairExchange`] with the same partitioning reads them.
pub fn pair_writer<K: Key>(partitioning: &Partitioning<K>, from: usize) -> Result<PairWriter<K>> {
    PairWriter::new(partitioning, from)
}

/// Writes all pairs and flushes.
pub fn write_all<K: Key, V: Data>(
    writer: &mut PairWriter<K>,
    pairs: impl IntoIterator<Item = (K, V)>,
    out: &mut Emit<'_>,
) -> Result<()> {
    for (key, value) in pairs {
        writer.push(&key, &value, out)?;
    }
    writer.flush(out).map(drop)
}

/// `partition_by`
#[track_caller]
pub fn partition_by<K: Key, V: Data>(sc: &SparkContext, partitioning: Partitioning<K>) -> Transform<(K, V)> {
    let exchange = PairExchange::<K, V>::new(sc, partitioning);
    Transform::new("partition_by", move |inputs| {
        let input = one(inputs)?;
        Ok(exchange.apply(input, exchange.placement(&[input])))
    })
}

/// `repartition`: rows go round, starting at another partition for each map partition, so that no partition gets all.
#[track_caller]
pub fn repartition<T: Data>(sc: &SparkContext, partitions: usize) -> Transform<T> {
    route_rows(sc, "repartition", partitions, |from, row, _: &T| from + row)
}

/// Sends each row to a partition that is computed from (map partition, number of the row within it, row).
#[track_caller]
pub fn route_rows<T: Data>(
    sc: &SparkContext,
    name: &'static str,
    partitions: usize,
    f: impl Fn(usize, usize, &T) -> usize + Send + Sync + 'static,
) -> Transform<T> {
    let partitions = partitions.max(1);
    let operator = Arc::new(RouteRows { partitions, f: Arc::new(f) });
    let write = sc.functions().register(name, CallSite::here(), &ArrowBatches, operator);
    let read = read_rows::<T>(sc.functions());
    Transform::new(name, move |inputs| {
        let written = one(inputs)?.op(&write);
        Ok(Dataset::new(Lineage::shuffle(written.lineage, partitions)).op(&read))
    })
}

type Route<T> = dyn Fn(usize, usize, &T) -> usize + Send + Sync;

struct RouteRows<T> {
    partitions: usize,
    f: Arc<Route<T>>,
}

struct RouteTask<T> {
    f: Arc<Route<T>>,
    routes: Arc<Vec<[u8; 4]>>,
    from: usize,
    rows: usize,
    scratch: Vec<u8>,
}

impl<T: Data> Operator for RouteRows<T> {
    fn open(&self, task: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        let (f, routes) = (Arc::clone(&self.f), routes(self.partitions)?);
        Ok(Box::new(RouteTask { f, routes, from: task.partition, rows: 0, scratch: Vec::new() }))
    }
}

impl<T: Data> OperatorTask for RouteTask<T> {
    fn push(&mut self, _: usize, chunk: Chunk, out: &mut Emit<'_>) -> Result<Flow> {
        let (mut keys, mut values) = (BinaryBuilder::new(), BinaryBuilder::new());
        for row in chunk.get::<Vec<T>>()? {
            if values.values_slice().len() >= BATCH_BYTES {
                let full = shuffle_batch(std::mem::take(&mut keys), std::mem::take(&mut values), self.from)?;
                out(Chunk::of(full))?;
            }
            keys.append_value(self.routes[(self.f)(self.from, self.rows, row) % self.routes.len()]);
            append_encoded(&mut values, &mut self.scratch, row)?;
            self.rows += 1;
        }
        out(Chunk::of(shuffle_batch(keys, values, self.from)?))
    }
}

/// `coalesce` without a shuffle: neighbouring partitions together, as evenly as it goes.
#[track_caller]
pub fn coalesce<T: Data>(sc: &SparkContext, partitions: usize) -> Transform<T> {
    let pass = pass::<T>(sc.functions());
    Transform::new("coalesce", move |inputs| {
        let input = one(inputs)?;
        let (have, want) = (input.partitions(), partitions.max(1).min(input.partitions()));
        let groups = (0..want).map(|group| (group * have / want..(group + 1) * have / want).collect()).collect();
        Ok(Dataset::new(Lineage::op(Arc::clone(&pass), vec![Arc::clone(&input.lineage)], Deps::Groups(groups))))
    })
}

/// `union`: the partitions of all inputs; partition by partition where all are placed alike.
#[track_caller]
pub fn union<T: Data>(sc: &SparkContext) -> Transform<T> {
    let pass = pass::<T>(sc.functions());
    Transform::new("union", move |inputs| {
        let placement =
            one(inputs)?.placement.filter(|first| inputs.iter().all(|input| input.placement == Some(*first)));
        let deps = if placement.is_some() { Deps::Aligned } else { Deps::Concat };
        let lineages = inputs.iter().map(|input| Arc::clone(&input.lineage)).collect();
        Ok(Dataset::new(Lineage::op(Arc::clone(&pass), lineages, deps)).placed(placement))
    })
}

/// The operator that hands its input on.
pub fn pass<T: Data>(functions: &Arc<FunctionRegistry>) -> Arc<Function> {
    let operator = || {
        let pass = tidemill_engine::function::PerChunk(|chunk: Chunk, out: &mut Emit<'_>| out(chunk));
        Arc::new(pass) as Arc<dyn Operator>
    };
    functions.builtin("pass", std::any::type_name::<T>(), Rows::<T>::ELEMENT, operator)
}

/// The partition, of those a hash placement has, where a key lies.
pub fn hash_partition<K: Key>(key: &K, partitions: usize) -> Result<usize> {
    let mut builder = BinaryBuilder::new();
    append_encoded(&mut builder, &mut Vec::new(), key)?;
    let keys = builder.finish();
    debug_assert_eq!(keys.len(), 1);
    let found = tidemill_engine::shuffle::partitions_of(keys, partitions)?;
    found.first().copied().ok_or_else(|| Error::internal("a key has no partition"))
}
