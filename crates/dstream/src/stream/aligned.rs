//! A stream at the times of another one.

use std::sync::Arc;
use std::time::Duration;

use tidemill_engine::chunk::Data;
use tidemill_engine::error::Result;
use tidemill_engine::time::Time;

use super::DStream;
use crate::dataset::Dataset;
use crate::node::{Compute, Planning, StreamNode};

/// The data set of its parent, or one without rows.
struct AlignedNode {
    empty: Dataset,
}

impl Compute for AlignedNode {
    fn compute(&self, node: &StreamNode, time: Time, planning: &Planning<'_>) -> Result<Option<Dataset>> {
        let data = match node.parents.first() {
            Some(parent) => parent.get_or_compute(time, planning)?,
            None => None,
        };
        Ok(Some(data.unwrap_or_else(|| self.empty.clone())))
    }
}

impl<T: Data> DStream<T> {
    /// This stream with a batch every `slide`, as another one has them, so that the two can be put together. At times at which this stream
    /// has a batch it is that one; at others it is an RDD without partitions.
    pub fn every(&self, slide: Duration) -> DStream<T> {
        if slide == self.slide_duration() {
            return self.clone();
        }
        let node = AlignedNode { empty: self.sc().empty_rdd::<T>().dataset().clone() };
        let node = self.context().graph().add_node("every", slide, vec![Arc::clone(self.node())], node);
        DStream::from_node(self.context(), node)
    }
}
