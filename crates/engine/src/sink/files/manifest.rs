//! The manifest: which data files are the table, and which batches they hold.
//!
//! It lies in `_manifest`, beside the data files. Every change is a file of its own, `00000000000000000007.entry`, numbered from 1: a
//! batch that was added, or files that were replaced by a bigger one. Now and then all of it is written down in a
//! `00000000000000000007.checkpoint`, which stands for the entries up to its number; older ones are removed. Both are a line with the
//! CRC-32 of the rest in hexadecimal, then JSON.
//!
//! Order: an entry is written aside and synced, renamed, and the folder is synced. The rename is the moment in which a batch becomes
//! visible, whole; before that, its data files and their names are on the disk. So no reader ever needs a lock: it reads the newest
//! checkpoint, the entries behind it, and begins again where those were removed meanwhile. One writer at a time has the lock.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::data_file::DataFile;
use super::disk::{names, remove, sync_folder, unreadable, unwritable};
use super::format::FileFormat;
use crate::batch::BatchStamp;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::sink::once::CommittedBatches;
use crate::time::Time;

/// The folder of the manifest within the table's.
pub(super) const FOLDER: &str = "_manifest";

/// The least number of entries between two checkpoints.
const CHECKPOINT_ENTRIES: u64 = 64;

/// How often a reader begins again before it gives up.
const MAX_READS: usize = 100;

/// What the rows of a table are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TableInfo {
    pub format: FileFormat,
    columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Column {
    name: String,
    /// As Arrow writes it: `Timestamp(ms)`.
    r#type: String,
    nullable: bool,
}

impl TableInfo {
    pub fn new(format: FileFormat, schema: &Schema) -> Self {
        let column = |field: &std::sync::Arc<Field>| Column {
            name: field.name().clone(),
            r#type: field.data_type().to_string(),
            nullable: field.is_nullable(),
        };
        Self { format, columns: schema.fields().iter().map(column).collect() }
    }

    pub fn schema(&self) -> Result<SchemaRef> {
        let field = |column: &Column| {
            let data_type: DataType = column.r#type.parse().map_err(|error| {
                Error::data(format!("column {} has the unknown type {}", column.name, column.r#type)).with_source(error)
            })?;
            Ok(Field::new(&column.name, data_type, column.nullable))
        };
        let fields: Vec<Field> = self.columns.iter().map(field).collect::<Result<_>>()?;
        Ok(SchemaRef::new(Schema::new(fields)))
    }

    pub fn describe(&self) -> String {
        let column = |c: &Column| format!("{}: {}{}", c.name, c.r#type, if c.nullable { "?" } else { "" });
        format!("{} with ({})", self.format, self.columns.iter().map(column).collect::<Vec<_>>().join(", "))
    }
}

/// A change of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The batch that was added; `None` of a compaction.
    pub batch: Option<BatchStamp>,
    /// When it was made, by the writer's clock.
    pub at: Time,
    /// What the rows are, where that is new.
    pub table: Option<TableInfo>,
    pub added: Vec<DataFile>,
    pub removed: Vec<String>,
}

/// A file that is no longer part of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Removed {
    pub name: String,
    pub at: Time,
}

/// The table at one time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Snapshot {
    pub version: u64,
    pub table: Option<TableInfo>,
    /// In the order in which batches were committed.
    pub files: Vec<DataFile>,
    pub batches: CommittedBatches,
    /// Files that a reader of an earlier snapshot may still read.
    pub removed: Vec<Removed>,
}

impl Snapshot {
    fn apply(&mut self, entry: Entry) {
        self.version += 1;
        self.table = entry.table.or_else(|| self.table.take());
        if let Some(batch) = entry.batch {
            self.batches.insert(batch);
        }
        if entry.removed.is_empty() {
            return self.files.extend(entry.added);
        }
        // What replaces files stands where they stood.
        let gone: HashSet<&str> = entry.removed.iter().map(String::as_str).collect();
        let is_gone = |file: &DataFile| gone.contains(file.name.as_str());
        let at = self.files.iter().position(is_gone).unwrap_or(self.files.len());
        let mut behind = self.files.split_off(at);
        behind.retain(|file| !is_gone(file));
        self.files.extend(entry.added);
        self.files.append(&mut behind);
        self.removed.extend(entry.removed.into_iter().map(|name| Removed { name, at: entry.at }));
    }
}

fn entry_path(folder: &Path, version: u64) -> PathBuf {
    folder.join(format!("{version:020}.entry"))
}

fn checkpoint_path(folder: &Path, version: u64) -> PathBuf {
    folder.join(format!("{version:020}.checkpoint"))
}

/// The numbers of the files with an ending.
fn numbers(folder: &Path, ending: &str) -> Result<Vec<u64>> {
    let number = |name: String| name.strip_suffix(ending)?.parse().ok();
    Ok(names(folder)?.into_iter().filter_map(number).collect())
}

/// A file that [`publish`] wrote; `None` if it is not there.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path)(error)),
    };
    let damaged = || Error::data(format!("{} is damaged; restore it from a copy", path.display()));
    let (sum, body) = bytes.split_at_checked(9).ok_or_else(damaged)?;
    if sum != format!("{:08x}\n", crc32fast::hash(body)).as_bytes() {
        return Err(damaged());
    }
    serde_json::from_slice(body).map(Some).map_err(|error| damaged().with_source(error))
}

/// Writes a file so that it is there whole or not at all, and durable.
fn publish(path: &Path, body: &impl Serialize) -> Result<()> {
    let body = serde_json::to_vec(body)
        .map_err(|error| Error::internal("an entry of a manifest can't be encoded").with_source(error))?;
    let aside = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&aside)?;
        file.write_all(format!("{:08x}\n", crc32fast::hash(&body)).as_bytes())?;
        file.write_all(&body)?;
        file.sync_all()
    };
    write().map_err(unwritable(&aside))?;
    failpoint::hit("file-sink-entry-written");
    fs::rename(&aside, path).map_err(unwritable(path))?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// The table as it is now, for readers and writers.
pub(super) fn load(table: &Path) -> Result<Snapshot> {
    let folder = table.join(FOLDER);
    let newest = || Ok::<_, Error>(numbers(&folder, ".checkpoint")?.into_iter().max());
    for _ in 0..MAX_READS {
        let mut snapshot = Snapshot::default();
        if let Some(version) = newest()? {
            let Some(checkpoint) = read(&checkpoint_path(&folder, version))? else { continue };
            snapshot = checkpoint;
        }
        // Entries end where there are no more, or where they were removed because there is a checkpoint behind them.
        loop {
            let next = entry_path(&folder, snapshot.version + 1);
            if let Some(entry) = read(&next)? {
                snapshot.apply(entry);
                continue;
            }
            let more = numbers(&folder, ".entry")?.iter().any(|number| *number > snapshot.version);
            if newest()?.is_some_and(|newest| newest > snapshot.version) {
                break;
            }
            if !more {
                return Ok(snapshot);
            }
            // It may have come since it was looked for.
            if !next.exists() {
                let next = next.display();
                return Err(Error::data(format!(
                    "{next} is missing, though there are later ones; restore it from a copy"
                )));
            }
        }
    }
    Err(Error::retry(format!("{} changes faster than it can be read: try again", folder.display())))
}

/// The writer's hold on a manifest.
pub(super) struct Manifest {
    folder: PathBuf,
    snapshot: Snapshot,
    /// The version of the newest checkpoint.
    checkpoint: u64,
    /// A write has failed: what is on the disk is not known, and it must be opened again.
    failed: bool,
    _lock: File,
}

impl Manifest {
    /// Opens the manifest of the table in a folder, both of which are made if they are not there.
    pub fn open(table: &Path) -> Result<Self> {
        let folder = table.join(FOLDER);
        fs::create_dir_all(&folder).map_err(unwritable(&folder))?;
        let path = folder.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(unwritable(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::usage(format!(
                    "another program is writing to {}; stop it first, or write to another folder",
                    table.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unwritable(&path)(error)),
        }
        // The name of the folder must be as durable as what is in it; its own names are synced with every batch.
        let parent = table.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_folder(parent.unwrap_or(Path::new(".")))?;
        let snapshot = load(table)?;
        names(&folder)?.iter().filter(|name| name.ends_with(".tmp")).try_for_each(|name| remove(&folder.join(name)))?;
        let checkpoint = numbers(&folder, ".checkpoint")?.into_iter().max().unwrap_or(0);
        Ok(Self { folder, snapshot, checkpoint, failed: false, _lock: lock })
    }

    /// The table as it is.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Whether it must be opened again.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Makes a change, durably. After an error it may have been made or not: the manifest must be opened again.
    pub fn append(&mut self, entry: Entry) -> Result<()> {
        if self.failed {
            let folder = self.folder.display();
            return Err(Error::retry(format!("a write to {folder} has failed: it must be opened again")));
        }
        self.failed = true;
        publish(&entry_path(&self.folder, self.snapshot.version + 1), &entry)?;
        self.failed = false;
        self.snapshot.apply(entry);
        Ok(())
    }

    /// Forgets about removed files that are deleted.
    pub fn forget_removed(&mut self, deleted: &HashSet<String>) {
        self.snapshot.removed.retain(|removed| !deleted.contains(&removed.name));
    }

    /// Writes a checkpoint if it is time, and removes what only readers of long ago could want. True if it did.
    pub fn checkpoint_if_due(&mut self) -> Result<bool> {
        let version = self.snapshot.version;
        // More entries between checkpoints of more files: what is written for each entry stays the same.
        if self.failed || version - self.checkpoint < CHECKPOINT_ENTRIES.max(self.snapshot.files.len() as u64 / 8) {
            return Ok(false);
        }
        publish(&checkpoint_path(&self.folder, version), &self.snapshot)?;
        failpoint::hit("file-sink-checkpoint-written");
        let before = std::mem::replace(&mut self.checkpoint, version);
        // The last checkpoint but one stays, with its entries: a reader may be at it.
        for number in numbers(&self.folder, ".entry")?.into_iter().filter(|number| *number <= before) {
            remove(&entry_path(&self.folder, number))?;
        }
        for number in numbers(&self.folder, ".checkpoint")?.into_iter().filter(|number| *number < before) {
            remove(&checkpoint_path(&self.folder, number))?;
        }
        Ok(true)
    }
}
