//! `BlockSource`: what receivers stored, block by block. A batch covers all blocks that came before it was due.
//!
//! Offsets are the numbers of blocks, from 0 for as long as the checkpoint lives. With the write-ahead log, blocks are durable before
//! a batch can cover them: a restart reads again those of batches that were not done, and gives those that were in no batch to
//! its first one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use super::block_queue::BlockQueue;
use super::{InputInfo, Offset, OffsetRange, Source, SourceBatch};
use crate::checkpoint::CheckpointStorage;
use crate::chunk::{Chunk, Element};
use crate::error::{Error, Result};
use crate::function::Function;
use crate::lineage::{Chunks, Lineage, Values};
use crate::log::receiver_log::ReceiverLog;
use crate::rate::RateLimiter;
use crate::time::Time;

/// Rows that a receiver stored at once; one partition of a batch.
pub struct Block {
    chunks: Vec<Chunk>,
    rows: u64,
    bytes: u64,
}

impl Block {
    /// A block of chunks with this many rows in all, which take about this many bytes of memory.
    pub fn new(chunks: Vec<Chunk>, rows: u64, bytes: u64) -> Self {
        Self { chunks, rows, bytes }
    }

    /// The number of its rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Its rows.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// About how much memory its rows take, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Starts and stops what fills the blocks.
pub trait Feeder: Send + Sync {
    /// Begins; does not wait.
    fn start(&self) -> Result<()>;
    /// Makes a block of what is buffered: a batch is due. Returns when it is in the log, if there is one, or could not be written.
    fn flush(&self);
    /// Ends, and returns when nothing is stored any more.
    fn stop(&self);
}

/// Blocks by number: in memory, and, if wanted, in a write-ahead log. Without it a restart finds none of them.
pub struct BlockSource {
    name: String,
    decoder: Arc<Function>,
    blocks: Arc<BlockQueue>,
    limiter: Arc<RateLimiter>,
    feeder: Box<dyn Feeder>,
    write_ahead: bool,
    /// The log, from when the checkpoint is known to the start.
    log: Mutex<Option<ReceiverLog>>,
    started: AtomicBool,
}

impl BlockSource {
    /// A source over `blocks`, which `feeder` fills. `decoder` is the builtin that makes chunks of encoded rows, where a
    /// batch travels. `write_ahead` asks for the log, which needs a checkpoint.
    pub fn new(
        name: impl Into<String>,
        decoder: Arc<Function>,
        blocks: Arc<BlockQueue>,
        limiter: Arc<RateLimiter>,
        feeder: Box<dyn Feeder>,
        write_ahead: bool,
    ) -> Self {
        let (name, log, started) = (name.into(), Mutex::default(), AtomicBool::new(false));
        Self { name, decoder, blocks, limiter, feeder, write_ahead, log, started }
    }
}

impl Source for BlockSource {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn is_replayable(&self) -> bool {
        self.write_ahead
    }

    fn initial_offset(&self) -> Result<Offset> {
        Ok(Offset::count(0))
    }

    fn latest_offset(&self, _: &Offset, _: Time) -> Result<Offset> {
        self.feeder.flush();
        Ok(Offset::count(self.blocks.end()))
    }

    fn read(&self, range: &OffsetRange, _: Time) -> Result<SourceBatch> {
        let (start, end) = (range.start.as_count(), range.end.as_count());
        let read = self.blocks.range(start, end)?;
        // Blocks that an earlier process had in memory only are gone.
        let lost = end.saturating_sub(start).saturating_sub(read.len() as u64);
        if lost > 0 {
            tracing::error!(
                source = self.name,
                lost,
                "blocks received before the restart are lost: they were in memory only"
            );
        }
        let records = read.iter().map(|block| block.rows).sum();
        let lineage = Lineage::values(Arc::new(BlockValues { blocks: read, decoder: Arc::clone(&self.decoder) }));
        let info = InputInfo { name: self.name.clone(), records, description: None };
        Ok(SourceBatch { lineage, info, lost: lost > 0 })
    }

    fn commit(&self, end: &Offset) -> Result<()> {
        self.blocks.remove_before(end.as_count(), true);
        Ok(())
    }

    fn release(&self, end: &Offset) {
        self.blocks.remove_before(end.as_count(), false);
    }

    fn set_checkpoint(&self, storage: &Arc<dyn CheckpointStorage>, folder: &str) -> Result<()> {
        let name = format!("{folder}/received");
        // Without the log wanted, one of an earlier run is still read: what was acknowledged is not lost by a setting.
        if self.write_ahead || !storage.list(&name)?.is_empty() {
            *self.log.lock() = Some(ReceiverLog::open(storage, &name, self.decoder.output())?);
        }
        Ok(())
    }

    fn start(&self, start: &Offset, _: Time) -> Result<()> {
        if self.started.swap(true, Ordering::SeqCst) {
            return Err(Error::internal(format!("{} was started twice", self.name)));
        }
        let log = self.log.lock().take();
        if self.write_ahead && log.is_none() {
            return Err(Error::usage(
                "Cannot enable receiver write-ahead log without checkpoint directory set: set one with \
                 `StreamingContext::checkpoint`, or spark.streaming.checkpoint.directory",
            ));
        }
        self.blocks.begin(start.as_count(), log, self.write_ahead.then(|| self.decoder.output()))?;
        self.feeder.start()
    }

    fn stop(&self) {
        if self.started.load(Ordering::SeqCst) {
            self.feeder.stop();
        }
    }

    fn end(&self) -> Result<()> {
        self.blocks.close().map_err(|error| error.context(format!("the rows that {} had buffered", self.name)))
    }

    fn has_pending(&self, end: &Offset) -> bool {
        self.feeder.flush();
        self.blocks.end() > end.as_count() || self.blocks.is_behind()
    }

    fn rate_limiter(&self) -> Option<&Arc<RateLimiter>> {
        Some(&self.limiter)
    }
}

struct BlockValues {
    blocks: Vec<Arc<Block>>,
    decoder: Arc<Function>,
}

impl BlockValues {
    fn element(&self) -> &'static dyn Element {
        self.decoder.output()
    }
}

impl Values for BlockValues {
    fn partitions(&self) -> usize {
        self.blocks.len()
    }

    fn rows(&self) -> usize {
        self.blocks.iter().map(|block| usize::try_from(block.rows).unwrap_or(usize::MAX)).fold(0, usize::saturating_add)
    }

    fn chunks(self: Arc<Self>, partition: usize) -> Chunks {
        let (block, element) = (Arc::clone(&self.blocks[partition]), self.element());
        Box::new((0..block.chunks.len()).map(move |n| element.copy(&block.chunks[n])))
    }

    fn encode(&self, partition: usize) -> Result<RecordBatch> {
        let batches = self.blocks[partition].chunks.iter().map(|chunk| self.element().encode(chunk));
        let batches = batches.collect::<Result<Vec<_>>>()?;
        match batches.first() {
            Some(first) => Ok(arrow::compute::concat_batches(&first.schema(), &batches)?),
            None => Ok(RecordBatch::new_empty(crate::chunk::rows_schema())),
        }
    }

    fn decoder(&self) -> Arc<Function> {
        Arc::clone(&self.decoder)
    }
}
