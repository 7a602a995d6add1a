//! `BlockQueue`: blocks on their way from a receiver to the batches, bounded in bytes.
//!
//! A block leaves the queue when its batch is over. Where batches lag, the queue fills up, its receiver waits for room, its socket is
//! not read, and TCP tells the sender: nothing is dropped.
//!
//! With a write-ahead log a block gets its number, and may be covered by a batch, when it is in the log. Of those who wait for that,
//! one writes for all: what has come while a write was under way is the next write.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::block::Block;
use crate::chunk::Element;
use crate::clock::Waker;
use crate::error::{Error, Result};
use crate::log::receiver_log::ReceiverLog;

/// How long those who wait for room sleep before they look whether they were woken otherwise.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The bytes after which no further block joins a write: 8 MiB.
const GROUP_BYTES: usize = 8 << 20;

/// Blocks in memory, by number.
pub struct BlockQueue {
    max_bytes: u64,
    /// The bytes of all blocks that are in the queue or wait for the log.
    bytes: AtomicU64,
    /// How blocks are logged, if they are.
    logged: OnceLock<&'static dyn Element>,
    blocks: Mutex<Blocks>,
    changed: Condvar,
}

#[derive(Default)]
struct Blocks {
    /// The number of the first block in `queue`.
    first: u64,
    queue: VecDeque<Arc<Block>>,
    /// Before this number, nothing in the log is read again.
    done: u64,
    /// The log, unless somebody is writing to it.
    log: Option<ReceiverLog>,
    /// Not in the log yet, in order.
    waiting: VecDeque<Waiting>,
    next_ticket: u64,
    /// What has become of blocks that somebody waits for.
    outcomes: BTreeMap<u64, Result<()>>,
    closed: bool,
}

struct Waiting {
    ticket: u64,
    block: Arc<Block>,
    encoded: Bytes,
    /// Nobody else has its rows: it waits until it can be written.
    kept: bool,
}

/// A block that is ready to be added.
pub struct Prepared {
    block: Arc<Block>,
    encoded: Option<Bytes>,
}

/// A block that waits for the log.
#[must_use]
pub struct Ticket(Option<u64>);

impl BlockQueue {
    /// A queue with room for blocks as long as it holds less than `max_bytes` bytes.
    pub fn new(max_bytes: u64) -> Self {
        let (bytes, logged) = (AtomicU64::new(0), OnceLock::new());
        Self { max_bytes, bytes, logged, blocks: Mutex::default(), changed: Condvar::new() }
    }

    /// The bytes of the blocks whose batches are not over.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits until the queue, and the bytes in front of it that `buffered` counts, are below the bound; false if `waker` was woken
    /// before. Several who wait may go on at once: the bound is passed by what each of them adds.
    pub fn wait_for_room(&self, buffered: impl Fn() -> u64, waker: &Waker) -> bool {
        let is_full = || self.bytes().saturating_add(buffered()) >= self.max_bytes;
        while is_full() {
            if waker.is_awake() {
                return false;
            }
            let mut blocks = self.blocks.lock();
            if is_full() {
                self.changed.wait_for(&mut blocks, LOOK_AGAIN);
            }
        }
        true
    }

    /// Makes a block ready to be added: what takes time and needs no order.
    ///
    /// # Errors
    /// If there is a log and the rows can't be encoded.
    pub fn prepare(&self, block: Block) -> Result<Prepared> {
        let encoded = self.logged.get().filter(|_| block.rows() > 0);
        let encoded = encoded.map(|element| ReceiverLog::encode(*element, &block)).transpose()?;
        Ok(Prepared { block: Arc::new(block), encoded })
    }

    /// Adds a block, whether there is room or not; it belongs to the next batch, behind those that were added before. With a log, the ticket
    /// says when: [`BlockQueue::wait`].
    pub fn submit(&self, block: Prepared) -> Ticket {
        self.enqueue(block, false)
    }

    /// [`BlockQueue::submit`], of rows that nobody else has: where the log can't be written, they stay, to be written by a later
    /// [`BlockQueue::write`].
    pub fn keep(&self, block: Prepared) {
        let Ticket(_) = self.enqueue(block, true);
    }

    fn enqueue(&self, Prepared { block, encoded }: Prepared, kept: bool) -> Ticket {
        if block.rows() == 0 {
            return Ticket(None);
        }
        let mut blocks = self.blocks.lock();
        let length = encoded.as_ref().map_or(0, Bytes::len) as u64;
        self.bytes.fetch_add(block.bytes() + length, Ordering::Relaxed);
        let Some(encoded) = encoded else {
            blocks.queue.push_back(block);
            return Ticket(None);
        };
        let ticket = blocks.next_ticket;
        blocks.next_ticket += 1;
        blocks.waiting.push_back(Waiting { ticket, block, encoded, kept });
        Ticket(Some(ticket))
    }

    /// Returns when a block that was submitted is durable, if it is to be.
    ///
    /// # Errors
    /// If the log can't be written, or the stream has ended: then the block is in no batch.
    pub fn wait(&self, ticket: Ticket) -> Result<()> {
        let Ticket(Some(ticket)) = ticket else { return Ok(()) };
        let mut blocks = self.blocks.lock();
        loop {
            if let Some(outcome) = blocks.outcomes.remove(&ticket) {
                return outcome;
            }
            if blocks.closed {
                self.refuse(&mut blocks);
            } else if let Some(log) = blocks.log.take() {
                // What becomes of it is told by the outcome.
                let _ = self.write_group(&mut blocks, log, false);
            } else {
                self.changed.wait(&mut blocks);
            }
        }
    }

    /// Has everything written that waits. A log that could not be written a moment ago is left alone, unless `now` is asked for.
    ///
    /// # Errors
    /// If this has tried to write the log, and could not: what is kept waits on.
    pub fn write(&self, now: bool) -> Result<()> {
        let mut blocks = self.blocks.lock();
        let end = blocks.next_ticket;
        while !blocks.closed && blocks.waiting.front().is_some_and(|block| block.ticket < end) {
            match blocks.log.take() {
                Some(log) if !now && log.resting().is_some() => {
                    blocks.log = Some(log);
                    return Ok(());
                }
                Some(log) => self.write_group(&mut blocks, log, true)?,
                None => self.changed.wait(&mut blocks),
            }
        }
        Ok(())
    }

    /// Writes those that wait first, as one entry. `anyway`: also where the log rests.
    fn write_group(&self, blocks: &mut MutexGuard<'_, Blocks>, mut log: ReceiverLog, anyway: bool) -> Result<()> {
        let mut room = GROUP_BYTES;
        let fits = |block: &&Waiting| {
            let fits = room > 0;
            room = room.saturating_sub(block.encoded.len());
            fits
        };
        let group: Vec<Bytes> = blocks.waiting.iter().take_while(fits).map(|block| block.encoded.clone()).collect();
        let (first, done) = (blocks.end(), blocks.done);
        let result = MutexGuard::unlocked(blocks, || match log.resting().filter(|_| !anyway) {
            Some(error) => Err(error),
            None => log.append(first, &group, done),
        });
        blocks.log = Some(log);
        let mut kept = VecDeque::new();
        for waiting in blocks.waiting.drain(..group.len()).collect::<Vec<_>>() {
            match &result {
                Ok(()) => {
                    self.bytes.fetch_sub(waiting.encoded.len() as u64, Ordering::Relaxed);
                    blocks.queue.push_back(waiting.block);
                }
                Err(_) if waiting.kept => {
                    kept.push_back(waiting);
                    continue;
                }
                Err(_) => self.forget(&waiting),
            }
            if !waiting.kept {
                blocks.outcomes.insert(waiting.ticket, result.clone());
            }
        }
        kept.append(&mut blocks.waiting);
        blocks.waiting = kept;
        self.changed.notify_all();
        result
    }

    fn forget(&self, waiting: &Waiting) {
        self.bytes.fetch_sub(waiting.block.bytes() + waiting.encoded.len() as u64, Ordering::Relaxed);
    }

    /// Tells those who wait for their blocks that the stream has ended.
    fn refuse(&self, blocks: &mut Blocks) {
        for waiting in std::mem::take(&mut blocks.waiting) {
            self.forget(&waiting);
            let ended = || Error::usage("the stream has ended before a block could be written to the write-ahead log");
            if !waiting.kept {
                blocks.outcomes.insert(waiting.ticket, Err(ended()));
            }
        }
        self.changed.notify_all();
    }

    /// The stream is over: writes what waits, a last time, and nothing from then on.
    ///
    /// # Errors
    /// If rows that only this process had could not be written.
    pub(super) fn close(&self) -> Result<()> {
        let written = self.write(true);
        let mut blocks = self.blocks.lock();
        // Who writes at this moment gives the log back.
        while self.logged.get().is_some() && !blocks.closed && blocks.log.is_none() {
            self.changed.wait(&mut blocks);
        }
        blocks.closed = true;
        blocks.log = None;
        let lost: u64 = blocks.waiting.iter().filter(|block| block.kept).map(|block| block.block.rows()).sum();
        self.refuse(&mut blocks);
        if lost == 0 {
            return Ok(());
        }
        let message = format!("{lost} rows are lost: they could not be written to the write-ahead log before the end");
        Err(match written {
            Err(error) => Error::retry(message).with_source(error),
            Ok(()) => Error::retry(message),
        })
    }

    /// Whether blocks wait for the log.
    pub(super) fn is_behind(&self) -> bool {
        !self.blocks.lock().waiting.is_empty()
    }

    /// The number of the next block.
    pub(super) fn end(&self) -> u64 {
        self.blocks.lock().end()
    }

    /// The first block has this number: the first of those in the log that were in no batch, which are read, or the next one. Blocks
    /// are logged from now on if `logged` says how.
    pub(super) fn begin(
        &self,
        first: u64,
        log: Option<ReceiverLog>,
        logged: Option<&'static dyn Element>,
    ) -> Result<()> {
        let mut blocks = self.blocks.lock();
        blocks.first = first;
        if let Some(log) = &log {
            let (found_first, found) = log.read(first, None)?;
            if found_first != first {
                return Err(Error::data(format!(
                    "blocks {first} to {found_first} are missing in the write-ahead log of a receiver: restore it from a copy"
                )));
            }
            self.bytes.fetch_add(found.iter().map(Block::bytes).sum(), Ordering::Relaxed);
            blocks.queue.extend(found.into_iter().map(Arc::new));
        }
        blocks.log = log;
        if let Some(element) = logged {
            // Nothing was added before the beginning, which comes once.
            let _ = self.logged.set(element);
        }
        Ok(())
    }

    /// Those of the blocks from `start` to `end` that there are, in memory or in the log.
    ///
    /// # Errors
    /// If blocks in the log are damaged.
    pub(super) fn range(&self, start: u64, end: u64) -> Result<Vec<Arc<Block>>> {
        let mut blocks = self.blocks.lock();
        let mut found = Vec::new();
        if start < blocks.first {
            while self.logged.get().is_some() && !blocks.closed && blocks.log.is_none() {
                self.changed.wait(&mut blocks);
            }
            if let Some(log) = &blocks.log {
                let (_, logged) = log.read(start, Some(end.min(blocks.first)))?;
                found.extend(logged.into_iter().map(Arc::new));
            }
        }
        let place = |number: u64| usize::try_from(number.saturating_sub(blocks.first)).unwrap_or(usize::MAX);
        let to = place(end).min(blocks.queue.len());
        found.extend(blocks.queue.range(place(start).min(to)..to).cloned());
        Ok(found)
    }

    /// Forgets the blocks before `end`: there is room again. `forever`: also those in the log, which may take its time.
    pub(super) fn remove_before(&self, end: u64, forever: bool) {
        let mut blocks = self.blocks.lock();
        while blocks.first < end
            && let Some(block) = blocks.queue.pop_front()
        {
            blocks.first += 1;
            self.bytes.fetch_sub(block.bytes(), Ordering::Relaxed);
        }
        if forever {
            blocks.done = blocks.done.max(end);
        }
        self.changed.notify_all();
    }
}

impl Blocks {
    /// The number of the next block.
    fn end(&self) -> u64 {
        self.first + self.queue.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::checkpoint::CheckpointStorage;
    use crate::checkpoint::local::LocalStorage;
    use crate::chunk::{Chunk, Rows};

    const ELEMENT: &dyn Element = Rows::<u8>::ELEMENT;

    fn block(bytes: u64) -> Block {
        Block::new(vec![Chunk::of(vec![bytes as u8])], 1, bytes)
    }

    fn add(queue: &BlockQueue, bytes: u64) -> Result<()> {
        queue.wait(queue.submit(queue.prepare(block(bytes))?))
    }

    fn keep(queue: &BlockQueue, bytes: u64) {
        queue.keep(queue.prepare(block(bytes)).unwrap());
    }

    fn found(queue: &BlockQueue, start: u64, end: u64) -> Vec<u64> {
        queue.range(start, end).unwrap().iter().map(|block| block.bytes()).collect()
    }

    /// A queue over a log in this folder, from this number on.
    fn logged(folder: &tempfile::TempDir, first: u64) -> BlockQueue {
        let storage: Arc<dyn CheckpointStorage> = Arc::new(LocalStorage::open(folder.path()).unwrap());
        let queue = BlockQueue::new(1 << 20);
        queue.begin(first, Some(ReceiverLog::open(&storage, "log", ELEMENT).unwrap()), Some(ELEMENT)).unwrap();
        queue
    }

    #[test]
    fn blocks_are_found_by_number_until_they_are_removed() {
        let queue = BlockQueue::new(100);
        queue.begin(5, None, None).unwrap();
        [10, 20, 30].into_iter().for_each(|bytes| add(&queue, bytes).unwrap());
        queue.wait(queue.submit(queue.prepare(Block::new(Vec::new(), 0, 40)).unwrap())).unwrap();
        assert_eq!((queue.end(), queue.bytes(), found(&queue, 5, 7)), (8, 60, vec![10, 20]));
        queue.remove_before(6, true);
        assert_eq!((queue.end(), queue.bytes(), found(&queue, 5, 8)), (8, 50, vec![20, 30]));
        assert_eq!([found(&queue, 3, 6), found(&queue, 7, 7), found(&queue, 9, 12)], [const { Vec::<u64>::new() }; 3]);
        queue.remove_before(99, true);
        assert_eq!((queue.end(), queue.bytes()), (8, 0));
    }

    #[test]
    fn who_waits_for_room_goes_on_when_there_is_some_or_when_woken() {
        let (queue, waker) = (BlockQueue::new(100), Waker::default());
        add(&queue, 90).unwrap();
        assert!(queue.wait_for_room(|| 9, &waker));
        let full = || 10;
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.wait_for_room(full, &waker));
            queue.remove_before(1, true);
            assert!(waiting.join().unwrap());
            add(&queue, 100).unwrap();
            let waiting = scope.spawn(|| queue.wait_for_room(|| 0, &waker));
            waker.wake();
            assert!(!waiting.join().unwrap());
        });
    }

    #[test]
    fn blocks_of_many_threads_are_each_in_the_log_when_their_storer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let queue = logged(&folder, 0);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let queue = &queue;
                scope.spawn(move || (0..20).for_each(|n| add(queue, 20 * thread + n).unwrap()));
            }
        });
        assert_eq!((queue.end(), queue.bytes()), (160, (0..160).sum()));
        let order = found(&queue, 0, 160);
        for thread in 0..8 {
            let own: Vec<u64> = order.iter().copied().filter(|n| n / 20 == thread).collect();
            assert_eq!(own, (20 * thread..20 * thread + 20).collect::<Vec<_>>());
        }
        // What was removed from memory, but not for ever, is read from the log; the rest is found by the next process.
        queue.remove_before(100, false);
        assert_eq!(found(&queue, 0, 160), order);
        drop(queue);
        let next = logged(&folder, 100);
        assert_eq!((next.end(), found(&next, 0, 200)), (160, order.clone()));
        assert_eq!(next.bytes(), order[100..].iter().sum::<u64>());
        add(&next, 7).unwrap();
        assert_eq!(found(&next, 159, 161), [order[159], 7]);
    }

    /// In the way of the log's first segment.
    fn obstacle(folder: &tempfile::TempDir) -> PathBuf {
        let path = folder.path().join("log/00000000000000000000.log");
        std::fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn where_the_log_can_not_be_written_blocks_are_refused_or_kept() {
        let folder = tempfile::tempdir().unwrap();
        let queue = logged(&folder, 0);
        let path = obstacle(&folder);
        keep(&queue, 1);
        assert!(add(&queue, 2).unwrap_err().message().contains("can't write"));
        keep(&queue, 3);
        // Whether the log is left alone or tried again, nothing changes.
        let _ = queue.write(false);
        assert!(add(&queue, 4).is_err());
        let length = |bytes| ReceiverLog::encode(ELEMENT, &block(bytes)).unwrap().len() as u64;
        assert_eq!((queue.end(), queue.is_behind(), queue.bytes()), (0, true, 4 + length(1) + length(3)));
        assert!(queue.write(true).is_err());
        std::fs::remove_dir(&path).unwrap();
        queue.write(true).unwrap();
        add(&queue, 5).unwrap();
        assert_eq!((found(&queue, 0, 9), queue.is_behind(), queue.bytes()), (vec![1, 3, 5], false, 9));
        queue.close().unwrap();
        assert_eq!(found(&logged(&folder, 0), 0, 9), [1, 3, 5]);
    }

    #[test]
    fn the_end_writes_what_waits_or_says_what_is_lost_and_nothing_is_written_after_it() {
        for stuck in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let queue = logged(&folder, 0);
            let path = obstacle(&folder);
            keep(&queue, 1);
            assert!(queue.write(true).is_err());
            keep(&queue, 2);
            if !stuck {
                std::fs::remove_dir(&path).unwrap();
            }
            match queue.close() {
                Ok(()) => assert!(!stuck),
                Err(error) => assert!(stuck && error.message().starts_with("2 rows are lost"), "{error}"),
            }
            assert!(add(&queue, 3).unwrap_err().message().contains("has ended"));
            queue.write(true).unwrap();
            queue.close().unwrap();
            assert_eq!((queue.is_behind(), found(&queue, 0, 9).len()), (false, if stuck { 0 } else { 2 }));
        }
    }

    #[test]
    fn a_log_without_the_next_block_is_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        add(&logged(&folder, 5), 1).unwrap();
        let storage: Arc<dyn CheckpointStorage> = Arc::new(LocalStorage::open(folder.path()).unwrap());
        let log = ReceiverLog::open(&storage, "log", ELEMENT).unwrap();
        let error = BlockQueue::new(9).begin(3, Some(log), Some(ELEMENT)).unwrap_err();
        assert!(error.message().contains("blocks 3 to 5 are missing"), "{error}");
    }
}
