//! `DStream<T>`: a stream cut into batches, each an RDD. A thin typed shell over a node of the graph.

mod aligned;
mod output;
mod pair;
mod state;
mod text;
mod transform;
mod window;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tidemill_engine::cache::StorageLevel;
use tidemill_engine::chunk::Data;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::time::Time;

pub use state::MapWithStateDStream;
pub use text::TextDStream;

use crate::context::SparkContext;
use crate::dataset::{Dataset, Transform};
use crate::node::{StreamNode, Transformed, Unioned};
use crate::op::narrow;
use crate::op::pair::{Combiner, combine_by_key, reduce_by_key};
use crate::op::partition::{self, Key, Partitioning};
use crate::rdd::Rdd;
use crate::streaming_context::{StreamingContext, StreamingContextState};

/// A stream of `T`: an RDD for every batch. Cheap to clone.
pub struct DStream<T> {
    ssc: StreamingContext,
    node: Arc<StreamNode>,
    rows: PhantomData<fn() -> T>,
}

impl<T> Clone for DStream<T> {
    fn clone(&self) -> Self {
        Self { ssc: self.ssc.clone(), node: Arc::clone(&self.node), rows: PhantomData }
    }
}

impl<T: Data> DStream<T> {
    /// The typed shell of a node whose rows are known to be `T`.
    pub fn from_node(ssc: &StreamingContext, node: Arc<StreamNode>) -> Self {
        narrow::prepare_actions::<T>(ssc.spark_context().functions());
        Self { ssc: ssc.clone(), node, rows: PhantomData }
    }

    /// The context that it belongs to.
    pub fn context(&self) -> &StreamingContext {
        &self.ssc
    }

    /// Its node in the graph.
    pub fn node(&self) -> &Arc<StreamNode> {
        &self.node
    }

    /// Calls this stream `name`, under which a checkpoint finds it again after the program was changed. No two streams of a
    /// program may have the same name: the start says so. For input streams, whose name is that of their source by default, and for streams that keep state.
    ///
    /// After the start it has no effect but a warning.
    pub fn named(&self, name: &str) -> DStream<T> {
        match self.ssc.check_may_add() {
            Ok(()) if name.is_empty() => {
                self.ssc.graph().refuse(Error::usage(format!("the name of a stream ({}) is empty", self.node.name)));
            }
            Ok(()) => {
                self.node.set_name(name);
                self.node.parents.iter().filter_map(|parent| parent.state()).for_each(|state| state.set_name(name));
            }
            Err(error) => tracing::warn!(name, %error, "a stream is not named"),
        }
        self.clone()
    }

    /// The time between its batches.
    pub fn slide_duration(&self) -> Duration {
        self.node.slide
    }

    fn sc(&self) -> &SparkContext {
        self.ssc.spark_context()
    }

    /// Applies a transformation to every batch.
    pub fn then<U: Data>(&self, transform: Transform<U>) -> DStream<U> {
        self.then_with(&[], transform)
    }

    /// Applies a transformation of this and other streams to every batch.
    pub fn then_with<U: Data>(&self, others: &[Arc<StreamNode>], transform: Transform<U>) -> DStream<U> {
        let parents: Vec<_> = std::iter::once(&self.node).chain(others).cloned().collect();
        if let Err(error) = same_time(&self.ssc, &parents.iter().collect::<Vec<_>>()) {
            self.ssc.graph().refuse(error.context(format!("{} at {}", transform.name(), transform.call_site())));
        }
        let node =
            self.ssc.graph().add_node(transform.name(), self.node.slide, parents, Transformed(transform.untyped()));
        DStream::from_node(&self.ssc, node)
    }

    /// One row for each row.
    #[track_caller]
    pub fn map<U: Data>(&self, f: impl Fn(T) -> U + Send + Sync + 'static) -> DStream<U> {
        self.then(narrow::map(self.sc(), f))
    }

    /// The rows for which `f` is true.
    #[track_caller]
    pub fn filter(&self, f: impl Fn(&T) -> bool + Send + Sync + 'static) -> DStream<T> {
        self.then(narrow::filter(self.sc(), f))
    }

    /// Any number of rows for each row.
    #[track_caller]
    pub fn flat_map<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(T) -> I + Send + Sync + 'static,
    ) -> DStream<U> {
        self.then(narrow::flat_map(self.sc(), f))
    }

    /// The rows that `f` makes of each partition's rows.
    #[track_caller]
    pub fn map_partitions<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
    ) -> DStream<U> {
        self.then(narrow::map_partitions(self.sc(), "map_partitions", move |_, rows| f(rows)))
    }

    /// The rows that `f` makes of each partition's number and rows.
    #[track_caller]
    pub fn map_partitions_with_index<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(usize, std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
    ) -> DStream<U> {
        self.then(narrow::map_partitions(self.sc(), "map_partitions_with_index", f))
    }

    /// One list for each partition.
    #[track_caller]
    pub fn glom(&self) -> DStream<Vec<T>> {
        self.then(narrow::glom(self.sc()))
    }

    /// The same rows in `partitions` partitions of equal size.
    #[track_caller]
    pub fn repartition(&self, partitions: usize) -> DStream<T> {
        self.then(partition::repartition(self.sc(), partitions))
    }

    /// The rows of both.
    ///
    /// # Errors
    /// If their batches are not equally far apart, or they belong to different contexts.
    #[track_caller]
    pub fn union(&self, other: &DStream<T>) -> Result<DStream<T>> {
        self.ssc.union(&[self.clone(), other.clone()])
    }

    /// The number of rows of each batch: always one row, 0 where the batch is empty.
    #[track_caller]
    pub fn count(&self) -> DStream<u64> {
        let sc = self.sc();
        let count = narrow::count_partition::<T>(sc.functions());
        let counts = Transform::<u64>::narrow("count", count);
        self.then(counts.then(zero_of_none(sc)).then(sum_to_one(sc)).named("count"))
    }

    /// The rows of each batch reduced to one; none where the batch is empty.
    #[track_caller]
    pub fn reduce(&self, f: impl Fn(T, T) -> T + Send + Sync + 'static) -> DStream<T> {
        let sc = self.sc();
        let pairs = narrow::map(sc, |row: T| ((), row));
        let reduced = reduce_by_key::<(), T>(sc, f, Partitioning::Hash(1));
        self.then(pairs.then(reduced).then(narrow::map(sc, |((), row): ((), T)| row)).named("reduce"))
    }

    /// How often each row occurs in a batch.
    #[track_caller]
    pub fn count_by_value(&self) -> DStream<(T, u64)>
    where
        T: Key,
    {
        self.count_by_value_with(self.sc().default_parallelism())
    }

    /// [`DStream::count_by_value`], placed as `partitioning` says.
    #[track_caller]
    pub fn count_by_value_with(&self, partitioning: impl Into<Partitioning<T>>) -> DStream<(T, u64)>
    where
        T: Key,
    {
        let partitions = partitioning.into();
        let ones = narrow::map(self.sc(), |row: T| (row, 1u64));
        let combiner = Combiner::new(|n: u64| n, |a, b| a + b, |a, b| a + b);
        self.then(ones.then(combine_by_key::<T, u64, u64>(self.sc(), "count_by_value", combiner, partitions, true)))
    }

    /// Keeps the partitions of its RDDs as encoded rows in memory.
    pub fn cache(&self) -> Result<DStream<T>> {
        self.persist(StorageLevel::MEMORY_ONLY_SER)
    }

    /// Keeps the partitions of its RDDs.
    ///
    /// # Errors
    /// After the start.
    pub fn persist(&self, level: StorageLevel) -> Result<DStream<T>> {
        if self.ssc.state() != StreamingContextState::Initialized {
            return Err(Error::usage("Cannot change storage level of a DStream after streaming context has started"));
        }
        self.node.set_storage(level);
        Ok(self.clone())
    }

    /// Has what this stream needs for a restart written every `interval`, and its RDDs kept in memory. It matters to streams that keep
    /// state; others need nothing but their input.
    ///
    /// # Errors
    /// After the start. The start refuses an interval that is not a multiple of the slide duration.
    pub fn checkpoint(&self, interval: Duration) -> Result<DStream<T>> {
        if self.ssc.state() != StreamingContextState::Initialized {
            return Err(Error::usage(
                "Cannot change checkpoint interval of a DStream after streaming context has started",
            ));
        }
        if self.node.storage() == StorageLevel::NONE {
            self.node.set_storage(StorageLevel::MEMORY_ONLY_SER);
        }
        self.node.set_checkpoint_interval(interval);
        let states = self.node.parents.iter().filter(|parent| parent.state().is_some());
        states.for_each(|state| state.set_checkpoint_interval(interval));
        Ok(self.clone())
    }

    /// The RDDs of the batches from `from` to `to`, both inclusive, which are rounded down to batch times.
    ///
    /// # Errors
    /// Before the start.
    pub fn slice(&self, from: Time, to: Time) -> Result<Vec<Rdd<T>>> {
        let Some(zero) = self.ssc.graph().zero() else {
            return Err(Error::usage(format!("{} has not been initialized", self.node.name)));
        };
        let align = |time: Time| {
            let aligned = time.floor_from(self.node.slide, zero);
            if aligned != time {
                tracing::warn!(%time, slide = ?self.node.slide, "a slice does not begin or end at a batch time");
            }
            aligned
        };
        let mut rdds = Vec::new();
        for time in align(from).to(align(to), self.node.slide) {
            if let Some(data) = self.ssc.graph().compute_past(&self.node, time)? {
                rdds.push(Rdd::from_dataset(self.sc(), data));
            }
        }
        Ok(rdds)
    }
}

/// The counts of partitions; where there is no partition, one of zero.
#[track_caller]
pub(crate) fn zero_of_none(sc: &SparkContext) -> Transform<u64> {
    let zero = sc.parallelize_in([0u64], 1).dataset().clone();
    Transform::new("count", move |inputs| {
        let counts = crate::dataset::one(inputs)?;
        Ok(if counts.partitions() == 0 { zero.clone() } else { counts.clone() })
    })
}

/// Numbers of partitions to one sum.
#[track_caller]
pub(crate) fn sum_to_one(sc: &SparkContext) -> Transform<u64> {
    let pairs = narrow::map(sc, |n: u64| ((), n));
    let summed = reduce_by_key::<(), u64>(sc, |a, b| a + b, Partitioning::Hash(1));
    pairs.then(summed).then(narrow::map(sc, |((), n): ((), u64)| n))
}

impl StreamingContext {
    /// The rows of all streams.
    ///
    /// # Errors
    /// If there are none, or their batches are not equally far apart, or they belong to different contexts.
    #[track_caller]
    pub fn union<T: Data>(&self, streams: &[DStream<T>]) -> Result<DStream<T>> {
        let Some(first) = streams.first() else {
            return Err(Error::usage("List of DStreams to union is empty"));
        };
        let parents: Vec<Arc<StreamNode>> = streams.iter().map(|stream| Arc::clone(&stream.node)).collect();
        same_time(self, &parents.iter().collect::<Vec<_>>())?;
        if streams.len() == 1 {
            return Ok(first.clone());
        }
        let node = Unioned(partition::union::<T>(self.spark_context()).untyped());
        Ok(DStream::from_node(self, self.graph().add_node("union", first.slide_duration(), parents, node)))
    }
}

/// An error unless streams may be put together, in this context, now.
pub(crate) fn same_time(ssc: &StreamingContext, nodes: &[&Arc<StreamNode>]) -> Result<()> {
    ssc.check_may_add()?;
    if nodes.iter().any(|node| !ssc.graph().has_node(node)) {
        return Err(Error::usage("All DStreams should belong to the same StreamingContext"));
    }
    if nodes.windows(2).any(|pair| pair[0].slide != pair[1].slide) {
        return Err(Error::usage("All DStreams should have same slide duration"));
    }
    Ok(())
}

pub(crate) fn typed<T: Data>(sc: &SparkContext, data: Dataset) -> Rdd<T> {
    Rdd::from_dataset(sc, data)
}
