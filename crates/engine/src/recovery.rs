//! Where a restart resumes: the offset log against the commit log, matched with the program by the names of its input streams.

mod aside;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::batch::{Batch, BatchId, StreamId};
use crate::checkpoint::CheckpointStorage;
use crate::checkpoint::metadata::{CheckpointMetadata, METADATA};
use crate::checkpoint::place::{CheckpointPlace, Claim};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::log::commit_log::{COMMIT_LOG, CommitLog, Done};
use crate::log::offset_log::{LoggedBatch, OFFSET_LOG, OffsetLog};
use crate::source::{Offset, OffsetRange};
use crate::time::Time;

pub use aside::{remove_oldest_aside, set_aside, set_contents_aside};

/// The logs of a checkpoint, held by this process alone.
pub struct CheckpointLogs {
    /// Where the checkpoint lies.
    pub storage: Arc<dyn CheckpointStorage>,
    /// The batches that were planned.
    pub offsets: Mutex<OffsetLog>,
    /// The batches that are done.
    pub commits: Mutex<CommitLog>,
    metadata: Mutex<Option<CheckpointMetadata>>,
    _claim: Claim,
}

impl CheckpointLogs {
    /// What it is a checkpoint of; `None` for one that is new.
    pub fn metadata(&self) -> Option<CheckpointMetadata> {
        self.metadata.lock().clone()
    }

    /// Says what it is a checkpoint of: before the start. Written only if it has changed.
    pub fn set_metadata(&self, metadata: CheckpointMetadata) -> Result<()> {
        let mut current = self.metadata.lock();
        if current.as_ref() != Some(&metadata) {
            metadata.write(self.storage.as_ref())?;
            *current = Some(metadata);
        }
        Ok(())
    }
}

/// Where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resume {
    /// Batches that were planned and are not done, in order: to be run again, as they were planned.
    pub unfinished: Vec<LoggedBatch>,
    /// The number of the next new batch.
    pub next: BatchId,
    /// The time of the last batch that was planned.
    pub last_time: Option<Time>,
    /// The last batch that covers an input stream, and where it ends, by the stream's name.
    pub ends: BTreeMap<String, (BatchId, Offset)>,
    /// The last batch that is done.
    pub committed: Option<BatchId>,
    /// The last entry of the state log when it was.
    pub state_entry: Option<u64>,
}

/// Where to go on, in terms of the program's streams.
#[derive(Debug, Default)]
pub struct Bound {
    /// Batches to be run again.
    pub unfinished: Vec<Batch>,
    /// Where the next batch begins, stream by stream.
    pub ends: BTreeMap<StreamId, Offset>,
}

impl Resume {
    /// Matches what was logged with the streams of the program, by name. A stream that is new begins where its source says;
    /// unfinished batches have nothing of it. What was logged of a stream that was dropped is left out.
    pub fn bind(&self, metadata: Option<&CheckpointMetadata>, inputs: &BTreeMap<StreamId, Input>) -> Result<Bound> {
        let zero = metadata.map_or(Time::default(), |metadata| metadata.zero);
        let since = |name: &str| {
            metadata.and_then(|metadata| metadata.streams.get(name)).map_or(BatchId(0), |stream| stream.since)
        };
        let mut ends = BTreeMap::new();
        let mut empty = BTreeMap::new();
        for (stream, input) in inputs {
            let logged = self.ends.get(&input.name).filter(|(batch, _)| *batch >= since(&input.name));
            let initial = || input.source.initial_offset();
            let end = logged.map_or_else(initial, |(_, end)| Ok(end.clone()))?;
            empty.insert(*stream, OffsetRange { start: end.clone(), end: end.clone() });
            ends.insert(*stream, end);
        }
        let bind = |batch: &LoggedBatch| {
            let range = |(stream, input): (&StreamId, &Input)| {
                let logged = batch.ranges.get(&input.name).filter(|_| batch.id >= since(&input.name));
                (*stream, logged.unwrap_or(&empty[stream]).clone())
            };
            Batch { id: batch.id, time: batch.time, zero, ranges: inputs.iter().map(range).collect() }
        };
        Ok(Bound { unfinished: self.unfinished.iter().map(bind).collect(), ends })
    }
}

/// Opens a checkpoint, a folder or a URI, for a driver, and finds where to go on.
///
/// # Errors
/// If another driver has it open, or a log is damaged.
pub fn open_checkpoint(place: &Path) -> Result<(CheckpointLogs, Resume)> {
    let (storage, claim) = CheckpointPlace::parse(place)?.open_alone()?;
    read_checkpoint(storage, claim)
}

/// Finds where to go on with a checkpoint.
///
/// # Errors
/// If a log is damaged.
pub fn read_checkpoint(storage: Arc<dyn CheckpointStorage>, claim: Claim) -> Result<(CheckpointLogs, Resume)> {
    let metadata = CheckpointMetadata::read(storage.as_ref())?;
    // Commits first: who only looks, beside a driver that runs, finds what they speak of.
    let (commits, done) = CommitLog::open(storage.as_ref())?;
    let (offsets, planned) = OffsetLog::open(storage.as_ref())?;
    if metadata.is_none() && (!planned.is_empty() || done.last().is_some()) {
        let place = storage.place(METADATA);
        return Err(Error::data(format!("{place} is missing, though batches were logged; restore it from a copy")));
    }
    check_together(storage.as_ref(), &planned, &done)?;
    let logs = CheckpointLogs {
        storage,
        offsets: Mutex::new(offsets),
        commits: Mutex::new(commits),
        metadata: Mutex::new(metadata),
        _claim: claim,
    };
    Ok((logs, resume(planned, &done)))
}

/// An error if entries of one log are missing that the other one speaks of.
fn check_together(storage: &dyn CheckpointStorage, planned: &[LoggedBatch], done: &Done) -> Result<()> {
    let (offsets, commits) = (storage.place(OFFSET_LOG), storage.place(COMMIT_LOG));
    let lost = |text: String| Err(Error::data(format!("{text}: restore the folder from a copy")));
    let last = planned.last().map(|batch| batch.id);
    if let Some(committed) = done.last().filter(|committed| last.is_none_or(|last| last < *committed)) {
        return lost(format!("batch {committed} is missing in {offsets}, which {commits} says is done"));
    }
    // What the offset log has forgotten was done.
    let first = planned.first().map_or(0, |batch| batch.id.0);
    match (done.before.0..first).map(BatchId).find(|batch| !done.contains(*batch)) {
        Some(batch) => lost(format!("batch {batch} is missing: in {commits}, if it was done, else in {offsets}")),
        None => Ok(()),
    }
}

/// Whether there is a checkpoint in a place, which can be read.
///
/// # Errors
/// If another driver has it open, on a local disk, or a file is damaged.
pub fn has_checkpoint(place: &Path) -> Result<bool> {
    let (storage, claim) = match CheckpointPlace::parse(place)? {
        CheckpointPlace::Local(folder) if !folder.is_dir() => return Ok(false),
        // Opened as for a run: opening mends a log whose last write was cut short, which another driver may be about to write.
        local @ CheckpointPlace::Local(_) => local.open_alone()?,
        // To look changes nothing there, but a claim would stop another driver.
        objects => (objects.open()?, Claim::default()),
    };
    Ok(read_checkpoint(storage, claim)?.0.metadata().is_some())
}

/// What was planned, less what is done.
fn resume(planned: Vec<LoggedBatch>, done: &Done) -> Resume {
    let next = planned.last().map_or(BatchId(0), |batch| BatchId(batch.id.0 + 1));
    let last_time = planned.last().map(|batch| batch.time);
    let mut ends = BTreeMap::new();
    for batch in &planned {
        ends.extend(batch.ranges.iter().map(|(stream, range)| (stream.clone(), (batch.id, range.end.clone()))));
    }
    let (committed, state_entry) = (done.last(), done.state);
    let unfinished = planned.into_iter().filter(|batch| !done.contains(batch.id)).collect();
    Resume { unfinished, next, last_time, ends, committed, state_entry }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::checkpoint::metadata::Program;
    use crate::log::commit_log::Commit;

    fn batch(id: u64, start: u64, end: u64) -> LoggedBatch {
        let range = OffsetRange { start: Offset::count(start), end: Offset::count(end) };
        LoggedBatch { id: BatchId(id), time: Time::from_millis(id as i64 * 10), ranges: [("a".into(), range)].into() }
    }

    fn metadata() -> CheckpointMetadata {
        let (batch_interval, zero, next) = (Duration::from_millis(10), Time::from_millis(-10), BatchId(0));
        let program = Program { batch_interval, zero, next, streams: vec!["a"], dropped: "" };
        CheckpointMetadata::for_program(None, &program).unwrap()
    }

    #[test]
    fn a_restart_runs_what_is_planned_and_not_done() {
        let cases: [(&[u64], u64, &[u64], &[u64]); 7] = [
            (&[], 0, &[], &[]),
            (&[0], 0, &[], &[0]),
            (&[0, 1], 0, &[0], &[1]),
            (&[0, 1, 2], 0, &[0, 2], &[1]),
            (&[0, 1], 0, &[0, 1], &[]),
            // Commits of batches that are still in the offset log may be gone.
            (&[0, 1, 2, 3], 2, &[2], &[3]),
            (&[0, 1, 2, 3], 1, &[3], &[1, 2]),
        ];
        for (planned, before, done, unfinished) in cases {
            let batches: Vec<LoggedBatch> = planned.iter().map(|id| batch(*id, *id, id + 1)).collect();
            let commit = |id: &u64| Commit { batch: BatchId(*id), before: BatchId(before), state: None };
            let resume = resume(batches, &Done::of(done.iter().map(commit)));
            assert_eq!(resume.unfinished.iter().map(|batch| batch.id.0).collect::<Vec<_>>(), unfinished);
            assert_eq!(resume.next.0, planned.len() as u64);
            let end = resume.ends.get("a").map(|(batch, end)| (batch.0, end.as_count()));
            assert_eq!(end, planned.last().map(|id| (*id, id + 1)));
        }
    }

    #[test]
    fn a_checkpoint_has_one_driver_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (logs, resume) = open_checkpoint(folder.path()).unwrap();
        assert_eq!(resume, Resume::default());
        logs.set_metadata(metadata()).unwrap();
        logs.offsets.lock().append(&batch(0, 0, 5)).unwrap();
        assert!(open_checkpoint(folder.path()).err().unwrap().message().contains("another driver"));
        let written = logs.metadata();
        drop(logs);
        let (logs, resume) = open_checkpoint(folder.path()).unwrap();
        assert_eq!((resume.unfinished, logs.metadata()), (vec![batch(0, 0, 5)], written));
        logs.commits.lock().append(Commit { batch: BatchId(0), before: BatchId(0), state: None }).unwrap();
        drop(logs);
        assert!(open_checkpoint(folder.path()).unwrap().1.unfinished.is_empty());
        std::fs::remove_file(folder.path().join(METADATA)).unwrap();
        assert!(open_checkpoint(folder.path()).err().unwrap().message().contains("metadata is missing"));
    }

    #[test]
    fn logs_that_lack_what_the_other_one_speaks_of_are_refused() {
        // (planned, all before this one are done, done, what is missing and where)
        type Case = (&'static [u64], u64, &'static [u64], Option<(&'static str, &'static str)>);
        let cases: [Case; 9] = [
            (&[], 0, &[], None),
            (&[0, 1], 0, &[0], None),
            (&[5, 6], 4, &[4, 6], None),
            (&[5, 6], 5, &[], None),
            (&[], 3, &[3], Some(("batch 3", "offsets"))),
            (&[0, 1], 2, &[2], Some(("batch 2", "offsets"))),
            (&[5, 6], 0, &[], Some(("batch 0", "commits"))),
            (&[5, 6], 3, &[3], Some(("batch 4", "commits"))),
            (&[5, 6], 4, &[5, 6], Some(("batch 4", "commits"))),
        ];
        for (planned, before, done, missing) in cases {
            let folder = tempfile::tempdir().unwrap();
            let (logs, _) = open_checkpoint(folder.path()).unwrap();
            logs.set_metadata(metadata()).unwrap();
            planned.iter().for_each(|id| logs.offsets.lock().append(&batch(*id, *id, id + 1)).unwrap());
            for id in done {
                let commit = Commit { batch: BatchId(*id), before: BatchId(before), state: None };
                logs.commits.lock().append(commit).unwrap();
            }
            if done.is_empty() && before > 0 {
                let (batch, before) = (BatchId(before - 1), BatchId(before));
                logs.commits.lock().append(Commit { batch, before, state: None }).unwrap();
            }
            drop(logs);
            let error = open_checkpoint(folder.path()).err().map(|error| error.message().to_string());
            match (missing, error) {
                (None, None) => {}
                (Some((batch, log)), Some(error)) => {
                    let log = folder.path().join(log).display().to_string();
                    assert!(error.contains(&format!("{batch} is missing")) && error.contains(&log), "{error}");
                }
                (expected, error) => panic!("{planned:?}, {before}, {done:?}: {expected:?}, got {error:?}"),
            }
        }
    }
}
