//! Which batches a sink has, so that it takes each once, and none of another checkpoint's.
//!
//! A batch is known by its number and its time; times ascend with numbers. Numbers begin anew with every checkpoint, times do not:
//! so a number whose time does not fit between those of its neighbours comes from elsewhere. A number that is missing between
//! others is no fault: its batch has failed, or has no output here, and it may still come.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::batch::{BatchId, BatchStamp};
use crate::error::{Error, Result};
use crate::time::Time;

/// How far behind the newest one a batch may be for a sink to know whether it has it, in batch numbers.
pub const REMEMBERED_BATCHES: u64 = 10_000;

/// What a sink knows of a batch, and of those around it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// The time of the batch with this number.
    pub same: Option<Time>,
    /// The time of the last batch before it.
    pub before: Option<Time>,
    /// The time of the first batch behind it.
    pub after: Option<Time>,
    /// The highest number of all.
    pub newest: Option<BatchId>,
}

impl Known {
    /// Whether the batch is still to be written to `place`; false where it is there already.
    ///
    /// # Errors
    /// If it belongs to another checkpoint than the batches that are there, or is too old to know.
    pub fn is_new(&self, batch: BatchStamp, place: impl Display) -> Result<bool> {
        let foreign = self.same.is_some_and(|time| time != batch.time)
            || self.before.is_some_and(|time| time >= batch.time)
            || self.after.is_some_and(|time| time <= batch.time);
        let BatchStamp { id, time } = batch;
        if foreign {
            return Err(Error::usage(format!(
                "batch {id} of {time} does not belong to the batches in {place}: those were written with another checkpoint \
                 folder, or with none. Go on with the checkpoint folder that wrote them \
                 (spark.streaming.checkpoint.directory), or write to a new place"
            )));
        }
        if self.same.is_some() {
            return Ok(false);
        }
        if self.newest.is_some_and(|newest| is_forgotten(id, newest)) {
            return Err(Error::usage(format!(
                "batch {id} of {time} is more than {REMEMBERED_BATCHES} batches behind the newest one in {place}: whether it \
                 is there is not known any more. Look for its rows there, then begin a new checkpoint and a new place"
            )));
        }
        Ok(true)
    }
}

/// Whether a sink whose newest batch is `newest` has forgotten about batch `id`.
pub fn is_forgotten(id: BatchId, newest: BatchId) -> bool {
    id.0.saturating_add(REMEMBERED_BATCHES) <= newest.0
}

/// The times of the batches that a sink has, by number; the newest [`REMEMBERED_BATCHES`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedBatches(BTreeMap<BatchId, Time>);

impl CommittedBatches {
    /// What is known of a batch.
    pub fn known(&self, id: BatchId) -> Known {
        Known {
            same: self.0.get(&id).copied(),
            before: self.0.range(..id).next_back().map(|(_, time)| *time),
            after: self.0.range(BatchId(id.0.saturating_add(1))..).next().map(|(_, time)| *time),
            newest: self.newest(),
        }
    }

    /// Adds a batch.
    pub fn insert(&mut self, batch: BatchStamp) {
        self.0.insert(batch.id, batch.time);
        while let (Some((oldest, _)), Some(newest)) = (self.0.first_key_value(), self.newest())
            && is_forgotten(*oldest, newest)
        {
            self.0.pop_first();
        }
    }

    /// Whether nothing will be written for a batch any more: it is there, or too old.
    pub fn is_over(&self, id: BatchId) -> bool {
        self.0.contains_key(&id) || self.newest().is_some_and(|newest| is_forgotten(id, newest))
    }

    /// The highest number.
    pub fn newest(&self) -> Option<BatchId> {
        self.0.last_key_value().map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_new_or_there_or_not_of_this_checkpoint() {
        let mut batches = CommittedBatches::default();
        let stamp = |id, ms| BatchStamp { id: BatchId(id), time: Time::from_millis(ms) };
        [stamp(3, 3000), stamp(5, 5000), stamp(9, 9000)].into_iter().for_each(|batch| batches.insert(batch));
        let cases = [
            (stamp(5, 5000), Some(false)),
            (stamp(10, 9001), Some(true)),
            // It failed when its turn was, or is of a longer interval's.
            (stamp(4, 4000), Some(true)),
            (stamp(0, 10), Some(true)),
            // Numbers of a new checkpoint.
            (stamp(0, 20_000), None),
            (stamp(3, 20_000), None),
            (stamp(4, 5000), None),
            (stamp(6, 5000), None),
            (stamp(10, 9000), None),
        ];
        for (batch, expected) in cases {
            assert_eq!(batches.known(batch.id).is_new(batch, "here").ok(), expected, "{batch:?}");
        }
    }

    #[test]
    fn what_is_too_old_to_know_is_an_error() {
        let mut batches = CommittedBatches::default();
        let stamp = |id: u64| BatchStamp { id: BatchId(id), time: Time::from_millis(id as i64) };
        [0, 1, REMEMBERED_BATCHES].into_iter().for_each(|id| batches.insert(stamp(id)));
        assert!(batches.is_over(BatchId(0)) && batches.is_over(BatchId(1)) && !batches.is_over(BatchId(2)));
        assert!(batches.known(BatchId(0)).is_new(stamp(0), "here").is_err());
        assert!(!batches.known(BatchId(1)).is_new(stamp(1), "here").unwrap());
        assert!(batches.known(BatchId(2)).is_new(stamp(2), "here").unwrap());
    }
}
