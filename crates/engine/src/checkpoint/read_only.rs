//! `ReadOnlyStorage`: a checkpoint that is looked at only. What opens without writing needs no more than that writing is refused.

use std::sync::Arc;

use bytes::Bytes;

use super::{AppendLog, CheckpointStorage};
use crate::error::{Error, Result};

/// A storage that is not written to.
pub struct ReadOnlyStorage(pub Arc<dyn CheckpointStorage>);

struct ReadOnlyLog(Box<dyn AppendLog>, String);

/// The error of who would write where only reading is allowed.
pub(super) fn refused(place: &str) -> Error {
    Error::usage(format!("{place} is opened for reading only: nothing in it is changed"))
}

impl CheckpointStorage for ReadOnlyStorage {
    fn place(&self, name: &str) -> String {
        self.0.place(name)
    }

    fn open_log(&self, name: &str) -> Result<Box<dyn AppendLog>> {
        Ok(Box::new(ReadOnlyLog(self.0.open_log(name)?, self.0.place(name))))
    }

    fn put(&self, name: &str, _: Bytes) -> Result<()> {
        Err(refused(&self.place(name)))
    }

    fn get(&self, name: &str) -> Result<Option<Bytes>> {
        self.0.get(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.0.list(folder)
    }

    fn delete(&self, name: &str) -> Result<()> {
        Err(refused(&self.place(name)))
    }
}

impl AppendLog for ReadOnlyLog {
    fn numbers(&self) -> Vec<u64> {
        self.0.numbers()
    }

    fn read(&self, number: u64) -> Result<Bytes> {
        self.0.read(number)
    }

    fn place(&self, number: u64) -> String {
        self.0.place(number)
    }

    fn append(&mut self, _: u64, _: &[u8]) -> Result<()> {
        Err(refused(&self.1))
    }

    fn purge_before(&mut self, _: u64) -> Result<()> {
        Err(refused(&self.1))
    }

    fn truncate_from(&mut self, _: u64) -> Result<()> {
        Err(refused(&self.1))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::checkpoint::place::CheckpointPlace;

    #[test]
    fn what_is_looked_at_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        for place in [folder.path(), Path::new("memory:read-only")] {
            let place = CheckpointPlace::parse(place).unwrap();
            let (storage, _claim) = place.open_alone().unwrap();
            storage.put("x", "1".into()).unwrap();
            storage.open_log("log").unwrap().append(3, b"three").unwrap();
            let before = storage.list("").unwrap();
            let reader = place.open_read_only().unwrap();
            let mut log = reader.open_log("log").unwrap();
            assert_eq!((reader.get("x").unwrap().unwrap(), log.read(3).unwrap()), ("1".into(), "three".into()));
            let tried = [reader.put("x", Bytes::new()), reader.delete("x"), log.append(4, b""), log.purge_before(9)];
            for refused in tried.into_iter().chain([log.truncate_from(0)]) {
                assert!(refused.unwrap_err().message().contains("for reading only"));
            }
            assert_eq!(reader.open_log("none").unwrap().numbers(), [0u64; 0]);
            assert_eq!(storage.list("").unwrap(), before);
        }
    }
}
