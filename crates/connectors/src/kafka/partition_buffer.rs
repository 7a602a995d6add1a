//! `PartitionBuffer`: what was read of a partition and is not done with, in blocks.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use rdkafka::message::Message;
use tidemill_engine::error::Result;

use super::columns::{Block, BlockBuilder, Columns, Faults};

/// The records of one partition between two offsets.
///
/// All that the broker had from `floor` to `reached` is in the blocks, in order: `floor <= reached`, and both only rise, unless the
/// topic was made anew. Neither passes `until`, unless they begin behind it.
pub(super) struct PartitionBuffer {
    floor: i64,
    reached: i64,
    /// Where the stream ends; the largest number if it does not.
    until: i64,
    blocks: VecDeque<Block>,
    open: BlockBuilder,
    sealed_bytes: u64,
    /// No batch has been at the new beginning yet.
    restarted: bool,
    /// The new beginning, while batches may still be over that lie before it.
    renewed: Option<i64>,
    /// Where the broker's log ended when it was last asked.
    pub end: i64,
    /// Whether the client reads it no further for now.
    pub paused: bool,
    /// How often in a row it was not to be found, or ended before what was read of it.
    pub doubts: u32,
}

impl PartitionBuffer {
    /// Nothing, from `begin` on; to be read up to `until`.
    pub fn new(columns: Columns, topic: &str, partition: i32, begin: i64, until: i64) -> Self {
        let open = BlockBuilder::new(columns, topic, partition);
        let (blocks, sealed_bytes, end, paused, doubts) = (VecDeque::new(), 0, begin, false, 0);
        let (floor, reached, restarted, renewed) = (begin, begin, false, None);
        Self { floor, reached, until, blocks, open, sealed_bytes, restarted, renewed, end, paused, doubts }
    }

    /// Where it begins.
    pub fn floor(&self) -> i64 {
        self.floor
    }

    /// The offset behind all that was read.
    pub fn reached(&self) -> i64 {
        self.reached
    }

    /// Before which offset all is to be read; the largest number if the stream does not end.
    pub fn until(&self) -> i64 {
        self.until
    }

    /// Whether all was read that is to be read.
    pub fn is_done(&self) -> bool {
        self.reached >= self.until
    }

    /// Whether batches up to `offset`, which are over, had all that is to be read.
    pub fn is_exhausted(&self, offset: i64) -> bool {
        // An offset of the topic that was there before says nothing of the new one.
        self.renewed.is_none() && offset >= self.until
    }

    /// How many offsets lie between `from` and what is known to be there, as far as they are to be read.
    pub fn waiting(&self, from: i64) -> u64 {
        u64::try_from(self.end.max(self.reached).min(self.until) - from).unwrap_or(0)
    }

    /// About how much memory its records take.
    pub fn bytes(&self) -> u64 {
        self.sealed_bytes + self.open.bytes()
    }

    /// Adds a record, unless it was read before, or lies behind the end.
    pub fn push(&mut self, message: &impl Message) -> Result<()> {
        if message.offset() < self.reached {
            return Ok(());
        }
        if message.offset() >= self.until {
            self.pass(message.offset());
            return Ok(());
        }
        self.open.append(message);
        self.reached = message.offset() + 1;
        if self.open.is_full() { self.seal() } else { Ok(()) }
    }

    /// There is nothing more to be read before `offset`.
    pub fn pass(&mut self, offset: i64) {
        self.reached = self.reached.max(offset.min(self.until));
    }

    /// Begins anew at `offset`: the topic is another one now, which ends at `end`. A stream that ends was told where before, so it
    /// waits for no more than that.
    pub fn restart(&mut self, offset: i64, end: i64) -> Result<()> {
        self.seal()?;
        self.blocks.clear();
        if self.until != i64::MAX {
            self.until = self.until.min(end);
        }
        (self.floor, self.reached, self.sealed_bytes) = (offset, offset, 0);
        (self.restarted, self.renewed) = (true, Some(offset));
        Ok(())
    }

    fn seal(&mut self) -> Result<()> {
        if let Some(block) = self.open.seal()? {
            self.sealed_bytes += block.bytes;
            self.blocks.push_back(block);
        }
        Ok(())
    }

    /// Where a batch ends that begins at `from` and takes at most `limit` records. After a restart it is the new beginning, and the
    /// next batch goes on from there.
    pub fn end_of_batch(&mut self, from: i64, limit: Option<u64>) -> Result<i64> {
        self.seal()?;
        if std::mem::take(&mut self.restarted) || from > self.reached {
            return Ok(self.floor);
        }
        let Some(mut left) = limit else { return Ok(self.reached) };
        for block in &self.blocks {
            let first = block.offsets.partition_point(|offset| *offset < from);
            let rows = (block.offsets.len() - first) as u64;
            if rows > left {
                // The record that is one too many: within the block, for it has more rows than that.
                return Ok(block.offsets[first + left as usize]);
            }
            left -= rows;
        }
        Ok(self.reached)
    }

    /// The records of a range; `None` if the range is not all here.
    pub fn slices(&self, from: i64, until: i64) -> Option<Vec<RecordBatch>> {
        if from < self.floor || until > self.reached {
            return None;
        }
        let slice = |block: &Block| {
            let first = block.offsets.partition_point(|offset| *offset < from);
            let last = block.offsets.partition_point(|offset| *offset < until);
            (first < last).then(|| block.batch.slice(first, last - first))
        };
        Some(self.blocks.iter().filter_map(slice).collect())
    }

    /// Forgets what lies before `offset`, block by block.
    pub fn release(&mut self, offset: i64) {
        if offset > self.reached || self.renewed.is_some_and(|begin| begin != offset) {
            return;
        }
        self.renewed = None;
        while let Some(block) = self.blocks.front()
            && block.offsets.last().is_none_or(|last| *last < offset)
        {
            self.sealed_bytes -= block.bytes;
            self.blocks.pop_front();
        }
        self.floor = self.floor.max(offset);
    }

    /// What was not text since the last call.
    pub fn take_faults(&mut self) -> Faults {
        self.open.take_faults()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, StringArray};
    use rdkafka::message::{OwnedMessage, Timestamp};
    use tidemill_engine::chunk::column;

    use super::*;

    fn buffer(offsets: &[i64], until: i64) -> PartitionBuffer {
        let mut buffer = PartitionBuffer::new(Columns::Text, "t", 3, 10, until);
        for (n, offset) in offsets.iter().enumerate() {
            let value = Some(format!("v{offset}").into_bytes());
            let message = OwnedMessage::new(value, None, "t".into(), Timestamp::NotAvailable, 3, *offset, None);
            buffer.push(&message).unwrap();
            if n % 2 == 1 {
                buffer.seal().unwrap();
            }
        }
        buffer
    }

    fn values(batches: Option<Vec<RecordBatch>>) -> Option<Vec<String>> {
        let of = |batch: &RecordBatch| {
            let column = column::<StringArray>(batch, 0).unwrap();
            (0..column.len()).map(|row| column.value(row).to_string()).collect::<Vec<_>>()
        };
        batches.map(|batches| batches.iter().flat_map(of).collect())
    }

    #[test]
    fn a_batch_takes_so_many_records_whatever_their_offsets() {
        // Offsets 12, 15 and what lies behind 17 are markers, or were compacted away.
        let mut buffer = buffer(&[10, 11, 13, 14, 16, 17], i64::MAX);
        buffer.pass(20);
        let ends =
            [(10, None), (10, Some(2)), (10, Some(3)), (13, Some(2)), (16, Some(2)), (16, Some(9)), (20, Some(1))];
        let found = ends.map(|(from, limit)| buffer.end_of_batch(from, limit).unwrap());
        assert_eq!(found, [20, 13, 14, 16, 20, 20, 20]);
        let text = |from, until| values(buffer.slices(from, until)).map(|values| values.join(" "));
        assert_eq!(text(10, 20).as_deref(), Some("v10 v11 v13 v14 v16 v17"));
        assert_eq!(text(11, 14).as_deref(), Some("v11 v13"));
        assert_eq!(text(18, 20).as_deref(), Some(""));
        assert_eq!([text(9, 11), text(11, 21)], [None, None]);
    }

    #[test]
    fn what_is_done_with_is_forgotten_and_what_comes_twice_is_left_out() {
        let mut buffer = buffer(&[10, 11, 12, 11, 12, 13, 14], i64::MAX);
        let all = buffer.bytes();
        assert_eq!((buffer.floor(), buffer.reached()), (10, 15));
        buffer.end_of_batch(10, None).unwrap();
        buffer.release(11);
        assert_eq!((buffer.floor(), buffer.bytes()), (11, all));
        buffer.release(13);
        assert_eq!(values(buffer.slices(13, 15)).unwrap(), ["v13", "v14"]);
        assert!(buffer.bytes() < all && buffer.slices(12, 15).is_none());
        buffer.release(15);
        assert_eq!((buffer.bytes(), buffer.floor()), (0, 15));
        buffer.restart(0, 0).unwrap();
        // Who comes from the old topic goes to the beginning of the new one.
        assert_eq!((buffer.end_of_batch(15, Some(1)).unwrap(), buffer.reached()), (0, 0));
    }

    #[test]
    fn nothing_is_read_behind_the_end() {
        // (the end, what of it is read, where that ends)
        let cases = [(13, "v10 v11", 13), (12, "v10 v11", 12), (15, "v10 v11 v13 v14", 15), (10, "", 10), (4, "", 10)];
        for (until, expected, end) in cases {
            let mut buffer = buffer(&[10, 11, 13, 14, 16], until);
            assert_eq!((buffer.end_of_batch(10, None).unwrap(), buffer.is_done()), (end, true), "{until}");
            assert_eq!(values(buffer.slices(10, end)).unwrap().join(" "), expected, "{until}");
            buffer.pass(30);
            buffer.end = 30;
            assert_eq!((buffer.reached(), buffer.waiting(10)), (end, end.min(until).max(10) as u64 - 10), "{until}");
            assert_eq!((buffer.is_exhausted(end), buffer.is_exhausted(until - 1)), (true, false), "{until}");
        }
        let mut ahead = buffer(&[10, 11], 40);
        ahead.pass(20);
        assert_eq!((ahead.reached(), ahead.is_done()), (20, false));
        // Made anew while it was read, the topic is read as far as it went then.
        ahead.restart(0, 5).unwrap();
        assert!(!ahead.is_done() && !ahead.is_exhausted(20));
        ahead.pass(9);
        ahead.release(0);
        assert!(ahead.reached() == 5 && ahead.is_done() && ahead.is_exhausted(5));
    }
}
