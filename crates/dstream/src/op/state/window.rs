//! Windows as state: the rows of the last batches, encoded, batch by batch. They do not depend on what their rows are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use tidemill_engine::batch::BatchStamp;
use tidemill_engine::chunk::{Chunk, Element, decode_row};
use tidemill_engine::error::Result;
use tidemill_engine::function::{Emit, Flow, Operator, OperatorTask, TaskInfo};
use tidemill_engine::state::cell::{HotState, StateCell};
use tidemill_engine::state::change::ChangeWriter;
use tidemill_engine::time::Time;

use super::{batch_of, each_change};

/// The batches of a window, of one partition. Keys of the changelog are batch times, values their rows as an Arrow IPC stream.
#[derive(Default)]
pub struct WindowBatches(VecDeque<(Time, Vec<RecordBatch>)>);

impl WindowBatches {
    /// Emits the rows of the batches after `begin`, up to `end`, oldest first.
    pub fn emit(&self, element: &dyn Element, begin: Time, end: Time, out: &mut Emit<'_>) -> Result<()> {
        let within = self.0.iter().filter(|(time, _)| *time > begin && *time <= end);
        for batch in within.flat_map(|(_, batches)| batches) {
            if out(element.decode(batch)?)? == Flow::Enough {
                break;
            }
        }
        Ok(())
    }
}

impl HotState for WindowBatches {
    fn apply(&mut self, rows: &RecordBatch) -> Result<()> {
        each_change(rows, |key, value| {
            let time: Time = decode_row(key)?;
            self.0.retain(|(other, _)| *other != time);
            if let Some(value) = value {
                let batches = StreamReader::try_new(value, None)?.collect::<std::result::Result<_, _>>()?;
                let at = self.0.partition_point(|(other, _)| *other < time);
                self.0.insert(at, (time, batches));
            }
            Ok(())
        })
    }

    fn rows(&self) -> usize {
        self.0.iter().flat_map(|(_, batches)| batches).map(RecordBatch::num_rows).sum()
    }
}

/// The operator of the state step: adds the rows of the batch, and lets go of batches that are older than the window.
pub struct WindowStep {
    cell: Arc<StateCell>,
    element: &'static dyn Element,
    window: Duration,
    longer: Arc<AtomicU64>,
}

impl WindowStep {
    /// The operator over this state, for windows of this length. Batches are kept by `longer` ms more.
    pub fn new(
        cell: &Arc<StateCell>,
        element: &'static dyn Element,
        window: Duration,
        longer: &Arc<AtomicU64>,
    ) -> Self {
        Self { cell: Arc::clone(cell), element, window, longer: Arc::clone(longer) }
    }
}

struct WindowTask {
    cell: Arc<StateCell>,
    element: &'static dyn Element,
    window: Duration,
    batch: BatchStamp,
    partition: usize,
    rows: Vec<RecordBatch>,
}

impl Operator for WindowStep {
    fn open(&self, task: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        let (batch, partition) = (batch_of(task)?, task.partition);
        let window = self.window.saturating_add(Duration::from_millis(self.longer.load(Ordering::Relaxed)));
        let (cell, element) = (Arc::clone(&self.cell), self.element);
        Ok(Box::new(WindowTask { cell, element, window, batch, partition, rows: Vec::new() }))
    }
}

impl OperatorTask for WindowTask {
    fn push(&mut self, _: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        self.rows.push(self.element.encode(&chunk)?);
        Ok(Flow::More)
    }

    fn finish(&mut self, _: &mut Emit<'_>) -> Result<()> {
        let Some(mut work) = self.cell.begin(self.partition, self.batch, WindowBatches::default)? else {
            return Ok(());
        };
        let time = self.batch.time;
        let mut changes = ChangeWriter::default();
        let batches = &mut work.state.0;
        while batches.front().is_some_and(|(then, _)| *then <= time - self.window) {
            if let Some((then, _)) = batches.pop_front() {
                changes.remove(&then)?;
            }
        }
        let rows = std::mem::take(&mut self.rows);
        if let Some(first) = rows.first() {
            if self.cell.is_durable() {
                let mut body = Vec::new();
                let mut writer = StreamWriter::try_new(&mut body, &first.schema())?;
                rows.iter().try_for_each(|batch| writer.write(batch))?;
                writer.finish()?;
                drop(writer);
                changes.put_encoded(&time, &body)?;
            } else {
                changes.put_encoded(&time, &[])?;
            }
            batches.push_back((time, rows));
        }
        work.finish(changes.finish()?)
    }
}
