//! Two RDDs side by side, every pair of them, and rows with numbers.

use std::sync::Arc;

use tidemill_engine::chunk::{Chunk, Data};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{Emit, Flow, Operator, OperatorTask, TaskInfo};
use tidemill_engine::lineage::{Deps, Lineage};

use super::Rdd;
use crate::dataset::{Dataset, Transform, register, two};
use crate::op::beside::{gather, map_beside};
use crate::op::narrow::{ChunkWriter, count_partition, map_partitions};

type Together<T, U, W> = dyn Fn(Vec<T>, Vec<U>, &mut ChunkWriter<'_, '_, W>) -> Result<()> + Send + Sync;

/// Gathers a partition of each of two inputs, then runs a function of both.
struct Both<T, U, W: Data>(Arc<Together<T, U, W>>);

struct BothTask<T, U, W: Data>(Arc<Together<T, U, W>>, Vec<T>, Vec<U>);

impl<T: Data, U: Data, W: Data> Operator for Both<T, U, W> {
    fn open(&self, _: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        Ok(Box::new(BothTask(Arc::clone(&self.0), Vec::new(), Vec::new())))
    }
}

impl<T: Data, U: Data, W: Data> OperatorTask for BothTask<T, U, W> {
    fn push(&mut self, input: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        match input {
            0 => self.1.extend(chunk.take::<Vec<T>>()?),
            _ => self.2.extend(chunk.take::<Vec<U>>()?),
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
        let mut writer = ChunkWriter::new(out);
        (self.0)(std::mem::take(&mut self.1), std::mem::take(&mut self.2), &mut writer)?;
        writer.flush().map(drop)
    }
}

impl<T: Data> Rdd<T> {
    #[track_caller]
    fn both<U: Data, W: Data>(
        &self,
        name: &'static str,
        other: &Rdd<U>,
        deps: Deps,
        f: impl Fn(Vec<T>, Vec<U>, &mut ChunkWriter<'_, '_, W>) -> Result<()> + Send + Sync + 'static,
    ) -> Rdd<W> {
        let function = register::<W>(self.context(), name, Both::<T, U, W>(Arc::new(f)));
        let transform = Transform::new(name, move |inputs| {
            let (left, right) = two(inputs)?;
            if deps == Deps::Aligned && left.partitions() != right.partitions() {
                return Err(Error::usage(format!(
                    "Can only zip with RDD which has the same number of partitions: {} and {}",
                    left.partitions(),
                    right.partitions()
                )));
            }
            let inputs = vec![Arc::clone(&left.lineage), Arc::clone(&right.lineage)];
            Ok(Dataset::new(Lineage::op(Arc::clone(&function), inputs, deps.clone())))
        });
        self.with_all(&[other.dataset().clone()], &transform)
    }

    /// The n-th row of this with the n-th row of the other. Both must have the same number of partitions, and of rows in
    /// each.
    #[track_caller]
    pub fn zip<U: Data>(&self, other: &Rdd<U>) -> Rdd<(T, U)> {
        self.both("zip", other, Deps::Aligned, |left: Vec<T>, right: Vec<U>, writer| {
            if left.len() != right.len() {
                return Err(Error::usage("Can only zip RDDs with same number of elements in each partition"));
            }
            writer.extend(left.into_iter().zip(right)).map(drop)
        })
    }

    /// The rows that `f` makes of a partition of each.
    #[track_caller]
    pub fn zip_partitions<U: Data, W: Data, I: IntoIterator<Item = W>>(
        &self,
        other: &Rdd<U>,
        f: impl Fn(std::vec::IntoIter<T>, std::vec::IntoIter<U>) -> I + Send + Sync + 'static,
    ) -> Rdd<W> {
        self.both("zip_partitions", other, Deps::Aligned, move |left: Vec<T>, right: Vec<U>, writer| {
            writer.extend(f(left.into_iter(), right.into_iter())).map(drop)
        })
    }

    /// Every pair of a row of this and a row of the other.
    #[track_caller]
    pub fn cartesian<U: Data>(&self, other: &Rdd<U>) -> Rdd<(T, U)> {
        self.both("cartesian", other, Deps::Cartesian, |left: Vec<T>, right: Vec<U>, writer| {
            for row in left {
                if writer.extend(right.iter().map(|other| (row.clone(), other.clone())))? == Flow::Enough {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Rows with their numbers, from 0, in order. With more than one partition, the rows are computed twice: to count
    /// those of each partition, and to be numbered.
    #[track_caller]
    pub fn zip_with_index(&self) -> Rdd<(T, u64)> {
        let sc = self.context();
        if self.num_partitions() <= 1 {
            return self.then(&map_partitions(sc, "zip_with_index", |_, rows: std::vec::IntoIter<T>| rows.zip(0..)));
        }
        let counts = self.dataset().op(&count_partition::<T>(sc.functions()));
        let starts = gather(sc, "zip_with_index starts", |counts: Vec<u64>| {
            let mut next = 0;
            let starts = counts.into_iter().map(|count| {
                let start = next;
                next += count;
                start
            });
            starts.collect::<Vec<u64>>()
        });
        let number = map_beside(sc, "zip_with_index", |starts: &Vec<u64>, partition, rows: Vec<T>, writer| {
            let start = starts.get(partition).copied();
            let start = start.ok_or_else(|| Error::internal("a partition was not counted"))?;
            writer.extend(rows.into_iter().zip(start..))
        });
        Rdd::<u64>::from_dataset(sc, counts).then(&starts).with_all(&[self.dataset().clone()], &number)
    }

    /// Rows with numbers of their own, without a count: row n of partition k of p gets n * p + k.
    #[track_caller]
    pub fn zip_with_unique_id(&self) -> Rdd<(T, u64)> {
        let partitions = self.num_partitions() as u64;
        self.map_partitions_with_index(move |partition, rows| {
            rows.zip((0u64..).map(move |n| n * partitions + partition as u64))
        })
    }
}
