//! The write-ahead log of a receiver: blocks that are durable before they are acknowledged.
//!
//! An entry is a group of blocks that were stored at about the same time: one write for all of them. It has the number of the first
//! block in it, and they have the numbers from there on. Its body is block after block: the number of rows, the bytes that they
//! take in memory, and the length of what follows (u64, little-endian, each); then an Arrow IPC stream with a batch for each chunk, as
//! the element of the source encodes it. Checksums are those of the log beneath.

use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;

use crate::checkpoint::{AppendLog, CheckpointStorage};
use crate::chunk::Element;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::source::block::Block;

/// The bytes before the IPC stream of a block.
const HEADER: usize = 24;

/// The largest block that is logged, in bytes: 1 GiB less what an entry needs besides.
pub const MAX_BLOCK_BYTES: u64 = (1 << 30) - (1 << 16);

/// How long a log that could not be written is left alone, at least.
const REST: Duration = Duration::from_millis(100);

/// Blocks on disk, by number.
pub struct ReceiverLog {
    storage: Arc<dyn CheckpointStorage>,
    name: String,
    element: &'static dyn Element,
    log: Result<Box<dyn AppendLog>, Broken>,
    purged: u64,
}

/// A log that could not be written: it must be opened again, not too soon.
struct Broken {
    error: Error,
    rests_until: Instant,
}

impl ReceiverLog {
    /// Opens a log, which is made if it is not there. `element` is what its blocks are made of.
    ///
    /// # Errors
    /// If a block that was acknowledged is damaged or missing.
    pub fn open(storage: &Arc<dyn CheckpointStorage>, name: &str, element: &'static dyn Element) -> Result<Self> {
        let log = storage.open_log(name)?;
        Ok(Self { storage: Arc::clone(storage), name: name.to_string(), element, log: Ok(log), purged: 0 })
    }

    /// A block as it is logged.
    ///
    /// # Errors
    /// If a row can't be encoded, or the block is too large.
    pub fn encode(element: &dyn Element, block: &Block) -> Result<Bytes> {
        let mut body = vec![0; HEADER];
        let batches = block.chunks().iter().map(|chunk| element.encode(chunk)).collect::<Result<Vec<_>>>()?;
        if let Some(first) = batches.first() {
            let mut writer = StreamWriter::try_new(&mut body, &first.schema())?;
            batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.finish()?;
        }
        let length = (body.len() - HEADER) as u64;
        check_size(length)?;
        for (field, number) in [block.rows(), block.bytes(), length].into_iter().enumerate() {
            body[8 * field..8 * (field + 1)].copy_from_slice(&number.to_le_bytes());
        }
        Ok(body.into())
    }

    /// The error of a write that has failed so lately that the next one would most likely fail, too.
    pub fn resting(&self) -> Option<Error> {
        self.log.as_ref().err().filter(|broken| Instant::now() < broken.rests_until).map(|broken| broken.error.clone())
    }

    /// Adds blocks, the first of which has this number, and returns when all of them are durable. Forgets, if that is cheap, the
    /// blocks before `done`.
    ///
    /// # Errors
    /// If the log can't be written. Then none of the blocks is in it for who asks this process; after a crash they may be there.
    pub fn append(&mut self, first: u64, blocks: &[Bytes], done: u64) -> Result<()> {
        failpoint::hit("block-logging");
        let began = Instant::now();
        if let Err(error) = self.try_append(first, blocks) {
            let rest = REST.max(10 * began.elapsed());
            metrics::counter!("tidemill_receiver_log_errors_total").increment(1);
            self.log = Err(Broken { error: error.clone(), rests_until: Instant::now() + rest });
            return Err(error);
        }
        metrics::histogram!("tidemill_receiver_log_append_seconds").record(began.elapsed());
        failpoint::hit("block-logged");
        if let Ok(log) = &mut self.log
            && done > self.purged
        {
            // What is not forgotten now is with a later block.
            match log.purge_before(done) {
                Ok(()) => self.purged = done,
                Err(error) => tracing::warn!(%error, "blocks that are done with can't be removed"),
            }
        }
        Ok(())
    }

    fn try_append(&mut self, first: u64, blocks: &[Bytes]) -> Result<()> {
        if self.log.is_err() {
            let mut log = self.storage.open_log(&self.name)?;
            // What failed may be there all the same, and its number is given to others now.
            log.truncate_from(first)?;
            self.log = Ok(log);
        }
        let Ok(log) = &mut self.log else { return Err(Error::internal("a log was opened and is not open")) };
        match blocks {
            [block] => log.append(first, block),
            blocks => log.append(first, &blocks.concat()),
        }
    }

    /// The blocks from `start` on that are in the log, until `end` if there is one, with the number of the first of them.
    ///
    /// # Errors
    /// If blocks are damaged, or between those there are some are missing.
    pub fn read(&self, start: u64, end: Option<u64>) -> Result<(u64, Vec<Block>)> {
        let log = self.log.as_ref().map_err(|broken| broken.error.clone())?;
        let (end, numbers) = (end.unwrap_or(u64::MAX), log.numbers());
        let from = numbers.partition_point(|number| *number <= start).saturating_sub(1);
        let (mut first, mut found) = (start, Vec::new());
        for entry in numbers[from..].iter().copied().take_while(|number| *number < end) {
            let damaged =
                |what: &str| Error::data(format!("{} is damaged: {what}; restore it from a copy", log.place(entry)));
            for (number, block) in (entry..).zip(split(&log.read(entry)?)) {
                if number < start || number >= end {
                    continue;
                }
                let block = block.ok_or_else(|| damaged("a block is cut short"))?;
                let block = self.decode(&block).map_err(|error| damaged("a block can't be read").with_source(error))?;
                if found.is_empty() {
                    first = number;
                } else if first + found.len() as u64 != number {
                    return Err(damaged(&format!("blocks before number {number} are missing")));
                }
                found.push(block);
            }
        }
        Ok((first, found))
    }

    fn decode(&self, block: &Encoded<'_>) -> Result<Block> {
        let mut chunks = Vec::new();
        if !block.stream.is_empty() {
            for batch in StreamReader::try_new(Cursor::new(block.stream), None)? {
                chunks.push(self.element.decode(&batch?)?);
            }
        }
        Ok(Block::new(chunks, block.rows, block.bytes))
    }
}

/// An error if a block of this size is too large to be logged.
pub fn check_size(bytes: u64) -> Result<()> {
    if bytes > MAX_BLOCK_BYTES {
        return Err(Error::usage(format!(
            "{bytes} bytes at once are more than the write-ahead log of a receiver takes, {MAX_BLOCK_BYTES}: store them in parts"
        )));
    }
    Ok(())
}

struct Encoded<'a> {
    rows: u64,
    bytes: u64,
    stream: &'a [u8],
}

/// The blocks of an entry; `None` where one is cut short, which is the last.
fn split(body: &[u8]) -> Vec<Option<Encoded<'_>>> {
    let mut blocks = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let parsed = rest.split_first_chunk::<HEADER>().and_then(|(header, tail)| {
            let field = |n: usize| header[8 * n..8 * (n + 1)].try_into().map(u64::from_le_bytes).ok();
            let (stream, tail) = tail.split_at_checked(usize::try_from(field(2)?).ok()?)?;
            Some((Encoded { rows: field(0)?, bytes: field(1)?, stream }, tail))
        });
        let (block, tail) = parsed.unzip();
        rest = tail.unwrap_or_default();
        blocks.push(block);
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::local::LocalStorage;
    use crate::chunk::{ArrowBatches, Chunk, Rows, encode_rows};

    type Texts = Vec<String>;

    fn storage(folder: &tempfile::TempDir) -> Arc<dyn CheckpointStorage> {
        Arc::new(LocalStorage::open(folder.path()).unwrap())
    }

    fn block(rows: &[&[&str]]) -> Block {
        let chunk = |rows: &&[&str]| Chunk::of(rows.iter().map(|row| row.to_string()).collect::<Texts>());
        Block::new(rows.iter().map(chunk).collect(), rows.iter().map(|rows| rows.len() as u64).sum(), 7)
    }

    fn rows(block: &Block) -> Vec<Texts> {
        block.chunks().iter().map(|chunk| chunk.get::<Texts>().unwrap().clone()).collect()
    }

    fn encoded(texts: &[&str]) -> Bytes {
        ReceiverLog::encode(Rows::<String>::ELEMENT, &block(&[texts])).unwrap()
    }

    fn found(log: &ReceiverLog, start: u64, end: Option<u64>) -> (u64, String) {
        let (first, blocks) = log.read(start, end).unwrap();
        (first, blocks.iter().flat_map(rows).flatten().collect())
    }

    #[test]
    fn blocks_come_back_in_their_chunks_and_in_order_whatever_they_are_made_of() {
        let folder = tempfile::tempdir().unwrap();
        let (storage, element) = (storage(&folder), Rows::<String>::ELEMENT);
        let mut log = ReceiverLog::open(&storage, "texts", element).unwrap();
        let written = block(&[&["b", "a"], &["", "\u{e9}"]]);
        log.append(3, &[ReceiverLog::encode(element, &written).unwrap()], 0).unwrap();
        let log = ReceiverLog::open(&storage, "texts", element).unwrap();
        let (first, blocks) = log.read(3, None).unwrap();
        assert_eq!((first, blocks[0].rows(), blocks[0].bytes()), (3, 4, 7));
        assert_eq!(rows(&blocks[0]), [["b", "a"], ["", "\u{e9}"]]);
        let mut log = ReceiverLog::open(&storage, "batches", &ArrowBatches).unwrap();
        let batch = encode_rows(&[1u8, 2]).unwrap();
        let batches = Block::new(vec![Chunk::of(batch.clone())], 2, 9);
        log.append(0, &[ReceiverLog::encode(&ArrowBatches, &batches).unwrap()], 0).unwrap();
        assert_eq!(*log.read(0, None).unwrap().1[0].chunks()[0].get::<arrow::array::RecordBatch>().unwrap(), batch);
    }

    #[test]
    fn groups_are_read_by_the_numbers_of_their_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let (storage, element) = (storage(&folder), Rows::<String>::ELEMENT);
        let mut log = ReceiverLog::open(&storage, "log", element).unwrap();
        log.append(10, &[encoded(&["a"]), encoded(&["b", "c"]), encoded(&["d"])], 0).unwrap();
        log.append(13, &[encoded(&["e"])], 0).unwrap();
        log.append(14, &[encoded(&["f"]), encoded(&["g"])], 0).unwrap();
        type Case = (u64, Option<u64>, u64, &'static str);
        let cases: [Case; 8] = [
            (10, None, 10, "abcdefg"),
            (0, None, 10, "abcdefg"),
            (11, Some(12), 11, "bc"),
            (11, Some(15), 11, "bcdef"),
            (12, None, 12, "defg"),
            (15, None, 15, "g"),
            (16, None, 16, ""),
            (4, Some(9), 4, ""),
        ];
        for (start, end, first, texts) in cases {
            assert_eq!(found(&log, start, end), (first, texts.to_string()), "{start} to {end:?}");
        }
    }

    #[test]
    fn blocks_that_are_done_with_go_a_segment_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (storage, element) = (storage(&folder), Rows::<String>::ELEMENT);
        let segments = || storage.list("log").unwrap().iter().filter(|name| name.ends_with(".log")).count();
        let mut log = ReceiverLog::open(&storage, "log", element).unwrap();
        (0..1024).for_each(|n| log.append(n, &[encoded(&["x"])], n).unwrap());
        assert_eq!(segments(), 1);
        log.append(1024, &[encoded(&["y"])], 1023).unwrap();
        assert_eq!(segments(), 2);
        log.append(1025, &[encoded(&["z"])], 1024).unwrap();
        assert_eq!(segments(), 1);
        assert_eq!(found(&log, 0, None), (1024, "yz".to_string()));
    }

    #[test]
    fn a_gap_and_a_block_that_is_cut_short_are_errors_that_name_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let (storage, element) = (storage(&folder), Rows::<String>::ELEMENT);
        let mut log = ReceiverLog::open(&storage, "log", element).unwrap();
        log.append(0, &[encoded(&["a"])], 0).unwrap();
        log.append(2, &[encoded(&["b"])], 0).unwrap();
        log.append(3, &[encoded(&["b"]).slice(..30)], 0).unwrap();
        for (start, end, says) in [(0, Some(3), "before number 2"), (3, None, "cut short")] {
            let error = log.read(start, end).err().unwrap();
            assert!(error.message().contains(says) && error.message().contains(".log"), "{error}");
        }
        assert_eq!(found(&log, 2, Some(3)), (2, "b".to_string()));
    }

    #[test]
    fn a_log_that_could_not_be_written_rests_and_takes_blocks_again() {
        let folder = tempfile::tempdir().unwrap();
        let (storage, element) = (storage(&folder), Rows::<String>::ELEMENT);
        let mut log = ReceiverLog::open(&storage, "log", element).unwrap();
        // A folder where the first segment should be.
        let obstacle = folder.path().join("log/00000000000000000005.log");
        std::fs::create_dir(&obstacle).unwrap();
        let error = log.append(5, &[encoded(&["a"])], 0).unwrap_err();
        assert!(error.message().contains("00000000000000000005.log") && log.resting().is_some(), "{error}");
        std::fs::remove_dir(&obstacle).unwrap();
        while log.resting().is_some() {
            std::thread::sleep(Duration::from_millis(1));
        }
        log.append(5, &[encoded(&["b"])], 0).unwrap();
        assert_eq!(found(&log, 0, None), (5, "b".to_string()));
    }
}
