//! `FileSource`: files that appear in a directory, by Spark's rule.
//!
//! A file belongs to the batch of time t if its name passes the filter, it was modified after the ignore threshold and not after
//! t, and no batch within the remembered time has it. The ignore threshold is t minus the remembered time, or the start of the
//! stream where only new files count, whichever is later. So files must be moved into the directory, complete.
//!
//! Offsets count entries of the source's own log: one for the start of the stream, then one for each batch that found files.
//! With a checkpoint that log is durable, written before the batch is logged: a restart finds which files each batch had, and
//! reads none twice. The first batch after a restart covers the time that nobody looked: its ignore threshold is that of the last
//! batch that is known to have looked, the last one that found files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{InputInfo, Offset, OffsetRange, Source, SourceBatch};
use crate::checkpoint::CheckpointStorage;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::lineage::Lineage;
use crate::log::metadata_log::MetadataLog;
use crate::operator::text_scan::{FileForm, FileSplit, TextScanExec, is_compressed};
use crate::time::Time;

/// Larger files are read in parts of this size.
const SPLIT_BYTES: u64 = 32 << 20;

/// The files that one batch found; none, for the start of the stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Found {
    time: Time,
    /// When the stream began, at first.
    began: Time,
    files: Vec<FileSplit>,
}

/// Which files of a directory are read, and as what.
pub struct FileSettings {
    /// The directory, or a glob of directories.
    pub directory: String,
    /// Whether files that are there at the start are left out.
    pub new_files_only: bool,
    /// How long a file that was read is remembered, and how old a file may be to be read.
    pub remember: Duration,
    /// Whether a file of this name is read.
    pub filter: Box<dyn Fn(&Path) -> bool + Send + Sync>,
    /// What is made of a file.
    pub form: FileForm,
}

/// Files that appear in a directory.
pub struct FileSource {
    settings: FileSettings,
    state: Mutex<State>,
    /// There was no directory when it was last looked for.
    missing: AtomicBool,
}

#[derive(Default)]
struct State {
    /// When the stream began, at first: files modified before are not new.
    began: Option<Time>,
    /// The last batch of an earlier run that is known to have looked; until a batch of this run has.
    resumed: Option<Time>,
    next: u64,
    found: BTreeMap<u64, Found>,
    log: Option<MetadataLog<Found>>,
    /// Where the log lies.
    place: String,
}

impl State {
    fn append(&mut self, found: Found) -> Result<()> {
        let number = self.next;
        if let Some(log) = &mut self.log {
            failpoint::hit("files-found");
            log.append(number, &found)?;
            failpoint::hit("files-logged");
        }
        self.found.insert(number, found);
        self.next = number + 1;
        Ok(())
    }
}

impl FileSource {
    /// A source of a directory's files.
    pub fn new(settings: FileSettings) -> Self {
        Self { settings, state: Mutex::default(), missing: AtomicBool::new(false) }
    }

    fn directories(&self) -> Vec<PathBuf> {
        let pattern = &self.settings.directory;
        if Path::new(pattern).is_dir() {
            self.missing.store(false, Ordering::Relaxed);
            return vec![PathBuf::from(pattern)];
        }
        let found: Vec<PathBuf> = glob::glob(pattern)
            .into_iter()
            .flatten()
            .filter_map(|path| path.ok())
            .filter(|path| path.is_dir())
            .collect();
        // Told once for each time that it is gone: batches may be milliseconds apart.
        if found.is_empty() && !self.missing.swap(true, Ordering::Relaxed) {
            tracing::warn!(directory = pattern, "the directory does not exist (yet)");
        } else if !found.is_empty() {
            self.missing.store(false, Ordering::Relaxed);
        }
        found
    }

    /// The files that are new to the batch of `time`, by name: modified after `threshold`.
    fn new_files(&self, time: Time, threshold: Time, known: &BTreeSet<&str>) -> Vec<FileSplit> {
        let mut files = Vec::new();
        for directory in self.directories() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) => {
                    tracing::warn!(directory = %directory.display(), %error, "can't list the directory");
                    continue;
                }
            };
            for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
                // A file may vanish between the listing and the look at it: it is not there, then.
                let Ok(metadata) = fs::metadata(&path) else { continue };
                let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let modified = Time::from_millis(modified.map_or(0, crate::time::millis));
                let Some(name) = path.to_str() else {
                    tracing::warn!(file = %path.display(), "left out: its name is not UTF-8");
                    continue;
                };
                let fits =
                    metadata.is_file() && threshold < modified && modified <= time && (self.settings.filter)(&path);
                if fits && !known.contains(name) {
                    files.push(FileSplit { path: name.to_string(), start: 0, end: metadata.len() });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }
}

impl Source for FileSource {
    fn name(&self) -> String {
        format!("files of {}", self.settings.directory)
    }

    fn is_replayable(&self) -> bool {
        true
    }

    fn initial_offset(&self) -> Result<Offset> {
        Ok(Offset::count(0))
    }

    fn latest_offset(&self, _: &Offset, time: Time) -> Result<Offset> {
        let mut state = self.state.lock();
        let began = state.began.unwrap_or(time);
        let oldest = state.resumed.map_or(time, |resumed| resumed.min(time)) - self.settings.remember;
        let threshold = if self.settings.new_files_only { oldest.max(began) } else { oldest };
        // As in Spark, a file that was read longer ago and is modified again is read again.
        let remembered = state.found.values().filter(|found| found.time >= oldest);
        let known: BTreeSet<&str> =
            remembered.flat_map(|found| found.files.iter().map(|file| file.path.as_str())).collect();
        let files = self.new_files(time, threshold, &known);
        if !files.is_empty() {
            state.append(Found { time, began, files })?;
        }
        state.resumed = None;
        Ok(Offset::count(state.next))
    }

    fn read(&self, range: &OffsetRange, _: Time) -> Result<SourceBatch> {
        let state = self.state.lock();
        let mut splits = Vec::new();
        let mut names = Vec::new();
        for number in range.start.as_count()..range.end.as_count() {
            let found = state.found.get(&number).ok_or_else(|| {
                Error::data(format!("{}: the log of files has no entry {number} any more", self.name()))
            })?;
            for file in &found.files {
                names.push(file.path.clone());
                let whole = self.settings.form != FileForm::Lines || is_compressed(&file.path);
                let step = if whole { file.end.max(1) } else { SPLIT_BYTES };
                let mut start = 0;
                while start < file.end || (start == 0 && file.end == 0) {
                    let end = file.end.min(start + step);
                    splits.push(vec![FileSplit { path: file.path.clone(), start, end }]);
                    start += step;
                }
            }
        }
        // As in Spark, the number of records is not known without reading the files.
        let description = (!names.is_empty()).then(|| names.join("\n"));
        let info = InputInfo { name: self.name(), records: 0, description };
        let rows = if splits.is_empty() { 0 } else { usize::MAX };
        Ok(SourceBatch {
            lineage: Lineage::scan(Arc::new(TextScanExec::new(splits, self.settings.form)), rows),
            info,
            lost: false,
        })
    }

    fn start(&self, start: &Offset, now: Time) -> Result<()> {
        let mut state = self.state.lock();
        if start.as_count() > state.next {
            return Err(Error::data(format!(
                "entry {} is missing in {}, the log of files that batches have read: restore the folder from a copy",
                start.as_count() - 1,
                state.place
            )));
        }
        if state.began.is_none() {
            state.began = Some(now);
            state.append(Found { time: now, began: now, files: Vec::new() })?;
        }
        Ok(())
    }

    fn commit(&self, end: &Offset) -> Result<()> {
        let mut state = self.state.lock();
        let State { found, log, .. } = &mut *state;
        let Some(newest) = found.values().map(|found| found.time).max() else { return Ok(()) };
        let oldest = newest - self.settings.remember;
        // An entry that is done with is still needed to know its files, for as long as they may be found.
        found.retain(|number, found| *number >= end.as_count() || found.time >= oldest);
        if let (Some(log), Some((first, _))) = (log, found.first_key_value()) {
            log.purge_before(*first)?;
        }
        Ok(())
    }

    fn set_checkpoint(&self, storage: &Arc<dyn CheckpointStorage>, folder: &str) -> Result<()> {
        let (log, entries) = MetadataLog::<Found>::open(storage.as_ref(), folder)?;
        let mut state = self.state.lock();
        if let Some((number, last)) = entries.last() {
            state.next = number + 1;
            // What came while nobody looked is new: the first run's begin counts.
            (state.began, state.resumed) = (Some(last.began), Some(last.time));
        }
        state.found = entries.into_iter().collect();
        state.log = Some(log);
        state.place = storage.place(folder);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::local::LocalStorage;

    fn source(directory: &Path, new_files_only: bool) -> FileSource {
        FileSource::new(FileSettings {
            directory: directory.to_str().unwrap().into(),
            new_files_only,
            remember: Duration::from_secs(60),
            filter: Box::new(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.')),
            form: FileForm::Lines,
        })
    }

    fn put(folder: &Path, name: &str, modified_ms: u64) {
        let path = folder.join(name);
        fs::write(&path, name).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_millis(modified_ms)).unwrap();
    }

    fn found(source: &FileSource, start: u64, time: i64) -> (u64, Vec<String>) {
        let time = Time::from_millis(time);
        let (start, end) = (Offset::count(start), source.latest_offset(&Offset::count(start), time).unwrap());
        let info = source.read(&OffsetRange { start, end: end.clone() }, time).unwrap().info;
        let name = |path: &str| path.rsplit('/').next().unwrap().to_string();
        (end.as_count(), info.description.iter().flat_map(|files| files.lines()).map(name).collect())
    }

    #[test]
    fn files_are_selected_by_time_and_name_and_once() {
        let folder = tempfile::tempdir().unwrap();
        for (name, modified) in [("old", 900_000), ("now", 1_000_000), (".hidden", 1_000_000), ("later", 1_000_500)] {
            put(folder.path(), name, modified);
        }
        put(folder.path(), "before", 999_999);
        let all = source(folder.path(), false);
        assert_eq!(found(&all, 0, 1_000_000), (1, vec!["before".into(), "now".into()]));
        put(folder.path(), "now", 1_000_400);
        assert_eq!(found(&all, 1, 1_001_000), (2, vec!["later".into()]));
        assert_eq!(found(&all, 2, 1_002_000), (2, vec![]));
        let new = source(folder.path(), true);
        new.start(&Offset::count(0), Time::from_millis(1_000_000)).unwrap();
        assert_eq!(found(&new, 0, 1_000_000), (1, vec![]));
        assert_eq!(found(&new, 1, 1_001_000), (2, vec!["later".into(), "now".into()]));
        // Within the remembered time a file that is modified is not read again; after that it is.
        put(folder.path(), "now", 1_061_000);
        assert_eq!(found(&new, 2, 1_061_000), (2, vec![]));
        put(folder.path(), "now", 1_061_500);
        assert_eq!(found(&new, 2, 1_062_000), (3, vec!["now".into()]));
        assert_eq!(found(&source(&folder.path().join("none"), true), 0, 1_000_000), (0, vec![]));
    }

    fn started(directory: &Path, checkpoint: &Path, start: u64, now: i64) -> FileSource {
        let source = source(directory, true);
        let storage: Arc<dyn CheckpointStorage> = Arc::new(LocalStorage::open(checkpoint).unwrap());
        source.set_checkpoint(&storage, "files").unwrap();
        source.start(&Offset::count(start), Time::from_millis(now)).unwrap();
        source
    }

    #[test]
    fn a_restart_remembers_what_each_batch_had() {
        let (folder, checkpoint) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(folder.path(), "one", 1_000_500);
        let first = started(folder.path(), checkpoint.path(), 0, 1_000_000);
        assert_eq!(found(&first, 0, 1_000_000).0, 1);
        assert_eq!(found(&first, 1, 1_001_000), (2, vec!["one".into()]));
        drop(first);
        put(folder.path(), "while-down", 1_001_500);
        let second = started(folder.path(), checkpoint.path(), 2, 1_001_900);
        assert_eq!(found(&second, 2, 1_002_000), (3, vec!["while-down".into()]));
        // The batch that was not done is read again as it was.
        assert_eq!(found(&second, 1, 1_002_000).1, ["one", "while-down"]);
    }

    #[test]
    fn a_log_that_ends_before_what_batches_have_read_is_refused() {
        let (folder, checkpoint) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let storage: Arc<dyn CheckpointStorage> = Arc::new(LocalStorage::open(checkpoint.path()).unwrap());
        started(folder.path(), checkpoint.path(), 0, 1_000_000);
        let source = source(folder.path(), true);
        source.set_checkpoint(&storage, "files").unwrap();
        let error = source.start(&Offset::count(2), Time::from_millis(2_000_000)).unwrap_err();
        let place = checkpoint.path().join("files").display().to_string();
        assert!(error.message().contains("entry 1 is missing") && error.message().contains(&place), "{error}");
        source.start(&Offset::count(1), Time::from_millis(2_000_000)).unwrap();
    }

    #[test]
    fn what_comes_while_nobody_looks_is_new_however_long_that_is() {
        let (folder, checkpoint) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(folder.path(), "before", 999_000);
        // The first run finds nothing at all.
        let first = started(folder.path(), checkpoint.path(), 0, 1_000_000);
        assert_eq!(found(&first, 0, 1_001_000), (1, vec![]));
        drop(first);
        put(folder.path(), "down", 1_500_000);
        let second = started(folder.path(), checkpoint.path(), 1, 9_000_000);
        assert_eq!(found(&second, 1, 9_000_000), (2, vec!["down".into()]));
        // From then on the rule is as ever.
        put(folder.path(), "stale", 8_900_000);
        assert_eq!(found(&second, 2, 9_001_000), (2, vec![]));
        put(folder.path(), "fresh", 8_999_999);
        assert_eq!(found(&second, 2, 9_002_000), (3, vec!["fresh".into()]));
    }
}
