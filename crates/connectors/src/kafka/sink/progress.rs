//! Which batches a topic has, as the metadata of the sink's group tells it.
//!
//! A broker keeps 4,096 bytes with an offset. They hold the newest batch's number and time, and a bit for each of the
//! [`REMEMBERED_BATCHES`] numbers before it: set if the batch is not there, and so may still come. Times of the others are not known;
//! that they lie before the newest one's, as those of another checkpoint do not, is what can be checked.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use tidemill_engine::batch::{BatchId, BatchStamp};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::sink::once::{Known, REMEMBERED_BATCHES};

/// The batches of a sink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    newest: Option<BatchStamp>,
    /// Numbers before the newest one that are not there.
    missing: BTreeSet<u64>,
}

/// The form in which it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Of this form.
    version: u32,
    /// The mark of the sink that wrote it.
    owner: String,
    newest: Option<BatchStamp>,
    /// Bits in base64; the first one is that of the number before the newest.
    missing: String,
}

const VERSION: u32 = 1;

impl Progress {
    /// What is known of a batch.
    pub fn known(&self, batch: BatchStamp) -> Known {
        let Some(newest) = self.newest else { return Known::default() };
        let known = Known { newest: Some(newest.id), ..Known::default() };
        let is_remembered = batch.id.0.saturating_add(REMEMBERED_BATCHES) > newest.id.0;
        match batch.id {
            id if id > newest.id => Known { before: Some(newest.time), ..known },
            id if id == newest.id => Known { same: Some(newest.time), ..known },
            id if is_remembered && !self.missing.contains(&id.0) => {
                Known { same: Some(batch.time), after: Some(newest.time), ..known }
            }
            _ => Known { after: Some(newest.time), ..known },
        }
    }

    /// With one batch more. Of the numbers that it leaves out, `empty` ones have no rows and need not be remembered.
    pub fn with(&self, batch: BatchStamp, empty: &BTreeSet<u64>) -> Self {
        let mut after = self.clone();
        after.missing.remove(&batch.id.0);
        if self.newest.is_none_or(|newest| newest.id < batch.id) {
            let oldest = batch.id.0.saturating_sub(REMEMBERED_BATCHES - 1);
            let next = self.newest.map_or(0, |newest| newest.id.0 + 1).max(oldest);
            after.missing.extend((next..batch.id.0).filter(|id| !empty.contains(id)));
            after.missing = after.missing.split_off(&oldest);
            after.newest = Some(batch);
        }
        after
    }

    /// The offset of the group: one more than the newest batch's number.
    pub fn offset(&self) -> Result<i64> {
        let Some(newest) = self.newest else { return Ok(0) };
        let offset = newest.id.0.checked_add(1).and_then(|offset| i64::try_from(offset).ok());
        offset.ok_or_else(|| Error::internal(format!("batch {} is no offset", newest.id)))
    }

    /// As metadata, with the mark of the sink that writes it.
    pub fn encode(&self, owner: &str) -> Result<String> {
        let mut bits = Vec::new();
        if let Some(newest) = self.newest {
            for id in &self.missing {
                // Missing numbers lie before the newest one, by less than the batches that are remembered.
                let at = (newest.id.0 - 1 - id) as usize;
                if bits.len() <= at / 8 {
                    bits.resize(at / 8 + 1, 0u8);
                }
                bits[at / 8] |= 1 << (at % 8);
            }
        }
        let missing = STANDARD_NO_PAD.encode(bits);
        let kept = Kept { version: VERSION, owner: owner.to_string(), newest: self.newest, missing };
        serde_json::to_string(&kept).map_err(|error| Error::internal("metadata can't be encoded").with_source(error))
    }

    /// From metadata; and the mark of the sink that wrote it.
    ///
    /// # Errors
    /// If it is none of a sink's.
    pub fn decode(metadata: &str) -> Result<(Self, String)> {
        let foreign =
            || Error::usage("the group of this sink has an offset that no sink has written: take another sink name");
        let kept: Kept = serde_json::from_str(metadata).map_err(|error| foreign().with_source(error))?;
        if kept.version > VERSION {
            return Err(Error::usage(
                "the group of this sink was written by a newer Tidemill: use that, or another sink name",
            ));
        }
        let bits = STANDARD_NO_PAD.decode(&kept.missing).map_err(|error| foreign().with_source(error))?;
        let mut missing = BTreeSet::new();
        for (at, _) in (0..bits.len() * 8).map(|at| (at, bits[at / 8] >> (at % 8) & 1)).filter(|(_, bit)| *bit == 1) {
            missing.extend(kept.newest.and_then(|newest| newest.id.0.checked_sub(at as u64 + 1)));
        }
        Ok((Self { newest: kept.newest, missing }, kept.owner))
    }

    /// The highest number.
    pub fn newest(&self) -> Option<BatchId> {
        self.newest.map(|newest| newest.id)
    }
}

#[cfg(test)]
mod tests {
    use tidemill_engine::time::Time;

    use super::*;

    fn stamp(id: u64, ms: i64) -> BatchStamp {
        BatchStamp { id: BatchId(id), time: Time::from_millis(ms) }
    }

    fn progress(ids: impl IntoIterator<Item = u64>) -> Progress {
        ids.into_iter()
            .fold(Progress::default(), |progress, id| progress.with(stamp(id, 1000 * id as i64), &BTreeSet::new()))
    }

    fn is_new(progress: &Progress, batch: BatchStamp) -> Option<bool> {
        progress.known(batch).is_new(batch, "here").ok()
    }

    #[test]
    fn a_batch_is_new_or_there_or_not_of_this_checkpoint() {
        let progress = progress([0, 1, 3, 5, 9, 7]);
        let cases = [
            (stamp(5, 5000), Some(false)),
            (stamp(9, 9000), Some(false)),
            (stamp(10, 9001), Some(true)),
            (stamp(4, 4000), Some(true)),
            (stamp(6, 6000), Some(true)),
            (stamp(7, 7000), Some(false)),
            (stamp(0, 0), Some(false)),
            // Numbers of a new checkpoint.
            (stamp(0, 20_000), None),
            (stamp(4, 20_000), None),
            (stamp(9, 20_000), None),
            (stamp(10, 9000), None),
        ];
        for (batch, expected) in cases {
            assert_eq!(is_new(&progress, batch), expected, "{batch:?}");
        }
        assert_eq!(is_new(&Progress::default(), stamp(3, 1)), Some(true));
    }

    #[test]
    fn batches_known_to_be_empty_are_not_missing() {
        let progress = progress([0]).with(stamp(4, 4000), &BTreeSet::from([1, 3]));
        assert_eq!(progress.missing, BTreeSet::from([2]));
    }

    #[test]
    fn it_fits_into_the_metadata_whatever_is_missing() {
        let n = REMEMBERED_BATCHES;
        for progress in
            [progress([]), progress([7]), progress([3 * n]), progress((0..2 * n).step_by(2)), progress([0, 1, 2, 9])]
        {
            let metadata = progress.encode(&"f".repeat(32)).unwrap();
            assert!(metadata.len() < 2000, "{}", metadata.len());
            let (back, owner) = Progress::decode(&metadata).unwrap();
            assert_eq!((back, owner), (progress.clone(), "f".repeat(32)));
        }
        let late = progress([3 * n]);
        assert_eq!(is_new(&late, stamp(2 * n, 1)), None, "too old to know");
        assert_eq!(is_new(&late, stamp(2 * n + 1, 1)), Some(true));
        assert!(Progress::decode("").is_err() && Progress::decode("{}").is_err());
    }
}
