//! `Receiver<T>`: your own way of taking data in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_engine::chunk::{CHUNK_ROWS, Chunk, Data};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::source::block::Block;

use super::supervisor::{Buffer, Control, Supervisor};
use crate::op::narrow::decode_values;
use crate::stream::DStream;
use crate::streaming_context::StreamingContext;

/// Buffered rows of so many bytes are cut into a block before its interval is over: 64 MiB.
const FULL_BYTES: u64 = 64 << 20;

/// Takes data in from outside and stores it.
///
/// **What is reliable.** With `spark.streaming.receiver.writeAheadLog.enable=true`, which needs a checkpoint folder, a block that
/// [`ReceiverContext::store_many`] has returned from is on disk, and outlives a crash of the process and of the machine: it is in exactly one
/// batch, which a restart runs again, with the same rows in the same order, until it is done. So a receiver acknowledges after
/// `store_many`, and a sender that sends again what was not acknowledged loses nothing; what it sends twice is there twice. Single rows
/// of [`ReceiverContext::store`] are on disk before a batch has them, but not yet when `store` returns: a crash loses those of
/// the last block interval. Without the log, all that no finished batch has covered is lost in a crash.
///
/// `on_start` runs on a thread of its own, once for each start; it may do its work there, or start threads and return. It
/// ends when [`ReceiverContext::is_stopped`] says so; what it stores after that is refused.
///
/// ```
/// use std::time::Duration;
/// use tidemill_dstream::input::receiver::{Receiver, ReceiverContext};
///
/// /// Counts up.
/// struct Counter;
///
/// impl Receiver<u64> for Counter {
///     fn on_start(&self, context: &ReceiverContext<u64>) {
///         for n in 0.. {
///             if context.store(n).is_err() || context.sleep(Duration::from_millis(10)) {
///                 return;
///             }
///         }
///     }
/// }
/// ```
pub trait Receiver<T: Data>: Send + Sync + 'static {
    /// Begins to receive.
    fn on_start(&self, context: &ReceiverContext<T>);

    /// Frees what `on_start` took; called once after each start.
    fn on_stop(&self) {}

    /// Its name, for people.
    fn name(&self) -> String {
        std::any::type_name::<Self>().rsplit("::").next().unwrap_or("Receiver").to_string()
    }
}

/// What a receiver works with. Cheap to clone, for threads that it starts.
pub struct ReceiverContext<T> {
    buffer: Arc<RowBuffer<T>>,
    control: Control,
}

impl<T> Clone for ReceiverContext<T> {
    fn clone(&self) -> Self {
        Self { buffer: Arc::clone(&self.buffer), control: self.control.clone() }
    }
}

impl<T: Data> ReceiverContext<T> {
    /// Stores one row; it joins the others of its `spark.streaming.blockInterval` (200 ms) in a block. Waits where the rate is
    /// limited, and while rows of `spark.tidemill.receiver.maxBufferedBytes` (256 MiB) wait for their batches to end.
    ///
    /// With the write-ahead log on, the row is in it when a batch has it, not yet when this returns. Where the log can't be written,
    /// rows wait in memory, listeners are told, and each batch and block tries again.
    ///
    /// # Errors
    /// If the receiver was stopped, or the row is too large for the write-ahead log, where that is on.
    pub fn store(&self, row: T) -> Result<()> {
        let bytes = row_bytes(&row);
        self.control.check_size(bytes)?;
        self.control.may_store(1)?;
        self.control.cut_block();
        let buffered = {
            let mut rows = self.buffer.rows.lock();
            // Asked again under the lock, which the last flush takes after the stop: no row is taken and then lost.
            if self.is_stopped() {
                return Err(stopped());
            }
            rows.push(row);
            self.buffer.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
        };
        self.control.buffered();
        if buffered >= FULL_BYTES {
            self.control.flush();
        }
        Ok(())
    }

    /// Stores rows as a block of their own, behind those that were stored one by one before, and returns when they are stored: what a
    /// reliable source may then acknowledge. Waits as [`ReceiverContext::store`] does; one block may be larger than the room.
    ///
    /// With the write-ahead log on, the block is in it, durably, when this returns; blocks that several threads store at once share a
    /// write.
    ///
    /// # Errors
    /// If the receiver was stopped, or the log can't be written: then the block is in no batch, must not be acknowledged, and
    /// may be stored again. After a crash it may be there all the same.
    pub fn store_many(&self, rows: Vec<T>) -> Result<()> {
        let block = block_of(rows);
        self.control.check_size(block.bytes())?;
        self.control.may_store(usize::try_from(block.rows()).unwrap_or(usize::MAX))?;
        self.control.add_block(block)
    }

    /// Tells listeners and the log of an error; the receiver goes on.
    pub fn report_error(&self, message: &str, error: Option<&dyn std::error::Error>) {
        self.control.report_error(message, error.map(ToString::to_string));
    }

    /// Stops the receiver and starts it again after `spark.streaming.receiverRestartDelay`. Returns at once.
    pub fn restart(&self, message: &str, error: Option<&dyn std::error::Error>) {
        self.control.restart(message, error.map(ToString::to_string), None);
    }

    /// [`ReceiverContext::restart`] after a delay of the receiver's own.
    pub fn restart_after(&self, message: &str, error: Option<&dyn std::error::Error>, delay: Duration) {
        self.control.restart(message, error.map(ToString::to_string), Some(delay));
    }

    /// Stops the receiver for good.
    pub fn stop(&self, message: &str) {
        self.control.stop_for_good(message);
    }

    /// Whether it was stopped, or is to be started again.
    pub fn is_stopped(&self) -> bool {
        self.control.is_stopped()
    }

    /// Sleeps; true if it was stopped meanwhile.
    pub fn sleep(&self, duration: Duration) -> bool {
        self.control.sleep(duration)
    }

    /// The number of the stream that it feeds.
    pub fn stream_id(&self) -> u32 {
        self.control.stream_id()
    }
}

fn block_of<T: Data>(rows: Vec<T>) -> Block {
    let bytes = rows.iter().map(row_bytes).sum();
    block_of_bytes(rows, bytes)
}

fn block_of_bytes<T: Data>(rows: Vec<T>, bytes: u64) -> Block {
    let count = rows.len() as u64;
    let mut chunks = Vec::with_capacity(rows.len().div_ceil(CHUNK_ROWS));
    let mut rows = rows.into_iter();
    loop {
        let chunk: Vec<T> = rows.by_ref().take(CHUNK_ROWS).collect();
        if chunk.is_empty() {
            return Block::new(chunks, count, bytes);
        }
        chunks.push(Chunk::of(chunk));
    }
}

/// About how much memory a row takes: its own size, and its encoded form for what it points to.
fn row_bytes<T: Data>(row: &T) -> u64 {
    let encoded = postcard::serialize_with_flavor(row, postcard::ser_flavors::Size::default()).unwrap_or(0);
    (size_of::<T>() + encoded) as u64
}

struct RowBuffer<T> {
    rows: Mutex<Vec<T>>,
    /// Of all rows; changed under their lock.
    bytes: AtomicU64,
}

impl<T: Data> Buffer for Arc<RowBuffer<T>> {
    fn take(&self) -> Result<Option<Block>> {
        let mut rows = self.rows.lock();
        let (rows, bytes) = (std::mem::take(&mut *rows), self.bytes.swap(0, Ordering::Relaxed));
        Ok((!rows.is_empty()).then(|| block_of_bytes(rows, bytes)))
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl StreamingContext {
    /// The rows that a receiver stores; a partition for each block.
    pub fn receiver_stream<T: Data>(&self, receiver: impl Receiver<T>) -> Result<DStream<T>> {
        self.check_may_add()?;
        let rows = Arc::new(RowBuffer { rows: Mutex::new(Vec::new()), bytes: AtomicU64::new(0) });
        let (name, receiver) = (receiver.name(), Arc::new(receiver));
        let (ended, stored) = (Arc::clone(&receiver), Arc::clone(&rows));
        let supervisor = Supervisor::new(
            self,
            name,
            rows,
            move |control| {
                receiver.on_start(&ReceiverContext { buffer: Arc::clone(&stored), control: control.clone() })
            },
            move || ended.on_stop(),
        )?;
        let decoder = decode_values::<T>(self.spark_context().functions());
        self.source_stream("receiver", supervisor.into_source(decoder), |data| data)
    }
}

/// The error of storing after the end.
pub(super) fn stopped() -> Error {
    Error::usage("Cannot add data as BlockGenerator has not been started or has been stopped")
}
