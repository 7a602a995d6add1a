//! Lines of text: one column, a line for each row.

use std::io::{BufRead, BufWriter, Write};
use std::sync::Arc;

use arrow::array::{RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;

use super::Arrow;
use crate::chunk::{BATCH_ROWS, text_schema};
use crate::error::{Error, Result};
use crate::sink::lines;

pub fn check(schema: &Schema) -> Result<()> {
    match schema.fields().as_ref() {
        [only] if *only.data_type() == DataType::Utf8 => Ok(()),
        fields => {
            let columns: Vec<String> = fields.iter().map(|f| format!("{}: {}", f.name(), f.data_type())).collect();
            Err(Error::usage(format!(
                "text files have one column of text, not ({}): make a line of each row, or write JSON or CSV",
                columns.join(", ")
            )))
        }
    }
}

pub fn write(out: &mut impl Write, rows: &[RecordBatch]) -> Arrow<()> {
    let mut out = BufWriter::new(out);
    for line in lines(rows).map_err(|error| ArrowError::ExternalError(Box::new(error)))? {
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

pub fn read(file: impl BufRead) -> Arrow<Vec<RecordBatch>> {
    let (mut batches, mut lines) = (Vec::new(), file.lines());
    loop {
        let (mut values, mut count) = (StringBuilder::new(), 0);
        for line in lines.by_ref().take(BATCH_ROWS) {
            values.append_value(line?);
            count += 1;
        }
        if count == 0 {
            return Ok(batches);
        }
        batches.push(RecordBatch::try_new(text_schema(), vec![Arc::new(values.finish())])?);
    }
}
