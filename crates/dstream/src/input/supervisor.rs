//! Runs a receiver: starts it, starts it again when it asks, cuts what it stores into blocks, and tells of it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tidemill_engine::batch::StreamId;
use tidemill_engine::clock::Waker;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{Function, panic_message};
use tidemill_engine::listener::{ListenerBus, ReceiverInfo, StreamingEvent};
use tidemill_engine::log::receiver_log::check_size;
use tidemill_engine::rate::RateLimiter;
use tidemill_engine::source::Source;
use tidemill_engine::source::block::{Block, BlockSource, Feeder};
use tidemill_engine::source::block_queue::BlockQueue;

use super::receiver::stopped;
use crate::streaming_context::{SharedClock, StreamingContext};

/// Where rows wait to become a block.
pub trait Buffer: Send + Sync + 'static {
    /// The rows so far, as a block; the buffer is empty after.
    fn take(&self) -> Result<Option<Block>>;

    /// About how many bytes the rows so far take.
    fn bytes(&self) -> u64;
}

type Start = Box<dyn Fn(&Control) + Send + Sync>;
type Stop = Box<dyn Fn() + Send + Sync>;

/// The supervisor of one receiver.
pub struct Supervisor {
    shared: Arc<Shared>,
    start: Arc<Start>,
    stop: Arc<Stop>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    stream: StreamId,
    name: String,
    buffer: Box<dyn Buffer>,
    /// Keeps blocks in the order in which their rows were stored.
    flushing: Mutex<()>,
    blocks: Arc<BlockQueue>,
    limiter: Arc<RateLimiter>,
    block_interval: Duration,
    restart_delay: Duration,
    /// The stream ends: no further start.
    ended: Waker,
    /// The start that is current.
    current: Mutex<Option<Control>>,
    /// The context's clock, which is final when the stream starts.
    clock: SharedClock,
    bus: Arc<ListenerBus>,
    info: Mutex<ReceiverInfo>,
    /// Whether blocks are logged before they are acknowledged.
    write_ahead: bool,
    /// The block interval, by number, in which the rows in the buffer began.
    buffered_in: Mutex<Option<u128>>,
}

/// One start of a receiver, as the receiver sees it.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
    run: Waker,
    request: Arc<Mutex<Option<Request>>>,
}

/// What a receiver asked for.
enum Request {
    Restart { message: String, error: Option<String>, delay: Option<Duration> },
    Stop { message: String },
}

impl Supervisor {
    /// Supervises what `start` and `stop` are.
    pub fn new(
        context: &StreamingContext,
        name: impl Into<String>,
        buffer: impl Buffer,
        start: impl Fn(&Control) + Send + Sync + 'static,
        stop: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self> {
        let conf = context.spark_context().conf();
        let (ms, name, stream) = (Duration::from_millis(1), name.into(), context.graph().next_stream());
        // As in Spark, a rate that is not positive is no limit.
        let rate = |key: &str, default: f64| {
            conf.get_parsed(key, default).map(|rate| if rate > 0.0 { rate } else { f64::INFINITY })
        };
        let max_rate = rate("spark.streaming.receiver.maxRate", f64::INFINITY)?;
        let initial = rate("spark.streaming.backpressure.initialRate", max_rate)?;
        let backpressure = conf.get_parsed("spark.streaming.backpressure.enabled", false)?;
        let block_interval = conf.get_duration("spark.streaming.blockInterval", ms, Duration::from_millis(200))?;
        if block_interval.is_zero() {
            return Err(Error::usage("'spark.streaming.blockInterval' should be a positive value"));
        }
        let info = ReceiverInfo { stream, name: name.clone(), location: "localhost".into(), ..ReceiverInfo::default() };
        let shared = Shared {
            stream,
            name,
            buffer: Box::new(buffer),
            flushing: Mutex::default(),
            blocks: Arc::new(BlockQueue::new(conf.max_buffered_bytes()?)),
            limiter: Arc::new(RateLimiter::new(if backpressure { initial } else { max_rate }, max_rate)),
            block_interval,
            restart_delay: conf.get_duration("spark.streaming.receiverRestartDelay", ms, Duration::from_secs(2))?,
            ended: Waker::default(),
            current: Mutex::default(),
            clock: context.shared_clock(),
            bus: Arc::clone(context.bus()),
            info: Mutex::new(info),
            write_ahead: conf.get_parsed("spark.streaming.receiver.writeAheadLog.enable", false)?,
            buffered_in: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            start: Arc::new(Box::new(start)),
            stop: Arc::new(Box::new(stop)),
            thread: Mutex::default(),
        })
    }

    /// The source that the receiver feeds. `decoder` makes chunks of encoded rows, where a batch travels.
    pub fn into_source(self, decoder: Arc<Function>) -> Arc<dyn Source> {
        let (name, blocks) = (self.shared.name.clone(), Arc::clone(&self.shared.blocks));
        let (limiter, write_ahead) = (Arc::clone(&self.shared.limiter), self.shared.write_ahead);
        Arc::new(BlockSource::new(name, decoder, blocks, limiter, Box::new(self), write_ahead))
    }
}

impl Feeder for Supervisor {
    fn start(&self) -> Result<()> {
        let (shared, start, stop) = (Arc::clone(&self.shared), Arc::clone(&self.start), Arc::clone(&self.stop));
        let thread = std::thread::Builder::new()
            .name(format!("tidemill-receiver-{}", self.shared.stream))
            .spawn(move || {
                shared.supervise(&start, &stop);
                // The control holds what holds it.
                *shared.current.lock() = None;
            })
            .map_err(|error| Error::retry("a receiver's thread can't be started").with_source(error))?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    fn flush(&self) {
        self.shared.flush(false);
    }

    fn stop(&self) {
        self.shared.ended.wake();
        if let Some(control) = self.shared.current.lock().as_ref() {
            control.run.wake();
        }
        // A receiver may stop its own stream as it ends.
        let thread = self.thread.lock().take().filter(|thread| thread.thread().id() != std::thread::current().id());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        self.shared.flush(true);
    }
}

impl Shared {
    fn supervise(self: &Arc<Self>, start: &Arc<Start>, stop: &Stop) {
        loop {
            let control = Control { shared: Arc::clone(self), run: Waker::default(), request: Arc::default() };
            *self.current.lock() = Some(control.clone());
            // Only after that: a stop from here on wakes this run.
            if self.ended.is_awake() {
                return;
            }
            self.tell(StreamingEvent::ReceiverStarted, |info| info.active = true);
            let (run, body) = (control.clone(), Arc::clone(start));
            let name = format!("tidemill-receive-{}", self.stream);
            let spawned = std::thread::Builder::new().name(name).spawn(move || {
                let body = std::panic::AssertUnwindSafe(|| body(&run));
                if let Err(panic) = std::panic::catch_unwind(body) {
                    run.restart("the receiver panicked", Some(panic_message(&*panic).to_string()), None);
                }
            });
            if let Err(error) = spawned {
                control.restart("the receiver's thread can't be started", Some(error.to_string()), None);
            }
            // The receiver's own threads are not waited for: one that never looks up must not hold up the stop, and what it
            // stores after this is refused.
            control.run.wait();
            let request = control.request.lock().take();
            if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(stop)) {
                control
                    .report_error("the receiver panicked while it stopped", Some(panic_message(&*panic).to_string()));
            }
            self.flush(false);
            match request {
                None => break,
                Some(Request::Stop { message }) => {
                    tracing::info!(receiver = self.name, message, "the receiver has stopped for good");
                    self.info.lock().last_error_message = Some(message);
                    break;
                }
                Some(Request::Restart { message, error, delay }) => {
                    let delay = delay.unwrap_or(self.restart_delay);
                    tracing::warn!(receiver = self.name, message, error, ?delay, "restarting the receiver");
                    self.complain(
                        &format!("Restarting receiver with delay {} ms: {message}", delay.as_millis()),
                        error,
                    );
                    self.tell(StreamingEvent::ReceiverStopped, |info| info.active = false);
                    if self.ended.sleep(delay) {
                        return;
                    }
                }
            }
        }
        self.tell(StreamingEvent::ReceiverStopped, |info| info.active = false);
    }

    fn tell(&self, event: fn(ReceiverInfo) -> StreamingEvent, change: impl FnOnce(&mut ReceiverInfo)) {
        let info = {
            let mut info = self.info.lock();
            change(&mut info);
            info.clone()
        };
        self.bus.post(event(info));
    }

    fn complain(&self, message: &str, error: Option<String>) {
        let now = self.clock.lock().now();
        self.tell(StreamingEvent::ReceiverError, |info| {
            info.last_error_message = Some(message.to_string());
            info.last_error = error;
            info.last_error_time = Some(now);
        });
    }

    /// Makes a block of what is buffered, and has it written, if there is a log: also if that has failed a moment ago, when it must
    /// be `now`.
    fn flush(&self, now: bool) {
        {
            let order = self.flushing.lock();
            self.flush_in(&order);
        }
        // Those who store blocks at the same time share a write with this one.
        if let Err(error) = self.blocks.write(now) {
            let error = error.to_string();
            tracing::error!(
                receiver = self.name,
                error,
                "the write-ahead log can't be written: rows wait for it in memory"
            );
            self.complain("rows that were received wait in memory: the write-ahead log can't be written", Some(error));
        }
    }

    fn flush_in(&self, _order: &MutexGuard<'_, ()>) {
        *self.buffered_in.lock() = None;
        let block = self.buffer.take().and_then(|block| block.map(|block| self.blocks.prepare(block)).transpose());
        match block {
            Ok(Some(block)) => self.blocks.keep(block),
            Ok(None) => {}
            Err(error) => {
                let error = error.to_string();
                tracing::error!(receiver = self.name, error, "rows that were received are lost");
                self.complain("rows that were received can't be stored and are lost", Some(error));
            }
        }
    }
}

impl Control {
    /// Waits until there is room, and this many rows may be stored.
    ///
    /// # Errors
    /// If the receiver was stopped.
    pub fn may_store(&self, rows: usize) -> Result<()> {
        let may = self.has_room() && self.shared.limiter.acquire(rows, &self.run);
        if may && !self.is_stopped() { Ok(()) } else { Err(stopped()) }
    }

    /// Waits until there is room, and rows may be stored; how many, at least one and at most `most`.
    ///
    /// # Errors
    /// If the receiver was stopped.
    pub fn may_store_some(&self, most: usize) -> Result<usize> {
        let some = self.has_room().then(|| self.shared.limiter.acquire_some(most, &self.run)).flatten();
        some.filter(|_| !self.is_stopped()).ok_or_else(stopped)
    }

    /// Waits until there is room for more rows; false if the run was over before.
    fn has_room(&self) -> bool {
        self.shared.blocks.wait_for_room(|| self.shared.buffer.bytes(), &self.run)
    }

    /// Makes a block of what was buffered in an earlier block interval: before rows are buffered.
    pub fn cut_block(&self) {
        let began = *self.shared.buffered_in.lock();
        if began.is_some_and(|began| began != self.block_number()) {
            self.shared.flush(false);
        }
    }

    /// Rows were buffered.
    pub fn buffered(&self) {
        self.shared.buffered_in.lock().get_or_insert_with(|| self.block_number());
    }

    fn block_number(&self) -> u128 {
        self.shared.clock.lock().monotonic().as_nanos() / self.shared.block_interval.as_nanos()
    }

    /// Makes a block of what is buffered.
    pub fn flush(&self) {
        self.shared.flush(false);
    }

    /// Adds a block, behind what is buffered, and returns when it is durable, if there is a log.
    ///
    /// # Errors
    /// If the receiver was stopped, or the log can't be written: then the block is in no batch.
    pub fn add_block(&self, block: Block) -> Result<()> {
        // Encoded outside of the lock.
        let block = self.shared.blocks.prepare(block)?;
        let ticket = {
            let order = self.shared.flushing.lock();
            // Under the lock, which the last flush takes after the stop: no block is taken and then lost.
            if self.is_stopped() {
                return Err(stopped());
            }
            self.shared.flush_in(&order);
            self.shared.blocks.submit(block)
        };
        self.shared.blocks.wait(ticket)
    }

    /// An error if rows of this size can't be stored at once.
    pub fn check_size(&self, bytes: u64) -> Result<()> {
        if self.shared.write_ahead { check_size(bytes) } else { Ok(()) }
    }

    /// Tells listeners and the log of an error.
    pub fn report_error(&self, message: &str, error: Option<String>) {
        tracing::warn!(receiver = self.shared.name, error, "{message}");
        self.shared.complain(message, error);
    }

    /// Asks for another start. The first request of a run counts.
    pub fn restart(&self, message: &str, error: Option<String>, delay: Option<Duration>) {
        self.ask(Request::Restart { message: message.to_string(), error, delay });
    }

    /// Asks for the end.
    pub fn stop_for_good(&self, message: &str) {
        self.ask(Request::Stop { message: message.to_string() });
    }

    fn ask(&self, request: Request) {
        self.request.lock().get_or_insert(request);
        self.run.wake();
    }

    /// Whether this run is over.
    pub fn is_stopped(&self) -> bool {
        self.run.is_awake()
    }

    /// Sleeps; true if the run is over.
    pub fn sleep(&self, duration: Duration) -> bool {
        self.run.sleep(duration)
    }

    /// The number of the stream.
    pub fn stream_id(&self) -> u32 {
        self.shared.stream.0
    }
}
