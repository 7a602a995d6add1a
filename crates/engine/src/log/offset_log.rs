//! The offset log: a batch stands here, durably, before any of its work begins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::metadata_log::MetadataLog;
use crate::batch::BatchId;
use crate::checkpoint::CheckpointStorage;
use crate::error::Result;
use crate::source::OffsetRange;
use crate::time::Time;

/// The name of the log.
pub const OFFSET_LOG: &str = "offsets";

/// A batch as it is logged: input streams go by their names, for another program may number them otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedBatch {
    /// Its number.
    pub id: BatchId,
    /// Its time.
    pub time: Time,
    /// The part of each input stream that it covers, by the stream's name.
    pub ranges: BTreeMap<String, OffsetRange>,
}

/// The batches that were planned.
pub struct OffsetLog(MetadataLog<LoggedBatch>);

impl OffsetLog {
    /// Opens the log of a checkpoint, and gives what it holds.
    pub fn open(storage: &dyn CheckpointStorage) -> Result<(Self, Vec<LoggedBatch>)> {
        let (log, entries) = MetadataLog::open(storage, OFFSET_LOG)?;
        Ok((Self(log), entries.into_iter().map(|(_, batch)| batch).collect()))
    }

    /// Logs a batch; it is durable when this returns.
    pub fn append(&mut self, batch: &LoggedBatch) -> Result<()> {
        self.0.append(batch.id.0, batch)
    }

    /// Forgets batches before `id`, as far as that is cheap.
    pub fn purge_before(&mut self, id: BatchId) -> Result<()> {
        self.0.purge_before(id.0)
    }
}
