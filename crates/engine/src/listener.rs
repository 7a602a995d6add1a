//! What happens, told to whoever listens: Spark's events, in Spark's order, on a thread of their own.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError, bounded};
use parking_lot::{Mutex, RwLock};

use crate::batch::{BatchId, StreamId};
use crate::source::InputInfo;
use crate::time::Time;

/// One output operation of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputOperationInfo {
    /// The batch.
    pub batch_time: Time,
    /// The number of the operation within its program.
    pub id: usize,
    /// What it does, and where it is defined: `foreach_rdd at src/main.rs:7`.
    pub name: String,
    /// Where it is defined.
    pub description: String,
    /// When it began.
    pub start_time: Option<Time>,
    /// When it ended.
    pub end_time: Option<Time>,
    /// How long it took.
    pub duration: Option<Duration>,
    /// Why it failed, if it did.
    pub failure_reason: Option<String>,
}

/// A batch, as far as it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchInfo {
    /// Its number.
    pub id: BatchId,
    /// Its time.
    pub batch_time: Time,
    /// What each source gave to it.
    pub inputs: BTreeMap<StreamId, InputInfo>,
    /// When its jobs were made.
    pub submission_time: Time,
    /// When the first job began.
    pub processing_start_time: Option<Time>,
    /// When the last job ended.
    pub processing_end_time: Option<Time>,
    /// From submission to the first job's begin.
    pub scheduling_delay: Option<Duration>,
    /// From the first job's begin to the last one's end.
    pub processing_delay: Option<Duration>,
    /// Its output operations, by number.
    pub output_operations: BTreeMap<usize, OutputOperationInfo>,
}

impl BatchInfo {
    /// The records of all sources.
    pub fn records(&self) -> u64 {
        self.inputs.values().map(|input| input.records).sum()
    }

    /// From submission to the last job's end.
    pub fn total_delay(&self) -> Option<Duration> {
        Some(self.scheduling_delay? + self.processing_delay?)
    }
}

/// A receiver, as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReceiverInfo {
    /// The input stream that it feeds.
    pub stream: StreamId,
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub active: bool,
    /// Where it runs.
    pub location: String,
    /// What it last complained of.
    pub last_error_message: Option<String>,
    /// The error behind that.
    pub last_error: Option<String>,
    /// When it last complained.
    pub last_error_time: Option<Time>,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamingEvent {
    /// The loop has begun.
    StreamingStarted(Time),
    /// A receiver runs.
    ReceiverStarted(ReceiverInfo),
    /// A receiver complains.
    ReceiverError(ReceiverInfo),
    /// A receiver has ended.
    ReceiverStopped(ReceiverInfo),
    /// A batch has jobs.
    BatchSubmitted(BatchInfo),
    /// A batch's first job begins.
    BatchStarted(BatchInfo),
    /// A batch's last job has ended.
    BatchCompleted(BatchInfo),
    /// A job begins.
    OutputOperationStarted(OutputOperationInfo),
    /// A job has ended.
    OutputOperationCompleted(OutputOperationInfo),
}

/// Hears of events, one after the other. A slow listener delays other listeners, not batches.
pub trait StreamingListener: Send + Sync {
    /// Something happened.
    fn on_event(&self, event: &StreamingEvent);
}

impl<F: Fn(&StreamingEvent) + Send + Sync> StreamingListener for F {
    fn on_event(&self, event: &StreamingEvent) {
        self(event);
    }
}

/// Which listener: what adding one gives, and removing it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerId(u64);

thread_local! {
    static ON_BUS: Cell<bool> = const { Cell::new(false) };
}

/// Whether the caller is a listener.
pub fn on_listener_thread() -> bool {
    ON_BUS.get()
}

/// Events that wait for a slow listener, as many as Spark keeps; further ones are dropped, and counted.
const CAPACITY: usize = 10_000;
/// How long a flush waits for a listener that does not come back.
const PATIENCE: Duration = Duration::from_secs(10);

type Listeners = RwLock<Vec<(ListenerId, Arc<dyn StreamingListener>)>>;

enum Message {
    Event(Box<StreamingEvent>),
    Flush(Sender<()>),
    End,
}

/// Hands events to listeners, in order.
pub struct ListenerBus {
    sender: Sender<Message>,
    listeners: Arc<Listeners>,
    next: Mutex<u64>,
    dropped: AtomicU64,
    _thread: JoinHandle<()>,
}

impl Default for ListenerBus {
    fn default() -> Self {
        let (sender, receiver) = bounded::<Message>(CAPACITY);
        let listeners = Arc::<Listeners>::default();
        let told = Arc::clone(&listeners);
        let thread = std::thread::spawn(move || {
            ON_BUS.set(true);
            // Ends when the bus, and with it the last sender, is gone.
            for message in receiver {
                match message {
                    Message::Event(event) => deliver(&told, &event),
                    Message::Flush(done) => drop(done.send(())),
                    Message::End => {
                        // Dropped without the lock: it is code of the program's.
                        let listeners = std::mem::take(&mut *told.write());
                        drop(listeners);
                    }
                }
            }
        });
        Self { sender, listeners, next: Mutex::new(0), dropped: AtomicU64::new(0), _thread: thread }
    }
}

fn deliver(listeners: &Listeners, event: &StreamingEvent) {
    let current: Vec<_> = listeners.read().iter().map(|(_, listener)| Arc::clone(listener)).collect();
    for listener in current {
        let call = std::panic::AssertUnwindSafe(|| listener.on_event(event));
        if let Err(panic) = std::panic::catch_unwind(call) {
            tracing::error!(panic = crate::function::panic_message(&*panic), "a listener panicked");
        }
    }
}

impl ListenerBus {
    /// Adds a listener.
    pub fn add(&self, listener: Arc<dyn StreamingListener>) -> ListenerId {
        let mut next = self.next.lock();
        *next += 1;
        let id = ListenerId(*next);
        self.listeners.write().push((id, listener));
        id
    }

    /// Removes a listener.
    pub fn remove(&self, id: ListenerId) {
        self.listeners.write().retain(|(other, _)| *other != id);
    }

    /// Tells of an event; does not wait for the listeners.
    pub fn post(&self, event: StreamingEvent) {
        if self.listeners.read().is_empty() {
            return;
        }
        if let Err(TrySendError::Full(_)) = self.sender.try_send(Message::Event(Box::new(event))) {
            metrics::counter!("tidemill_dropped_events_total").increment(1);
            if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::error!("listeners are too slow: events are being dropped");
            }
        }
    }

    /// Drops all listeners once they have heard all events so far.
    pub fn end(&self) {
        // One that does not come back for so long keeps them all.
        let _ = self.sender.send_timeout(Message::End, PATIENCE);
    }

    /// Waits until all events so far have been heard, or a listener has kept it waiting for 10 s. Does nothing on the
    /// listeners' own thread.
    pub fn flush(&self) {
        if on_listener_thread() {
            return;
        }
        let (done, heard) = crossbeam_channel::bounded(1);
        if self.sender.send_timeout(Message::Flush(done), PATIENCE).is_err() || heard.recv_timeout(PATIENCE).is_err() {
            tracing::warn!("a listener does not come back: not waiting for it any longer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_arrive_in_order_and_a_panic_stops_nothing() {
        let bus = ListenerBus::default();
        let heard = Arc::new(Mutex::new(Vec::new()));
        bus.add(Arc::new(|_: &StreamingEvent| panic!("a bad listener")));
        let log = Arc::clone(&heard);
        let id = bus.add(Arc::new(move |event: &StreamingEvent| {
            assert!(on_listener_thread());
            log.lock().push(event.clone());
        }));
        let event = |ms| StreamingEvent::StreamingStarted(Time::from_millis(ms));
        (0..3).for_each(|ms| bus.post(event(ms)));
        bus.flush();
        bus.remove(id);
        bus.post(event(9));
        bus.flush();
        assert_eq!(*heard.lock(), [event(0), event(1), event(2)]);
    }
}
