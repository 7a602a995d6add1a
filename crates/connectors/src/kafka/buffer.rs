//! `Buffer`: what was read ahead of all partitions, shared by the reader, the look-out and the batches.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use parking_lot::{Condvar, Mutex};
use rdkafka::message::Message;
use tidemill_engine::clock::Waker;
use tidemill_engine::error::{Error, Result};

use super::columns::Columns;
use super::limits::RateLimits;
use super::loss::Loss;
use super::offsets::Offsets;
use super::partition_buffer::PartitionBuffer;

/// The part of a limit below which there is room again: less than all, so that partitions do not go to and fro.
const MOST_OF: f64 = 0.75;

/// The records of all partitions that no batch is done with.
///
/// It holds at most about `max_bytes`: up to half of them, any partition is read on; beyond, only those with less than their even share
/// of that half. So one partition never starves another, however uneven they are. Where all have about their share, the reader waits: a
/// partition that is paused is fetched anew, for the client drops what it has of it.
pub(super) struct Buffer {
    pub columns: Columns,
    pub max_bytes: u64,
    fail_on_data_loss: bool,
    /// Where the stream ends, if it does.
    ends: OnceLock<Offsets>,
    state: Mutex<State>,
    /// Memory was let go.
    released: Condvar,
    /// The positions have changed: the reader must take them up.
    moved: AtomicBool,
    /// The brokers said that a position is out of range.
    pub doubtful: AtomicBool,
    /// The stream stops.
    pub stop: Waker,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<String, BTreeMap<i32, PartitionBuffer>>,
    partitions: u64,
    bytes: u64,
    fault: Option<Error>,
}

/// What the reader does after a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Reads on.
    Read,
    /// Reads no more of the record's partition, which is full or at its end.
    Pause,
    /// Waits until there is room.
    Wait,
}

impl State {
    fn get(&mut self, topic: &str, partition: i32) -> Option<&mut PartitionBuffer> {
        self.topics.get_mut(topic)?.get_mut(&partition)
    }

    fn all(&mut self) -> impl Iterator<Item = (&str, i32, &mut PartitionBuffer)> {
        self.topics.iter_mut().flat_map(|(topic, partitions)| {
            partitions.iter_mut().map(move |(partition, buffer)| (topic.as_str(), *partition, buffer))
        })
    }

    fn count(&mut self) {
        (self.partitions, self.bytes) =
            self.all().fold((0, 0), |(n, bytes), (.., buffer)| (n + 1, bytes + buffer.bytes()));
    }
}

impl Buffer {
    /// An empty buffer.
    pub fn new(columns: Columns, max_bytes: u64, fail_on_data_loss: bool) -> Self {
        let (moved, doubtful) = (AtomicBool::new(false), AtomicBool::new(false));
        let (ends, state, stop) = (OnceLock::new(), Mutex::default(), Waker::default());
        let released = Condvar::new();
        Self { columns, max_bytes, fail_on_data_loss, ends, state, released, moved, doubtful, stop }
    }

    /// Reads no partition beyond these offsets, and none that is not among them. Said before partitions are added.
    pub fn end_at(&self, ends: Offsets) {
        // A stream starts once.
        let _ = self.ends.set(ends);
    }

    /// Whether the stream ends.
    pub fn has_ends(&self) -> bool {
        self.ends.get().is_some()
    }

    /// Whether batches up to these offsets, which are over, had all records up to the ends; never if there are none.
    pub fn is_exhausted(&self, done: &Offsets) -> bool {
        let is_exhausted = |(topic, partition, buffer): (&str, i32, &mut PartitionBuffer)| {
            done.get(topic, partition).is_some_and(|offset| buffer.is_exhausted(offset))
        };
        self.has_ends() && self.state.lock().all().all(is_exhausted)
    }

    /// Adds partitions, to be read from these offsets on, whose logs end there.
    pub fn add(&self, begin: &Offsets, log_ends: &Offsets) {
        let mut state = self.state.lock();
        for (topic, partition, offset) in begin.iter() {
            let partitions = state.topics.entry(topic.to_string()).or_default();
            let until = self.ends.get().map_or(i64::MAX, |ends| ends.get(topic, partition).unwrap_or(offset));
            let new = || PartitionBuffer::new(self.columns, topic, partition, offset, until);
            let buffer = partitions.entry(partition).or_insert_with(new);
            buffer.end = log_ends.get(topic, partition).unwrap_or(offset);
        }
        state.count();
        self.moved.store(true, Ordering::SeqCst);
    }

    /// How far each partition was read.
    pub fn reached(&self) -> Offsets {
        self.state
            .lock()
            .all()
            .map(|(topic, partition, buffer)| (topic.to_string(), partition, buffer.reached()))
            .collect()
    }

    /// Where the reader must go on, if positions have changed.
    pub fn take_moved(&self) -> Option<Offsets> {
        if !self.moved.swap(false, Ordering::SeqCst) {
            return None;
        }
        let mut state = self.state.lock();
        state.all().for_each(|(.., buffer)| buffer.paused = false);
        let left = state.all().filter(|(.., buffer)| !buffer.is_done());
        Some(left.map(|(topic, partition, buffer)| (topic.to_string(), partition, buffer.reached())).collect())
    }

    /// Adds a record.
    pub fn push(&self, message: &impl Message) -> Result<Next> {
        let mut state = self.state.lock();
        // It comes again, from the position that the reader is about to take up.
        if self.moved.load(Ordering::SeqCst) {
            return Ok(Next::Read);
        }
        let Some(buffer) = state.get(message.topic(), message.partition()) else { return Ok(Next::Read) };
        let before = buffer.bytes();
        buffer.push(message)?;
        let (of_partition, paused, is_done) = (buffer.bytes(), buffer.paused, buffer.is_done());
        state.bytes += of_partition.saturating_sub(before);
        let is_full = !is_done && self.is_full(&state, of_partition, 1.0);
        if paused || !is_done && !is_full {
            return Ok(Next::Read);
        }
        if is_full && self.is_crowded(&mut state) {
            return Ok(Next::Wait);
        }
        if let Some(buffer) = state.get(message.topic(), message.partition()) {
            buffer.paused = true;
        }
        Ok(Next::Pause)
    }

    fn is_full(&self, state: &State, of_partition: u64, part: f64) -> bool {
        let half = self.max_bytes as f64 / 2.0 * part;
        state.bytes as f64 >= half && of_partition as f64 >= half / state.partitions.max(1) as f64
    }

    /// Whether there is no room, and no partition that must be read all the same.
    fn is_crowded(&self, state: &mut State) -> bool {
        let (half, partitions) = (self.max_bytes as f64 / 2.0, state.partitions.max(1) as f64);
        let has_share = |bytes: u64| bytes as f64 >= MOST_OF * half / partitions;
        state.bytes as f64 >= half
            && state.all().all(|(.., buffer)| buffer.is_done() || buffer.paused || has_share(buffer.bytes()))
    }

    /// Waits until there is room, the stream stops, or this time is over. Whether there is room.
    pub fn wait_for_room(&self, timeout: Duration) -> bool {
        let mut state = self.state.lock();
        if self.is_crowded(&mut state) {
            // What else changes can wait for as long.
            self.released.wait_for(&mut state, timeout);
        }
        !self.is_crowded(&mut state)
    }

    /// The partitions that were paused and have room again.
    pub fn take_resumed(&self) -> Vec<(String, i32)> {
        let mut state = self.state.lock();
        let paused: Vec<(String, i32, u64)> = state
            .all()
            .filter(|(.., buffer)| buffer.paused && !buffer.is_done())
            .map(|(topic, partition, buffer)| (topic.to_string(), partition, buffer.bytes()))
            .collect();
        let room = |(topic, partition, bytes): (String, i32, u64)| {
            (!self.is_full(&state, bytes, MOST_OF)).then_some((topic, partition))
        };
        let resumed: Vec<_> = paused.into_iter().filter_map(room).collect();
        for (topic, partition) in &resumed {
            if let Some(buffer) = state.get(topic, *partition) {
                buffer.paused = false;
            }
        }
        resumed
    }

    /// The client has come so far: what lies before is read, or is no record.
    pub fn pass(&self, positions: &Offsets) {
        let mut state = self.state.lock();
        // Positions that are about to be left say nothing.
        if !self.moved.load(Ordering::SeqCst) {
            for (topic, partition, offset) in positions.iter() {
                // A position behind the end is one of a topic that was there before.
                if let Some(buffer) = state.get(topic, partition)
                    && offset <= buffer.end
                {
                    buffer.pass(offset);
                }
            }
        }
    }

    /// Where a batch ends that begins at `start`.
    ///
    /// # Errors
    /// If records are lost, and none may be.
    pub fn end_of_batch(&self, start: &Offsets, limits: &RateLimits) -> Result<Offsets> {
        let mut state = self.state.lock();
        if let Some(fault) = &state.fault {
            return Err(fault.clone());
        }
        let waiting = |(topic, partition, buffer): (&str, i32, &mut PartitionBuffer)| {
            // A partition that is new to batches is named in one before it has records in the next, so that each log entry says
            // where it begins.
            let from = start.get(topic, partition);
            from.map_or(0, |from| buffer.waiting(from))
        };
        let waiting: Vec<u64> = state.all().map(waiting).collect();
        let mut ends = Offsets::default();
        for ((topic, partition, buffer), limit) in state.all().zip(limits.split(&waiting)) {
            let end = match start.get(topic, partition) {
                Some(from) => buffer.end_of_batch(from, limit)?,
                None => buffer.floor(),
            };
            ends.set(topic, partition, end);
        }
        Ok(ends)
    }

    /// The records of a range, if they are here.
    pub fn slices(&self, topic: &str, partition: i32, from: i64, until: i64) -> Option<Vec<RecordBatch>> {
        self.state.lock().get(topic, partition)?.slices(from, until)
    }

    /// Forgets what lies before `ends`.
    pub fn release(&self, ends: &Offsets) {
        let mut state = self.state.lock();
        for (topic, partition, offset) in ends.iter() {
            if let Some(buffer) = state.get(topic, partition) {
                buffer.release(offset);
            }
        }
        state.count();
        self.released.notify_all();
    }

    /// Looks at each partition.
    pub fn for_each(&self, mut look: impl FnMut(&str, i32, &mut PartitionBuffer)) {
        self.state.lock().all().for_each(|(topic, partition, buffer)| look(topic, partition, buffer));
    }

    /// The stream can't go on: all batches from here on fail.
    pub fn fail(&self, error: Error) {
        let fault = &mut self.state.lock().fault;
        if fault.is_none() {
            tracing::error!(%error, "a Kafka stream can't go on");
            *fault = Some(error);
        }
    }

    /// Records are lost: a fault, or a recorded skip.
    pub fn lose(&self, loss: &Loss) -> Result<()> {
        if self.fail_on_data_loss {
            self.fail(loss.error());
            return Ok(());
        }
        let (mut loss, mut state) = (loss.clone(), self.state.lock());
        match loss.available {
            Some((first, end)) => match state.get(&loss.topic, loss.partition) {
                Some(buffer) if loss.wanted > end => buffer.restart(first, end)?,
                Some(buffer) => {
                    // What is read of it stays, also what was read since; the rest comes from its new beginning.
                    loss.wanted = buffer.reached();
                    buffer.pass(first);
                    if loss.wanted >= first {
                        return Ok(());
                    }
                }
                None => {}
            },
            None => {
                if let Some(partitions) = state.topics.get_mut(&loss.topic) {
                    partitions.remove(&loss.partition);
                }
                state.topics.retain(|_, partitions| !partitions.is_empty());
            }
        }
        state.count();
        self.moved.store(true, Ordering::SeqCst);
        loss.tell();
        Ok(())
    }

    /// The brokers have taken back records that were read.
    ///
    /// # Errors
    /// Unless records may be lost.
    pub fn truncated(&self) -> Result<()> {
        if self.fail_on_data_loss {
            return Err(Error::data(
                "the brokers have taken back records that were read (log truncation, after an unclean leader election): \
                 others may be in their place, which batches have not seen. To go on without them, set fail_on_data_loss(false)",
            ));
        }
        metrics::counter!("tidemill_kafka_data_loss_total").increment(1);
        tracing::warn!("the brokers have taken back records that were read: the stream goes on");
        Ok(())
    }

    /// The positions are the same, and the client must take them up again.
    pub fn read_again(&self) {
        self.moved.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{OwnedMessage, Timestamp};

    use super::*;

    const MAX_BYTES: u64 = 10_000;

    /// A record of 1,000 bytes.
    fn push(buffer: &Buffer, partition: i32, offset: i64) -> Next {
        let value = Some(vec![b'x'; 960]);
        let message = OwnedMessage::new(value, None, "t".into(), Timestamp::NotAvailable, partition, offset, None);
        buffer.push(&message).unwrap()
    }

    fn buffer(partitions: i32) -> Buffer {
        let buffer = Buffer::new(Columns::Text, MAX_BYTES, true);
        let begin = (0..partitions).map(|partition| ("t", partition, 0)).collect();
        buffer.add(&begin, &begin);
        buffer.take_moved().unwrap();
        buffer
    }

    #[test]
    fn the_reader_waits_where_all_have_their_share_and_pauses_who_has_more() {
        let soon = Duration::from_millis(1);
        let even = buffer(2);
        for offset in 0..2 {
            assert_eq!([push(&even, 0, offset), push(&even, 1, offset)], [Next::Read; 2]);
        }
        assert!(even.wait_for_room(soon));
        // Half of all is there, and the share of each is 2,500.
        assert_eq!((push(&even, 0, 2), even.wait_for_room(soon)), (Next::Wait, false));
        assert_eq!(push(&even, 1, 2), Next::Wait);
        assert!(even.take_resumed().is_empty());
        // Batches seal blocks, and let them go.
        let limits = RateLimits {
            interval: Duration::from_secs(1),
            max_rate_per_partition: f64::INFINITY,
            least_per_partition: 1,
            limiter: None,
        };
        let end = even.end_of_batch(&[("t", 0, 0), ("t", 1, 0)].into_iter().collect(), &limits).unwrap();
        assert_eq!(end, [("t", 0, 3), ("t", 1, 3)].into_iter().collect());
        even.release(&end);
        assert!(even.wait_for_room(soon));
        let uneven = buffer(2);
        let pushed: Vec<Next> = (0..5).map(|offset| push(&uneven, 0, offset)).collect();
        assert_eq!(pushed, [Next::Read, Next::Read, Next::Read, Next::Read, Next::Pause]);
        // The other one is read on, up to its share.
        assert!(uneven.wait_for_room(soon));
        assert_eq!([push(&uneven, 1, 0), push(&uneven, 1, 1)], [Next::Read; 2]);
        assert!(!uneven.wait_for_room(soon));
        uneven.release(&[("t", 0, 5)].into_iter().collect());
        assert_eq!(uneven.take_resumed(), []);
        uneven.end_of_batch(&[("t", 0, 0)].into_iter().collect(), &limits).unwrap();
        uneven.release(&[("t", 0, 5)].into_iter().collect());
        assert_eq!((uneven.take_resumed(), uneven.wait_for_room(soon)), (vec![("t".to_string(), 0)], true));
    }
}
