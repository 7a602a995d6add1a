//! CSV: a line for each row, after a line with the names of the columns if that is asked for.

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::csv::{ReaderBuilder, WriterBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::Arrow;
use crate::chunk::BATCH_ROWS;
use crate::error::{Error, Result};

pub fn check(schema: &Schema) -> Result<()> {
    // What Arrow's reader has a parser for.
    let has_form = |data_type: &DataType| {
        data_type.is_primitive() || matches!(data_type, DataType::Boolean | DataType::Utf8 | DataType::Null)
    };
    match schema.fields().iter().find(|field| !has_form(field.data_type())) {
        None => Ok(()),
        Some(field) => Err(Error::usage(format!(
            "column {} is a {}, which CSV has no form for: write JSON or Parquet, or make text of it",
            field.name(),
            field.data_type()
        ))),
    }
}

pub fn write(out: &mut impl Write, header: bool, rows: &[RecordBatch]) -> Arrow<()> {
    // It buffers by itself, and flushes after every batch.
    let mut writer = WriterBuilder::new().with_header(header).build(out);
    rows.iter().try_for_each(|batch| writer.write(batch))
}

pub fn read(file: impl Read, header: bool, schema: &SchemaRef) -> Arrow<Vec<RecordBatch>> {
    // To the reader, a field without text has no value, also where the column always has one.
    let fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let nullable = Arc::new(Schema::new(fields));
    let reader = ReaderBuilder::new(nullable).with_header(header).with_batch_size(BATCH_ROWS).build(file)?;
    let restored = |batch: Arrow<RecordBatch>| {
        let batch = batch?;
        let column = |(field, column): (&Arc<Field>, &ArrayRef)| match field.data_type() {
            DataType::Utf8 if !field.is_nullable() && column.null_count() > 0 => {
                Arc::new(StringArray::from_iter_values(column.as_string::<i32>().iter().map(Option::unwrap_or_default)))
            }
            _ => Arc::clone(column),
        };
        let columns = schema.fields().iter().zip(batch.columns()).map(column).collect();
        RecordBatch::try_new(Arc::clone(schema), columns)
    };
    reader.map(restored).collect()
}

/// Reads past the first record, which may have line breaks between quotes.
pub fn skip_header(file: &mut impl BufRead) -> io::Result<()> {
    let mut quoted = false;
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| {
            quoted ^= *byte == b'"';
            *byte == b'\n' && !quoted
        });
        let length = buffer.len();
        file.consume(end.map_or(length, |end| end + 1));
        if end.is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_end_at_the_first_line_break_outside_quotes() {
        let cases = [("a,b\n1,2\n", "1,2\n"), ("\"a\nb\",\"c\"\"\n\"\n1\n", "1\n"), ("", ""), ("a\n", "")];
        for (text, rest) in cases {
            let mut all = io::BufReader::with_capacity(3, text.as_bytes());
            skip_header(&mut all).unwrap();
            let mut read = String::new();
            all.read_to_string(&mut read).unwrap();
            assert_eq!(read, rest, "{text:?}");
        }
    }
}
