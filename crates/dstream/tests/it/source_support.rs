//! What tests of sources share: servers, events, and batches by partition.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver as Channel, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use tidemill_dstream::conf::SparkConf;
use tidemill_dstream::input::receiver::{Receiver, ReceiverContext};
use tidemill_dstream::stream::DStream;
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::chunk::Data;
use tidemill_engine::error::Result;
use tidemill_engine::listener::{ReceiverInfo, StreamingEvent};
use tidemill_engine::time::Time;

pub const SECOND: Duration = Duration::from_secs(1);

/// Waits for a condition, for 20 seconds at most.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(20), "this never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A listener on a free port that no outgoing connection and no `bind` of port 0 gets: it may be given up and taken again.
pub fn listen() -> TcpListener {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new((std::process::id() * 61 % 10_000) as u16));
    loop {
        let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
    }
}

pub fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

/// Listens again on a port that [`listen`] gave.
pub fn listen_again(port: u16) -> TcpListener {
    let mut listener = None;
    until("the port is free", || {
        listener = TcpListener::bind(("127.0.0.1", port)).ok();
        listener.is_some()
    });
    listener.unwrap()
}

/// The next connection.
pub fn accept(listener: &TcpListener) -> TcpStream {
    let socket = listener.accept().unwrap().0;
    socket.set_nodelay(true).unwrap();
    socket
}

/// Accepts a connection and sends these bytes.
pub fn serve(listener: &TcpListener, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut socket = accept(listener);
    socket.write_all(bytes.as_ref()).unwrap();
    socket
}

/// What listeners were told.
#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Vec<StreamingEvent>>>);

impl Events {
    pub fn listen_to(&self, ssc: &StreamingContext) {
        let events = Arc::clone(&self.0);
        ssc.add_streaming_listener(Arc::new(move |event: &StreamingEvent| events.lock().unwrap().push(event.clone())));
    }

    /// What happened to receivers: `started`, `error MESSAGE`, `stopped`.
    pub fn receiver_log(&self) -> Vec<String> {
        let name = |event: &StreamingEvent| match event {
            StreamingEvent::ReceiverStarted(info) => Some(format!("started {}", info.active)),
            StreamingEvent::ReceiverStopped(info) => Some(format!("stopped {}", !info.active)),
            StreamingEvent::ReceiverError(info) => {
                Some(format!("error {}", info.last_error_message.clone().unwrap_or_default()))
            }
            _ => None,
        };
        self.0.lock().unwrap().iter().filter_map(name).collect()
    }

    /// The first complaint whose message contains `text`; waits for it.
    pub fn wait_for_error(&self, text: &str) -> ReceiverInfo {
        let mut found = None;
        until(text, || {
            found = self.0.lock().unwrap().iter().find_map(|event| match event {
                StreamingEvent::ReceiverError(info)
                    if info.last_error_message.as_deref().is_some_and(|message| message.contains(text)) =>
                {
                    Some(info.clone())
                }
                _ => None,
            });
            found.is_some()
        });
        found.unwrap()
    }

    pub fn records(&self) -> Vec<(i64, u64)> {
        let records = |event: &StreamingEvent| match event {
            StreamingEvent::BatchCompleted(info) => Some((info.batch_time.as_millis(), info.records())),
            _ => None,
        };
        self.0.lock().unwrap().iter().filter_map(records).collect()
    }
}

type Partitions<T> = Vec<Vec<T>>;

/// The batches of a stream, partition by partition.
pub struct Batches<T>(Arc<Mutex<BTreeMap<Time, Partitions<T>>>>);

impl<T> Clone for Batches<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Batches<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Data> Batches<T> {
    pub fn collect_from(&self, stream: &DStream<T>) -> Result<()> {
        let batches = self.clone();
        stream.glom().foreach_rdd_with_time(move |rdd, time| {
            let partitions = rdd.collect()?;
            batches.0.lock().unwrap().insert(time, partitions);
            Ok(())
        })
    }

    pub fn at(&self, time: Time) -> Partitions<T> {
        self.0.lock().unwrap().get(&time).cloned().unwrap_or_default()
    }

    /// The partitions of all batches, in the order of time.
    pub fn by_time(&self) -> Vec<Partitions<T>> {
        self.0.lock().unwrap().values().cloned().collect()
    }

    /// All rows, in the order of batches and partitions.
    pub fn rows(&self) -> Vec<T> {
        self.0.lock().unwrap().values().flatten().flatten().cloned().collect()
    }
}

/// A stream on a manual clock, with what came out and what was told.
pub struct Running<T> {
    pub context: TestContext,
    pub batches: Batches<T>,
    pub events: Events,
}

impl<T: Data> Running<T> {
    /// Starts the stream that `build` makes, at 0 ms, with batches of one second.
    pub fn start(settings: &[(&str, &str)], build: impl Fn(&StreamingContext) -> Result<DStream<T>>) -> Running<T> {
        Self::start_at(0, settings, build)
    }

    pub fn start_at(
        time_ms: i64,
        settings: &[(&str, &str)],
        build: impl Fn(&StreamingContext) -> Result<DStream<T>>,
    ) -> Running<T> {
        let conf: SparkConf = settings.iter().fold(test_conf(), |conf, (key, value)| conf.set(*key, *value));
        let (batches, events) = (Batches::default(), Events::default());
        let context = TestContext::start_at(Time::from_millis(time_ms), conf, SECOND, true, |ssc| {
            events.listen_to(ssc);
            batches.collect_from(&build(ssc)?)
        });
        Running { context: context.unwrap(), batches, events }
    }

    /// The partitions of the next batch.
    pub fn next(&self) -> Partitions<T> {
        self.batches.at(self.context.run_batch())
    }

    /// Runs batches until so many rows are there; all rows.
    pub fn rows(&self, count: usize) -> Vec<T> {
        until(&format!("{count} rows"), || {
            self.context.run_batch();
            self.context.ssc.await_termination_or_timeout(Duration::ZERO).unwrap();
            self.batches.rows().len() >= count
        });
        self.batches.rows()
    }

    /// Stops; every plan must have been able to travel.
    pub fn stop(self) {
        let (_, stayed) = self.context.traveled();
        assert_eq!(stayed, 0, "plans that could not travel");
        self.context.stop().unwrap();
    }
}

/// A receiver of a test's hand: it gives away its context at each start.
pub struct Handed(pub Sender<ReceiverContext<u64>>);

impl Receiver<u64> for Handed {
    fn on_start(&self, context: &ReceiverContext<u64>) {
        let _ = self.0.send(context.clone());
    }
}

/// A stream of what a test stores, and the contexts to store with.
pub fn handed(settings: &[(&str, &str)]) -> (Running<u64>, Channel<ReceiverContext<u64>>) {
    let (sender, contexts) = channel();
    let settings: Vec<_> = settings.iter().copied().chain([("spark.streaming.receiverRestartDelay", "1ms")]).collect();
    (Running::start(&settings, |ssc| ssc.receiver_stream(Handed(sender.clone()))), contexts)
}

/// All that was logged by this process from the first call on.
pub fn logged() -> String {
    static LOG: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(|| {
        let log = Arc::<Mutex<Vec<u8>>>::default();
        let writer = Arc::clone(&log);
        tracing_subscriber::fmt().with_writer(move || LogWriter(Arc::clone(&writer))).init();
        log
    });
    String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned()
}

struct LogWriter(Arc<Mutex<Vec<u8>>>);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
