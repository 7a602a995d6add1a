//! Actions that pick the smallest and the largest rows.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};
use tidemill_engine::chunk::Data;
use tidemill_engine::error::Result;

use super::Rdd;
use crate::op::narrow::fold_partition;

impl<T: Data> Rdd<T> {
    /// The `n` smallest rows, in order.
    #[track_caller]
    pub fn take_ordered(&self, n: usize) -> Result<Vec<T>>
    where
        T: Ord,
    {
        let keep = move |heap: &mut BinaryHeap<T>, row| {
            if heap.len() < n {
                heap.push(row);
            } else if let Some(mut largest) = heap.peek_mut()
                && row < *largest
            {
                *largest = row;
            }
        };
        let smallest = fold_partition(self.context(), "take_ordered", BinaryHeap::new, keep);
        let mut rows: Vec<T> = self.then(&smallest).collect()?.into_iter().flatten().collect();
        rows.sort();
        rows.truncate(n);
        Ok(rows)
    }

    /// The `n` rows with the smallest `key(row)`, in order of it.
    #[track_caller]
    pub fn take_ordered_by<K: Data + Ord>(
        &self,
        n: usize,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        let rows = self.map(move |row| ByKey(key(&row), row)).take_ordered(n)?;
        Ok(rows.into_iter().map(|row| row.1).collect())
    }

    /// The `n` rows with the largest `key(row)`, the largest first.
    #[track_caller]
    pub fn top_by<K: Data + Ord>(&self, n: usize, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Result<Vec<T>> {
        self.take_ordered_by(n, move |row| Reverse(key(row)))
    }

    /// The `n` largest rows, the largest first.
    #[track_caller]
    pub fn top(&self, n: usize) -> Result<Vec<T>>
    where
        T: Ord,
    {
        Ok(self.map(Reverse).take_ordered(n)?.into_iter().map(|row| row.0).collect())
    }

    /// The largest row.
    #[track_caller]
    pub fn max(&self) -> Result<T>
    where
        T: Ord,
    {
        self.reduce(std::cmp::max)
    }

    /// The row with the largest `key(row)`; of several, the last one.
    #[track_caller]
    pub fn max_by_key<K: Data + Ord>(&self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Result<T> {
        Ok(self.map(move |row| ByKey(key(&row), row)).max()?.1)
    }

    /// The row with the smallest `key(row)`; of several, the first one.
    #[track_caller]
    pub fn min_by_key<K: Data + Ord>(&self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Result<T> {
        Ok(self.map(move |row| ByKey(key(&row), row)).min()?.1)
    }

    /// The smallest row.
    #[track_caller]
    pub fn min(&self) -> Result<T>
    where
        T: Ord,
    {
        self.reduce(std::cmp::min)
    }
}

/// A row that is compared by a key only.
#[derive(Clone, Serialize, Deserialize)]
struct ByKey<K, T>(K, T);

impl<K: Ord, T> PartialEq for ByKey<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<K: Ord, T> Eq for ByKey<K, T> {}

impl<K: Ord, T> PartialOrd for ByKey<K, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, T> Ord for ByKey<K, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}
