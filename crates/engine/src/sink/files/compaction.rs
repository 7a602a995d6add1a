//! Small files into bigger ones, on a thread of the sink's.
//!
//! Files that lie beside each other are merged with files that were merged as often as they: so each row is written again once for
//! every factor of `min_files` in the size of the table, up to the target size, and never more. The merged file takes its place in
//! one entry of the manifest; the files that it replaces stay for a grace, for readers that know no better.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::data_file::{self, DataFile, paths};
use super::disk::{remove, sync_folder};
use super::manifest::{Entry, Manifest};
use super::{Settings, sweep};
use crate::error::{Error, Result};
use crate::failpoint;

/// The most files that are merged at once.
const MAX_FILES: usize = 1024;

/// When small files are merged into bigger ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compaction {
    /// The size at which a file is big enough, in bytes; 128 MiB unless said otherwise.
    pub target_bytes: u64,
    /// How many files of a kind there must be before they are merged, at least 2; 16 unless said otherwise.
    pub min_files: usize,
    /// How long a file stays after it was replaced, for readers; ten minutes unless said otherwise.
    pub grace: Duration,
}

impl Default for Compaction {
    fn default() -> Self {
        Self { target_bytes: 128 << 20, min_files: 16, grace: Duration::from_secs(600) }
    }
}

impl Compaction {
    /// The first files that are to be merged.
    fn pick(&self, files: &[DataFile]) -> Option<Range<usize>> {
        let is_small = |file: &DataFile| file.bytes < self.target_bytes;
        let mut start = 0;
        while start < files.len() {
            let (level, mut end, mut bytes) = (files[start].level, start, 0);
            let fits = |file: &DataFile| file.level == level && is_small(file);
            while end < files.len() && fits(&files[end]) && bytes < self.target_bytes && end - start < MAX_FILES {
                bytes += files[end].bytes;
                end += 1;
            }
            let enough = end - start >= self.min_files.max(2) || bytes >= self.target_bytes && end - start >= 2;
            if enough {
                return Some(start..end);
            }
            start = end.max(start + 1);
        }
        None
    }
}

/// The thread.
pub(super) struct Compactor {
    work: Arc<Work>,
    wake: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What there is to do, for whoever has the time.
pub(super) struct Work {
    settings: Settings,
    manifest: Arc<Mutex<Manifest>>,
    stopping: AtomicBool,
    /// Held by whoever is at it.
    turn: Mutex<()>,
}

impl Compactor {
    pub fn start(settings: Settings, manifest: Arc<Mutex<Manifest>>) -> Result<Self> {
        let work = Arc::new(Work { settings, manifest, stopping: AtomicBool::new(false), turn: Mutex::default() });
        let (wake, woken) = bounded(1);
        let thread = std::thread::Builder::new().name("tidemill-compaction".into()).spawn({
            let work = Arc::clone(&work);
            move || work.run_until_stopped(&woken)
        });
        let thread = thread.map_err(|error| Error::retry("the compaction can't be started").with_source(error))?;
        Ok(Self { work, wake: Some(wake), thread: Some(thread) })
    }

    /// There may be something to do.
    pub fn wake(&self) {
        // Refused only where the thread is woken already.
        let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
    }

    /// What the thread does.
    pub fn work(&self) -> Arc<Work> {
        Arc::clone(&self.work)
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.work.stopping.store(true, Ordering::Relaxed);
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Work {
    fn run_until_stopped(&self, woken: &Receiver<()>) {
        while let Ok(()) = woken.recv() {
            if let Err(error) = self.run()
                && !self.stopping.load(Ordering::Relaxed)
            {
                let folder = self.settings.folder.display();
                tracing::warn!(%error, %folder, "files could not be compacted; the next batch tries again");
            }
        }
    }

    /// Merges, deletes and sweeps until there is nothing left to do; how many files were replaced.
    pub fn run(&self) -> Result<usize> {
        let _turn = self.turn.lock();
        let mut replaced = 0;
        if let Some(compaction) = &self.settings.compaction {
            while let Some(files) = self.pick(compaction) {
                self.go_on()?;
                self.replace(&files)?;
                replaced += files.len();
            }
        }
        self.delete_removed()?;
        let mut manifest = self.manifest.lock();
        if manifest.checkpoint_if_due()? {
            sweep(&self.settings.folder, &manifest, false)?;
        }
        Ok(replaced)
    }

    fn go_on(&self) -> Result<()> {
        let stopping = self.stopping.load(Ordering::Relaxed);
        if stopping { Err(Error::retry("the sink is closed: its compaction ends")) } else { Ok(()) }
    }

    fn pick(&self, compaction: &Compaction) -> Option<Vec<DataFile>> {
        let manifest = self.manifest.lock();
        let files = &manifest.snapshot().files;
        compaction.pick(files).filter(|_| !manifest.has_failed()).map(|range| files[range].to_vec())
    }

    fn replace(&self, files: &[DataFile]) -> Result<()> {
        let Settings { folder, format, clock, .. } = &self.settings;
        let name = data_file::compact_name(format.extension());
        let merge = |path: &_, file: &_| format.merge(&paths(folder, files), path, file, &|| self.go_on());
        let bytes = data_file::create(folder, &name, merge)?;
        sync_folder(folder)?;
        failpoint::hit("compaction-file-written");
        let level = files.iter().map(|file| file.level + 1).max().unwrap_or(1);
        let merged = DataFile { name, rows: files.iter().map(|file| file.rows).sum(), bytes, level };
        let removed = files.iter().map(|file| file.name.clone()).collect();
        let entry = Entry { batch: None, at: clock.now(), table: None, added: vec![merged], removed };
        self.manifest.lock().append(entry)?;
        failpoint::hit("compaction-appended");
        metrics::counter!("tidemill_compacted_files_total").increment(files.len() as u64);
        Ok(())
    }

    fn delete_removed(&self) -> Result<()> {
        let Settings { folder, clock, compaction, .. } = &self.settings;
        let grace = compaction.as_ref().map_or(Compaction::default().grace, |compaction| compaction.grace);
        let now = clock.now();
        let mut deleted = HashSet::new();
        for removed in self.manifest.lock().snapshot().removed.iter().filter(|removed| removed.at + grace <= now) {
            remove(&folder.join(&removed.name))?;
            failpoint::hit("compaction-file-deleted");
            deleted.insert(removed.name.clone());
        }
        self.manifest.lock().forget_removed(&deleted);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_a_level_are_merged_when_there_are_enough() {
        let compaction = Compaction { target_bytes: 100, min_files: 3, ..Compaction::default() };
        let cases: [(&[(u64, u32)], Option<Range<usize>>); 9] = [
            (&[], None),
            (&[(1, 0), (1, 0)], None),
            (&[(1, 0), (1, 0), (1, 0)], Some(0..3)),
            (&[(1, 0), (1, 0), (1, 1), (1, 0)], None),
            (&[(3, 1), (1, 0), (1, 0), (1, 0), (1, 0)], Some(1..5)),
            // Big enough, alone and together.
            (&[(100, 0), (100, 0), (100, 0)], None),
            (&[(99, 0), (99, 0)], Some(0..2)),
            (&[(100, 0), (60, 0), (60, 0), (60, 0)], Some(1..3)),
            (&[(9, 2), (3, 1), (3, 1), (3, 1)], Some(1..4)),
        ];
        for (files, expected) in cases {
            let file =
                |(bytes, level): &(u64, u32)| DataFile { name: String::new(), rows: 1, bytes: *bytes, level: *level };
            assert_eq!(compaction.pick(&files.iter().map(file).collect::<Vec<_>>()), expected, "{files:?}");
        }
    }
}
