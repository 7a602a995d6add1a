//! RDDs of pairs.

use tidemill_engine::chunk::Data;
use tidemill_engine::error::Result;

use super::Rdd;
use crate::dataset::Transform;
use crate::op::pair::{Combiner, Groups, KeyMap, key_map};
use crate::op::partition::{Key, Partitioning, hash_partition};
use crate::op::{narrow, pair, partition};

/// Which sides of a join must have the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Both.
    Inner,
    /// The left one.
    Left,
    /// The right one.
    Right,
    /// Either.
    Full,
}

/// A row of a join, as all joins make it at first: the key, and what each side has.
pub type PairWith<K, V, W> = (K, (Option<V>, Option<W>));

/// The pairs of each key's values on both sides, in the order of the left, then the right side.
pub(crate) fn join_rows<V: Clone, W: Clone>(side: Side, groups: Groups<V, W>) -> Vec<(Option<V>, Option<W>)> {
    let (left, right) = groups;
    match (left.is_empty(), right.is_empty()) {
        (false, false) => {
            let pairs = |v: V| right.iter().map(move |w| (Some(v.clone()), Some(w.clone()))).collect::<Vec<_>>();
            left.into_iter().flat_map(pairs).collect()
        }
        (false, true) if matches!(side, Side::Left | Side::Full) => left.into_iter().map(|v| (Some(v), None)).collect(),
        (true, false) if matches!(side, Side::Right | Side::Full) => {
            right.into_iter().map(|w| (None, Some(w))).collect()
        }
        _ => Vec::new(),
    }
}

/// A join, which of both sides must have the key being `side`.
#[track_caller]
pub(crate) fn join<K: Key, V: Data, W: Data, U: Data>(
    sc: &crate::context::SparkContext,
    side: Side,
    partitioning: Partitioning<K>,
    pick: impl Fn((Option<V>, Option<W>)) -> Option<U> + Send + Sync + Clone + 'static,
) -> Transform<(K, U)> {
    let name = match side {
        Side::Inner => "join",
        Side::Left => "left_outer_join",
        Side::Right => "right_outer_join",
        Side::Full => "full_outer_join",
    };
    let rows = narrow::flat_map_values::<K, Groups<V, W>, U, _>(sc, move |groups| {
        join_rows(side, groups).into_iter().filter_map(pick.clone())
    });
    pair::cogroup::<K, V, W>(sc, name, partitioning).then(rows).named(name)
}

macro_rules! with_partitioning {
    ($($(#[$doc:meta])* $name:ident, $with:ident, ($($arg:ident: $type:ty),*), $out:ty;)*) => {$(
        $(#[$doc])*
        #[track_caller]
        pub fn $name(&self, $($arg: $type),*) -> $out {
            self.$with($($arg,)* Partitioning::Default)
        }
    )*};
}

impl<K: Key, V: Data> Rdd<(K, V)> {
    with_partitioning! {
        /// The values of each key reduced to one, first where they are, then after the shuffle.
        reduce_by_key, reduce_by_key_with, (f: impl Fn(V, V) -> V + Send + Sync + 'static), Rdd<(K, V)>;
        /// The values of each key, in the order of the partitions they come from.
        group_by_key, group_by_key_with, (), Rdd<(K, Vec<V>)>;
    }

    /// [`Rdd::reduce_by_key`], placed as `partitioning` says.
    #[track_caller]
    pub fn reduce_by_key_with(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        partitioning: impl Into<Partitioning<K>>,
    ) -> Rdd<(K, V)> {
        self.then(&pair::reduce_by_key(self.context(), f, partitioning.into()))
    }

    /// [`Rdd::group_by_key`], placed as `partitioning` says.
    #[track_caller]
    pub fn group_by_key_with(&self, partitioning: impl Into<Partitioning<K>>) -> Rdd<(K, Vec<V>)> {
        self.then(&pair::group_by_key(self.context(), partitioning.into()))
    }

    /// The values of each key combined: `create` starts, `merge_value` adds, `merge_combiners` joins partial results.
    #[track_caller]
    pub fn combine_by_key<C: Data>(
        &self,
        create: impl Fn(V) -> C + Send + Sync + 'static,
        merge_value: impl Fn(C, V) -> C + Send + Sync + 'static,
        merge_combiners: impl Fn(C, C) -> C + Send + Sync + 'static,
    ) -> Rdd<(K, C)> {
        self.combine_by_key_with(create, merge_value, merge_combiners, Partitioning::Default, true)
    }

    /// [`Rdd::combine_by_key`], placed as `partitioning` says; `map_side_combine` false moves every value.
    #[track_caller]
    pub fn combine_by_key_with<C: Data>(
        &self,
        create: impl Fn(V) -> C + Send + Sync + 'static,
        merge_value: impl Fn(C, V) -> C + Send + Sync + 'static,
        merge_combiners: impl Fn(C, C) -> C + Send + Sync + 'static,
        partitioning: impl Into<Partitioning<K>>,
        map_side_combine: bool,
    ) -> Rdd<(K, C)> {
        let combiner = Combiner::new(create, merge_value, merge_combiners);
        let sc = self.context();
        self.then(&pair::combine_by_key(sc, "combine_by_key", combiner, partitioning.into(), map_side_combine))
    }

    /// The values of each key folded from a copy of `zero` by `seq`, partial results by `comb`.
    #[track_caller]
    pub fn aggregate_by_key<U: Data>(
        &self,
        zero: U,
        seq: impl Fn(U, V) -> U + Send + Sync + 'static,
        comb: impl Fn(U, U) -> U + Send + Sync + 'static,
    ) -> Rdd<(K, U)> {
        self.aggregate_by_key_with(zero, seq, comb, Partitioning::Default)
    }

    /// [`Rdd::aggregate_by_key`], placed as `partitioning` says.
    #[track_caller]
    pub fn aggregate_by_key_with<U: Data>(
        &self,
        zero: U,
        seq: impl Fn(U, V) -> U + Send + Sync + 'static,
        comb: impl Fn(U, U) -> U + Send + Sync + 'static,
        partitioning: impl Into<Partitioning<K>>,
    ) -> Rdd<(K, U)> {
        let seq = std::sync::Arc::new(seq);
        let first = std::sync::Arc::clone(&seq);
        let combiner = Combiner::new(move |v| first(zero.clone(), v), move |u, v| seq(u, v), comb);
        self.then(&pair::combine_by_key(self.context(), "aggregate_by_key", combiner, partitioning.into(), true))
    }

    /// The values of each key folded from a copy of `zero`.
    #[track_caller]
    pub fn fold_by_key(&self, zero: V, f: impl Fn(V, V) -> V + Send + Sync + 'static) -> Rdd<(K, V)> {
        self.fold_by_key_with(zero, f, Partitioning::Default)
    }

    /// [`Rdd::fold_by_key`], placed as `partitioning` says.
    #[track_caller]
    pub fn fold_by_key_with(
        &self,
        zero: V,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        partitioning: impl Into<Partitioning<K>>,
    ) -> Rdd<(K, V)> {
        let f = std::sync::Arc::new(f);
        let again = std::sync::Arc::clone(&f);
        self.aggregate_by_key_with(zero, move |a, b| f(a, b), move |a, b| again(a, b), partitioning)
    }

    /// The same pairs, placed as `partitioning` says: operations by key that follow need no shuffle.
    #[track_caller]
    pub fn partition_by(&self, partitioning: impl Into<Partitioning<K>>) -> Rdd<(K, V)> {
        self.then(&partition::partition_by(self.context(), partitioning.into()))
    }

    /// The values of each key in both.
    #[track_caller]
    pub fn cogroup<W: Data>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, Groups<V, W>)> {
        self.cogroup_with(other, Partitioning::Default)
    }

    /// [`Rdd::cogroup`], placed as `partitioning` says.
    #[track_caller]
    pub fn cogroup_with<W: Data>(
        &self,
        other: &Rdd<(K, W)>,
        partitioning: impl Into<Partitioning<K>>,
    ) -> Rdd<(K, Groups<V, W>)> {
        let transform = pair::cogroup(self.context(), "cogroup", partitioning.into());
        self.with_all(&[other.dataset().clone()], &transform)
    }

    /// The values of each key in all three.
    #[track_caller]
    pub fn group_with<W: Data, X: Data>(
        &self,
        second: &Rdd<(K, W)>,
        third: &Rdd<(K, X)>,
    ) -> Rdd<(K, (Vec<V>, Vec<W>, Vec<X>))> {
        self.cogroup(second).cogroup(third).map_values(|(mut pairs, xs)| {
            // A cogroup has each key once, so there is at most one pair of lists.
            let (vs, ws) = pairs.pop().unwrap_or_default();
            (vs, ws, xs)
        })
    }

    /// Every pair of values of the keys that both have.
    #[track_caller]
    pub fn join<W: Data>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, (V, W))> {
        self.join_with(other, Partitioning::Default)
    }

    /// [`Rdd::join`], placed as `partitioning` says.
    #[track_caller]
    pub fn join_with<W: Data>(
        &self,
        other: &Rdd<(K, W)>,
        partitioning: impl Into<Partitioning<K>>,
    ) -> Rdd<(K, (V, W))> {
        let transform = join(self.context(), Side::Inner, partitioning.into(), |(v, w)| v.zip(w));
        self.with_all(&[other.dataset().clone()], &transform)
    }

    /// [`Rdd::join`], and the pairs of this side whose key the other lacks.
    #[track_caller]
    pub fn left_outer_join<W: Data>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, (V, Option<W>))> {
        self.left_outer_join_with(other, Partitioning::Default)
    }

    /// [`Rdd::left_outer_join`], placed as `partitioning` says.
    #[track_caller]
    pub fn left_outer_join_with<W: Data>(
        &self,
        other: &Rdd<(K, W)>,
        partitioning: impl Into<Partitioning<K>>,
    ) -> Rdd<(K, (V, Option<W>))> {
        let pick = |(v, w): (Option<V>, Option<W>)| v.map(|v| (v, w));
        self.with_all(&[other.dataset().clone()], &join(self.context(), Side::Left, partitioning.into(), pick))
    }

    /// [`Rdd::join`], and the pairs of the other side whose key this one lacks.
    #[track_caller]
    pub fn right_outer_join<W: Data>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, (Option<V>, W))> {
        self.right_outer_join_with(other, Partitioning::Default)
    }

    /// [`Rdd::right_outer_join`], placed as `partitioning` says.
    #[track_caller]
    pub fn right_outer_join_with<W: Data>(
        &self,
        other: &Rdd<(K, W)>,
        partitioning: impl Into<Partitioning<K>>,
    ) -> Rdd<(K, (Option<V>, W))> {
        let pick = |(v, w): (Option<V>, Option<W>)| w.map(|w| (v, w));
        self.with_all(&[other.dataset().clone()], &join(self.context(), Side::Right, partitioning.into(), pick))
    }

    /// [`Rdd::join`], and the pairs of either side whose key the other lacks.
    #[track_caller]
    pub fn full_outer_join<W: Data>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, (Option<V>, Option<W>))> {
        self.full_outer_join_with(other, Partitioning::Default)
    }

    /// [`Rdd::full_outer_join`], placed as `partitioning` says.
    #[track_caller]
    pub fn full_outer_join_with<W: Data>(
        &self,
        other: &Rdd<(K, W)>,
        partitioning: impl Into<Partitioning<K>>,
    ) -> Rdd<(K, (Option<V>, Option<W>))> {
        self.with_all(&[other.dataset().clone()], &join(self.context(), Side::Full, partitioning.into(), Some))
    }

    /// The pairs of this one whose key the other lacks.
    #[track_caller]
    pub fn subtract_by_key<W: Data>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, V)> {
        self.subtract_by_key_with(other, Partitioning::Default)
    }

    /// [`Rdd::subtract_by_key`], placed as `partitioning` says.
    #[track_caller]
    pub fn subtract_by_key_with<W: Data>(
        &self,
        other: &Rdd<(K, W)>,
        partitioning: impl Into<Partitioning<K>>,
    ) -> Rdd<(K, V)> {
        let both = self.cogroup_with(other, partitioning);
        both.flat_map_values(|(left, right)| if right.is_empty() { left } else { Vec::new() })
    }

    /// The same keys with `f(value)`; no pair moves.
    #[track_caller]
    pub fn map_values<W: Data>(&self, f: impl Fn(V) -> W + Send + Sync + 'static) -> Rdd<(K, W)> {
        self.then(&narrow::map_values(self.context(), f))
    }

    /// The same keys with any number of values each; no pair moves.
    #[track_caller]
    pub fn flat_map_values<W: Data, I: IntoIterator<Item = W>>(
        &self,
        f: impl Fn(V) -> I + Send + Sync + 'static,
    ) -> Rdd<(K, W)> {
        self.then(&narrow::flat_map_values(self.context(), f))
    }

    /// The keys.
    #[track_caller]
    pub fn keys(&self) -> Rdd<K> {
        self.map(|(key, _)| key)
    }

    /// The values.
    #[track_caller]
    pub fn values(&self) -> Rdd<V> {
        self.map(|(_, value)| value)
    }

    /// The values of one key. Where the placement is known, only its partition is computed.
    #[track_caller]
    pub fn lookup(&self, key: &K) -> Result<Vec<V>> {
        let wanted = key.clone();
        let found = self.filter(move |(key, _)| *key == wanted).values();
        match self.dataset().placement {
            Some(placement) if placement.custom.is_none() => {
                Ok(found.run(&[hash_partition(key, placement.partitions)?])?.into_iter().flatten().collect())
            }
            _ => found.collect(),
        }
    }

    /// How many values each key has.
    #[track_caller]
    pub fn count_by_key(&self) -> Result<KeyMap<K, u64>> {
        self.keys().count_by_value()
    }

    /// The values of each key reduced, as a map for the driver.
    #[track_caller]
    pub fn reduce_by_key_locally(&self, f: impl Fn(V, V) -> V + Send + Sync + 'static) -> Result<KeyMap<K, V>> {
        self.reduce_by_key(f).collect_as_map()
    }

    /// All pairs as a map; of several values of a key the last one stays.
    pub fn collect_as_map(&self) -> Result<KeyMap<K, V>> {
        let mut map = key_map();
        map.extend(self.collect()?);
        Ok(map)
    }
}
