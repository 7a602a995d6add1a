//! Operators on one chunk after the other: map, filter, flat_map and their kin.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, StringArray};
use tidemill_engine::chunk::{CHUNK_ROWS, Chunk, Data, Rows, binary_column, column, decode_rows, encode_rows};
use tidemill_engine::error::Result;
use tidemill_engine::function::{Emit, Flow, Function, FunctionRegistry, Operator, OperatorTask, PerChunk, TaskInfo};
use tidemill_engine::lineage::{Chunks, Values};

use crate::context::SparkContext;
use crate::dataset::{Transform, register};

/// Collects rows and hands them on in chunks of [`CHUNK_ROWS`].
pub struct ChunkWriter<'a, 'e, U: Data> {
    rows: Vec<U>,
    out: &'a mut Emit<'e>,
}

impl<'a, 'e, U: Data> ChunkWriter<'a, 'e, U> {
    /// A writer to `out`.
    pub fn new(out: &'a mut Emit<'e>) -> Self {
        Self { rows: Vec::new(), out }
    }

    /// Adds one row.
    pub fn push(&mut self, row: U) -> Result<Flow> {
        if self.rows.capacity() == 0 {
            self.rows.reserve_exact(CHUNK_ROWS);
        }
        self.rows.push(row);
        if self.rows.len() < CHUNK_ROWS { Ok(Flow::More) } else { self.flush() }
    }

    /// Adds all rows, until the reader has enough.
    pub fn extend(&mut self, rows: impl IntoIterator<Item = U>) -> Result<Flow> {
        for row in rows {
            if self.push(row)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    }

    /// Hands on what is there.
    pub fn flush(&mut self) -> Result<Flow> {
        if self.rows.is_empty() { Ok(Flow::More) } else { (self.out)(Chunk::of(std::mem::take(&mut self.rows))) }
    }
}

/// `map`
#[track_caller]
pub fn map<T: Data, U: Data>(sc: &SparkContext, f: impl Fn(T) -> U + Send + Sync + 'static) -> Transform<U> {
    let f = Arc::new(f);
    let operator = PerChunk(move |chunk: Chunk, out: &mut Emit<'_>| {
        let rows: Vec<T> = chunk.take()?;
        out(Chunk::of(rows.into_iter().map(|row| f(row)).collect::<Vec<U>>()))
    });
    Transform::narrow("map", register::<U>(sc, "map", operator))
}

/// `filter`
#[track_caller]
pub fn filter<T: Data>(sc: &SparkContext, f: impl Fn(&T) -> bool + Send + Sync + 'static) -> Transform<T> {
    let f = Arc::new(f);
    let operator = PerChunk(move |chunk: Chunk, out: &mut Emit<'_>| {
        let mut rows: Vec<T> = chunk.take()?;
        rows.retain(|row| f(row));
        if rows.is_empty() { Ok(Flow::More) } else { out(Chunk::of(rows)) }
    });
    Transform::narrow_placed("filter", register::<T>(sc, "filter", operator))
}

/// `flat_map`
#[track_caller]
pub fn flat_map<T: Data, U: Data, I>(sc: &SparkContext, f: impl Fn(T) -> I + Send + Sync + 'static) -> Transform<U>
where
    I: IntoIterator<Item = U>,
{
    let f = Arc::new(f);
    let operator = PerChunk(move |chunk: Chunk, out: &mut Emit<'_>| {
        let mut writer = ChunkWriter::new(out);
        for row in chunk.take::<Vec<T>>()? {
            if writer.extend(f(row))? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        writer.flush()
    });
    Transform::narrow("flat_map", register::<U>(sc, "flat_map", operator))
}

/// `map_values`: the keys stay where they are.
#[track_caller]
pub fn map_values<K: Data, V: Data, W: Data>(
    sc: &SparkContext,
    f: impl Fn(V) -> W + Send + Sync + 'static,
) -> Transform<(K, W)> {
    let f = Arc::new(f);
    let operator = PerChunk(move |chunk: Chunk, out: &mut Emit<'_>| {
        let rows: Vec<(K, V)> = chunk.take()?;
        out(Chunk::of(rows.into_iter().map(|(key, value)| (key, f(value))).collect::<Vec<(K, W)>>()))
    });
    Transform::narrow_placed("map_values", register::<(K, W)>(sc, "map_values", operator))
}

/// `flat_map_values`: the keys stay where they are.
#[track_caller]
pub fn flat_map_values<K: Data, V: Data, W: Data, I>(
    sc: &SparkContext,
    f: impl Fn(V) -> I + Send + Sync + 'static,
) -> Transform<(K, W)>
where
    I: IntoIterator<Item = W>,
{
    let f = Arc::new(f);
    let operator = PerChunk(move |chunk: Chunk, out: &mut Emit<'_>| {
        let mut writer = ChunkWriter::new(out);
        for (key, value) in chunk.take::<Vec<(K, V)>>()? {
            if writer.extend(f(value).into_iter().map(|value| (key.clone(), value)))? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        writer.flush()
    });
    Transform::narrow_placed("flat_map_values", register::<(K, W)>(sc, "flat_map_values", operator))
}

/// `map_partitions_with_index`: the function sees all rows of a partition at once.
#[track_caller]
pub fn map_partitions<T: Data, U: Data, I>(
    sc: &SparkContext,
    name: &'static str,
    f: impl Fn(usize, std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
) -> Transform<U>
where
    I: IntoIterator<Item = U>,
{
    whole_partition(sc, name, move |partition, rows: Vec<T>, writer| writer.extend(f(partition, rows.into_iter())))
}

/// `glom`: one list per partition.
#[track_caller]
pub fn glom<T: Data>(sc: &SparkContext) -> Transform<Vec<T>> {
    whole_partition(sc, "glom", |_, rows: Vec<T>, writer| writer.push(rows))
}

type PartitionFn<T, U> = dyn Fn(usize, Vec<T>, &mut ChunkWriter<'_, '_, U>) -> Result<Flow> + Send + Sync;

/// An operator that gathers all rows of a partition and then runs `f` once, also where there are none.
#[track_caller]
pub fn whole_partition<T: Data, U: Data>(
    sc: &SparkContext,
    name: &'static str,
    f: impl Fn(usize, Vec<T>, &mut ChunkWriter<'_, '_, U>) -> Result<Flow> + Send + Sync + 'static,
) -> Transform<U> {
    Transform::narrow(name, register::<U>(sc, name, WholePartition::<T, U> { f: Arc::new(f) }))
}

struct WholePartition<T, U: Data> {
    f: Arc<PartitionFn<T, U>>,
}

struct WholePartitionTask<T, U: Data> {
    f: Arc<PartitionFn<T, U>>,
    partition: usize,
    rows: Vec<T>,
}

impl<T: Data, U: Data> Operator for WholePartition<T, U> {
    fn open(&self, task: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        Ok(Box::new(WholePartitionTask { f: Arc::clone(&self.f), partition: task.partition, rows: Vec::new() }))
    }
}

impl<T: Data, U: Data> OperatorTask for WholePartitionTask<T, U> {
    fn push(&mut self, _: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        let rows: Vec<T> = chunk.take()?;
        if self.rows.is_empty() {
            self.rows = rows;
        } else {
            self.rows.extend(rows);
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
        let mut writer = ChunkWriter::new(out);
        (self.f)(self.partition, std::mem::take(&mut self.rows), &mut writer)?;
        writer.flush().map(drop)
    }
}

/// Folds each partition into one row, without keeping its rows; it is emitted also where there are none.
#[track_caller]
pub fn fold_partition<T: Data, U: Data>(
    sc: &SparkContext,
    name: &'static str,
    zero: impl Fn() -> U + Send + Sync + 'static,
    f: impl Fn(&mut U, T) + Send + Sync + 'static,
) -> Transform<U> {
    Transform::narrow(name, register::<U>(sc, name, Fold { zero: Arc::new(zero), f: Arc::new(f) }))
}

struct Fold<T, U> {
    zero: Arc<dyn Fn() -> U + Send + Sync>,
    f: Arc<dyn Fn(&mut U, T) + Send + Sync>,
}

struct FoldTask<T, U> {
    so_far: Option<U>,
    f: Arc<dyn Fn(&mut U, T) + Send + Sync>,
}

impl<T: Data, U: Data> Operator for Fold<T, U> {
    fn open(&self, _: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        Ok(Box::new(FoldTask { so_far: Some((self.zero)()), f: Arc::clone(&self.f) }))
    }
}

impl<T: Data, U: Data> OperatorTask for FoldTask<T, U> {
    fn push(&mut self, _: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        if let Some(so_far) = &mut self.so_far {
            chunk.take::<Vec<T>>()?.into_iter().for_each(|row| (self.f)(so_far, row));
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
        match self.so_far.take() {
            Some(result) => out(Chunk::of(vec![result])).map(drop),
            None => Ok(()),
        }
    }
}

/// `count` of each partition.
pub fn count_partition<T: Data>(functions: &Arc<FunctionRegistry>) -> Arc<Function> {
    struct Count<T>(u64, std::marker::PhantomData<fn() -> T>);
    impl<T: Data> Operator for Count<T> {
        fn open(&self, _: TaskInfo) -> Result<Box<dyn OperatorTask>> {
            Ok(Box::new(Count::<T>(0, self.1)))
        }
    }
    impl<T: Data> OperatorTask for Count<T> {
        fn push(&mut self, _: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
            self.0 += chunk.get::<Vec<T>>()?.len() as u64;
            Ok(Flow::More)
        }
        fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
            out(Chunk::of(vec![self.0])).map(drop)
        }
    }
    let operator = || Arc::new(Count::<T>(0, std::marker::PhantomData)) as Arc<dyn Operator>;
    functions.builtin("count", std::any::type_name::<T>(), Rows::<u64>::ELEMENT, operator)
}

/// The first `n` rows of each partition.
pub fn take_partition<T: Data>(functions: &Arc<FunctionRegistry>, n: usize) -> Transform<T> {
    struct Take<T>(usize, std::marker::PhantomData<fn() -> T>);
    impl<T: Data> Operator for Take<T> {
        fn open(&self, _: TaskInfo) -> Result<Box<dyn OperatorTask>> {
            Ok(Box::new(Take::<T>(self.0, self.1)))
        }
    }
    impl<T: Data> OperatorTask for Take<T> {
        fn push(&mut self, _: usize, chunk: Chunk, out: &mut Emit<'_>) -> Result<Flow> {
            let mut rows: Vec<T> = chunk.take()?;
            rows.truncate(self.0);
            self.0 -= rows.len();
            if !rows.is_empty() {
                out(Chunk::of(rows))?;
            }
            Ok(if self.0 == 0 { Flow::Enough } else { Flow::More })
        }
    }
    let operator = |n| {
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        Arc::new(Take::<T>(n, std::marker::PhantomData)) as Arc<dyn Operator>
    };
    let types = std::any::type_name::<T>();
    Transform::narrow("take", functions.builtin_of("take", types, Rows::<T>::ELEMENT, n as u64, operator))
}

/// Makes the builtins that actions on rows of `T` need, so that a plan that an action makes on the driver is understood
/// wherever the graph was built.
pub(crate) fn prepare_actions<T: Data>(functions: &Arc<FunctionRegistry>) {
    decode_values::<T>(functions);
    count_partition::<T>(functions);
    take_partition::<T>(functions, 0);
    // Of a union, and of rows that were moved.
    super::partition::pass::<T>(functions);
    super::partition::read_rows::<T>(functions);
}

/// The beginning of a plan that traveled with rows of the driver's: encoded rows to rows.
pub fn decode_values<T: Data>(functions: &Arc<FunctionRegistry>) -> Arc<Function> {
    let operator = || {
        Arc::new(PerChunk(|chunk: Chunk, out: &mut Emit<'_>| {
            out(Chunk::of(decode_rows::<T>(&chunk.take::<RecordBatch>()?)?))
        })) as Arc<dyn Operator>
    };
    functions.builtin("decode", std::any::type_name::<T>(), Rows::<T>::ELEMENT, operator)
}

/// Lines of text to a `String` each.
pub fn text_to_strings(functions: &Arc<FunctionRegistry>) -> Arc<Function> {
    let operator = || {
        Arc::new(PerChunk(|chunk: Chunk, out: &mut Emit<'_>| {
            let batch = chunk.take::<RecordBatch>()?;
            let lines = column::<StringArray>(&batch, 0)?;
            let mut start = 0;
            while start < lines.len() {
                let end = lines.len().min(start + CHUNK_ROWS);
                let strings: Vec<String> = (start..end).map(|row| lines.value(row).to_string()).collect();
                if out(Chunk::of(strings))? == Flow::Enough {
                    return Ok(Flow::Enough);
                }
                start = end;
            }
            Ok(Flow::More)
        })) as Arc<dyn Operator>
    };
    functions.builtin("text", "String", Rows::<String>::ELEMENT, operator)
}

/// Records of bytes to a `Vec<u8>` each.
pub fn records_to_bytes(functions: &Arc<FunctionRegistry>) -> Arc<Function> {
    let operator = || {
        Arc::new(PerChunk(|chunk: Chunk, out: &mut Emit<'_>| {
            let batch = chunk.take::<RecordBatch>()?;
            out(Chunk::of(binary_column(&batch, 0)?.iter().flatten().map(<[u8]>::to_vec).collect::<Vec<Vec<u8>>>()))
        })) as Arc<dyn Operator>
    };
    functions.builtin("records", "", Rows::<Vec<u8>>::ELEMENT, operator)
}

/// A collection of the driver's, cut into partitions.
pub struct Collection<T> {
    parts: Vec<Arc<Vec<T>>>,
    decoder: Arc<Function>,
}

impl<T: Data> Collection<T> {
    /// Cuts `rows` into `partitions` parts of nearly equal size, as Spark does.
    pub fn slice(functions: &Arc<FunctionRegistry>, rows: Vec<T>, partitions: usize) -> Self {
        let (total, partitions) = (rows.len(), partitions.max(1));
        let mut rows = rows.into_iter();
        let mut done = 0;
        let parts = (1..=partitions).map(|part| {
            // Wide arithmetic: a collection times its partitions may pass 64 bits on a 32-bit machine only, but costs nothing.
            let end = (part as u128 * total as u128 / partitions as u128) as usize;
            let part = rows.by_ref().take(end - done).collect();
            done = end;
            Arc::new(part)
        });
        Self::from_parts(functions, parts.collect())
    }

    /// A collection that is cut already.
    pub fn from_parts(functions: &Arc<FunctionRegistry>, parts: Vec<Arc<Vec<T>>>) -> Self {
        Self { parts, decoder: decode_values::<T>(functions) }
    }
}

impl<T: Data> Values for Collection<T> {
    fn partitions(&self) -> usize {
        self.parts.len()
    }

    fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    fn chunks(self: Arc<Self>, partition: usize) -> Chunks {
        let rows = Arc::clone(&self.parts[partition]);
        let chunk = move |start: usize| Chunk::of(rows[start..rows.len().min(start + CHUNK_ROWS)].to_vec());
        let total = self.parts[partition].len();
        Box::new((0..total).step_by(CHUNK_ROWS).map(move |start| Ok(chunk(start))))
    }

    fn encode(&self, partition: usize) -> Result<RecordBatch> {
        encode_rows(&self.parts[partition])
    }

    fn decoder(&self) -> Arc<Function> {
        Arc::clone(&self.decoder)
    }
}

/// Rows that may be errors to rows; the first error fails the task.
#[track_caller]
pub fn fallible<T: Data>(sc: &SparkContext, name: &'static str) -> Transform<T> {
    let operator = PerChunk(|chunk: Chunk, out: &mut Emit<'_>| {
        let rows: Vec<Result<T, String>> = chunk.take()?;
        let rows = rows.into_iter().collect::<Result<Vec<T>, String>>().map_err(tidemill_engine::error::Error::data)?;
        out(Chunk::of(rows))
    });
    Transform::narrow(name, register::<T>(sc, name, operator))
}
