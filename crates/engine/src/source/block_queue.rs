//! `BlockQueue`: blocks on their way from a receiver to the batches, bounded in bytes.
//!
//! A block leaves the queue when its batch is over. Where batches lag, the queue fills up, its receiver waits for room, its socket is
//! not read, and TCP tells the sender: nothing is dropped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::block::Block;
use crate::clock::Waker;

/// How long those who wait for room sleep before they look whether they were woken otherwise.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Blocks in memory, by number.
pub struct BlockQueue {
    max_bytes: u64,
    /// The bytes of all blocks in the queue.
    bytes: AtomicU64,
    blocks: Mutex<Blocks>,
    room: Condvar,
}

#[derive(Default)]
struct Blocks {
    /// The number of the first block in `queue`.
    first: u64,
    queue: VecDeque<Arc<Block>>,
}

impl BlockQueue {
    /// A queue with room for blocks as long as it holds less than `max_bytes` bytes.
    pub fn new(max_bytes: u64) -> Self {
        Self { max_bytes, bytes: AtomicU64::new(0), blocks: Mutex::default(), room: Condvar::new() }
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
                self.room.wait_for(&mut blocks, LOOK_AGAIN);
            }
        }
        true
    }

    /// Adds a block, whether there is room or not; it belongs to the next batch.
    pub fn add(&self, block: Block) {
        if block.rows() > 0 {
            self.bytes.fetch_add(block.bytes(), Ordering::Relaxed);
            self.blocks.lock().queue.push_back(Arc::new(block));
        }
    }

    /// The number of the next block.
    pub(super) fn end(&self) -> u64 {
        let blocks = self.blocks.lock();
        blocks.first + blocks.queue.len() as u64
    }

    /// The first block will have this number.
    pub(super) fn begin(&self, first: u64) {
        self.blocks.lock().first = first;
    }

    /// Those of the blocks from `start` to `end` that are here, and the number of the first one that is.
    pub(super) fn range(&self, start: u64, end: u64) -> (Vec<Arc<Block>>, u64) {
        let blocks = self.blocks.lock();
        let place = |number: u64| usize::try_from(number.saturating_sub(blocks.first)).unwrap_or(usize::MAX);
        let to = place(end).min(blocks.queue.len());
        (blocks.queue.range(place(start).min(to)..to).cloned().collect(), blocks.first)
    }

    /// Forgets the blocks before `end`: there is room again.
    pub(super) fn remove_before(&self, end: u64) {
        let mut blocks = self.blocks.lock();
        while blocks.first < end
            && let Some(block) = blocks.queue.pop_front()
        {
            blocks.first += 1;
            self.bytes.fetch_sub(block.bytes(), Ordering::Relaxed);
        }
        self.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bytes: u64) -> Block {
        Block::new(Vec::new(), 1, bytes)
    }

    #[test]
    fn blocks_are_found_by_number_until_they_are_removed() {
        let queue = BlockQueue::new(100);
        queue.begin(5);
        [10, 20, 30].into_iter().for_each(|bytes| queue.add(block(bytes)));
        queue.add(Block::new(Vec::new(), 0, 40));
        let found = |start, end| {
            let (blocks, first) = queue.range(start, end);
            (blocks.iter().map(|block| block.bytes()).collect::<Vec<_>>(), first)
        };
        assert_eq!((queue.end(), queue.bytes(), found(5, 7)), (8, 60, (vec![10, 20], 5)));
        queue.remove_before(6);
        assert_eq!((queue.end(), queue.bytes(), found(5, 8)), (8, 50, (vec![20, 30], 6)));
        assert_eq!([found(3, 6), found(7, 7), found(9, 12)], [(vec![], 6), (vec![], 6), (vec![], 6)]);
        queue.remove_before(99);
        assert_eq!((queue.end(), queue.bytes()), (8, 0));
    }

    #[test]
    fn who_waits_for_room_goes_on_when_there_is_some_or_when_woken() {
        let (queue, waker) = (BlockQueue::new(100), Waker::default());
        queue.add(block(90));
        assert!(queue.wait_for_room(|| 9, &waker));
        let full = || 10;
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.wait_for_room(full, &waker));
            queue.remove_before(1);
            assert!(waiting.join().unwrap());
            queue.add(block(100));
            let waiting = scope.spawn(|| queue.wait_for_room(|| 0, &waker));
            waker.wake();
            assert!(!waiting.join().unwrap());
        });
    }
}
