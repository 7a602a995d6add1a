//! Where streams begin.

mod collection;
pub mod file;
mod queue;
pub mod receiver;
mod socket;
mod supervisor;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidemill_engine::batch::StreamId;
use tidemill_engine::chunk::Data;
use tidemill_engine::error::Result;
use tidemill_engine::source::Source;
use tidemill_engine::time::Time;

pub use collection::MemoryStream;
pub use queue::RddQueue;
pub use socket::Decoder;

use crate::dataset::Dataset;
use crate::node::{Compute, Planning, StreamNode};
use crate::stream::DStream;
use crate::streaming_context::StreamingContext;

/// The node of a source: the data of the range that the batch covers.
struct SourceNode {
    stream: StreamId,
    source: Arc<dyn Source>,
    /// What becomes of the source's data: decoding, where rows are not what the source gives.
    finish: Box<dyn Fn(Dataset) -> Dataset + Send + Sync>,
}

impl Compute for SourceNode {
    fn compute(&self, _: &StreamNode, time: Time, planning: &Planning<'_>) -> Result<Option<Dataset>> {
        let Some(range) = planning.range(self.stream, time) else { return Ok(None) };
        let read = self.source.read(range, time)?;
        planning.inputs.lock().insert(self.stream, read.info);
        planning.lost.fetch_or(read.lost, Ordering::Relaxed);
        Ok(Some((self.finish)(Dataset::new(read.lineage))))
    }
}

impl StreamingContext {
    /// A stream of what a source gives; `finish` turns the source's data into rows of `T`.
    pub fn source_stream<T: Data>(
        &self,
        name: &'static str,
        source: Arc<dyn Source>,
        finish: impl Fn(Dataset) -> Dataset + Send + Sync + 'static,
    ) -> Result<DStream<T>> {
        self.check_may_add()?;
        let reader = Arc::clone(&source);
        let node = self.graph().add_input(name, self.batch_duration(), source, |stream| {
            Box::new(SourceNode { stream, source: reader, finish: Box::new(finish) })
        });
        Ok(DStream::from_node(self, node))
    }
}
