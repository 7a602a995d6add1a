//! Rows into a sink, in the task that computed them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tidemill_engine::chunk::Chunk;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{Emit, Flow, Operator, OperatorTask, TaskInfo};
use tidemill_engine::sink::Sink;

use crate::context::SparkContext;
use crate::dataset::{Transform, register};

/// Writes each partition of text to the sink; the rows that come out are the receipts.
#[track_caller]
pub fn write(sc: &SparkContext, sink: Arc<dyn Sink>) -> Transform<String> {
    Transform::narrow("write_to", register::<String>(sc, "write_to", Write(sink)))
}

struct Write(Arc<dyn Sink>);

struct WriteTask {
    sink: Arc<dyn Sink>,
    task: TaskInfo,
    rows: Vec<RecordBatch>,
}

impl Operator for Write {
    fn open(&self, task: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        Ok(Box::new(WriteTask { sink: Arc::clone(&self.0), task, rows: Vec::new() }))
    }
}

impl OperatorTask for WriteTask {
    fn push(&mut self, _: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        self.rows.push(chunk.take()?);
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
        let batch = self.task.batch.ok_or_else(|| Error::usage("a sink is written by batches of a stream only"))?;
        let receipt = self.sink.write(batch, self.task.partition, std::mem::take(&mut self.rows))?;
        out(Chunk::of(vec![receipt.0])).map(drop)
    }
}
