//! Actions that make one value of all rows.

use std::sync::Arc;

use tidemill_engine::chunk::Data;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::CallSite;

use super::Rdd;
use crate::dataset::in_driver;
use crate::op::narrow::fold_partition;
use crate::op::partition::route_rows;

impl<T: Data> Rdd<T> {
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
}
