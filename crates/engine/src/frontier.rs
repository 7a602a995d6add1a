//! How far sources and logs may forget: everything before the first batch that is not over, or that a restart runs again.

use std::collections::{BTreeMap, VecDeque};

use crate::batch::{Batch, BatchId, StreamId};
use crate::source::Offset;

/// The batches that are under way, and those that wait for an earlier one.
#[derive(Default)]
pub struct Frontier {
    open: VecDeque<(BatchId, Option<Over>)>,
    /// The first batch that has failed: a restart reads from there on again.
    held: Option<BatchId>,
    /// The last batch that is over, as all before it are.
    passed: Option<BatchId>,
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
            if let Some((id, Some(over))) = self.open.pop_front() {
                if !over.done {
                    self.held.get_or_insert(id);
                }
                self.passed = Some(id);
                passed.push(Passed { ends: over.ends, held: self.held.is_some() });
            }
        }
        passed
    }

    /// The batch before which all are done, while one is under way.
    pub fn first_not_done(&self) -> Option<BatchId> {
        self.held.or(self.open.front().map(|(id, _)| *id))
    }

    /// The batch before which nothing is needed any more, if the last `retained` that are over stay.
    pub fn forgettable(&self, retained: u64) -> BatchId {
        let passed = self.passed.map_or(0, |passed| passed.0 + 1).saturating_sub(retained);
        self.held.map_or(BatchId(passed), |held| held.min(BatchId(passed)))
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
            let passed: Vec<_> = passed.into_iter().map(|p| (p.ends[&StreamId(0)].as_count(), p.held)).collect();
            (passed, frontier.first_not_done().map(|id| id.0), frontier.forgettable(0).0, frontier.forgettable(2).0)
        };
        assert_eq!(end(1, true), (vec![], Some(0), 0, 0));
        assert_eq!(end(0, true), (vec![(1, false), (2, false)], Some(2), 2, 0));
        assert_eq!(end(3, true), (vec![], Some(2), 2, 0));
        assert_eq!(end(2, false), (vec![(3, true), (4, true)], Some(2), 2, 2));
        assert_eq!(end(4, true), (vec![(5, true)], Some(2), 2, 2));
    }
}
