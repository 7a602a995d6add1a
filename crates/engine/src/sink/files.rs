//! `FileSink`: a folder of data files that is a table, each batch in it exactly once.
//!
//! Tasks write their partitions as files of their own, which nobody looks at; the commit adds all files of a batch to the
//! [`manifest`] in one step, and that is the moment in which the batch becomes visible. A batch that the manifest has already is
//! left out. Readers ask the manifest, through [`FileTable`]: they see whole batches, each once, also while the sink writes and
//! while small files are compacted into bigger ones.
//!
//! ```text
//! table/_manifest/00000000000000000007.entry          what became part of the table, and when
//! table/part-0000000003-00001-9f86d081884c7d65.json   partition 1 of batch 3
//! table/compact-60303ae22b998861.json                 what many such files were merged into
//! ```
//!
//! The order that makes a crash harmless: data files are on the disk before their names, their names before the entry of the
//! manifest, the entry before the batch is logged as done. What a crash leaves behind in between are files that the manifest
//! does not name. They are removed, by the next run and now and then, as soon as no task can still be writing them: when their
//! batch is there, or too old to come.

mod compaction;
mod data_file;
mod disk;
mod format;
mod manifest;
mod table;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use compaction::Compaction;
pub use data_file::DataFile;
pub use format::FileFormat;
pub use table::{FileTable, committed_files};

use self::compaction::Compactor;
use self::data_file::Origin;
use self::manifest::{Entry, Manifest, TableInfo};
use super::{Receipt, Sink};
use crate::batch::BatchStamp;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::failpoint;

/// Writes batches as files of a table.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{RecordBatch, Int64Array};
/// use tidemill_engine::batch::{BatchId, BatchStamp};
/// use tidemill_engine::sink::Sink;
/// use tidemill_engine::sink::files::{FileFormat, FileSink, FileTable};
/// use tidemill_engine::time::Time;
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path();
/// let sink = FileSink::new(folder, FileFormat::Json);
/// let batch = BatchStamp { id: BatchId(0), time: Time::from_millis(1000) };
/// let rows = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as _)]).unwrap();
/// for _ in 0..2 {
///     let receipt = sink.write(batch, 0, vec![rows.clone()])?;
///     sink.commit(batch, vec![receipt])?;
/// }
/// let read: usize = FileTable::open(folder)?.read()?.iter().map(RecordBatch::num_rows).sum();
/// assert_eq!(read, 2);
/// # Ok::<(), tidemill_engine::error::Error>(())
/// ```
pub struct FileSink {
    settings: Settings,
    /// There is one where batches are committed, from the first commit on.
    driver: Mutex<Option<Driver>>,
}

#[derive(Clone)]
struct Settings {
    folder: PathBuf,
    format: FileFormat,
    compaction: Option<Compaction>,
    clock: Arc<dyn Clock>,
}

struct Driver {
    manifest: Arc<Mutex<Manifest>>,
    compactor: Compactor,
}

/// What a partition leaves for the commit.
#[derive(Serialize, Deserialize)]
struct Written {
    file: DataFile,
    table: TableInfo,
}

impl FileSink {
    /// A sink of the table in `folder`. Nothing happens to the folder before the first rows.
    pub fn new(folder: impl Into<PathBuf>, format: FileFormat) -> Self {
        let (folder, compaction, clock) =
            (folder.into(), Some(Compaction::default()), Arc::new(SystemClock::default()));
        Self { settings: Settings { folder, format, compaction, clock }, driver: Mutex::default() }
    }

    /// When small files are merged; `None` for never.
    pub fn compaction(mut self, compaction: impl Into<Option<Compaction>>) -> Self {
        self.settings.compaction = compaction.into();
        self
    }

    /// The clock by which replaced files are kept for readers.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.settings.clock = clock;
        self
    }

    /// Compacts on the calling thread until there is nothing left to merge, and gives the number of files that were replaced. The
    /// sink does this by itself, in the background.
    ///
    /// # Errors
    /// If a file can't be read or written; the table is as it was.
    pub fn compact(&self) -> Result<usize> {
        let work = self.with_driver(|driver| Ok(driver.compactor.work()))?;
        work.run()
    }

    fn with_driver<R>(&self, body: impl FnOnce(&Driver) -> Result<R>) -> Result<R> {
        let mut driver = self.driver.lock();
        // After a failed write only the disk knows what is there. The old hold on it goes before the new one is taken.
        if driver.as_ref().is_some_and(|driver| driver.manifest.lock().has_failed()) {
            *driver = None;
        }
        let driver = match driver.as_mut() {
            Some(driver) => driver,
            None => driver.insert(self.settings.open()?),
        };
        body(driver)
    }
}

impl Settings {
    fn open(&self) -> Result<Driver> {
        let manifest = Manifest::open(&self.folder)?;
        sweep(&self.folder, &manifest, true)?;
        let manifest = Arc::new(Mutex::new(manifest));
        let compactor = Compactor::start(self.clone(), Arc::clone(&manifest))?;
        Ok(Driver { manifest, compactor })
    }

    fn check(&self, there: Option<&TableInfo>, new: &TableInfo) -> Result<()> {
        match there {
            Some(there) if there != new => Err(Error::usage(format!(
                "the table in {} is {}; it can't take {}: write to another folder",
                self.folder.display(),
                there.describe(),
                new.describe()
            ))),
            _ => Ok(()),
        }
    }

    fn commit(&self, manifest: &mut Manifest, batch: BatchStamp, written: Vec<Written>) -> Result<()> {
        let snapshot = manifest.snapshot();
        if !snapshot.batches.known(batch.id).is_new(batch, self.folder.display())? {
            tracing::info!(folder = %self.folder.display(), batch = batch.id.0, "a batch is there already");
            let live: HashSet<&str> = snapshot.files.iter().map(|file| file.name.as_str()).collect();
            let new = written.iter().map(|written| &written.file.name).filter(|name| !live.contains(name.as_str()));
            return new.map(|name| self.folder.join(name)).try_for_each(|path| disk::remove(&path));
        }
        // A batch without rows makes no difference to a reader, however often it runs.
        let Some(first) = written.first() else { return Ok(()) };
        let known = snapshot.table.as_ref();
        for written in &written {
            self.check(known.or(Some(&first.table)), &written.table)?;
        }
        let table = known.is_none().then(|| first.table.clone());
        failpoint::hit("file-sink-files-written");
        disk::sync_folder(&self.folder)?;
        let added = written.into_iter().map(|written| written.file).collect();
        let entry = Entry { batch: Some(batch), at: self.clock.now(), table, added, removed: Vec::new() };
        manifest.append(entry)?;
        failpoint::hit("file-sink-manifest-appended");
        Ok(())
    }
}

impl Sink for FileSink {
    fn name(&self) -> String {
        format!("files in {} as {}", self.settings.folder.display(), self.settings.format)
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    fn write(&self, batch: BatchStamp, partition: usize, rows: Vec<RecordBatch>) -> Result<Receipt> {
        let Settings { folder, format, .. } = &self.settings;
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        let Some(first) = rows.first().filter(|_| count > 0) else { return Ok(Receipt::default()) };
        let schema = first.schema();
        format.check(&schema).map_err(|error| error.context(folder.display()))?;
        fs::create_dir_all(folder).map_err(disk::unwritable(folder))?;
        let name = data_file::part_name(batch.id, partition, format.extension());
        let bytes = data_file::create(folder, &name, |path, file| format.write(path, file, &schema, &rows))?;
        failpoint::hit("file-sink-file-written");
        let file = DataFile { name, rows: count as u64, bytes, level: 0 };
        let written = Written { file, table: TableInfo::new(*format, &schema) };
        let receipt = serde_json::to_string(&written);
        receipt.map(Receipt).map_err(|error| Error::internal("a receipt can't be encoded").with_source(error))
    }

    fn commit(&self, batch: BatchStamp, receipts: Vec<Receipt>) -> Result<()> {
        let parse = |receipt: &Receipt| {
            serde_json::from_str(&receipt.0)
                .map_err(|error| Error::internal("a receipt is not one of a file sink's").with_source(error))
        };
        let written = receipts.iter().filter(|receipt| !receipt.0.is_empty()).map(parse).collect::<Result<_>>()?;
        self.with_driver(|driver| {
            let mut manifest = driver.manifest.lock();
            self.settings.commit(&mut manifest, batch, written)?;
            drop(manifest);
            driver.compactor.wake();
            Ok(())
        })
    }
}

/// Removes the files of ours that are not part of the table and that nobody writes or reads.
fn sweep(folder: &Path, manifest: &Manifest, at_start: bool) -> Result<()> {
    let snapshot = manifest.snapshot();
    let live = snapshot.files.iter().map(|file| &file.name);
    let kept: HashSet<&str> = live.chain(snapshot.removed.iter().map(|file| &file.name)).map(String::as_str).collect();
    for name in disk::names(folder)? {
        let is_over = match Origin::of(&name) {
            None => false,
            Some(Origin::Batch(id)) => snapshot.batches.is_over(id),
            // Compactions run behind the start.
            Some(Origin::Compaction) => at_start,
        };
        if is_over && !kept.contains(name.as_str()) {
            tracing::info!(folder = %folder.display(), file = name, "removing what an unfinished write left");
            disk::remove(&folder.join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
