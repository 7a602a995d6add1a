//! Parquet, through Arrow.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::super::disk::{Watched, unreadable, unwritable};
use super::Arrow;
use crate::chunk::BATCH_ROWS;
use crate::error::{Error, Result};

fn writer<W: Write + Send>(out: W, schema: &SchemaRef) -> std::result::Result<ArrowWriter<W>, ParquetError> {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder().set_compression(zstd).build();
    ArrowWriter::try_new(out, SchemaRef::clone(schema), Some(properties))
}

pub fn write(out: &mut (impl Write + Send), schema: &SchemaRef, rows: &[RecordBatch]) -> Arrow<()> {
    let mut writer = writer(out, schema)?;
    rows.iter().try_for_each(|batch| writer.write(batch))?;
    Ok(writer.close().map(drop)?)
}

pub fn read(file: File) -> Arrow<Vec<RecordBatch>> {
    ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH_ROWS).build()?.collect()
}

/// Rows are decoded and encoded again, a batch at a time: row groups of few rows would stay as slow to read as small files.
pub fn merge(inputs: &[PathBuf], path: &Path, file: &File, go_on: &dyn Fn() -> Result<()>) -> Result<()> {
    let mut out = Watched::new(file);
    merge_into(&mut out, inputs, path, go_on).map_err(|error| match out.failure() {
        Some(failure) => unwritable(path)(failure),
        None => error,
    })
}

fn merge_into(out: &mut Watched<'_>, inputs: &[PathBuf], path: &Path, go_on: &dyn Fn() -> Result<()>) -> Result<()> {
    let Some(first) = inputs.first() else { return Ok(()) };
    let wrong = |path: &Path| {
        let place = path.display().to_string();
        move |error: ParquetError| Error::data(format!("{place} can't be merged")).with_source(error)
    };
    let open = |input: &Path| {
        let file = File::open(input).map_err(unreadable(input))?;
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(wrong(input))
    };
    let mut merged = writer(out, open(first)?.schema()).map_err(wrong(path))?;
    for input in inputs {
        for batch in open(input)?.with_batch_size(BATCH_ROWS).build().map_err(wrong(input))? {
            go_on()?;
            let batch = batch.map_err(|error| wrong(input)(error.into()))?;
            merged.write(&batch).map_err(wrong(path))?;
        }
    }
    merged.close().map(drop).map_err(wrong(path))
}
