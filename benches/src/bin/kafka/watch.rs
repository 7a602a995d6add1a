//! Who looks at results, and the bare loop around the client that the job is held against.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tidemill::prelude::*;
use tidemill_benches::stats::Times;
use tidemill_servers::kafka::KafkaServer;

use crate::PARTITIONS;

/// A consumer of those partitions that leave this rest when their number is divided by the number of `clients`.
fn consumer(brokers: &str, topic: &str, (rest, clients): (usize, usize)) -> Result<BaseConsumer> {
    let failed = |error| Error::internal("Kafka's client failed").with_source(error);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "watch").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("fetch.wait.max.ms", "50");
    let consumer: BaseConsumer = config.create().map_err(failed)?;
    let mut list = TopicPartitionList::new();
    for partition in (0..PARTITIONS).filter(|partition| *partition as usize % clients == rest) {
        list.add_partition_offset(topic, partition, Offset::Beginning).map_err(failed)?;
    }
    consumer.assign(&list).map_err(failed)?;
    Ok(consumer)
}

/// What a reader of committed records has seen, in milliseconds after the newest record of each result was appended.
pub struct Seen {
    /// Until the result was appended.
    pub appended: Times,
    /// Until the reader had it.
    pub seen: Times,
    /// The number of results.
    pub results: usize,
}

struct Update {
    newest_ms: i64,
    appended_ms: i64,
    seen_ms: i64,
}

/// A reader that runs.
pub struct Watch {
    stop: Arc<AtomicBool>,
    began_ms: i64,
    thread: JoinHandle<Vec<Update>>,
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64)
}

/// Begins to read results.
pub fn start(server: &KafkaServer) -> Result<Watch> {
    let consumer = consumer(&server.brokers(), "out", (0, 1))?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let mut results = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) else { continue };
            let text = message.payload().and_then(|payload| std::str::from_utf8(payload).ok()).unwrap_or_default();
            let newest = text.rsplit(' ').next().and_then(|newest| newest.parse().ok());
            if let (Some(newest_ms), Some(appended_ms)) = (newest, message.timestamp().to_millis()) {
                results.push(Update { newest_ms, appended_ms, seen_ms: now_ms() });
            }
        }
        results
    });
    Ok(Watch { stop, began_ms: now_ms(), thread })
}

impl Watch {
    /// Ends after a while; leaves out results of the first `warmup`.
    pub fn stop(self, after: Duration, warmup: Duration) -> Seen {
        std::thread::sleep(after);
        self.stop.store(true, Ordering::Relaxed);
        let from = self.began_ms + warmup.as_millis() as i64;
        let mut results = self.thread.join().unwrap_or_default();
        results.retain(|result| result.newest_ms >= from);
        let ms = |of: fn(&Update) -> i64| {
            let late = |result: &Update| Duration::from_millis((of(result) - result.newest_ms).max(0) as u64);
            Times::new(results.iter().map(late))
        };
        Seen { appended: ms(|r| r.appended_ms), seen: ms(|r| r.seen_ms), results: results.len() }
    }
}

/// How long loops around bare clients take to read so many records: a thread and a part of the partitions for each client.
pub fn read_all(brokers: &str, topic: &str, records: u64, clients: usize) -> Result<Duration> {
    let began = Instant::now();
    let read = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let loops: Vec<_> = (0..clients)
            .map(|client| {
                scope.spawn({
                    let read = &read;
                    move || read_some(&consumer(brokers, topic, (client, clients))?, read, records)
                })
            })
            .collect();
        let ended = |thread: std::thread::ScopedJoinHandle<'_, Result<()>>| {
            thread.join().unwrap_or_else(|_| Err(Error::internal("a loop around Kafka's client has panicked")))
        };
        loops.into_iter().try_for_each(ended)
    })?;
    Ok(began.elapsed())
}

fn read_some(consumer: &BaseConsumer, read: &AtomicU64, records: u64) -> Result<()> {
    let mut bytes = 0;
    while read.load(Ordering::Relaxed) < records {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                read.fetch_add(1, Ordering::Relaxed);
                bytes += message.payload().map_or(0, <[u8]>::len);
            }
            Some(Err(error)) => return Err(Error::internal("Kafka's client failed").with_source(error)),
            None => {}
        }
    }
    std::hint::black_box(bytes);
    Ok(())
}
