//! Where a restart resumes: the offset log against the commit log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::batch::{Batch, BatchId, StreamId};
use crate::checkpoint::CheckpointStorage;
use crate::checkpoint::local::{FolderLock, LocalStorage};
use crate::error::Result;
use crate::log::commit_log::{Commit, CommitLog};
use crate::log::offset_log::OffsetLog;
use crate::source::Offset;
use crate::time::Time;

/// The logs of a checkpoint, held by this process alone.
pub struct CheckpointLogs {
    /// Where the checkpoint lies.
    pub storage: Arc<dyn CheckpointStorage>,
    /// The batches that were planned.
    pub offsets: Mutex<OffsetLog>,
    /// The batches that are done.
    pub commits: Mutex<CommitLog>,
    _lock: FolderLock,
}

impl CheckpointLogs {
    /// Forgets batches before `batch`, and all but the last `commits` commits, as far as that is cheap.
    pub fn forget_before(&self, batch: BatchId, commits: u64) -> Result<()> {
        self.offsets.lock().purge_before(batch)?;
        self.commits.lock().keep_last(commits)
    }
}

/// Where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resume {
    /// Batches that were planned and are not done, in order: to be run again, as they were planned.
    pub unfinished: Vec<Batch>,
    /// The number of the next new batch.
    pub next: BatchId,
    /// The time of the last batch that was planned.
    pub last_time: Option<Time>,
    /// The time from which the first run counted its batches.
    pub zero: Option<Time>,
    /// Where the last planned batch ended, source by source.
    pub ends: BTreeMap<StreamId, Offset>,
    /// The last batch that is done.
    pub committed: Option<BatchId>,
    /// The last entry of the state log when it was.
    pub state_entry: Option<u64>,
}

/// Opens a checkpoint folder and finds where to go on.
///
/// # Errors
/// If another process has it open, or a log is damaged.
pub fn open_checkpoint(folder: &Path) -> Result<(CheckpointLogs, Resume)> {
    let storage = LocalStorage::open(folder)?;
    let lock = storage.lock()?;
    let (offsets, planned) = OffsetLog::open(&storage)?;
    let (commits, done) = CommitLog::open(&storage)?;
    let logs = CheckpointLogs {
        storage: Arc::new(storage),
        offsets: Mutex::new(offsets),
        commits: Mutex::new(commits),
        _lock: lock,
    };
    Ok((logs, resume(planned, done)))
}

/// What was planned, less what is done.
fn resume(planned: Vec<Batch>, commits: Vec<Commit>) -> Resume {
    let state_entry = commits.iter().filter_map(|commit| commit.state).max();
    let done: BTreeSet<BatchId> = commits.iter().map(|commit| commit.batch).collect();
    let committed = done.last().copied();
    let next = planned.last().map_or(BatchId(0), |batch| BatchId(batch.id.0 + 1));
    let (last_time, zero) = planned.last().map(|batch| (batch.time, batch.zero)).unzip();
    let mut ends = BTreeMap::new();
    for batch in &planned {
        ends.extend(batch.ranges.iter().map(|(stream, range)| (*stream, range.end.clone())));
    }
    let unfinished = planned.into_iter().filter(|batch| !done.contains(&batch.id)).collect();
    Resume { unfinished, next, last_time, zero, ends, committed, state_entry }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::OffsetRange;

    fn batch(id: u64, start: u64, end: u64) -> Batch {
        let range = OffsetRange { start: Offset::count(start), end: Offset::count(end) };
        let (time, zero) = (Time::from_millis(id as i64 * 10), Time::from_millis(-10));
        Batch { id: BatchId(id), time, zero, ranges: [(StreamId(0), range)].into() }
    }

    #[test]
    fn a_restart_runs_what_is_planned_and_not_done() {
        let cases: [(&[u64], &[u64], &[u64]); 5] = [
            (&[], &[], &[]),
            (&[0], &[], &[0]),
            (&[0, 1], &[0], &[1]),
            (&[0, 1, 2], &[0, 2], &[1]),
            (&[0, 1], &[0, 1], &[]),
        ];
        for (planned, done, unfinished) in cases {
            let batches: Vec<Batch> = planned.iter().map(|id| batch(*id, *id, id + 1)).collect();
            let resume = resume(batches, done.iter().map(|id| Commit { batch: BatchId(*id), state: None }).collect());
            assert_eq!(resume.unfinished.iter().map(|batch| batch.id.0).collect::<Vec<_>>(), unfinished);
            assert_eq!(resume.next.0, planned.len() as u64);
            assert_eq!(resume.zero, planned.first().map(|_| Time::from_millis(-10)));
            assert_eq!(resume.ends.get(&StreamId(0)).map(Offset::as_count), planned.last().map(|id| id + 1));
        }
    }

    #[test]
    fn a_checkpoint_has_one_driver_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (logs, resume) = open_checkpoint(folder.path()).unwrap();
        assert_eq!(resume, Resume::default());
        logs.offsets.lock().append(&batch(0, 0, 5)).unwrap();
        assert!(open_checkpoint(folder.path()).err().unwrap().message().contains("another driver"));
        drop(logs);
        let (logs, resume) = open_checkpoint(folder.path()).unwrap();
        assert_eq!(resume.unfinished, [batch(0, 0, 5)]);
        logs.commits.lock().append(BatchId(0), None).unwrap();
        drop(logs);
        assert!(open_checkpoint(folder.path()).unwrap().1.unfinished.is_empty());
    }
}
