//! Sorting: rows to ranges of the key, then in order within each.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tidemill_engine::chunk::Data;

use super::Rdd;
use crate::dataset::failed;
use crate::op::narrow::{map_partitions, whole_partition};
use crate::op::partition::{Key, Partitioner, Partitioning, partition_by, route_rows};

/// Keys sampled per output partition; enough for ranges that differ little in size.
const SAMPLE: usize = 20;

impl<T: Data> Rdd<T> {
    /// The rows in ascending order of `key(row)`, equal keys in their order before. With more than one partition, a
    /// sample of the keys is taken now, to find ranges of equal size.
    #[track_caller]
    pub fn sort_by<K: Data + Ord>(&self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Rdd<T> {
        self.sort_by_in(key, true, self.num_partitions())
    }

    /// [`Rdd::sort_by`], ascending or descending, in at most `partitions` partitions.
    #[track_caller]
    pub fn sort_by_in<K: Data + Ord>(
        &self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
        ascending: bool,
        partitions: usize,
    ) -> Rdd<T> {
        let key = Arc::new(key);
        let bounds = if partitions > 1 && self.num_partitions() > 0 {
            match self.range_bounds(Arc::clone(&key), partitions) {
                Ok(bounds) => bounds,
                Err(error) => return Rdd::from_dataset(self.context(), failed(self.context(), error)),
            }
        } else {
            Vec::new()
        };
        let (route_key, ranges) = (Arc::clone(&key), bounds.len() + 1);
        let routed = route_rows(self.context(), "sort_by", ranges, move |_, _, row: &T| {
            let range = bounds.partition_point(|bound| *bound < route_key(row));
            if ascending { range } else { ranges - 1 - range }
        });
        let sorted = whole_partition(self.context(), "sort_by", move |_, mut rows: Vec<T>, writer| {
            if ascending {
                rows.sort_by_cached_key(|row| key(row));
            } else {
                rows.sort_by_cached_key(|row| std::cmp::Reverse(key(row)));
            }
            writer.extend(rows)
        });
        self.then(&routed).then(&sorted)
    }

    /// Up to `partitions` - 1 keys that divide the rows into ranges of about equal size.
    #[track_caller]
    fn range_bounds<K: Data + Ord>(
        &self,
        key: Arc<impl Fn(&T) -> K + Send + Sync + 'static>,
        partitions: usize,
    ) -> tidemill_engine::error::Result<Vec<K>> {
        // Three times the share of a partition from each, as Spark does, against partitions of unequal size.
        let share = (3 * SAMPLE * partitions).div_ceil(self.num_partitions()).max(1);
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
        let samples = self.then(&sample).collect()?;
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
        Ok(bounds)
    }
}

impl<K: Key + Ord, V: Data> Rdd<(K, V)> {
    /// The pairs in ascending order of their keys.
    #[track_caller]
    pub fn sort_by_key(&self) -> Rdd<(K, V)> {
        self.sort_by(|(key, _)| key.clone())
    }

    /// The pairs in order of their keys, ascending or descending, in at most `partitions` partitions.
    #[track_caller]
    pub fn sort_by_key_in(&self, ascending: bool, partitions: usize) -> Rdd<(K, V)> {
        self.sort_by_in(|(key, _)| key.clone(), ascending, partitions)
    }

    /// The pairs placed by a partitioner, sorted by key within each partition.
    #[track_caller]
    pub fn repartition_and_sort_within_partitions(&self, partitioner: Arc<dyn Partitioner<K>>) -> Rdd<(K, V)> {
        let placed = partition_by::<K, V>(self.context(), Partitioning::Custom(partitioner));
        let sorted = whole_partition(self.context(), "sort", |_, mut rows: Vec<(K, V)>, writer| {
            rows.sort_by(|a, b| a.0.cmp(&b.0));
            writer.extend(rows)
        });
        self.then(&placed).then(&sorted)
    }
}
