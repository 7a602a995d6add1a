//! What tasks leave in this process for the commit of their batch.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tidemill_engine::batch::BatchId;
use tidemill_engine::clock::random_bytes;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::sink::Receipt;

/// How many later batches are committed before a batch that no commit has asked for is given up: its tasks have failed.
const PASSED: u32 = 16;

/// Parts of batches, by receipt.
///
/// A commit takes all parts of its batch out, those of tasks that ran twice, too. Parts of a batch that is never committed go when
/// [`PASSED`] later ones are.
pub(super) struct Held<T> {
    /// Differs from process to process.
    process: String,
    batches: Mutex<BTreeMap<BatchId, Parts<T>>>,
}

struct Parts<T> {
    parts: Vec<Option<T>>,
    passed: u32,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        let process = random_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { process, batches: Mutex::default() }
    }
}

impl<T> Held<T> {
    /// Keeps a part.
    pub fn put(&self, batch: BatchId, part: T) -> Receipt {
        let mut batches = self.batches.lock();
        let held = batches.entry(batch).or_insert_with(|| Parts { parts: Vec::new(), passed: 0 });
        held.parts.push(Some(part));
        Receipt(format!("{}/{batch}/{}", self.process, held.parts.len() - 1))
    }

    /// The parts that receipts name, in their order; none for those of empty partitions. All else of the batch is dropped.
    ///
    /// # Errors
    /// If a part is not here.
    pub fn take(&self, batch: BatchId, receipts: &[Receipt]) -> Result<Vec<T>> {
        let mut held = {
            let mut batches = self.batches.lock();
            let held = batches.remove(&batch).map_or_else(Vec::new, |held| held.parts);
            batches.range_mut(..batch).for_each(|(_, earlier)| earlier.passed += 1);
            batches.retain(|_, earlier| earlier.passed < PASSED);
            held
        };
        let prefix = format!("{}/{batch}/", self.process);
        let named = receipts.iter().filter(|receipt| !receipt.0.is_empty());
        named
            .map(|receipt| {
                let Some(at) = receipt.0.strip_prefix(&prefix) else {
                    return Err(Error::usage(format!(
                        "a task of batch {batch} ran in another process than the commit: a sink of Kafka's keeps rows in memory, \
                         so both must be in one"
                    )));
                };
                let part = at.parse::<usize>().ok().and_then(|at| held.get_mut(at)).and_then(Option::take);
                part.ok_or_else(|| Error::retry(format!("rows of batch {batch} are not held any more: it must run again")))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_takes_what_its_receipts_name_and_drops_the_rest_of_the_batch() {
        let held = Held::default();
        let (first, again, second) = (held.put(BatchId(3), 'a'), held.put(BatchId(3), 'a'), held.put(BatchId(3), 'b'));
        let receipts = [again, Receipt::default(), second];
        assert_eq!(held.take(BatchId(3), &receipts).unwrap(), ['a', 'b']);
        assert!(held.take(BatchId(3), &[first]).unwrap_err().message().contains("must run again"));
        let elsewhere = Held::default().put(BatchId(3), 'c');
        assert!(held.take(BatchId(3), &[elsewhere]).unwrap_err().message().contains("another process"));
    }

    #[test]
    fn what_no_commit_asks_for_goes_after_a_while() {
        let held = Held::default();
        let failed = held.put(BatchId(0), 'a');
        let slow = held.put(BatchId(8), 'b');
        for batch in 1..=u64::from(PASSED) {
            if batch != 8 {
                held.put(BatchId(batch), 'x');
                held.take(BatchId(batch), &[]).unwrap();
            }
        }
        assert_eq!(held.batches.lock().len(), 2);
        assert_eq!(held.take(BatchId(8), &[slow]).unwrap(), ['b']);
        held.take(BatchId(u64::from(PASSED) + 1), &[]).unwrap();
        assert!(held.batches.lock().is_empty() && held.take(BatchId(0), &[failed]).is_err());
    }
}
