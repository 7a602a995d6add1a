//! Partitions of a data set that are kept once computed: persisted RDDs, and what a plan reads more than once.

use std::fs::File;
use std::future::Future;
use std::io::{Seek, SeekFrom};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::chunk::{Chunk, Element};
use crate::error::{Error, Result};

/// Where and in which form partitions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StorageLevel {
    /// May lie on disk.
    pub use_disk: bool,
    /// May lie in memory.
    pub use_memory: bool,
    /// In memory as objects, not as encoded rows.
    pub deserialized: bool,
}

impl StorageLevel {
    /// Not kept.
    pub const NONE: Self = Self { use_disk: false, use_memory: false, deserialized: false };
    /// Objects in memory; what doesn't fit is computed again.
    pub const MEMORY_ONLY: Self = Self { use_disk: false, use_memory: true, deserialized: true };
    /// Encoded rows in memory; what doesn't fit is computed again.
    pub const MEMORY_ONLY_SER: Self = Self { use_disk: false, use_memory: true, deserialized: false };
    /// Objects in memory; what doesn't fit goes to disk.
    pub const MEMORY_AND_DISK: Self = Self { use_disk: true, use_memory: true, deserialized: true };
    /// Encoded rows in memory; what doesn't fit goes to disk.
    pub const MEMORY_AND_DISK_SER: Self = Self { use_disk: true, use_memory: true, deserialized: false };
    /// Encoded rows on disk.
    pub const DISK_ONLY: Self = Self { use_disk: true, use_memory: false, deserialized: false };
}

/// How much memory all caches of a context may hold together.
pub struct MemoryBudget {
    limit: usize,
    used: Mutex<usize>,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: Mutex::new(0) })
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        *self.used.lock()
    }

    fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let mut used = self.used.lock();
        let after = used.checked_add(bytes).filter(|after| *after <= self.limit)?;
        *used = after;
        Some(Reservation { budget: Arc::clone(self), bytes })
    }
}

struct Reservation {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        *self.budget.used.lock() -= self.bytes;
    }
}

enum Block {
    Objects {
        chunks: Vec<Chunk>,
        _reservation: Option<Reservation>,
    },
    Encoded {
        batches: Vec<RecordBatch>,
        _reservation: Reservation,
    },
    OnDisk(Mutex<File>),
    /// It did not fit and may not go to disk.
    Recompute,
}

/// The kept partitions of one data set.
pub struct CachedBlocks {
    level: StorageLevel,
    element: &'static dyn Element,
    budget: Option<Arc<MemoryBudget>>,
    blocks: Vec<OnceCell<Block>>,
}

impl CachedBlocks {
    /// Room for the partitions of a persisted data set.
    pub fn new(
        level: StorageLevel,
        element: &'static dyn Element,
        partitions: usize,
        budget: Arc<MemoryBudget>,
    ) -> Arc<Self> {
        let blocks = (0..partitions).map(|_| OnceCell::new()).collect();
        Arc::new(Self { level, element, budget: Some(budget), blocks })
    }

    /// Room for what one plan reads more than once; it lives as long as the plan.
    pub fn transient(element: &'static dyn Element, partitions: usize) -> Arc<Self> {
        let blocks = (0..partitions).map(|_| OnceCell::new()).collect();
        Arc::new(Self { level: StorageLevel::MEMORY_ONLY, element, budget: None, blocks })
    }

    /// Where and in which form.
    pub fn level(&self) -> StorageLevel {
        self.level
    }

    /// The number of partitions that are kept now.
    pub fn kept(&self) -> usize {
        self.blocks.iter().filter(|block| block.get().is_some_and(|block| !matches!(block, Block::Recompute))).count()
    }

    /// For `explain`: the level and how much is kept.
    pub fn describe(&self) -> String {
        let StorageLevel { use_disk, use_memory, deserialized } = self.level;
        let place = match (use_memory, use_disk) {
            (true, true) => "memory and disk",
            (true, false) => "memory",
            (false, true) => "disk",
            (false, false) => "nowhere",
        };
        let form = if deserialized { "objects" } else { "encoded" };
        format!("kept {}/{} in {place}, {form}", self.kept(), self.blocks.len())
    }

    /// The chunks of a partition: kept ones, or those that `compute` makes, which are then kept.
    ///
    /// Of several tasks that ask for the same partition at once, one computes and the others wait.
    pub async fn get_or_compute<F>(&self, partition: usize, compute: impl Fn() -> F) -> Result<Vec<Chunk>>
    where
        F: Future<Output = Result<Vec<Chunk>>>,
    {
        let mut unkept = None;
        let block = self.blocks[partition]
            .get_or_try_init(|| async {
                let chunks = compute().await?;
                self.keep(chunks, &mut unkept)
            })
            .await?;
        if let Some(chunks) = unkept {
            return Ok(chunks);
        }
        match block {
            Block::Objects { chunks, .. } => chunks.iter().map(|chunk| self.element.copy(chunk)).collect(),
            Block::Encoded { batches, .. } => batches.iter().map(|batch| self.element.decode(batch)).collect(),
            Block::OnDisk(file) => self.read(&mut file.lock()),
            Block::Recompute => compute().await,
        }
    }

    /// Keeps chunks; those that don't fit and may not go to disk are left in `unkept`.
    fn keep(&self, chunks: Vec<Chunk>, unkept: &mut Option<Vec<Chunk>>) -> Result<Block> {
        let Some(budget) = &self.budget else { return Ok(Block::Objects { chunks, _reservation: None }) };
        if self.level.use_memory {
            if self.level.deserialized {
                let size = chunks.iter().map(|chunk| self.element.size(chunk)).sum::<Result<usize>>()?;
                if let Some(reservation) = budget.reserve(size) {
                    return Ok(Block::Objects { chunks, _reservation: Some(reservation) });
                }
            } else {
                let batches = self.encode(&chunks)?;
                let size = batches.iter().map(RecordBatch::get_array_memory_size).sum();
                if let Some(reservation) = budget.reserve(size) {
                    return Ok(Block::Encoded { batches, _reservation: reservation });
                }
            }
        }
        if self.level.use_disk {
            return Ok(Block::OnDisk(Mutex::new(self.write(&chunks)?)));
        }
        *unkept = Some(chunks);
        Ok(Block::Recompute)
    }

    fn encode(&self, chunks: &[Chunk]) -> Result<Vec<RecordBatch>> {
        chunks.iter().map(|chunk| self.element.encode(chunk)).collect()
    }

    fn write(&self, chunks: &[Chunk]) -> Result<File> {
        let spill = |error: std::io::Error| {
            Error::retry("a persisted partition can't be written to the temporary folder; is its disk full?")
                .with_source(error)
        };
        // An unnamed file: the space comes back with the last handle, also after a kill.
        let mut file = tempfile::tempfile().map_err(spill)?;
        let batches = self.encode(chunks)?;
        if let Some(first) = batches.first() {
            let mut writer = StreamWriter::try_new(std::io::BufWriter::new(&mut file), &first.schema())?;
            for batch in &batches {
                writer.write(batch)?;
            }
            writer.finish()?;
            writer.into_inner()?.into_inner().map_err(|error| spill(error.into_error()))?;
        }
        Ok(file)
    }

    fn read(&self, file: &mut File) -> Result<Vec<Chunk>> {
        let failed =
            |error: std::io::Error| Error::retry("a persisted partition can't be read back").with_source(error);
        if file.metadata().map_err(failed)?.len() == 0 {
            return Ok(Vec::new());
        }
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        StreamReader::try_new(std::io::BufReader::new(file), None)?.map(|batch| self.element.decode(&batch?)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Rows;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn each_level_keeps_what_fits_and_gives_the_same_rows() {
        let rows: Vec<String> = (0..100).map(|i| format!("row {i}")).collect();
        let cases = [
            (StorageLevel::MEMORY_ONLY, 1 << 20, 1, true),
            (StorageLevel::MEMORY_ONLY, 10, 2, false),
            (StorageLevel::MEMORY_ONLY_SER, 1 << 20, 1, true),
            (StorageLevel::MEMORY_AND_DISK, 10, 1, false),
            (StorageLevel::MEMORY_AND_DISK_SER, 10, 1, false),
            (StorageLevel::DISK_ONLY, 1 << 20, 1, false),
        ];
        for (level, limit, computed, in_memory) in cases {
            let budget = MemoryBudget::new(limit);
            let cache = CachedBlocks::new(level, Rows::<String>::ELEMENT, 1, Arc::clone(&budget));
            let runs = AtomicUsize::new(0);
            for _ in 0..2 {
                let compute = || async {
                    runs.fetch_add(1, Ordering::Relaxed);
                    Ok(vec![Chunk::of(rows.clone())])
                };
                let chunks = futures::executor::block_on(cache.get_or_compute(0, compute)).unwrap();
                let got: Vec<String> = chunks.into_iter().flat_map(|c| c.take::<Vec<String>>().unwrap()).collect();
                assert_eq!(got, rows, "{level:?}");
            }
            // What doesn't fit and may not go to disk is computed at every read.
            assert_eq!(runs.load(Ordering::Relaxed), computed, "{level:?} {limit}");
            assert_eq!(budget.used() > 0, in_memory, "{level:?} {limit}");
            drop(cache);
            assert_eq!(budget.used(), 0);
        }
    }
}
