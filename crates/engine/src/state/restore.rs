//! From the files of a checkpoint to a version of a state: what the log holds of whom, a snapshot, and the changes after it.

use arrow::array::RecordBatch;

use super::compaction::read_base;
use super::entry::{decode_entry, from_ipc};
use super::index::{Delta, Index, Way};
use super::{StateId, StateVersion};
use crate::checkpoint::{AppendLog, CheckpointStorage};
use crate::error::{Error, ErrorKind, Result};

/// An error if the log ends before the entry that the commit log names; `place` is the log's.
pub fn check_end(log: &dyn AppendLog, logged: Option<u64>, place: &str) -> Result<()> {
    match logged.filter(|logged| log.numbers().last().is_none_or(|last| last < logged)) {
        None => Ok(()),
        Some(logged) => Err(Error::data(format!(
            "entry {logged} of the state log {place} is missing, which the commit log names: restore the folder from a copy"
        ))),
    }
}

/// Reads which entries, up to `reached`, hold what; gives the number of the last entry that was forgotten.
pub fn read_log(log: &dyn AppendLog, reached: StateVersion, index: &mut Index) -> Result<Option<u64>> {
    let (mut before, mut purged) = (None, None);
    for (n, number) in log.numbers().into_iter().enumerate() {
        let place = log.place(number);
        let entry = decode_entry(&log.read(number)?, &place)?;
        if n == 0 {
            purged = entry.prev;
        } else if entry.prev != before {
            let missing = entry.prev.map_or_else(|| "what it follows".to_string(), |prev| format!("entry {prev}"));
            return Err(Error::data(format!(
                "{missing} of the state log is missing before {place}: restore it from a copy"
            )));
        }
        before = Some(number);
        for (frame, range) in entry.frames {
            let version = StateVersion(number);
            if version <= reached {
                let id = StateId { operator: frame.operator.into(), partition: frame.partition };
                index.entry(id).or_default().deltas.push(Delta { version, range });
            }
        }
    }
    Ok(purged)
}

/// The changes of one entry to one partition.
pub fn read_changes(log: &dyn AppendLog, delta: &Delta) -> Result<Vec<RecordBatch>> {
    let (body, place) = (log.read(delta.version.0)?, log.place(delta.version.0));
    if delta.range.end > body.len() {
        return Err(Error::data(format!("{place} is shorter than when it was opened")));
    }
    from_ipc(&body.slice(delta.range.clone()), &place)
}

/// Where a way begins, and what follows.
pub type Begun = (Vec<RecordBatch>, Vec<Delta>);

/// The rows with which the first of `ways` begins that can be gone; `None` if there is no way at all.
///
/// # Errors
/// If none can: what is wrong with the first.
pub fn begin(storage: &dyn CheckpointStorage, id: &StateId, ways: Vec<Way>) -> Result<Option<Begun>> {
    let mut failed: Option<Error> = None;
    for way in ways {
        // What can fail comes before anything is applied: another way begins from nothing.
        match read_base(storage, id, way.base) {
            Ok(rows) => return Ok(Some((rows, way.deltas))),
            Err(error) if error.kind() == ErrorKind::Data => {
                tracing::warn!(%error, "a snapshot can't be used; trying an older one");
                failed.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    failed.map_or(Ok(None), Err)
}

/// The error of a version to which no way leads.
pub fn gone(id: &StateId, at: StateVersion) -> Error {
    Error::data(format!("the state of {id} at version {at} is gone: no snapshot leads there"))
}
