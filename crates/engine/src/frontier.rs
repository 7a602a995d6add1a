//! How far the sources may forget: everything before the first batch that is not over, or that a restart runs again.

use std::collections::{BTreeMap, VecDeque};

use crate::batch::{Batch, BatchId, StreamId};
use crate::source::Offset;

/// The batches that are under way, and those that wait for an earlier one.
#[derive(Default)]
pub struct Frontier {
    open: VecDeque<(BatchId, Option<Over>)>,
    /// A batch has failed: a restart reads from there on again.
    held: bool,
}

struct Over {
    ends: BTreeMap<StreamId, Offset>,
    done: bool,
}

/// A batch that is over, as all before it are.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    /// Where it ended, source by source.
    pub ends: BTreeMap<StreamId, Offset>,
    /// It, or one before it, has failed: a source that can be read again after a restart will be.
    pub held: bool,
}

impl Frontier {
    /// A batch begins; its number is higher than those before.
    pub fn begin(&mut self, batch: BatchId) {
        self.open.push_back((batch, None));
    }

    /// A batch is over, `done` or failed. Gives the batches that nothing before them holds up any more, in order.
    pub fn end(&mut self, batch: &Batch, done: bool) -> Vec<Passed> {
        let ends = batch.ranges.iter().map(|(stream, range)| (*stream, range.end.clone())).collect();
        if let Some((_, over)) = self.open.iter_mut().find(|(id, _)| *id == batch.id) {
            *over = Some(Over { ends, done });
        }
        let mut passed = Vec::new();
        while let Some((_, Some(_))) = self.open.front() {
            if let Some((_, Some(over))) = self.open.pop_front() {
                self.held |= !over.done;
                passed.push(Passed { ends: over.ends, held: self.held });
            }
        }
        passed
    }

    /// Whether a restart will run a batch again that is over.
    pub fn is_held(&self) -> bool {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::OffsetRange;
    use crate::time::Time;

    #[test]
    fn sources_hear_of_batches_in_order_and_of_failures_before_them() {
        let batch = |id: u64| {
            let range = OffsetRange { start: Offset::count(id), end: Offset::count(id + 1) };
            let (time, zero) = (Time::from_millis(id as i64), Time::default());
            Batch { id: BatchId(id), time, zero, ranges: [(StreamId(0), range)].into() }
        };
        let mut frontier = Frontier::default();
        (0..5).for_each(|id| frontier.begin(BatchId(id)));
        let mut end = |id, done| {
            let passed = frontier.end(&batch(id), done);
            passed.into_iter().map(|p| (p.ends[&StreamId(0)].as_count(), p.held)).collect::<Vec<_>>()
        };
        assert_eq!(end(1, true), []);
        assert_eq!(end(0, true), [(1, false), (2, false)]);
        assert_eq!(end(3, true), []);
        assert_eq!(end(2, false), [(3, true), (4, true)]);
        assert_eq!(end(4, true), [(5, true)]);
        assert!(frontier.is_held());
    }
}
