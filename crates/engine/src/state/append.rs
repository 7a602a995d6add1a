//! The append of a batch's changes to the state log, which begins when all its states have come to their next version: beside
//! the batch's jobs, which only read them. The commit waits for it, or does it itself.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use super::changelog::{Inner, Shared};
use super::entry::{decode_entry, encode_entry};
use super::index::{Delta, SnapshotPolicy};
use super::{StateId, StateVersion};
use crate::batch::BatchId;
use crate::error::Result;
use crate::failpoint;

/// Appends the batches whose states are there, until nobody has any more.
pub fn run(shared: &Shared, ready: &Receiver<BatchId>) {
    for batch in ready {
        if shared.closed.load(Ordering::Relaxed) {
            return;
        }
        let mut inner = shared.inner.lock();
        // The commit says what is wrong. A log that has failed takes nothing more.
        match inner.append(StateVersion::after(batch), shared.policy) {
            Ok(()) => inner.failed = None,
            Err(error) => drop(inner.failed.get_or_insert(error)),
        }
    }
}

impl Inner {
    /// Appends what is staged up to a version, an entry for each batch.
    pub(super) fn append(&mut self, until: StateVersion, policy: SnapshotPolicy) -> Result<()> {
        while let Some(first) = self.staged.first_entry().filter(|entry| *entry.key() <= until) {
            let version = *first.key();
            let changes = first.get().iter().map(|(id, batches)| (&*id.operator, id.partition, batches.as_slice()));
            let body = encode_entry(self.last, changes)?;
            let entry = decode_entry(&body, "a new entry")?;
            failpoint::hit("state-append");
            self.log.append(version.0, &body)?;
            failpoint::hit("state-appended");
            self.last = Some(version.0);
            first.remove();
            for (frame, range) in entry.frames {
                let id = StateId { operator: frame.operator.into(), partition: frame.partition };
                let versions = self.index.entry(id.clone()).or_default();
                versions.deltas.push(Delta { version, range });
                if !versions.queued && versions.is_due(policy) {
                    versions.queued = true;
                    // The thread lives as long as the sender.
                    self.due.iter().for_each(|due| drop(due.send(id.clone())));
                }
            }
        }
        Ok(())
    }
}
