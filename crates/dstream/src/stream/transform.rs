//! `transform`: any function of RDDs to an RDD, run on the driver for every batch.

use std::sync::Arc;

use tidemill_engine::chunk::Data;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{CallSite, catch_panic, while_planning};
use tidemill_engine::time::Time;

use super::{DStream, same_time, typed};
use crate::context::SparkContext;
use crate::dataset::Dataset;
use crate::node::{Compute, Missing, Planning, StreamNode};
use crate::rdd::Rdd;
use crate::streaming_context::StreamingContext;

/// The closures that `f` makes are numbered within this node and batch, so that they can be found elsewhere by running `f`
/// again there.
struct TransformNode {
    call_site: CallSite,
    body: Arc<dyn Fn(&[Dataset], Time) -> Result<Option<Dataset>> + Send + Sync>,
    /// At a time at which a parent has nothing it has nothing either.
    skips: bool,
}

impl Compute for TransformNode {
    fn compute(&self, node: &StreamNode, time: Time, planning: &Planning<'_>) -> Result<Option<Dataset>> {
        match node.inputs(time, planning)? {
            Ok(inputs) => {
                if node.is_after_state() {
                    planning.run_steps()?;
                }
                let whose = format!("the function of transform at {}", self.call_site);
                while_planning(node.id, time, || catch_panic(&whose, || (self.body)(&inputs, time)))
            }
            Err(Missing) if self.skips || planning.past || time != planning.batch.time => Ok(None),
            Err(Missing) => Err(Error::usage(format!("Couldn't generate RDD from parent at time {time}"))),
        }
    }

    fn runs_program(&self) -> bool {
        true
    }
}

impl<T: Data> DStream<T> {
    /// The RDD that `f` makes of the RDD of every batch.
    ///
    /// On a cluster `f` is run again where its closures are needed: it should do nothing else than build an RDD.
    #[track_caller]
    pub fn transform<U: Data>(&self, f: impl Fn(Rdd<T>) -> Rdd<U> + Send + Sync + 'static) -> DStream<U> {
        self.transform_with_time(move |rdd, _| f(rdd))
    }

    /// [`DStream::transform`], with the time of the batch.
    #[track_caller]
    pub fn transform_with_time<U: Data>(
        &self,
        f: impl Fn(Rdd<T>, Time) -> Rdd<U> + Send + Sync + 'static,
    ) -> DStream<U> {
        let sc = self.sc().clone();
        let body = move |inputs: &[Dataset], time| {
            Ok(f(typed(&sc, crate::dataset::one(inputs)?.clone()), time).dataset().clone())
        };
        self.transform_node(vec![Arc::clone(self.node())], always(body))
    }

    /// The RDD that `f` makes of the RDDs of both streams' batches.
    ///
    /// # Errors
    /// If their batches are not equally far apart.
    #[track_caller]
    pub fn transform_with<V: Data, U: Data>(
        &self,
        other: &DStream<V>,
        f: impl Fn(Rdd<T>, Rdd<V>, Time) -> Rdd<U> + Send + Sync + 'static,
    ) -> Result<DStream<U>> {
        same_time(self.context(), &[self.node(), other.node()])?;
        let sc = self.sc().clone();
        let body = move |inputs: &[Dataset], time| {
            let (left, right) = crate::dataset::two(inputs)?;
            Ok(f(typed(&sc, left.clone()), typed(&sc, right.clone()), time).dataset().clone())
        };
        Ok(self.transform_node(vec![Arc::clone(self.node()), Arc::clone(other.node())], always(body)))
    }

    #[track_caller]
    fn transform_node<U: Data>(
        &self,
        parents: Vec<Arc<StreamNode>>,
        (body, skips): (impl Fn(&[Dataset], Time) -> Result<Option<Dataset>> + Send + Sync + 'static, bool),
    ) -> DStream<U> {
        let node = TransformNode { call_site: CallSite::here(), body: Arc::new(body), skips };
        let node = self.context().graph().add_node("transform", self.slide_duration(), parents, node);
        DStream::from_node(self.context(), node)
    }
}

impl StreamingContext {
    /// The RDD that `f` makes of the RDDs of all streams' batches.
    ///
    /// # Errors
    /// If there are no streams, or their batches are not equally far apart.
    #[track_caller]
    pub fn transform<T: Data, U: Data>(
        &self,
        streams: &[DStream<T>],
        f: impl Fn(Vec<Rdd<T>>, Time) -> Rdd<U> + Send + Sync + 'static,
    ) -> Result<DStream<U>> {
        let sc = self.spark_context().clone();
        let body = move |inputs: &[Dataset], time| Ok(f(all(&sc, inputs), time).dataset().clone());
        self.transform_all(streams, always(body))
    }

    /// [`StreamingContext::transform`] by a function that may give nothing: then the stream has no batch at that time, and its outputs do not run,
    /// as if its batches were further apart. Nor is the function called at the times at which one of the streams has no batch.
    ///
    /// # Errors
    /// As that.
    #[track_caller]
    pub fn transform_or_skip<T: Data, U: Data>(
        &self,
        streams: &[DStream<T>],
        f: impl Fn(Vec<Rdd<T>>, Time) -> Option<Rdd<U>> + Send + Sync + 'static,
    ) -> Result<DStream<U>> {
        let sc = self.spark_context().clone();
        let body = move |inputs: &[Dataset], time| Ok(f(all(&sc, inputs), time).map(|rdd| rdd.dataset().clone()));
        self.transform_all(streams, (body, true))
    }

    #[track_caller]
    fn transform_all<T: Data, U: Data>(
        &self,
        streams: &[DStream<T>],
        body: (impl Fn(&[Dataset], Time) -> Result<Option<Dataset>> + Send + Sync + 'static, bool),
    ) -> Result<DStream<U>> {
        let Some(first) = streams.first() else {
            return Err(Error::usage("List of DStreams to transform is empty"));
        };
        same_time(self, &streams.iter().map(DStream::node).collect::<Vec<_>>())?;
        Ok(first.transform_node(streams.iter().map(|stream| Arc::clone(stream.node())).collect(), body))
    }
}

fn all<T: Data>(sc: &SparkContext, inputs: &[Dataset]) -> Vec<Rdd<T>> {
    inputs.iter().map(|data| typed(sc, data.clone())).collect()
}

/// A function that gives a data set at every time, and wants one of every parent.
fn always(
    body: impl Fn(&[Dataset], Time) -> Result<Dataset> + Send + Sync + 'static,
) -> (impl Fn(&[Dataset], Time) -> Result<Option<Dataset>> + Send + Sync + 'static, bool) {
    (move |inputs: &[Dataset], time| body(inputs, time).map(Some), false)
}
