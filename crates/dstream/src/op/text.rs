//! Text that stays Arrow: closures see `&str` slices of the batch, and a key is allocated once per distinct key.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, StringArray, StringBuilder};
use tidemill_engine::chunk::{ArrowBatches, Chunk, Data, column, text_schema};
use tidemill_engine::error::Result;
use tidemill_engine::function::{Emit, Flow, Function, FunctionRegistry, Operator, OperatorTask, PerChunk, TaskInfo};

use crate::context::SparkContext;
use crate::dataset::{Transform, one, register};
use crate::op::narrow::ChunkWriter;
use crate::op::pair::{Combiner, KeyMap, combine_by_key, key_map};
use crate::op::partition::Partitioning;

/// From one piece of text to any number, by reference all the way. Composed at compile time: a call per word through a
/// pointer would cost as much as the counting.
pub trait Pieces: Clone + Send + Sync + 'static {
    /// Hands each piece of `text` to `emit`.
    fn each(&self, text: &str, emit: &mut impl FnMut(&str));
}

/// The text as it is.
#[derive(Clone)]
pub struct Whole;

impl Pieces for Whole {
    fn each(&self, text: &str, emit: &mut impl FnMut(&str)) {
        emit(text);
    }
}

/// The words of each piece, between ASCII white space.
#[derive(Clone)]
pub struct Words<P>(pub P);

impl<P: Pieces> Pieces for Words<P> {
    fn each(&self, text: &str, emit: &mut impl FnMut(&str)) {
        self.0.each(text, &mut |piece| piece.split_ascii_whitespace().for_each(&mut *emit));
    }
}

/// The pieces for which a function is true.
#[derive(Clone)]
pub struct Filtered<P, F>(pub P, pub F);

impl<P: Pieces, F: Fn(&str) -> bool + Clone + Send + Sync + 'static> Pieces for Filtered<P, F> {
    fn each(&self, text: &str, emit: &mut impl FnMut(&str)) {
        self.0.each(text, &mut |piece| {
            if (self.1)(piece) {
                emit(piece);
            }
        });
    }
}

/// Any number of pieces of each piece.
#[derive(Clone)]
pub struct FlatMapped<P, F>(pub P, pub F);

impl<P: Pieces, F: Fn(&str, &mut dyn FnMut(&str)) + Clone + Send + Sync + 'static> Pieces for FlatMapped<P, F> {
    fn each(&self, text: &str, emit: &mut impl FnMut(&str)) {
        self.0.each(text, &mut |piece| (self.1)(piece, &mut *emit));
    }
}

/// Runs `f` for every piece of every line of a chunk.
fn for_each_piece(pieces: &impl Pieces, chunk: Chunk, mut f: impl FnMut(&str)) -> Result<()> {
    let batch = chunk.take::<RecordBatch>()?;
    let lines = column::<StringArray>(&batch, 0)?;
    (0..lines.len()).for_each(|row| pieces.each(lines.value(row), &mut f));
    Ok(())
}

/// Pieces to rows.
#[track_caller]
pub fn map<U: Data>(
    sc: &SparkContext,
    name: &'static str,
    pieces: impl Pieces,
    f: impl Fn(&str) -> U + Send + Sync + 'static,
) -> Transform<U> {
    let f = Arc::new(f);
    let operator = PerChunk(move |chunk: Chunk, out: &mut Emit<'_>| {
        let mut writer = ChunkWriter::new(out);
        let mut flow = Ok(Flow::More);
        for_each_piece(&pieces, chunk, |piece| {
            if matches!(flow, Ok(Flow::More)) {
                flow = writer.push(f(piece));
            }
        })?;
        match flow? {
            Flow::More => writer.flush(),
            Flow::Enough => Ok(Flow::Enough),
        }
    });
    Transform::narrow(name, register::<U>(sc, name, operator))
}

/// The number of pieces of each partition.
#[track_caller]
pub fn count<P: Pieces>(sc: &SparkContext, pieces: P) -> Transform<u64> {
    struct Count<P>(P);
    struct CountTask<P>(P, u64);
    impl<P: Pieces> Operator for Count<P> {
        fn open(&self, _: TaskInfo) -> Result<Box<dyn OperatorTask>> {
            Ok(Box::new(CountTask(self.0.clone(), 0)))
        }
    }
    impl<P: Pieces> OperatorTask for CountTask<P> {
        fn push(&mut self, _: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
            let count = &mut self.1;
            for_each_piece(&self.0, chunk, |_| *count += 1)?;
            Ok(Flow::More)
        }
        fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
            out(Chunk::of(vec![self.1])).map(drop)
        }
    }
    Transform::narrow("count", register::<u64>(sc, "count", Count(pieces)))
}

struct Fold<P, F, R> {
    pieces: P,
    value: Arc<F>,
    reduce: Arc<R>,
}

struct FoldTask<P, F, R, V> {
    pieces: P,
    value: Arc<F>,
    reduce: Arc<R>,
    map: KeyMap<Box<str>, Option<V>>,
}

impl<P, F, R, V> Operator for Fold<P, F, R>
where
    P: Pieces,
    F: Fn(&str) -> V + Send + Sync + 'static,
    R: Fn(V, V) -> V + Send + Sync + 'static,
    V: Data,
{
    fn open(&self, _: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        let (pieces, value, reduce) = (self.pieces.clone(), Arc::clone(&self.value), Arc::clone(&self.reduce));
        Ok(Box::new(FoldTask { pieces, value, reduce, map: key_map() }))
    }
}

impl<P, F, R, V> OperatorTask for FoldTask<P, F, R, V>
where
    P: Pieces,
    F: Fn(&str) -> V + Send + Sync,
    R: Fn(V, V) -> V + Send + Sync,
    V: Data,
{
    fn push(&mut self, _: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        let Self { pieces, value, reduce, map } = self;
        for_each_piece(pieces, chunk, |piece| match map.get_mut(piece) {
            Some(slot) => *slot = slot.take().map(|so_far| reduce(so_far, value(piece))),
            None => {
                map.insert(piece.into(), Some(value(piece)));
            }
        })?;
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
        let mut writer = ChunkWriter::new(out);
        writer.extend(self.map.drain().filter_map(|(key, value)| value.map(|value| (String::from(key), value))))?;
        writer.flush().map(drop)
    }
}

/// Pieces as keys, each with a value, reduced by key.
#[track_caller]
pub fn reduce_by_key<V: Data>(
    sc: &SparkContext,
    name: &'static str,
    pieces: impl Pieces,
    value: impl Fn(&str) -> V + Send + Sync + 'static,
    reduce: impl Fn(V, V) -> V + Send + Sync + 'static,
    partitioning: Partitioning<String>,
) -> Transform<(String, V)> {
    let reduce = Arc::new(reduce);
    let fold = Fold { pieces, value: Arc::new(value), reduce: Arc::clone(&reduce) };
    let local = register::<(String, V)>(sc, name, fold);
    let again = Arc::clone(&reduce);
    let combiner = Combiner::new(|value| value, move |a, b| reduce(a, b), move |a, b| again(a, b));
    // Each key stands once in a partition by now: another combine before the shuffle would find nothing.
    let global = combine_by_key::<String, V, V>(sc, name, combiner, partitioning, false);
    Transform::new(name, move |inputs| global.apply(&[one(inputs)?.op(&local)]))
}

/// The beginning of a plan that traveled with text of the driver's: batches as they are.
pub fn decode_batches(functions: &Arc<FunctionRegistry>) -> Arc<Function> {
    let operator = || Arc::new(PerChunk(|chunk: Chunk, out: &mut Emit<'_>| out(chunk))) as Arc<dyn Operator>;
    functions.builtin("decode_text", "", &ArrowBatches, operator)
}

/// Strings to text, for those who have strings and want text.
#[track_caller]
pub fn from_strings(sc: &SparkContext) -> Transform<String> {
    let operator = || {
        Arc::new(PerChunk(|chunk: Chunk, out: &mut Emit<'_>| {
            let mut builder = StringBuilder::new();
            chunk.get::<Vec<String>>()?.iter().for_each(|line| builder.append_value(line));
            out(Chunk::of(RecordBatch::try_new(text_schema(), vec![Arc::new(builder.finish())])?))
        })) as Arc<dyn Operator>
    };
    Transform::narrow("to_text", sc.functions().builtin("to_text", "", &ArrowBatches, operator))
}
