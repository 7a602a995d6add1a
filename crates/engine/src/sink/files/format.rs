//! The formats of data files, through Arrow's own writers and readers.

mod csv;
mod json;
#[cfg(feature = "parquet")]
mod parquet;
mod text;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use super::disk::{Watched, unreadable, unwritable};
use crate::error::{Error, Result};

/// How rows lie in data files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// One column of text; each value is a line. A value with a line break in it is read back as two.
    Text,
    /// A JSON object for each row, one a line. Columns without a value are left out; bytes are hexadecimal.
    Json,
    /// Values between commas, times as in RFC 3339. There are no lists and no structs, and no value is the same as empty text.
    Csv {
        /// Whether every file begins with the names of the columns.
        header: bool,
    },
    /// Apache Parquet, compressed by Zstandard.
    #[cfg(feature = "parquet")]
    Parquet,
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileFormat::Text => "text",
            FileFormat::Json => "JSON lines",
            FileFormat::Csv { header: true } => "CSV with a header",
            FileFormat::Csv { header: false } => "CSV without a header",
            #[cfg(feature = "parquet")]
            FileFormat::Parquet => "Parquet",
        })
    }
}

impl FileFormat {
    /// How the names of its files end.
    pub fn extension(self) -> &'static str {
        match self {
            FileFormat::Text => "txt",
            FileFormat::Json => "json",
            FileFormat::Csv { .. } => "csv",
            #[cfg(feature = "parquet")]
            FileFormat::Parquet => "parquet",
        }
    }

    /// Whether rows of these columns have a form in it.
    ///
    /// # Errors
    /// If a column has none: the error names it.
    pub fn check(self, schema: &Schema) -> Result<()> {
        match self {
            FileFormat::Text => text::check(schema),
            FileFormat::Csv { .. } => csv::check(schema),
            _ => Ok(()),
        }
    }

    /// Writes rows to an empty file; not synced.
    pub(super) fn write(self, path: &Path, file: &File, schema: &SchemaRef, rows: &[RecordBatch]) -> Result<()> {
        let mut out = Watched::new(file);
        let written = match self {
            FileFormat::Text => text::write(&mut out, rows),
            FileFormat::Json => json::write(&mut out, rows),
            FileFormat::Csv { header } => csv::write(&mut out, header, rows),
            #[cfg(feature = "parquet")]
            FileFormat::Parquet => parquet::write(&mut out, schema, rows),
        };
        // Only Parquet writes a schema.
        let _ = schema;
        written.map_err(|error| match out.failure() {
            Some(failure) => unwritable(path)(failure),
            None => Error::data(format!("rows can't be written to {} as {self}", path.display())).with_source(error),
        })
    }

    /// Reads the rows of a file.
    pub(super) fn read(self, path: &Path, file: File, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
        let read = match self {
            FileFormat::Text => text::read(BufReader::new(file)),
            FileFormat::Json => json::read(BufReader::new(file), schema),
            FileFormat::Csv { header } => csv::read(file, header, schema),
            #[cfg(feature = "parquet")]
            FileFormat::Parquet => parquet::read(file),
        };
        read.map_err(|error| Error::data(format!("{} can't be read as {self}", path.display())).with_source(error))
    }

    /// Writes the rows of several files into one, which is empty; not synced. Asks between pieces of the work whether to go on.
    pub(super) fn merge(
        self,
        inputs: &[PathBuf],
        path: &Path,
        file: &File,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        #[cfg(feature = "parquet")]
        if self == FileFormat::Parquet {
            return parquet::merge(inputs, path, file, go_on);
        }
        // The others are lines: files of them, one behind the other, are such a file again.
        let mut out = Watched::new(file);
        for (n, input) in inputs.iter().enumerate() {
            go_on()?;
            let mut from = BufReader::with_capacity(COPIED, File::open(input).map_err(unreadable(input))?);
            if n > 0 && self == (FileFormat::Csv { header: true }) {
                csv::skip_header(&mut from).map_err(unreadable(input))?;
            }
            copy(&mut from, input, &mut out, path, go_on)?;
        }
        Ok(())
    }
}

/// Bytes that are copied at once.
const COPIED: usize = 1 << 20;

fn copy(
    from: &mut impl Read,
    input: &Path,
    to: &mut impl Write,
    path: &Path,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let mut buffer = vec![0; COPIED];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(input)(error)),
        };
        to.write_all(&buffer[..count]).map_err(unwritable(path))?;
        go_on()?;
    }
}

type Arrow<T> = std::result::Result<T, ArrowError>;
