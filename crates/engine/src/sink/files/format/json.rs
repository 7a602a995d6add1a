//! JSON lines: an object for each row.

use std::io::{BufRead, BufWriter, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::json::{LineDelimitedWriter, ReaderBuilder};

use super::Arrow;
use crate::chunk::BATCH_ROWS;

pub fn write(out: &mut impl Write, rows: &[RecordBatch]) -> Arrow<()> {
    let mut writer = LineDelimitedWriter::new(BufWriter::new(out));
    rows.iter().try_for_each(|batch| writer.write(batch))?;
    writer.finish()?;
    Ok(writer.into_inner().flush()?)
}

pub fn read(file: impl BufRead, schema: &SchemaRef) -> Arrow<Vec<RecordBatch>> {
    ReaderBuilder::new(Arc::clone(schema)).with_batch_size(BATCH_ROWS).build(file)?.collect()
}
