//! `Rdd<T>`: a lazily computed, partitioned data set. A thin typed shell over untyped lineage.

mod accumulator;
mod action;
mod broadcast;
pub(crate) mod create;
mod extreme;
mod lines;
mod numeric;
mod order;
pub(crate) mod pair;
mod pipe;
mod reduce;
mod sample;
mod save;
mod set;
pub(crate) mod text;
mod zip;

use std::marker::PhantomData;
use std::sync::Arc;

use tidemill_engine::cache::{CachedBlocks, StorageLevel};
use tidemill_engine::chunk::Data;
use tidemill_engine::error::{Error, Result};

pub use accumulator::Accumulator;
pub use broadcast::Broadcast;
pub use numeric::{Histogram, StatCounter};
pub(crate) use pair::join;
pub use pair::{PairWith, Side};
pub use save::Codec;
pub(crate) use save::local;
pub use text::TextRdd;
pub use text::text_beneath;

use crate::context::SparkContext;
use crate::dataset::{Dataset, Transform, failed};
use crate::op::narrow;
use crate::op::partition;

/// A data set of `T`, in partitions, computed when an action asks for it. Cheap to clone.
///
/// ```
/// use tidemill_dstream::context::SparkContext;
///
/// let sc = SparkContext::new("local[2]", "doc")?;
/// let squares = sc.parallelize(1..=4).map(|n: i32| n * n);
/// assert_eq!(squares.collect()?, [1, 4, 9, 16]);
/// # Ok::<(), tidemill_engine::error::Error>(())
/// ```
pub struct Rdd<T> {
    sc: SparkContext,
    data: Dataset,
    rows: PhantomData<fn() -> T>,
}

impl<T> Clone for Rdd<T> {
    fn clone(&self) -> Self {
        Self { sc: self.sc.clone(), data: self.data.clone(), rows: PhantomData }
    }
}

impl<T: Data> Rdd<T> {
    /// The typed shell of a data set whose rows are known to be `T`.
    pub fn from_dataset(sc: &SparkContext, data: Dataset) -> Self {
        narrow::prepare_actions::<T>(sc.functions());
        Self { sc: sc.clone(), data, rows: PhantomData }
    }

    /// The same rows, of which it is known that they lie as those of `parent` do.
    pub(crate) fn placed_as<P>(mut self, parent: &Rdd<P>) -> Self {
        self.data.placement = parent.data.placement;
        self
    }

    /// The untyped data set.
    pub fn dataset(&self) -> &Dataset {
        &self.data
    }

    /// The context it belongs to.
    pub fn context(&self) -> &SparkContext {
        &self.sc
    }

    /// Applies a transformation of one input.
    pub fn then<U: Data>(&self, transform: &Transform<U>) -> Rdd<U> {
        self.with_all(&[], transform)
    }

    /// Applies a transformation of this and other inputs. One that can't be applied gives an RDD whose actions fail.
    pub fn with_all<U: Data>(&self, others: &[Dataset], transform: &Transform<U>) -> Rdd<U> {
        let inputs: Vec<Dataset> = std::iter::once(&self.data).chain(others).cloned().collect();
        let data = transform.apply(&inputs).unwrap_or_else(|error| failed(&self.sc, error));
        Rdd::from_dataset(&self.sc, data)
    }

    /// One row for each row.
    #[track_caller]
    pub fn map<U: Data>(&self, f: impl Fn(T) -> U + Send + Sync + 'static) -> Rdd<U> {
        self.then(&narrow::map(&self.sc, f))
    }

    /// The rows for which `f` is true.
    #[track_caller]
    pub fn filter(&self, f: impl Fn(&T) -> bool + Send + Sync + 'static) -> Rdd<T> {
        self.then(&narrow::filter(&self.sc, f))
    }

    /// Any number of rows for each row.
    #[track_caller]
    pub fn flat_map<U: Data, I: IntoIterator<Item = U>>(&self, f: impl Fn(T) -> I + Send + Sync + 'static) -> Rdd<U> {
        self.then(&narrow::flat_map(&self.sc, f))
    }

    /// The rows that `f` makes of each partition's rows.
    #[track_caller]
    pub fn map_partitions<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
    ) -> Rdd<U> {
        self.then(&narrow::map_partitions(&self.sc, "map_partitions", move |_, rows| f(rows)))
    }

    /// The rows that `f` makes of each partition's number and rows.
    #[track_caller]
    pub fn map_partitions_with_index<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(usize, std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
    ) -> Rdd<U> {
        self.then(&narrow::map_partitions(&self.sc, "map_partitions_with_index", f))
    }

    /// [`Rdd::map_partitions_with_index`]; `preserves_partitioning` is the caller's word that no key changes, so that
    /// operations by key that follow need no shuffle.
    #[track_caller]
    pub fn map_partitions_with<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(usize, std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
        preserves_partitioning: bool,
    ) -> Rdd<U> {
        let mapped = self.then(&narrow::map_partitions(&self.sc, "map_partitions", f));
        if preserves_partitioning { mapped.placed_as(self) } else { mapped }
    }

    /// One list for each partition.
    #[track_caller]
    pub fn glom(&self) -> Rdd<Vec<T>> {
        self.then(&narrow::glom(&self.sc))
    }

    /// Pairs of `f(row)` and the row.
    #[track_caller]
    pub fn key_by<K: Data>(&self, f: impl Fn(&T) -> K + Send + Sync + 'static) -> Rdd<(K, T)> {
        self.map(move |row| (f(&row), row))
    }

    /// The rows of both, this one's partitions first.
    #[track_caller]
    pub fn union(&self, other: &Rdd<T>) -> Rdd<T> {
        self.with_all(std::slice::from_ref(&other.data), &partition::union(&self.sc))
    }

    /// The same rows in `partitions` partitions of equal size; all rows move.
    #[track_caller]
    pub fn repartition(&self, partitions: usize) -> Rdd<T> {
        self.then(&partition::repartition(&self.sc, partitions))
    }

    /// The same rows in at most `partitions` partitions; whole partitions are put together, no row moves.
    #[track_caller]
    pub fn coalesce(&self, partitions: usize) -> Rdd<T> {
        self.then(&partition::coalesce(&self.sc, partitions))
    }

    /// The number of partitions.
    pub fn num_partitions(&self) -> usize {
        self.data.partitions()
    }

    /// A number of its own within the process.
    pub fn id(&self) -> u64 {
        self.data.lineage.id()
    }

    /// Names it, for people.
    pub fn set_name(&self, name: impl Into<String>) -> &Self {
        self.data.lineage.set_name(name);
        self
    }

    /// The name that it was given.
    pub fn name(&self) -> Option<String> {
        self.data.lineage.name()
    }

    /// How it is computed: a line per operator with partitions, call site and element type; `*` marks a shuffle.
    pub fn explain(&self) -> String {
        self.data.lineage.explain()
    }

    /// What Spark calls [`Rdd::explain`].
    pub fn to_debug_string(&self) -> String {
        self.explain()
    }

    /// Keeps its partitions in memory, as objects, once they are computed.
    pub fn cache(&self) -> Result<&Self> {
        self.persist(StorageLevel::MEMORY_ONLY)
    }

    /// Keeps its partitions, once they are computed.
    ///
    /// # Errors
    /// If it is persisted already, at another level.
    pub fn persist(&self, level: StorageLevel) -> Result<&Self> {
        match self.storage_level() {
            current if current == level => {}
            StorageLevel::NONE => {
                let lineage = &self.data.lineage;
                let budget = Arc::clone(self.sc.budget());
                lineage.set_cache(Some(CachedBlocks::new(level, lineage.element(), lineage.partitions(), budget)));
            }
            _ => {
                return Err(Error::usage(
                    "Cannot change storage level of an RDD after it was already assigned a level; unpersist it first",
                ));
            }
        }
        Ok(self)
    }

    /// Forgets its kept partitions. Plans that run already go on with what they have.
    pub fn unpersist(&self) -> &Self {
        self.data.lineage.set_cache(None);
        self
    }

    /// Where its partitions are kept.
    pub fn storage_level(&self) -> StorageLevel {
        self.data.lineage.cache().map_or(StorageLevel::NONE, |cache| cache.level())
    }
}
