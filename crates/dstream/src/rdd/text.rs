//! `TextRdd`: text whose closures see `&str` slices of the Arrow buffer.

use std::sync::Arc;

use tidemill_engine::chunk::Data;
use tidemill_engine::error::Result;
use tidemill_engine::lineage::LineageKind;

use super::Rdd;
use crate::context::SparkContext;
use crate::dataset::Dataset;
use crate::op::narrow::text_to_strings;
use crate::op::partition::Partitioning;
use crate::op::text::{self, Filtered, FlatMapped, Pieces, Whole, Words};

/// Text that stays Arrow: no `String` is made for a line or a word, but one for each distinct key.
///
/// ```
/// use tidemill_dstream::context::SparkContext;
///
/// let sc = SparkContext::new("local[2]", "doc")?;
/// let lines = sc.parallelize(["a b a", "b a"].map(String::from));
/// let mut counts = lines.text().split_words().count_by_value().collect()?;
/// counts.sort();
/// assert_eq!(counts, [("a".to_string(), 3), ("b".to_string(), 2)]);
/// # Ok::<(), tidemill_engine::error::Error>(())
/// ```
#[derive(Clone)]
pub struct TextRdd<P = Whole> {
    sc: SparkContext,
    data: Dataset,
    pieces: P,
}

/// The Arrow text beneath strings that were just made of it, else the strings as text again.
pub fn text_beneath(sc: &SparkContext, data: &Dataset) -> Result<Dataset> {
    if let LineageKind::Op { function, inputs, .. } = data.lineage.kind()
        && function.id() == text_to_strings(sc.functions()).id()
        && data.lineage.cache().is_none()
    {
        return Ok(Dataset::new(Arc::clone(&inputs[0])));
    }
    text::from_strings(sc).apply(std::slice::from_ref(data))
}

impl Rdd<String> {
    /// The same lines for closures that borrow.
    pub fn text(&self) -> TextRdd {
        let sc = self.context().clone();
        let data = text_beneath(&sc, self.dataset()).unwrap_or_else(|error| crate::dataset::failed(&sc, error));
        TextRdd { sc, data, pieces: Whole }
    }
}

impl<P: Pieces> TextRdd<P> {
    fn with<Q>(&self, pieces: Q) -> TextRdd<Q> {
        TextRdd { sc: self.sc.clone(), data: self.data.clone(), pieces }
    }

    fn then<U: Data>(&self, transform: &crate::dataset::Transform<U>) -> Rdd<U> {
        Rdd::<u64>::from_dataset(&self.sc, self.data.clone()).then(transform)
    }

    /// Any number of pieces of each piece: `f` hands each to the function that it gets.
    pub fn flat_map<F>(&self, f: F) -> TextRdd<FlatMapped<P, F>>
    where
        F: Fn(&str, &mut dyn FnMut(&str)) + Clone + Send + Sync + 'static,
    {
        self.with(FlatMapped(self.pieces.clone(), f))
    }

    /// The words, between ASCII white space.
    pub fn split_words(&self) -> TextRdd<Words<P>> {
        self.with(Words(self.pieces.clone()))
    }

    /// The pieces for which `f` is true.
    pub fn filter<F>(&self, f: F) -> TextRdd<Filtered<P, F>>
    where
        F: Fn(&str) -> bool + Clone + Send + Sync + 'static,
    {
        self.with(Filtered(self.pieces.clone(), f))
    }

    /// A row for each piece.
    #[track_caller]
    pub fn map<U: Data>(&self, f: impl Fn(&str) -> U + Send + Sync + 'static) -> Rdd<U> {
        self.then(&text::map(&self.sc, "map", self.pieces.clone(), f))
    }

    /// A `String` for each piece.
    #[track_caller]
    pub fn to_strings(&self) -> Rdd<String> {
        self.map(str::to_string)
    }

    /// The number of pieces.
    #[track_caller]
    pub fn count(&self) -> Result<u64> {
        Ok(self.then(&text::count(&self.sc, self.pieces.clone())).collect()?.into_iter().sum())
    }

    /// How often each piece occurs.
    #[track_caller]
    pub fn count_by_value(&self) -> Rdd<(String, u64)> {
        self.reduce_by_key(|_| 1, |a, b| a + b)
    }

    /// Each distinct piece with the values that `value` gives it, reduced to one.
    #[track_caller]
    pub fn reduce_by_key<V: Data>(
        &self,
        value: impl Fn(&str) -> V + Send + Sync + 'static,
        reduce: impl Fn(V, V) -> V + Send + Sync + 'static,
    ) -> Rdd<(String, V)> {
        let pieces = self.pieces.clone();
        self.then(&text::reduce_by_key(&self.sc, "reduce_by_key", pieces, value, reduce, Partitioning::Default))
    }
}
