//! Looking into a checkpoint from outside: nothing in it is made, changed, locked or removed, and its driver may run meanwhile.

use std::path::Path;
use std::sync::Arc;

use crate::batch::BatchId;
use crate::checkpoint::CheckpointStorage;
use crate::checkpoint::metadata::{CheckpointMetadata, METADATA};
use crate::checkpoint::place::CheckpointPlace;
use crate::error::{Error, ErrorKind, Result};
use crate::log::commit_log::CommitLog;
use crate::log::offset_log::{LoggedBatch, OffsetLog};
use crate::state::reader::StateReader;

/// A checkpoint at one moment.
pub struct CheckpointView {
    /// Where it lies. Writing there is an error.
    pub storage: Arc<dyn CheckpointStorage>,
    /// What it is a checkpoint of.
    pub metadata: CheckpointMetadata,
    /// The batches that are in the log, in order: done, running, or to be run again.
    pub batches: Vec<LoggedBatch>,
    /// The last batch that is done.
    pub committed: Option<BatchId>,
    /// The last entry of the state log when it was.
    pub state_entry: Option<u64>,
}

impl CheckpointView {
    fn open(place: &Path) -> Result<Self> {
        let storage = CheckpointPlace::parse(place)?.open_read_only()?;
        let metadata = CheckpointMetadata::read(&*storage)?;
        // A commit is logged after all that it names: read first, it names nothing that is not there.
        let (_, done) = CommitLog::open(&*storage)?;
        let (_, batches) = OffsetLog::open(&*storage)?;
        let metadata = metadata.ok_or_else(|| match batches.is_empty() {
            true => Error::usage(format!("{} is not a checkpoint: it has no file {METADATA}", place.display())),
            false => Error::data(format!(
                "{} is missing, though batches were logged; restore it from a copy",
                storage.place(METADATA)
            )),
        })?;
        Ok(Self { storage, metadata, batches, committed: done.last(), state_entry: done.state })
    }

    /// Its states.
    ///
    /// # Errors
    /// If a file of theirs is missing or damaged: the error names it.
    pub fn states(&self) -> Result<StateReader> {
        StateReader::open(Arc::clone(&self.storage), self.committed, self.state_entry)
    }
}

/// What `look` finds in the checkpoint in `place`, a folder or a URI. A driver may remove files between their listing and their reading: when something is
/// missing or damaged, `look` gets a second view.
///
/// # Errors
/// Those of `look`; if there is no checkpoint, or its logs are damaged; if the second view fails as well, and otherwise than the first.
pub fn inspect<R>(place: &Path, mut look: impl FnMut(&CheckpointView) -> Result<R>) -> Result<R> {
    let mut attempt = || look(&CheckpointView::open(place)?);
    let first = match attempt() {
        Err(error) if error.kind() == ErrorKind::Data => error,
        result => return result,
    };
    attempt().map_err(|second| match second.to_string() == first.to_string() {
        true => second,
        false => Error::retry(format!("a driver changes {} while it is read: try again", place.display()))
            .with_source(second),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::checkpoint::local::LocalStorage;
    use crate::checkpoint::metadata::Program;
    use crate::time::Time;

    fn checkpoint(folder: &Path) {
        let (batch_interval, zero, next) = (Duration::from_millis(10), Time::default(), BatchId(0));
        let program = Program { batch_interval, zero, next, streams: vec![], dropped: "" };
        let metadata = CheckpointMetadata::for_program(None, &program).unwrap();
        metadata.write(&LocalStorage::open(folder).unwrap()).unwrap();
    }

    #[test]
    fn only_a_checkpoint_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let fails = |folder: &Path| inspect(folder, |_| Ok(())).unwrap_err().to_string();
        assert!(fails(&folder.path().join("none")).contains("there is no folder"));
        assert!(fails(folder.path()).contains("is not a checkpoint"));
        checkpoint(folder.path());
        let committed = inspect(folder.path(), |view| Ok((view.committed, view.states()?.reached().0))).unwrap();
        assert_eq!(committed, (None, 0));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_missing_once_is_looked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        checkpoint(folder.path());
        // What the two views find, and what is said of it.
        let cases: [(&[&str], Result<usize, &str>); 4] = [
            (&[], Ok(1)),
            (&["a is missing"], Ok(2)),
            (&["a is missing", "a is missing"], Err("a is missing")),
            (&["a is missing", "b is missing"], Err("try again: b is missing")),
        ];
        for (faults, expected) in cases {
            let mut views = 0;
            let found = inspect(folder.path(), |_| {
                views += 1;
                faults.get(views - 1).map_or(Ok(views), |fault| Err(Error::data(*fault)))
            });
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(error), Err(text)) => assert!(error.to_string().ends_with(text), "{error}"),
                (found, expected) => panic!("{faults:?}: {found:?}, expected {expected:?}"),
            }
        }
        let mut views = 0;
        let wrong = inspect(folder.path(), |_| -> Result<()> {
            views += 1;
            Err(Error::usage("no such operator"))
        });
        assert_eq!((wrong.unwrap_err().message(), views), ("no such operator", 1));
    }
}
