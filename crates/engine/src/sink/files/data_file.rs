//! A data file: its name says which batch it was written for, the manifest says whether that batch is there.
//!
//! `part-BATCH-PARTITION-NONCE.json` is a partition of a batch, `compact-NONCE.json` is made of such. The nonce keeps two runs of a
//! task apart. A file is written under its name with a dot in front and gets its own name when all of it is on the disk.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk::{remove, unwritable};
use crate::batch::BatchId;
use crate::error::Result;

/// A file of rows that the manifest names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Its name within the folder.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// How often its rows were merged with others.
    pub level: u32,
}

/// What a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A task wrote it for this batch.
    Batch(BatchId),
    /// It is made of others.
    Compaction,
}

impl Origin {
    /// What a name in the folder says; `None` of what is not ours.
    pub fn of(name: &str) -> Option<Self> {
        let name = name.strip_prefix('.').unwrap_or(name);
        if name.starts_with("compact-") {
            return Some(Origin::Compaction);
        }
        let batch = name.strip_prefix("part-")?.split('-').next()?;
        batch.parse().ok().map(|id| Origin::Batch(BatchId(id)))
    }
}

/// The name of a new file of a partition.
pub(super) fn part_name(batch: BatchId, partition: usize, extension: &str) -> String {
    format!("part-{:010}-{partition:05}-{}.{extension}", batch.0, nonce())
}

/// The name of a new file that others are merged into.
pub(super) fn compact_name(extension: &str) -> String {
    format!("compact-{}.{extension}", nonce())
}

/// A number that no other file has. It decides nothing but a name.
fn nonce() -> String {
    // Seeded by the system, and different at each call.
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// Writes a new file; under its name when it is on the disk. The name is durable after a sync of the folder. Gives its length.
pub(super) fn create(folder: &Path, name: &str, write: impl FnOnce(&Path, &File) -> Result<()>) -> Result<u64> {
    let (path, hidden) = (folder.join(name), folder.join(format!(".{name}")));
    let write = || {
        let file = File::create_new(&hidden).map_err(unwritable(&hidden))?;
        write(&path, &file)?;
        file.sync_all().map_err(unwritable(&path))?;
        match fs::rename(&hidden, &path) {
            // Swept away, since its batch is there already: the commit will say so.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            renamed => renamed.map_err(unwritable(&path))?,
        }
        Ok(file.metadata().map_err(unwritable(&path))?.len())
    };
    write().inspect_err(|_| drop(remove(&hidden)))
}

/// Where files lie.
pub(super) fn paths(folder: &Path, files: &[DataFile]) -> Vec<PathBuf> {
    files.iter().map(|file| folder.join(&file.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_where_files_come_from() {
        let part = part_name(BatchId(7), 3, "json");
        let cases = [
            (part.as_str(), Some(Origin::Batch(BatchId(7)))),
            (&format!(".{part}"), Some(Origin::Batch(BatchId(7)))),
            (&compact_name("csv"), Some(Origin::Compaction)),
            ("part-x-1.json", None),
            ("readme.json", None),
            ("_manifest", None),
        ];
        for (name, origin) in cases {
            assert_eq!(Origin::of(name), origin, "{name}");
        }
        assert_ne!(part, part_name(BatchId(7), 3, "json"));
    }
}
