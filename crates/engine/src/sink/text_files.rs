//! `TextFilesSink`: a directory `prefix-TIME[.suffix]` of text files for every batch.
//!
//! Partitions are written aside, into `_temporary-` and the directory's name, and synced. The commit moves that folder to its name
//! in one step. What an earlier run of the same batch left there is moved aside before: a reader sees a whole batch or none.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;

use super::{Receipt, Sink, lines};
use crate::batch::BatchStamp;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::time::Time;

/// Writes batches as directories of text files.
pub struct TextFilesSink {
    prefix: PathBuf,
    suffix: String,
}

impl TextFilesSink {
    /// Directories are named after `prefix`, the batch time in milliseconds, and `suffix`; either may be empty.
    pub fn new(prefix: impl Into<PathBuf>, suffix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), suffix: suffix.into() }
    }

    /// The directory of a batch.
    pub fn path(&self, time: Time) -> PathBuf {
        let mut path = self.prefix.as_os_str().to_os_string();
        if !path.is_empty() {
            path.push("-");
        }
        path.push(time.as_millis().to_string());
        if !self.suffix.is_empty() {
            path.push(".");
            path.push(&self.suffix);
        }
        path.into()
    }

    /// A folder of the same batch in the same place, under a name that readers leave out.
    fn beside(&self, time: Time, what: &str) -> PathBuf {
        let target = self.path(time);
        let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        target.with_file_name(format!("{what}-{name}"))
    }

    fn staging(&self, time: Time) -> PathBuf {
        self.beside(time, "_temporary")
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| {
        Error::retry(format!("can't write {}; is there space and permission?", path.display())).with_source(error)
    }
}

impl Sink for TextFilesSink {
    fn name(&self) -> String {
        format!("text files {}", self.prefix.display())
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    fn write(&self, batch: BatchStamp, partition: usize, rows: Vec<RecordBatch>) -> Result<Receipt> {
        let folder = self.staging(batch.time);
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let name = format!("part-{partition:05}");
        let path = folder.join(&name);
        let write = || {
            let mut file = BufWriter::new(File::create(&path)?);
            for line in lines(&rows).map_err(std::io::Error::other)? {
                file.write_all(line.as_bytes())?;
                file.write_all(b"\n")?;
            }
            file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
        };
        write().map_err(failed(&path))?;
        failpoint::hit("text-files-written");
        Ok(Receipt(name))
    }

    fn commit(&self, batch: BatchStamp, receipts: Vec<Receipt>) -> Result<()> {
        let (staging, target) = (self.staging(batch.time), self.path(batch.time));
        fs::create_dir_all(&staging).map_err(failed(&staging))?;
        // What an attempt with more partitions left behind is not of this batch.
        for entry in fs::read_dir(&staging).map_err(failed(&staging))? {
            let path = entry.map_err(failed(&staging))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if !receipts.iter().any(|receipt| receipt.0 == name) {
                fs::remove_file(&path).map_err(failed(&path))?;
            }
        }
        File::create(staging.join("_SUCCESS")).map_err(failed(&staging))?;
        sync_folder(&staging)?;
        failpoint::hit("text-files-staged");
        // What an earlier run of the batch left is moved aside first: no reader ever sees the files of both.
        let aside = self.beside(batch.time, "_replaced");
        remove(&aside)?;
        match fs::rename(&target, &aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(&target)(error)),
            _ => {}
        }
        failpoint::hit("text-files-aside");
        fs::rename(&staging, &target).map_err(failed(&target))?;
        failpoint::hit("text-files-moved");
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_folder(parent.unwrap_or(Path::new(".")))?;
        remove(&aside)
    }
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|open| open.sync_all()).map_err(failed(folder))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(folder)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchId;
    use crate::chunk::text_schema;
    use arrow::array::StringArray;
    use std::sync::Arc;

    fn text(rows: &[&str]) -> Vec<RecordBatch> {
        vec![RecordBatch::try_new(text_schema(), vec![Arc::new(StringArray::from(rows.to_vec()))]).unwrap()]
    }

    #[test]
    fn directories_are_named_after_prefix_time_and_suffix() {
        let path = |prefix: &str, suffix: &str| TextFilesSink::new(prefix, suffix).path(Time::from_millis(5));
        let paths = [path("a/b", ""), path("a", "txt"), path("", "txt"), path("", "")];
        assert_eq!(paths.map(|path| path.display().to_string()), ["a/b-5", "a-5.txt", "5.txt", "5"]);
    }

    #[test]
    fn a_batch_is_there_whole_or_not_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let sink = TextFilesSink::new(folder.path().join("out"), "");
        let batch = BatchStamp { id: BatchId(0), time: Time::from_millis(7) };
        for partitions in [3, 2] {
            let write = |p: usize| sink.write(batch, p, text(&["x", "y"][..p.min(2)])).unwrap();
            let receipts = (0..partitions).map(write).collect();
            if partitions == 3 {
                assert!(!sink.path(batch.time).exists(), "nothing is visible before the commit");
            }
            sink.commit(batch, receipts).unwrap();
        }
        let names = |path: &Path| {
            let mut names: Vec<String> =
                fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(names(folder.path()), ["out-7"]);
        assert_eq!(names(&sink.path(batch.time)), ["_SUCCESS", "part-00000", "part-00001"]);
        assert_eq!(fs::read_to_string(sink.path(batch.time).join("part-00001")).unwrap(), "x\n");
    }
}
