//! A log whose entries are values of one type: a typed shell over an [`AppendLog`], whose bodies are JSON.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::checkpoint::{AppendLog, CheckpointStorage};
use crate::error::{Error, Result};

/// A log of entries `T`.
pub struct MetadataLog<T> {
    log: Box<dyn AppendLog>,
    entries: PhantomData<fn(T)>,
}

impl<T: Serialize + DeserializeOwned> MetadataLog<T> {
    /// Opens the log `name`, which is made if it is not there, and gives the entries that it holds.
    ///
    /// # Errors
    /// If an entry is damaged, or not a `T`: the error names its file.
    pub fn open(storage: &dyn CheckpointStorage, name: &str) -> Result<(Self, Vec<(u64, T)>)> {
        let log = storage.open_log(name)?;
        let mut entries = Vec::new();
        for number in log.numbers() {
            let entry = serde_json::from_slice(&log.read(number)?).map_err(|error| {
                let place = log.place(number);
                Error::data(format!("{place}: an entry is not what this version writes")).with_source(error)
            })?;
            entries.push((number, entry));
        }
        Ok((Self { log, entries: PhantomData }, entries))
    }

    /// Appends an entry and returns when it is durable. Numbers ascend.
    ///
    /// After an error the entry may be there or not: the log takes no more until it is opened again.
    pub fn append(&mut self, number: u64, entry: &T) -> Result<()> {
        let body = serde_json::to_vec(entry)
            .map_err(|error| Error::internal("a log entry can't be encoded").with_source(error))?;
        self.log.append(number, &body)
    }

    /// Forgets entries before `number`, as far as that is cheap.
    pub fn purge_before(&mut self, number: u64) -> Result<()> {
        self.log.purge_before(number)
    }

    /// Removes `number` and all entries behind it.
    pub fn truncate_from(&mut self, number: u64) -> Result<()> {
        self.log.truncate_from(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::local::LocalStorage;

    #[test]
    fn an_entry_of_another_type_is_an_error_that_names_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(folder.path()).unwrap();
        let (mut log, _) = MetadataLog::<String>::open(&storage, "words").unwrap();
        ["a", "b"].iter().zip(3..).for_each(|(word, n)| log.append(n, &word.to_string()).unwrap());
        let (_, words) = MetadataLog::<String>::open(&storage, "words").unwrap();
        assert_eq!(words, [(3, "a".into()), (4, "b".into())]);
        let error = MetadataLog::<u64>::open(&storage, "words").err().unwrap();
        assert!(error.message().contains("words") && error.message().contains("this version"), "{error}");
    }
}
