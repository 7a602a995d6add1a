//! Windows: the batches of a while, computed anew of what is remembered.

use std::time::Duration;

use tidemill_engine::cache::StorageLevel;
use tidemill_engine::chunk::Data;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::time::{is_multiple, pretty};

use super::{DStream, sum_to_one};
use crate::node::Windowed;
use crate::op::partition::{self, Key, Partitioning};

impl<T: Data> DStream<T> {
    /// The rows of the last `window`, every `slide`. The batches of this stream are kept in memory for it, encoded.
    ///
    /// # Errors
    /// If either is not a whole multiple of the time between this stream's batches.
    #[track_caller]
    pub fn window(&self, window: Duration, slide: Duration) -> Result<DStream<T>> {
        self.context().check_may_add()?;
        let own = self.slide_duration();
        for (what, duration) in [("window", window), ("slide", slide)] {
            if duration.is_zero() || !is_multiple(duration, own) {
                return Err(Error::usage(format!(
                    "The {what} duration of windowed DStream ({}) must be a multiple of the slide duration of parent DStream \
                     ({})",
                    pretty(duration),
                    pretty(own)
                )));
            }
        }
        if self.node().storage() == StorageLevel::NONE {
            self.persist(StorageLevel::MEMORY_ONLY_SER)?;
        }
        let sc = self.sc();
        let union = partition::union::<T>(sc);
        let empty = sc.empty_rdd::<T>().dataset().clone();
        let union = std::sync::Arc::new(
            move |data: &[crate::dataset::Dataset]| {
                if data.is_empty() { Ok(empty.clone()) } else { union.apply(data) }
            },
        );
        let parents = vec![std::sync::Arc::clone(self.node())];
        let node = self.context().graph().add_node("window", slide, parents, Windowed { window, union });
        Ok(DStream::from_node(self.context(), node))
    }

    /// The rows of the last `window` reduced to one, every `slide`; none where there are none.
    ///
    /// # Errors
    /// As [`DStream::window`], and so for all that follow.
    #[track_caller]
    pub fn reduce_by_window(
        &self,
        f: impl Fn(T, T) -> T + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
    ) -> Result<DStream<T>> {
        let f = std::sync::Arc::new(f);
        let again = std::sync::Arc::clone(&f);
        Ok(self.reduce(move |a, b| f(a, b)).window(window, slide)?.reduce(move |a, b| again(a, b)))
    }

    /// The number of rows of the last `window`, every `slide`; 0 where there are none.
    #[track_caller]
    pub fn count_by_window(&self, window: Duration, slide: Duration) -> Result<DStream<u64>> {
        let counts = self.count().window(window, slide)?;
        Ok(counts.then(sum_to_one(self.sc()).named("count_by_window")))
    }

    /// How often each row occurs in the last `window`, every `slide`.
    #[track_caller]
    pub fn count_by_value_and_window(&self, window: Duration, slide: Duration) -> Result<DStream<(T, u64)>>
    where
        T: Key,
    {
        self.count_by_value_and_window_with(window, slide, self.sc().default_parallelism())
    }

    /// [`DStream::count_by_value_and_window`], placed as `partitioning` says.
    #[track_caller]
    pub fn count_by_value_and_window_with(
        &self,
        window: Duration,
        slide: Duration,
        partitioning: impl Into<Partitioning<T>>,
    ) -> Result<DStream<(T, u64)>>
    where
        T: Key,
    {
        let partitioning = partitioning.into();
        let counts = self.count_by_value_with(partitioning.clone());
        counts.reduce_by_key_and_window_with(|a, b| a + b, window, slide, partitioning)
    }
}

impl<K: Key, V: Data> DStream<(K, V)> {
    /// The values of each key of the last `window` reduced to one, every `slide`.
    #[track_caller]
    pub fn reduce_by_key_and_window(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
    ) -> Result<DStream<(K, V)>> {
        self.reduce_by_key_and_window_with(f, window, slide, self.sc().default_parallelism())
    }

    /// [`DStream::reduce_by_key_and_window`], placed as `partitioning` says.
    #[track_caller]
    pub fn reduce_by_key_and_window_with(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
        partitioning: impl Into<Partitioning<K>>,
    ) -> Result<DStream<(K, V)>> {
        let (f, partitioning) = (std::sync::Arc::new(f), partitioning.into());
        let again = std::sync::Arc::clone(&f);
        let batches = self.reduce_by_key_with(move |a, b| f(a, b), partitioning.clone());
        Ok(batches.window(window, slide)?.reduce_by_key_with(move |a, b| again(a, b), partitioning))
    }

    /// The values of each key of the last `window`, in the order of their arrival, every `slide`.
    #[track_caller]
    pub fn group_by_key_and_window(&self, window: Duration, slide: Duration) -> Result<DStream<(K, Vec<V>)>> {
        self.group_by_key_and_window_with(window, slide, self.sc().default_parallelism())
    }

    /// [`DStream::group_by_key_and_window`], placed as `partitioning` says.
    #[track_caller]
    pub fn group_by_key_and_window_with(
        &self,
        window: Duration,
        slide: Duration,
        partitioning: impl Into<Partitioning<K>>,
    ) -> Result<DStream<(K, Vec<V>)>> {
        Ok(self.window(window, slide)?.group_by_key_with(partitioning))
    }
}
