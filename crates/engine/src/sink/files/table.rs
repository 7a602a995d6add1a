//! The reader of what a file sink writes.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::data_file::{DataFile, paths};
use super::disk::unreadable;
use super::manifest::{self, Snapshot};
use crate::batch::BatchId;
use crate::error::{Error, Result};

/// How often a reading begins again because files were replaced meanwhile.
const MAX_READS: usize = 100;

/// A table of a [`FileSink`](super::FileSink)'s, for reading, while it is written or after. Every call sees all batches whose
/// commit had returned when it began, each of them once and whole.
pub struct FileTable {
    folder: PathBuf,
}

/// The paths of the data files that are the table in `folder` now, in the order in which batches were committed.
///
/// # Errors
/// If there is no table, or it can't be read.
pub fn committed_files(folder: impl Into<PathBuf>) -> Result<Vec<PathBuf>> {
    let table = FileTable::open(folder)?;
    Ok(paths(&table.folder, &table.files()?))
}

impl FileTable {
    /// The table in a folder.
    ///
    /// # Errors
    /// If there is none: it begins with the first batch.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        if !folder.join(manifest::FOLDER).is_dir() {
            let (place, name) = (folder.display(), manifest::FOLDER);
            return Err(Error::usage(format!("{place} is not a table: it has no {name}, which its first batch makes")));
        }
        Ok(Self { folder })
    }

    /// Its data files, in the order in which batches were committed. A file that is replaced by a bigger one stays for the grace of
    /// the compaction that did it.
    ///
    /// # Errors
    /// If the manifest can't be read, or is damaged.
    pub fn files(&self) -> Result<Vec<DataFile>> {
        Ok(manifest::load(&self.folder)?.files)
    }

    /// Its columns; `None` before the first rows.
    ///
    /// # Errors
    /// If the manifest can't be read, or is damaged.
    pub fn schema(&self) -> Result<Option<SchemaRef>> {
        manifest::load(&self.folder)?.table.map(|table| table.schema()).transpose()
    }

    /// The number of its newest batch that had rows.
    ///
    /// # Errors
    /// If the manifest can't be read, or is damaged.
    pub fn newest_batch(&self) -> Result<Option<BatchId>> {
        Ok(manifest::load(&self.folder)?.batches.newest())
    }

    /// Its rows, in the order in which batches were committed.
    ///
    /// # Errors
    /// If a file is missing, or can't be read.
    pub fn read(&self) -> Result<Vec<RecordBatch>> {
        let mut last = None;
        for _ in 0..MAX_READS {
            let snapshot = manifest::load(&self.folder)?;
            match read_files(&self.folder, &snapshot)? {
                Ok(rows) => return Ok(rows),
                // A file is gone, and the manifest is still the one that names it.
                Err(gone) if last == Some(snapshot.version) => {
                    let gone = gone.display();
                    return Err(Error::data(format!(
                        "{gone} is part of the table and is missing: restore it from a copy"
                    )));
                }
                Err(_) => last = Some(snapshot.version),
            }
        }
        let folder = self.folder.display();
        Err(Error::retry(format!("files in {folder} are replaced faster than they are read: use a longer grace")))
    }
}

/// The rows of a snapshot; or which file of it is gone.
fn read_files(folder: &Path, snapshot: &Snapshot) -> Result<std::result::Result<Vec<RecordBatch>, PathBuf>> {
    let Some(table) = &snapshot.table else { return Ok(Ok(Vec::new())) };
    let (schema, mut rows) = (table.schema()?, Vec::new());
    for (path, file) in paths(folder, &snapshot.files).into_iter().zip(&snapshot.files) {
        let opened = match File::open(&path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Err(path)),
            Err(error) => return Err(unreadable(&path)(error)),
        };
        let length = opened.metadata().map_err(unreadable(&path))?.len();
        if length != file.bytes {
            let place = path.display();
            let message = format!("{place} has {length} bytes instead of {}: restore it from a copy", file.bytes);
            return Err(Error::data(message));
        }
        rows.extend(table.format.read(&path, opened, &schema)?);
    }
    Ok(Ok(rows))
}
