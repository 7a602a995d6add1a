//! Actions: what makes an RDD be computed.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use tidemill_engine::cache::StorageLevel;
use tidemill_engine::chunk::{Data, decode_rows};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::CallSite;
use tidemill_engine::operator::lower::lower;
use tidemill_engine::operator::stage::StageOutput;

use super::Rdd;
use crate::context::SparkContext;
use crate::dataset::{failed, in_driver};
use crate::op::narrow::{count_partition, encode_result, fold_partition, map_partitions, take_partition};
use crate::op::pair::KeyMap;
use crate::op::partition::{Key, Partitioning, pass, route_rows};

impl<T: Data> Rdd<T> {
    /// The rows of the listed partitions, partition by partition.
    pub(crate) fn run(&self, partitions: &[usize]) -> Result<Vec<Vec<T>>> {
        let runner = self.context().runner()?;
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let encoded = self.dataset().op(&encode_result::<T>(self.context().functions()));
        let batches = runner.run(lower(&encoded.lineage, StageOutput::Rows)?, partitions)?;
        let decode = |partition: &Vec<_>| {
            let chunks = partition.iter().map(decode_rows::<T>).collect::<Result<Vec<_>>>()?;
            Ok(chunks.into_iter().flatten().collect())
        };
        batches.iter().map(decode).collect()
    }

    pub(crate) fn run_all(&self) -> Result<Vec<Vec<T>>> {
        self.run(&(0..self.num_partitions()).collect::<Vec<_>>())
    }

    /// All rows, the partitions in order.
    pub fn collect(&self) -> Result<Vec<T>> {
        Ok(self.run_all()?.into_iter().flatten().collect())
    }

    /// All rows, partition by partition: the driver holds one at a time. Where a shuffle lies before them, all are
    /// computed at once and kept until the iterator is dropped, on disk as far as memory does not hold them: else the
    /// shuffle would run once for each.
    pub fn to_local_iterator(&self) -> impl Iterator<Item = Result<T>> + use<T> {
        let mut rdd = self.clone();
        if self.num_partitions() > 1 && self.dataset().lineage.has_shuffle() {
            rdd = Rdd::from_dataset(self.context(), self.dataset().op(&pass::<T>(self.context().functions())));
            let kept = rdd.persist(StorageLevel::MEMORY_AND_DISK).and_then(|rdd| rdd.count());
            if let Err(error) = kept {
                rdd = Rdd::from_dataset(self.context(), failed(self.context(), error));
            }
        }
        (0..rdd.num_partitions()).flat_map(move |partition| match rdd.run(&[partition]) {
            Ok(rows) => rows.into_iter().flatten().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    }

    /// The number of rows.
    pub fn count(&self) -> Result<u64> {
        let counts = self.dataset().op(&count_partition::<T>(self.context().functions()));
        Ok(Rdd::<u64>::from_dataset(self.context(), counts).collect()?.into_iter().sum())
    }

    /// The first `n` rows. Partitions are computed as they are needed, more at a time from round to round; all at once
    /// where a shuffle lies before them, for it would be run again each round.
    pub fn take(&self, n: usize) -> Result<Vec<T>> {
        if n == 0 {
            return Ok(Vec::new());
        }
        let heads = self.then(&take_partition::<T>(self.context().functions(), n));
        let partitions = self.num_partitions();
        let mut rows = Vec::new();
        let (mut next, mut step) = (0, if self.dataset().lineage.has_shuffle() { partitions.max(1) } else { 1 });
        while next < partitions && rows.len() < n {
            let end = partitions.min(next + step);
            rows.extend(heads.run(&(next..end).collect::<Vec<_>>())?.into_iter().flatten());
            (next, step) = (end, step * 4);
        }
        rows.truncate(n);
        Ok(rows)
    }

    /// The first row.
    pub fn first(&self) -> Result<T> {
        self.take(1)?.pop().ok_or_else(|| Error::usage("RDD is empty"))
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.take(1)?.is_empty())
    }

    /// Runs `f` on every row, where the rows are.
    #[track_caller]
    pub fn foreach(&self, f: impl Fn(T) + Send + Sync + 'static) -> Result<()> {
        self.foreach_partition(move |rows| rows.for_each(&f))
    }

    /// Runs `f` on every partition, where it is.
    #[track_caller]
    pub fn foreach_partition(&self, f: impl Fn(std::vec::IntoIter<T>) + Send + Sync + 'static) -> Result<()> {
        let transform = map_partitions(self.context(), "foreach_partition", move |_, rows| {
            f(rows);
            None::<()>
        });
        self.then(&transform).run_all().map(drop)
    }

    /// All rows reduced to one; the partitions' results are reduced in order.
    ///
    /// # Errors
    /// If there are no rows.
    #[track_caller]
    pub fn reduce(&self, f: impl Fn(T, T) -> T + Send + Sync + 'static) -> Result<T> {
        let f = Arc::new(f);
        let here = Arc::clone(&f);
        let partial = fold_partition(
            self.context(),
            "reduce",
            || None,
            move |so_far: &mut Option<T>, row| {
                *so_far = Some(match so_far.take() {
                    Some(before) => f(before, row),
                    None => row,
                });
            },
        );
        let partials = self.then(&partial).collect()?;
        let reduced =
            in_driver("reduce", CallSite::here(), || partials.into_iter().flatten().reduce(|a, b| here(a, b)))?;
        reduced.ok_or_else(|| Error::usage("Can not reduce() empty RDD"))
    }

    /// Folds each partition from `zero`, then the results from `zero`.
    #[track_caller]
    pub fn fold(&self, zero: T, f: impl Fn(T, T) -> T + Send + Sync + 'static) -> Result<T> {
        let f = Arc::new(f);
        let again = Arc::clone(&f);
        self.aggregate(zero, move |a, b| f(a, b), move |a, b| again(a, b))
    }

    /// Folds each partition from `zero` by `seq`, then the results from `zero` by `comb`.
    #[track_caller]
    pub fn aggregate<U: Data>(
        &self,
        zero: U,
        seq: impl Fn(U, T) -> U + Send + Sync + 'static,
        comb: impl Fn(U, U) -> U,
    ) -> Result<U> {
        let partials = self.partials(zero.clone(), seq).collect()?;
        in_driver("aggregate", CallSite::here(), || partials.into_iter().fold(zero, comb))
    }

    /// Like [`Rdd::aggregate`], but the partitions' results are combined by neighbours in at most `depth` rounds, of
    /// which only the last is on the driver.
    #[track_caller]
    pub fn tree_aggregate<U: Data>(
        &self,
        zero: U,
        seq: impl Fn(U, T) -> U + Send + Sync + 'static,
        comb: impl Fn(U, U) -> U + Send + Sync + 'static,
        depth: usize,
    ) -> Result<U> {
        if depth < 1 {
            return Err(Error::usage(format!("Depth of tree aggregate must be at least 1 but got {depth}.")));
        }
        let comb = Arc::new(comb);
        let mut partials = self.partials(zero.clone(), seq);
        let scale = (partials.num_partitions() as f64).powf(1.0 / depth as f64).ceil().max(2.0) as usize;
        while partials.num_partitions() > scale + partials.num_partitions().div_ceil(scale) {
            let (before, f) = (partials.num_partitions(), Arc::clone(&comb));
            let after = before.div_ceil(scale);
            let to_neighbours =
                route_rows(self.context(), "tree_aggregate", after, move |from, _, _| from * after / before);
            partials = partials.then(&to_neighbours).map_partitions(move |rows| rows.reduce(|a, b| f(a, b)));
        }
        let partials = partials.collect()?;
        in_driver("tree_aggregate", CallSite::here(), || partials.into_iter().fold(zero, |a, b| comb(a, b)))
    }

    /// Like [`Rdd::reduce`], combined as [`Rdd::tree_aggregate`] does.
    #[track_caller]
    pub fn tree_reduce(&self, f: impl Fn(T, T) -> T + Send + Sync + 'static, depth: usize) -> Result<T> {
        let f = Arc::new(f);
        let again = Arc::clone(&f);
        let reduced = self.tree_aggregate(
            None,
            move |so_far: Option<T>, row| match so_far {
                Some(before) => Some(f(before, row)),
                None => Some(row),
            },
            move |a, b| match (a, b) {
                (Some(a), Some(b)) => Some(again(a, b)),
                (a, b) => a.or(b),
            },
            depth,
        )?;
        reduced.ok_or_else(|| Error::usage("Can not reduce() empty RDD"))
    }

    #[track_caller]
    fn partials<U: Data>(&self, zero: U, seq: impl Fn(U, T) -> U + Send + Sync + 'static) -> Rdd<U> {
        let fold = fold_partition(
            self.context(),
            "aggregate",
            move || Some(zero.clone()),
            move |so_far: &mut Option<U>, row| *so_far = so_far.take().map(|before| seq(before, row)),
        );
        self.then(&fold).flat_map(|partial| partial)
    }

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

    /// Each distinct row once.
    #[track_caller]
    pub fn distinct(&self) -> Rdd<T>
    where
        T: Key,
    {
        self.distinct_in(Partitioning::Default)
    }

    /// Each distinct row once, in this many partitions.
    #[track_caller]
    pub fn distinct_in(&self, partitioning: impl Into<Partitioning<T>>) -> Rdd<T>
    where
        T: Key,
    {
        self.map(|row| (row, ())).reduce_by_key_with(|(), ()| (), partitioning).keys()
    }

    /// How often each row occurs.
    #[track_caller]
    pub fn count_by_value(&self) -> Result<KeyMap<T, u64>>
    where
        T: Key,
    {
        let counts = self.map(|row| (row, 1u64)).reduce_by_key(|a, b| a + b).collect()?;
        let mut map = KeyMap::with_hasher(FixedState::default());
        map.extend(counts);
        Ok(map)
    }

    /// The rows that are in both, each once.
    #[track_caller]
    pub fn intersection(&self, other: &Rdd<T>) -> Rdd<T>
    where
        T: Key,
    {
        let both = self.map(|row| (row, ())).cogroup(&other.map(|row| (row, ())));
        both.filter(|(_, (left, right))| !left.is_empty() && !right.is_empty()).keys()
    }

    /// The rows of this one that are not in the other.
    #[track_caller]
    pub fn subtract(&self, other: &Rdd<T>) -> Rdd<T>
    where
        T: Key,
    {
        self.map(|row| (row, ())).subtract_by_key(&other.map(|row| (row, ()))).keys()
    }

    /// [`Rdd::subtract`], placed as `partitioning` says.
    #[track_caller]
    pub fn subtract_with(&self, other: &Rdd<T>, partitioning: impl Into<Partitioning<T>>) -> Rdd<T>
    where
        T: Key,
    {
        self.map(|row| (row, ())).subtract_by_key_with(&other.map(|row| (row, ())), partitioning).keys()
    }

    /// [`Rdd::group_by`], placed as `partitioning` says.
    #[track_caller]
    pub fn group_by_with<K: Key>(
        &self,
        f: impl Fn(&T) -> K + Send + Sync + 'static,
        partitioning: impl Into<Partitioning<K>>,
    ) -> Rdd<(K, Vec<T>)> {
        self.key_by(f).group_by_key_with(partitioning)
    }

    /// Lists of the rows with the same `f(row)`.
    #[track_caller]
    pub fn group_by<K: Key>(&self, f: impl Fn(&T) -> K + Send + Sync + 'static) -> Rdd<(K, Vec<T>)> {
        self.key_by(f).group_by_key()
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

impl SparkContext {
    /// The rows that `f` makes of each of the listed partitions of an RDD; nothing else is computed.
    ///
    /// # Errors
    /// If a partition is not one of the RDD's.
    #[track_caller]
    pub fn run_job<T: Data, U: Data, I: IntoIterator<Item = U>>(
        &self,
        rdd: &Rdd<T>,
        f: impl Fn(std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
        partitions: &[usize],
    ) -> Result<Vec<Vec<U>>> {
        let have = rdd.num_partitions();
        if let Some(wrong) = partitions.iter().find(|partition| **partition >= have) {
            return Err(Error::usage(format!("partition {wrong} is not one of the RDD's {have}")));
        }
        rdd.map_partitions(f).run(partitions)
    }
}
