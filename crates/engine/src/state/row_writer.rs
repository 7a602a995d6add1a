//! `RowWriter`: the rows of many batches as few.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::ipc::writer::StreamWriter;

use super::change::change_schema;
use crate::error::Result;

/// Batches of a snapshot are put together up to so many rows and bytes.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 16 << 20;

/// Writes what is left of batches as few large ones: otherwise each batch that ever was would leave a trace in all later snapshots.
pub struct RowWriter<W: Write> {
    writer: StreamWriter<W>,
    waiting: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl<W: Write> RowWriter<W> {
    /// Nothing yet.
    pub fn new(writer: StreamWriter<W>) -> Self {
        Self { writer, waiting: Vec::new(), rows: 0, bytes: 0 }
    }

    /// Takes rows; those of several batches are written at once.
    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let (rows, bytes) = (batch.num_rows(), batch.get_array_memory_size());
        if self.rows + rows > BATCH_ROWS || self.bytes + bytes > BATCH_BYTES {
            self.write_waiting()?;
        }
        if rows > 0 {
            self.waiting.push(batch);
            (self.rows, self.bytes) = (self.rows + rows, self.bytes + bytes);
        }
        Ok(())
    }

    fn write_waiting(&mut self) -> Result<()> {
        match self.waiting.as_slice() {
            [] => {}
            [one] => self.writer.write(one)?,
            several => self.writer.write(&concat_batches(&change_schema(), several)?)?,
        }
        self.waiting.clear();
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    /// Writes what waits, and the end.
    pub fn finish(mut self) -> Result<()> {
        self.write_waiting()?;
        Ok(self.writer.finish()?)
    }
}
