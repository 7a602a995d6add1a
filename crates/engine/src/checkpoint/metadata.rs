//! What a checkpoint is a checkpoint of: a restart must fit it, or say knowingly what changes.
//!
//! The file `metadata` is JSON with a checksum (`checked_json`). It is put before the first batch is
//! logged, and when it changes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CheckpointStorage, checked_json, name_part};
use crate::batch::BatchId;
use crate::clock::random_bytes;
use crate::error::{Error, Result};
use crate::time::{Time, millis, pretty};

/// The version of everything in a checkpoint.
const VERSION: u32 = 1;

/// The name of the file.
pub const METADATA: &str = "metadata";

/// What a checkpoint is a checkpoint of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointMetadata {
    version: u32,
    /// Tells this checkpoint from any other that was ever made: 32 random hexadecimal digits.
    pub id: String,
    batch_interval_ms: i64,
    /// The time from which batches are counted.
    pub zero: Time,
    /// The input streams, by name.
    pub streams: BTreeMap<String, StreamRecord>,
    /// What stateful operators must find again, by their names.
    pub operators: BTreeMap<String, serde_json::Value>,
}

/// An input stream of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// The first batch that may cover it: ranges of its name before that are of a stream that was dropped.
    pub since: BatchId,
}

/// What the program is that starts.
pub struct Program<'a> {
    /// The time between its batches.
    pub batch_interval: Duration,
    /// The time from which a new checkpoint counts batches.
    pub zero: Time,
    /// The number of its first new batch.
    pub next: BatchId,
    /// The names of its input streams.
    pub streams: Vec<&'a str>,
    /// The names of streams that may be missing, with commas between.
    pub dropped: &'a str,
}

impl CheckpointMetadata {
    /// The metadata of a checkpoint with which `program` goes on, `previous` being what it has so far.
    ///
    /// # Errors
    /// If the program has another batch interval, or lacks an input stream that is not to be dropped.
    pub fn for_program(previous: Option<Self>, program: &Program<'_>) -> Result<Self> {
        let batch_interval_ms = millis(program.batch_interval);
        let mut metadata = previous.unwrap_or_else(|| Self {
            version: VERSION,
            id: random_bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
            batch_interval_ms,
            zero: program.zero,
            streams: BTreeMap::new(),
            operators: BTreeMap::new(),
        });
        if metadata.batch_interval_ms != batch_interval_ms {
            return Err(Error::usage(format!(
                "the checkpoint was made with a batch duration of {} ms, and the program has {}: go on with the first, or begin a \
                 new checkpoint",
                metadata.batch_interval_ms,
                pretty(program.batch_interval)
            )));
        }
        let missing: Vec<String> =
            metadata.streams.keys().filter(|name| !program.streams.contains(&name.as_str())).cloned().collect();
        for name in missing {
            if !is_dropped(program.dropped, &name) {
                return Err(Error::usage(format!(
                    "the checkpoint has an input stream {name:?} that the program has no more: give a stream this name \
                     with `named`, or drop it, with what it has not given yet, by spark.tidemill.checkpoint.drop={name}"
                )));
            }
            tracing::warn!(stream = name, "an input stream of the checkpoint is dropped");
            metadata.streams.remove(&name);
        }
        for name in &program.streams {
            metadata.streams.entry(name.to_string()).or_insert(StreamRecord { since: program.next });
        }
        Ok(metadata)
    }

    /// The folder where the source of a stream keeps what it needs.
    pub fn source_folder(&self, stream: &str) -> String {
        let since = self.streams.get(stream).map_or(BatchId(0), |record| record.since);
        format!("sources/{}/{since}", name_part(stream))
    }

    /// Reads the metadata of a checkpoint, if it has any.
    ///
    /// # Errors
    /// If it is damaged, or of another version.
    pub fn read(storage: &dyn CheckpointStorage) -> Result<Option<Self>> {
        let Some(bytes) = storage.get(METADATA)? else { return Ok(None) };
        let place = storage.place(METADATA);
        let damaged = || Error::data(format!("{place} is damaged: a checksum does not match; restore it from a copy"));
        let json = checked_json::check(&bytes).ok_or_else(damaged)?;
        let other = || Error::data(format!("{place} was written by another version of Tidemill"));
        let version = serde_json::from_str::<serde_json::Value>(json).map_err(|error| other().with_source(error))?;
        if version["version"] != VERSION {
            return Err(other());
        }
        serde_json::from_str(json).map(Some).map_err(|error| other().with_source(error))
    }

    /// Writes it in place of what is there.
    pub fn write(&self, storage: &dyn CheckpointStorage) -> Result<()> {
        let json = serde_json::to_string(self)
            .map_err(|error| Error::internal("the metadata of a checkpoint can't be encoded").with_source(error))?;
        storage.put(METADATA, checked_json::checked(&json))
    }
}

/// Whether a list with commas between its names has this one, which may have commas itself.
pub fn is_dropped(list: &str, name: &str) -> bool {
    let bare = |text: &str| text.split(',').map(str::trim).collect::<Vec<_>>().join(",");
    format!(",{},", bare(list)).contains(&format!(",{},", bare(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::local::LocalStorage;

    fn program<'a>(ms: u64, next: u64, streams: &[&'a str], dropped: &'a str) -> Program<'a> {
        Program {
            batch_interval: Duration::from_millis(ms),
            zero: Time::from_millis(70),
            next: BatchId(next),
            streams: streams.to_vec(),
            dropped,
        }
    }

    #[test]
    fn streams_come_and_go_by_name() {
        let first = CheckpointMetadata::for_program(None, &program(10, 0, &["a", "b,c"], "")).unwrap();
        assert_eq!((first.zero, first.id.len()), (Time::from_millis(70), 32));
        let cases: [(&[&str], &str, Result<&[(&str, u64)], &str>); 7] = [
            (&["b,c", "a"], "", Ok(&[("a", 0), ("b,c", 0)])),
            (&["a", "b,c", "d"], "", Ok(&[("a", 0), ("b,c", 0), ("d", 5)])),
            (&["a"], "", Err("spark.tidemill.checkpoint.drop=b,c")),
            (&["a"], "b", Err("\"b,c\"")),
            (&["a"], "b,c", Ok(&[("a", 0)])),
            (&[], "x, b,c , a", Ok(&[])),
            (&["a", "b,c"], "a", Ok(&[("a", 0), ("b,c", 0)])),
        ];
        for (streams, dropped, expected) in cases {
            let next = CheckpointMetadata::for_program(Some(first.clone()), &program(10, 5, streams, dropped));
            match (next, expected) {
                (Ok(next), Ok(expected)) => {
                    let found: Vec<_> = next.streams.iter().map(|(name, s)| (name.as_str(), s.since.0)).collect();
                    assert_eq!((found.as_slice(), &next.id), (expected, &first.id));
                }
                (Err(error), Err(part)) => assert!(error.message().contains(part), "{error}"),
                (got, expected) => panic!("{streams:?}, {dropped}: {got:?}, expected {expected:?}"),
            }
        }
        // One that comes again after it was dropped is a new one, with a folder of its own.
        let without = CheckpointMetadata::for_program(Some(first.clone()), &program(10, 5, &["a"], "b,c")).unwrap();
        let again = CheckpointMetadata::for_program(Some(without), &program(10, 9, &["a", "b,c"], "b,c")).unwrap();
        assert_eq!(again.source_folder("b,c"), "sources/b%2Cc/9");
        let error = CheckpointMetadata::for_program(Some(first), &program(20, 5, &["a"], "")).unwrap_err();
        assert!(error.message().contains("duration of 10 ms, and the program has 20 ms"), "{error}");
    }

    #[test]
    fn what_is_written_is_read_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(folder.path()).unwrap();
        assert_eq!(CheckpointMetadata::read(&storage).unwrap(), None);
        let mut metadata = CheckpointMetadata::for_program(None, &program(10, 0, &["a\n\"b"], "")).unwrap();
        metadata.operators.insert("count".into(), serde_json::json!({ "partitions": 2, "share": 0.1 }));
        metadata.write(&storage).unwrap();
        assert_eq!(CheckpointMetadata::read(&storage).unwrap().unwrap(), metadata);
        let bytes = std::fs::read(folder.path().join(METADATA)).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            std::fs::write(folder.path().join(METADATA), flipped).unwrap();
            let error = CheckpointMetadata::read(&storage).unwrap_err();
            assert!(error.message().contains(folder.path().to_str().unwrap()), "{at}: {error}");
        }
        metadata.version = 2;
        metadata.write(&storage).unwrap();
        assert!(CheckpointMetadata::read(&storage).unwrap_err().message().contains("another version"));
    }
}
