//! Rows as members of sets: distinct ones, common ones, counted and grouped ones.

use tidemill_engine::chunk::Data;
use tidemill_engine::error::Result;

use super::Rdd;
use crate::op::pair::{KeyMap, key_map};
use crate::op::partition::{Key, Partitioning};

impl<T: Data> Rdd<T> {
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
        let mut map = key_map();
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
