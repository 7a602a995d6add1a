//! Checkpoints that are out of the way: moved beside their folder, or into a numbered one within it, of which the last ones stay.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{has_checkpoint, read_checkpoint};
use crate::checkpoint::local::{LOCK, LocalStorage};
use crate::checkpoint::metadata::METADATA;
use crate::checkpoint::place::{CheckpointPlace, Claim};
use crate::error::{Error, ErrorKind, Result};
use crate::log::commit_log::COMMIT_LOG;
use crate::log::offset_log::OFFSET_LOG;

/// What the names of folders within a checkpoint folder begin with, to which an earlier one was moved.
const NUMBERED: &str = "set-aside-";

/// So many of these are kept.
const KEPT: usize = 3;

/// Moves a checkpoint folder to a name beside it that is free, and gives that.
///
/// # Errors
/// If it is not a folder of the local disk, or can't be moved.
pub fn set_aside(place: &Path) -> Result<PathBuf> {
    let CheckpointPlace::Local(folder) = CheckpointPlace::parse(place)? else {
        let place = place.display();
        return Err(Error::usage(format!(
            "a checkpoint in an object store, {place}, can't be set aside: use another prefix"
        )));
    };
    let failed = |error| Error::retry(format!("can't set {} aside", folder.display())).with_source(error);
    let mut aside = folder.as_os_str().to_owned();
    aside.push(".unreadable");
    while Path::new(&aside).try_exists().map_err(failed)? {
        aside.push("-");
    }
    std::fs::rename(&folder, &aside).map_err(failed)?;
    Ok(aside.into())
}

/// What a checkpoint consists of. Without the first one the others are refused: what was moved by half is not mistaken for whole.
const PARTS: [&str; 5] = [METADATA, OFFSET_LOG, COMMIT_LOG, "state", "sources"];

/// Moves the parts of a checkpoint, if there is one, to a folder of their own within its folder, and gives that. Whatever else lies there
/// stays: it is the program's.
///
/// # Errors
/// If another driver runs on it; if it is in an object store, or can't be moved.
pub fn set_contents_aside(place: &Path) -> Result<Option<PathBuf>> {
    let folder = match CheckpointPlace::parse(place)? {
        CheckpointPlace::Local(folder) => folder,
        _ if !has_checkpoint(place)? => return Ok(None),
        _ => {
            let place = place.display();
            return Err(Error::usage(format!(
                "there is a checkpoint at {place}: go on from it by get_or_create (getOrCreate in Python), or use another prefix"
            )));
        }
    };
    if !folder.is_dir() {
        return Ok(None);
    }
    // Held until all is moved.
    let (storage, _claim) = CheckpointPlace::Local(folder.clone()).open_alone()?;
    match read_checkpoint(storage, Claim::default()) {
        Ok((logs, _)) if logs.metadata().is_none() => return Ok(None),
        Err(error) if error.kind() != ErrorKind::Data => return Err(error),
        // What is damaged is in the way, too.
        _ => {}
    }
    let failed =
        |error| Error::retry(format!("can't set the checkpoint in {} aside", folder.display())).with_source(error);
    // Above all that are there: those with the highest numbers are the last ones.
    let number = numbered(&folder).map_err(failed)?.keys().last().map_or(1, |last| last + 1);
    let aside = folder.join(format!("{NUMBERED}{number}"));
    std::fs::create_dir(&aside).map_err(failed)?;
    for part in PARTS.iter().filter(|part| folder.join(part).exists()) {
        std::fs::rename(folder.join(part), aside.join(part)).map_err(failed)?;
    }
    Ok(Some(aside))
}

/// Removes the checkpoints that were set aside within a folder, but for the last three, and those that a driver has opened since: they are in
/// use again. What else lies in theirs stays.
///
/// # Errors
/// If one can't be removed.
pub fn remove_oldest_aside(place: &Path) -> Result<()> {
    let CheckpointPlace::Local(folder) = CheckpointPlace::parse(place)? else { return Ok(()) };
    let failed = |error| {
        Error::retry(format!("can't remove old checkpoints that were set aside in {}", folder.display()))
            .with_source(error)
    };
    numbered(&folder).map_err(failed)?.values().rev().skip(KEPT).try_for_each(|aside| remove(aside)).map_err(failed)
}

/// The folders within this one to which checkpoints were moved, by their numbers.
fn numbered(folder: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(NUMBERED)).and_then(|number| number.parse().ok());
        if let Some(number) = number {
            found.insert(number, entry.path());
        }
    }
    Ok(found)
}

fn remove(aside: &Path) -> io::Result<()> {
    // Who opens a checkpoint leaves the file of its lock. So does a removal that was cut short, which begins with the metadata.
    let was_opened = aside.join(LOCK).exists() && aside.join(METADATA).exists();
    let Some(_lock) = LocalStorage::open(aside).and_then(|storage| storage.lock()).ok().filter(|_| !was_opened) else {
        return Ok(());
    };
    for part in PARTS.iter().chain([&LOCK]).map(|part| aside.join(part)) {
        let removed = if part.is_dir() { std::fs::remove_dir_all(part) } else { std::fs::remove_file(part) };
        ignore(removed, io::ErrorKind::NotFound)?;
    }
    ignore(std::fs::remove_dir(aside), io::ErrorKind::DirectoryNotEmpty)
}

fn ignore(result: io::Result<()>, kind: io::ErrorKind) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::batch::BatchId;
    use crate::checkpoint::metadata::{CheckpointMetadata, Program};
    use crate::log::offset_log::LoggedBatch;
    use crate::recovery::{CheckpointLogs, Resume, open_checkpoint};
    use crate::source::{Offset, OffsetRange};
    use crate::time::Time;

    fn batch() -> LoggedBatch {
        let range = OffsetRange { start: Offset::count(0), end: Offset::count(5) };
        LoggedBatch { id: BatchId(0), time: Time::from_millis(0), ranges: [("a".into(), range)].into() }
    }

    fn begin(folder: &Path) -> CheckpointLogs {
        let (logs, resume) = open_checkpoint(folder).unwrap();
        assert_eq!(resume, Resume::default());
        logs.set_metadata(metadata()).unwrap();
        logs.offsets.lock().append(&batch()).unwrap();
        logs.storage.put("sources/a/0/files", "1".into()).unwrap();
        logs
    }

    fn metadata() -> CheckpointMetadata {
        let (batch_interval, zero, next) = (Duration::from_millis(10), Time::from_millis(-10), BatchId(0));
        let program = Program { batch_interval, zero, next, streams: vec!["a"], dropped: "" };
        CheckpointMetadata::for_program(None, &program).unwrap()
    }

    #[test]
    fn a_checkpoint_in_the_way_is_set_aside_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let set_aside = || set_contents_aside(folder.path());
        assert_eq!(set_contents_aside(&folder.path().join("none")).unwrap(), None);
        std::fs::write(folder.path().join("other"), "stays").unwrap();
        // Opened, but of no program.
        drop(open_checkpoint(folder.path()).unwrap());
        assert_eq!(set_aside().unwrap(), None);
        let begin = || begin(folder.path());
        let logs = begin();
        assert!(set_aside().unwrap_err().message().contains("another driver"));
        drop(logs);
        let aside = folder.path().join("set-aside-1");
        assert_eq!(set_aside().unwrap(), Some(aside.clone()));
        assert_eq!(open_checkpoint(&aside).unwrap().1.unfinished, [batch()]);
        assert!(aside.join("sources/a/0/files").exists());
        assert_eq!(set_aside().unwrap(), None);
        drop(begin());
        std::fs::remove_file(folder.path().join(METADATA)).unwrap();
        assert_eq!(set_aside().unwrap(), Some(folder.path().join("set-aside-2")));
        drop(begin());
        assert!(folder.path().join("other").exists());
        let objects = Path::new("memory:set_aside");
        assert_eq!(set_contents_aside(objects).unwrap(), None);
        open_checkpoint(objects).unwrap().0.set_metadata(metadata()).unwrap();
        assert!(
            set_contents_aside(objects).unwrap_err().message().contains("there is a checkpoint at memory:set_aside")
        );
    }

    #[test]
    fn the_last_ones_that_were_set_aside_stay_and_those_that_are_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = |number: u64| folder.path().join(format!("{NUMBERED}{number}"));
        for number in 1..=8 {
            drop(begin(folder.path()));
            assert_eq!(set_contents_aside(folder.path()).unwrap(), Some(path(number)));
        }
        // A driver runs on one of them, one has run on another; the program has put something into a third.
        let running = open_checkpoint(&path(1)).unwrap();
        drop(open_checkpoint(&path(2)).unwrap());
        std::fs::write(path(3).join("other"), "stays").unwrap();
        // Its removal was cut short.
        std::fs::remove_file(path(4).join(METADATA)).unwrap();
        std::fs::write(path(4).join(LOCK), "").unwrap();
        std::fs::create_dir(folder.path().join("set-aside-of-mine")).unwrap();
        remove_oldest_aside(folder.path()).unwrap();
        let left: Vec<u64> = numbered(folder.path()).unwrap().into_keys().collect();
        assert_eq!(left, [1, 2, 3, 6, 7, 8]);
        assert_eq!(std::fs::read_dir(path(3)).unwrap().count(), 1);
        drop(running);
        for number in [1, 2, 6, 7, 8] {
            assert_eq!(open_checkpoint(&path(number)).unwrap().1.unfinished, [batch()]);
        }
        drop(begin(folder.path()));
        assert_eq!(set_contents_aside(folder.path()).unwrap(), Some(path(9)));
        remove_oldest_aside(Path::new("memory:oldest_aside")).unwrap();
    }
}
