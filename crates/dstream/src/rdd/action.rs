//! Actions: what makes an RDD be computed.

use tidemill_engine::cache::StorageLevel;
use tidemill_engine::chunk::{Chunk, Data};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::operator::lower::lower;
use tidemill_engine::operator::stage::StageOutput;

use super::Rdd;
use crate::context::SparkContext;
use crate::dataset::failed;
use crate::op::narrow::{count_partition, map_partitions, take_partition};
use crate::op::partition::pass;

impl<T: Data> Rdd<T> {
    /// The rows of the listed partitions, partition by partition.
    pub(crate) fn run(&self, partitions: &[usize]) -> Result<Vec<Vec<T>>> {
        let runner = self.context().runner()?;
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let results = runner.run(lower(&self.dataset().lineage, StageOutput::Rows)?, partitions)?;
        let rows = |chunks: Vec<Chunk>| {
            let mut all: Vec<T> = Vec::new();
            for chunk in chunks {
                let rows: Vec<T> = chunk.take()?;
                if all.is_empty() {
                    all = rows;
                } else {
                    all.extend(rows);
                }
            }
            Ok(all)
        };
        results.into_iter().map(rows).collect()
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
