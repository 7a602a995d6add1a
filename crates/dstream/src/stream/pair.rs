//! Streams of pairs: operations by key within each batch.

use std::sync::Arc;

use tidemill_engine::chunk::Data;

use super::DStream;
use crate::op::pair::{Combiner, Groups};
use crate::op::partition::{Key, Partitioning};
use crate::op::{narrow, pair, partition};
use crate::rdd::{Side, join};

impl<K: Key, V: Data> DStream<(K, V)> {
    /// Where no partitioning is asked for: by hash, in `default_parallelism` partitions.
    fn default_partitioning(&self) -> Partitioning<K> {
        Partitioning::Hash(self.sc().default_parallelism())
    }

    /// The values of each key reduced to one.
    #[track_caller]
    pub fn reduce_by_key(&self, f: impl Fn(V, V) -> V + Send + Sync + 'static) -> DStream<(K, V)> {
        self.reduce_by_key_with(f, self.default_partitioning())
    }

    /// [`DStream::reduce_by_key`], placed as `partitioning` says.
    #[track_caller]
    pub fn reduce_by_key_with(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        partitioning: impl Into<Partitioning<K>>,
    ) -> DStream<(K, V)> {
        self.then(pair::reduce_by_key(self.sc(), f, partitioning.into()))
    }

    /// The values of each key, in the order of the partitions they come from.
    #[track_caller]
    pub fn group_by_key(&self) -> DStream<(K, Vec<V>)> {
        self.group_by_key_with(self.default_partitioning())
    }

    /// [`DStream::group_by_key`], placed as `partitioning` says.
    #[track_caller]
    pub fn group_by_key_with(&self, partitioning: impl Into<Partitioning<K>>) -> DStream<(K, Vec<V>)> {
        self.then(pair::group_by_key(self.sc(), partitioning.into()))
    }

    /// The values of each key combined: `create` starts, `merge_value` adds, `merge_combiners` joins partial results.
    #[track_caller]
    pub fn combine_by_key<C: Data>(
        &self,
        create: impl Fn(V) -> C + Send + Sync + 'static,
        merge_value: impl Fn(C, V) -> C + Send + Sync + 'static,
        merge_combiners: impl Fn(C, C) -> C + Send + Sync + 'static,
    ) -> DStream<(K, C)> {
        self.combine_by_key_with(create, merge_value, merge_combiners, self.default_partitioning(), true)
    }

    /// [`DStream::combine_by_key`], placed as `partitioning` says; `map_side_combine` false moves every value.
    #[track_caller]
    pub fn combine_by_key_with<C: Data>(
        &self,
        create: impl Fn(V) -> C + Send + Sync + 'static,
        merge_value: impl Fn(C, V) -> C + Send + Sync + 'static,
        merge_combiners: impl Fn(C, C) -> C + Send + Sync + 'static,
        partitioning: impl Into<Partitioning<K>>,
        map_side_combine: bool,
    ) -> DStream<(K, C)> {
        let combiner = Combiner::new(create, merge_value, merge_combiners);
        self.then(pair::combine_by_key(self.sc(), "combine_by_key", combiner, partitioning.into(), map_side_combine))
    }

    /// The same pairs, placed as `partitioning` says.
    #[track_caller]
    pub fn partition_by(&self, partitioning: impl Into<Partitioning<K>>) -> DStream<(K, V)> {
        self.then(partition::partition_by(self.sc(), partitioning.into()))
    }

    /// The same keys with `f(value)`.
    #[track_caller]
    pub fn map_values<W: Data>(&self, f: impl Fn(V) -> W + Send + Sync + 'static) -> DStream<(K, W)> {
        self.then(narrow::map_values(self.sc(), f))
    }

    /// The same keys with any number of values each.
    #[track_caller]
    pub fn flat_map_values<W: Data, I: IntoIterator<Item = W>>(
        &self,
        f: impl Fn(V) -> I + Send + Sync + 'static,
    ) -> DStream<(K, W)> {
        self.then(narrow::flat_map_values(self.sc(), f))
    }

    /// The values of each key in both streams' batches.
    #[track_caller]
    pub fn cogroup<W: Data>(&self, other: &DStream<(K, W)>) -> DStream<(K, Groups<V, W>)> {
        self.cogroup_with(other, self.default_partitioning())
    }

    /// [`DStream::cogroup`], placed as `partitioning` says.
    #[track_caller]
    pub fn cogroup_with<W: Data>(
        &self,
        other: &DStream<(K, W)>,
        partitioning: impl Into<Partitioning<K>>,
    ) -> DStream<(K, Groups<V, W>)> {
        self.then_with(&[Arc::clone(other.node())], pair::cogroup(self.sc(), "cogroup", partitioning.into()))
    }

    /// Every pair of values of the keys that both batches have.
    #[track_caller]
    pub fn join<W: Data>(&self, other: &DStream<(K, W)>) -> DStream<(K, (V, W))> {
        self.join_with(other, self.default_partitioning())
    }

    /// [`DStream::join`], placed as `partitioning` says.
    #[track_caller]
    pub fn join_with<W: Data>(
        &self,
        other: &DStream<(K, W)>,
        partitioning: impl Into<Partitioning<K>>,
    ) -> DStream<(K, (V, W))> {
        let pick = |(v, w): (Option<V>, Option<W>)| v.zip(w);
        self.then_with(&[Arc::clone(other.node())], join(self.sc(), Side::Inner, partitioning.into(), pick))
    }

    /// [`DStream::join`], and the pairs of this stream whose key the other lacks.
    #[track_caller]
    pub fn left_outer_join<W: Data>(&self, other: &DStream<(K, W)>) -> DStream<(K, (V, Option<W>))> {
        self.left_outer_join_with(other, self.default_partitioning())
    }

    /// [`DStream::left_outer_join`], placed as `partitioning` says.
    #[track_caller]
    pub fn left_outer_join_with<W: Data>(
        &self,
        other: &DStream<(K, W)>,
        partitioning: impl Into<Partitioning<K>>,
    ) -> DStream<(K, (V, Option<W>))> {
        let pick = |(v, w): (Option<V>, Option<W>)| v.map(|v| (v, w));
        self.then_with(&[Arc::clone(other.node())], join(self.sc(), Side::Left, partitioning.into(), pick))
    }

    /// [`DStream::join`], and the pairs of the other stream whose key this one lacks.
    #[track_caller]
    pub fn right_outer_join<W: Data>(&self, other: &DStream<(K, W)>) -> DStream<(K, (Option<V>, W))> {
        self.right_outer_join_with(other, self.default_partitioning())
    }

    /// [`DStream::right_outer_join`], placed as `partitioning` says.
    #[track_caller]
    pub fn right_outer_join_with<W: Data>(
        &self,
        other: &DStream<(K, W)>,
        partitioning: impl Into<Partitioning<K>>,
    ) -> DStream<(K, (Option<V>, W))> {
        let pick = |(v, w): (Option<V>, Option<W>)| w.map(|w| (v, w));
        self.then_with(&[Arc::clone(other.node())], join(self.sc(), Side::Right, partitioning.into(), pick))
    }

    /// [`DStream::join`], and the pairs of either stream whose key the other lacks.
    #[track_caller]
    pub fn full_outer_join<W: Data>(&self, other: &DStream<(K, W)>) -> DStream<(K, (Option<V>, Option<W>))> {
        self.full_outer_join_with(other, self.default_partitioning())
    }

    /// [`DStream::full_outer_join`], placed as `partitioning` says.
    #[track_caller]
    pub fn full_outer_join_with<W: Data>(
        &self,
        other: &DStream<(K, W)>,
        partitioning: impl Into<Partitioning<K>>,
    ) -> DStream<(K, (Option<V>, Option<W>))> {
        self.then_with(&[Arc::clone(other.node())], join(self.sc(), Side::Full, partitioning.into(), Some))
    }
}
