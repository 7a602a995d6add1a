//! A micro-batch: its number, its time, and which part of each source it covers.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::source::OffsetRange;
use crate::time::Time;

/// The number of a batch: 0, 1, 2 ... for as long as the checkpoint lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct BatchId(pub u64);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of an input stream within its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct StreamId(pub u32);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the offset log holds of a batch, and all that a planner may depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Its number.
    pub id: BatchId,
    /// Its time.
    pub time: Time,
    /// The time from which batches are counted, one interval before the first one: windows slide from there, also after a
    /// restart.
    pub zero: Time,
    /// The part of each source that it covers.
    pub ranges: BTreeMap<StreamId, OffsetRange>,
}

/// Which batch a plan runs for: travels with the plan, so that a sink knows it wherever it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchStamp {
    /// Its number.
    pub id: BatchId,
    /// Its time.
    pub time: Time,
}

thread_local! {
    static CURRENT: Cell<Option<BatchStamp>> = const { Cell::new(None) };
}

impl BatchStamp {
    /// The batch whose output operation runs on this thread.
    pub fn current() -> Option<Self> {
        CURRENT.get()
    }

    /// Runs `body` as part of this batch.
    pub fn during<R>(self, body: impl FnOnce() -> R) -> R {
        struct Guard(Option<BatchStamp>);
        impl Drop for Guard {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _guard = Guard(CURRENT.replace(Some(self)));
        body()
    }
}
