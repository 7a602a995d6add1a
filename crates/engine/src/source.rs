//! The contract of a source: offsets, and the data between two of them.

pub mod block;
pub mod block_queue;
pub mod file;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::checkpoint::CheckpointStorage;
use crate::error::Result;
use crate::lineage::Lineage;
use crate::rate::RateLimiter;
use crate::time::Time;

/// A position in a source; only the source knows what it means.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Offset(pub serde_json::Value);

impl Offset {
    /// A position that is a count.
    pub fn count(count: u64) -> Self {
        Self(count.into())
    }

    /// The count that this position is; 0 of none.
    pub fn as_count(&self) -> u64 {
        self.0.as_u64().unwrap_or(0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// From `start`, exclusive of what lies before it, to `end`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRange {
    /// Where it begins.
    pub start: Offset,
    /// Where it ends.
    pub end: Offset,
}

/// What a source says of a batch's part of it, for listeners.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputInfo {
    /// The source's name.
    pub name: String,
    /// The number of records, where the source knows it without reading.
    pub records: u64,
    /// More about the input, for people: files, offsets.
    pub description: Option<String>,
}

/// The data of a range.
pub struct SourceBatch {
    /// How it is computed.
    pub lineage: Arc<Lineage>,
    /// What it is.
    pub info: InputInfo,
    /// Whether data of the range is gone: it was in the memory of an earlier process.
    pub lost: bool,
}

/// A source of data.
///
/// **The replay contract.** `read` of a range that was logged gives the same rows each time, also in another process,
/// until `commit` has passed the range's end. A source that can't promise this says so by [`Source::is_replayable`].
pub trait Source: Send + Sync {
    /// Its name, for people.
    fn name(&self) -> String;

    /// Whether logged ranges can be read again after a restart.
    fn is_replayable(&self) -> bool;

    /// Where a new program begins.
    fn initial_offset(&self) -> Result<Offset>;

    /// The end of what the batch of `time` may read, having come to `start`. Bounded by the source's rate limit.
    fn latest_offset(&self, start: &Offset, time: Time) -> Result<Offset>;

    /// The data of a range, for the batch of `time`.
    fn read(&self, range: &OffsetRange, time: Time) -> Result<SourceBatch>;

    /// Everything before `end` is done with: all batches that cover it are over, and none will be run again. Told in the
    /// order of batches.
    fn commit(&self, _end: &Offset) -> Result<()> {
        Ok(())
    }

    /// No batch of this process reads again what lies before `end`, but a restart may: what is in memory only may go, what is
    /// durable must stay. Told in the order of batches, where [`Source::commit`] is not.
    fn release(&self, _end: &Offset) {}

    /// Where the source may keep, durably, what it needs to replay ranges: in `folder` of `storage`. Told before the start, if
    /// there is a checkpoint.
    fn set_checkpoint(&self, _storage: &Arc<dyn CheckpointStorage>, _folder: &str) -> Result<()> {
        Ok(())
    }

    /// Begins to receive at the time `now`, `start` being where the last run's batches ended.
    fn start(&self, _start: &Offset, _now: Time) -> Result<()> {
        Ok(())
    }

    /// Ends receiving; what was received stays readable.
    fn stop(&self) {}

    /// The stream is over, after [`Source::stop`]: no batch is made any more, and nothing may be written any more.
    ///
    /// # Errors
    /// If something is lost that was received and that a restart should have found.
    fn end(&self) -> Result<()> {
        Ok(())
    }

    /// Whether data waits that no batch covers yet, `end` being where the last batch ended. Only for sources that
    /// receive: a graceful stop goes on until nothing waits.
    fn has_pending(&self, _end: &Offset) -> bool {
        false
    }

    /// What slows the source down, if something can.
    fn rate_limiter(&self) -> Option<&Arc<RateLimiter>> {
        None
    }
}
