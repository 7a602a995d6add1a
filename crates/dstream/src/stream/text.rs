//! `TextDStream`: streams of text whose closures see `&str` slices of the Arrow buffer.

use std::sync::Arc;

use tidemill_engine::chunk::Data;

use super::{DStream, sum_to_one, zero_of_none};
use crate::dataset::{Transform, one};
use crate::op::partition::Partitioning;
use crate::op::text::{self, Filtered, FlatMapped, Pieces, Whole, Words};
use crate::rdd::text_beneath;

/// Text that stays Arrow: no `String` is made for a line or a word, but one for each distinct key. See
/// [`TextRdd`](crate::rdd::TextRdd), which has the same methods.
#[derive(Clone)]
pub struct TextDStream<P = Whole> {
    lines: DStream<String>,
    pieces: P,
}

impl DStream<String> {
    /// The same lines for closures that borrow.
    pub fn text(&self) -> TextDStream {
        TextDStream { lines: self.clone(), pieces: Whole }
    }
}

impl TextDStream {
    /// The lines as Arrow text, for operators that take batches of it: nothing else can be done with what this gives.
    pub fn into_lines(self) -> DStream<String> {
        self.then(Transform::new("lines", |inputs| Ok(one(inputs)?.clone())))
    }
}

impl<P: Pieces> TextDStream<P> {
    fn with<Q>(&self, pieces: Q) -> TextDStream<Q> {
        TextDStream { lines: self.lines.clone(), pieces }
    }

    fn then<U: Data>(&self, transform: Transform<U>) -> DStream<U> {
        let sc = self.lines.context().spark_context().clone();
        // Made now, so that plans that use it are understood wherever the graph is built.
        text::from_strings(&sc);
        let (name, apply) = (transform.name(), transform.untyped());
        let node = crate::node::Transformed(Arc::new(move |inputs| apply(&[text_beneath(&sc, one(inputs)?)?])));
        let (slide, parents) = (self.lines.slide_duration(), vec![Arc::clone(self.lines.node())]);
        let node = self.lines.context().graph().add_node(name, slide, parents, node);
        DStream::from_node(self.lines.context(), node)
    }

    /// Any number of pieces of each piece: `f` hands each to the function that it gets.
    pub fn flat_map<F>(&self, f: F) -> TextDStream<FlatMapped<P, F>>
    where
        F: Fn(&str, &mut dyn FnMut(&str)) + Clone + Send + Sync + 'static,
    {
        self.with(FlatMapped(self.pieces.clone(), f))
    }

    /// The words, between ASCII white space.
    pub fn split_words(&self) -> TextDStream<Words<P>> {
        self.with(Words(self.pieces.clone()))
    }

    /// The pieces for which `f` is true.
    pub fn filter<F>(&self, f: F) -> TextDStream<Filtered<P, F>>
    where
        F: Fn(&str) -> bool + Clone + Send + Sync + 'static,
    {
        self.with(Filtered(self.pieces.clone(), f))
    }

    /// A row for each piece.
    #[track_caller]
    pub fn map<U: Data>(&self, f: impl Fn(&str) -> U + Send + Sync + 'static) -> DStream<U> {
        self.then(text::map(self.lines.sc(), "map", self.pieces.clone(), f))
    }

    /// A `String` for each piece.
    #[track_caller]
    pub fn to_strings(&self) -> DStream<String> {
        self.map(str::to_string)
    }

    /// The number of pieces of each batch: always one row.
    #[track_caller]
    pub fn count(&self) -> DStream<u64> {
        let sc = self.lines.sc();
        let counts = text::count(sc, self.pieces.clone());
        self.then(counts.then(zero_of_none(sc)).then(sum_to_one(sc)).named("count"))
    }

    /// How often each piece occurs in a batch.
    #[track_caller]
    pub fn count_by_value(&self) -> DStream<(String, u64)> {
        self.reduce_by_key(|_| 1, |a, b| a + b)
    }

    /// Each distinct piece with the values that `value` gives it, reduced to one.
    #[track_caller]
    pub fn reduce_by_key<V: Data>(
        &self,
        value: impl Fn(&str) -> V + Send + Sync + 'static,
        reduce: impl Fn(V, V) -> V + Send + Sync + 'static,
    ) -> DStream<(String, V)> {
        let (sc, pieces) = (self.lines.sc(), self.pieces.clone());
        let partitioning = Partitioning::Hash(sc.default_parallelism());
        self.then(text::reduce_by_key(sc, "reduce_by_key", pieces, value, reduce, partitioning))
    }
}
