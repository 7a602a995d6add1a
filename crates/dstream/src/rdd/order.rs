//! Sorting: rows to ranges of the key, then in order within each.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tidemill_engine::chunk::Data;

use super::Rdd;
use crate::op::beside::{gather, route_beside};
use crate::op::narrow::{map_partitions, whole_partition};
use crate::op::partition::{Key, Partitioning, partition_by, route_rows};

/// Keys sampled per output partition; enough for ranges that differ little in size.
const SAMPLE: usize = 20;

impl<T: Data> Rdd<T> {
    /// The rows in ascending order of `key(row)`, equal keys in their order before.
    ///
    /// With more than one partition the rows are computed twice: for a sample of the keys, which finds ranges of equal
    /// size, and to be sorted. Unlike Spark, nothing runs before an action asks.
    #[track_caller]
    pub fn sort_by<K: Data + Ord>(&self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Rdd<T> {
        self.sort_by_in(key, true, self.num_partitions())
    }

    /// [`Rdd::sort_by`], ascending or descending, in `partitions` partitions, of which some are empty where there are
    /// fewer distinct keys.
    #[track_caller]
    pub fn sort_by_in<K: Data + Ord>(
        &self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
        ascending: bool,
        partitions: usize,
    ) -> Rdd<T> {
        let key = Arc::new(key);
        let routed = if partitions > 1 {
            let route_key = Arc::clone(&key);
            let route = route_beside(self.context(), "sort_by", partitions, move |bounds: &Vec<K>, row: &T| {
                let key = route_key(row);
                let range = bounds.partition_point(|bound| *bound < key);
                if ascending { range } else { bounds.len() - range }
            });
            self.range_bounds(Arc::clone(&key), partitions).with_all(&[self.dataset().clone()], &route)
        } else {
            self.then(&route_rows(self.context(), "sort_by", 1, |_, _, _| 0))
        };
        let sorted = whole_partition(self.context(), "sort_by", move |_, mut rows: Vec<T>, writer| {
            if ascending {
                rows.sort_by_cached_key(|row| key(row));
            } else {
                rows.sort_by_cached_key(|row| std::cmp::Reverse(key(row)));
            }
            writer.extend(rows)
        });
        routed.then(&sorted)
    }

    /// One row: up to `partitions` - 1 keys that divide the rows into ranges of about equal size.
    #[track_caller]
    fn range_bounds<K: Data + Ord>(
        &self,
        key: Arc<impl Fn(&T) -> K + Send + Sync + 'static>,
        partitions: usize,
    ) -> Rdd<Vec<K>> {
        // Three times the share of a partition from each, as Spark does, against partitions of unequal size.
        let share = (3 * SAMPLE * partitions).div_ceil(self.num_partitions().max(1)).max(1);
        let sample = map_partitions(self.context(), "sort_by sample", move |partition, rows: std::vec::IntoIter<T>| {
            // A reservoir (Vitter's algorithm R) with a seed of its own for each partition.
            let mut random = SmallRng::seed_from_u64(partition as u64);
            let mut kept: Vec<K> = Vec::with_capacity(share);
            let mut total = 0usize;
            for row in rows {
                if kept.len() < share {
                    kept.push(key(&row));
                } else {
                    let slot = random.random_range(0..=total);
                    if slot < share {
                        kept[slot] = key(&row);
                    }
                }
                total += 1;
            }
            kept.shuffle(&mut random);
            Some((total as u64, kept))
        });
        let bounds = gather(self.context(), "sort_by bounds", move |samples| bounds_of(samples, partitions));
        self.then(&sample).then(&bounds)
    }
}

/// Up to `partitions` - 1 keys from samples of partitions, each with the number of its rows.
fn bounds_of<K: Ord>(samples: Vec<(u64, Vec<K>)>, partitions: usize) -> Vec<K> {
    // Each sampled key stands for as many rows as its partition has per sampled key.
    let mut weighted: Vec<(K, f64)> = Vec::new();
    for (total, keys) in samples {
        let weight = total as f64 / keys.len().max(1) as f64;
        weighted.extend(keys.into_iter().map(|key| (key, weight)));
    }
    weighted.sort_by(|a, b| a.0.cmp(&b.0));
    let step = weighted.iter().map(|(_, weight)| weight).sum::<f64>() / partitions as f64;
    let (mut bounds, mut seen, mut target) = (Vec::<K>::new(), 0.0, step);
    for (key, weight) in weighted {
        seen += weight;
        if seen >= target && bounds.len() < partitions - 1 && bounds.last().is_none_or(|last| *last < key) {
            bounds.push(key);
            target += step;
        }
    }
    bounds
}

impl<K: Key + Ord, V: Data> Rdd<(K, V)> {
    /// The pairs in ascending order of their keys.
    #[track_caller]
    pub fn sort_by_key(&self) -> Rdd<(K, V)> {
        self.sort_by(|(key, _)| key.clone())
    }

    /// The pairs in order of their keys, ascending or descending, in `partitions` partitions; see [`Rdd::sort_by_in`].
    #[track_caller]
    pub fn sort_by_key_in(&self, ascending: bool, partitions: usize) -> Rdd<(K, V)> {
        self.sort_by_in(|(key, _)| key.clone(), ascending, partitions)
    }

    /// The pairs placed as `partitioning` says, sorted by key within each partition; equal keys in their order before.
    #[track_caller]
    pub fn repartition_and_sort_within_partitions(&self, partitioning: impl Into<Partitioning<K>>) -> Rdd<(K, V)> {
        let placed = self.then(&partition_by::<K, V>(self.context(), partitioning.into()));
        let sorted = whole_partition(self.context(), "sort", |_, mut rows: Vec<(K, V)>, writer| {
            rows.sort_by(|a, b| a.0.cmp(&b.0));
            writer.extend(rows)
        });
        placed.then(&sorted).placed_as(&placed)
    }
}
