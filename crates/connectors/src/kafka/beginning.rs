//! `Beginning`: what the start finds of a stream's partitions: where they begin and end, and what of them is lost.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::Offset as At;
use tidemill_engine::clock::Waker;
use tidemill_engine::error::Result;

use super::client::Connection;
use super::loss::Loss;
use super::offsets::Offsets;
use super::source_options::KafkaOptions;

/// How long a partition may be unknown to the brokers, at the start, before it is gone.
const SETTLING: Duration = Duration::from_secs(3);

/// What the start has found.
pub(super) struct Beginning {
    /// Where partitions are to be read from, of those that are there.
    pub begins: Offsets,
    /// Where the stream ends, if it does.
    pub ends: Option<Offsets>,
    /// Where the brokers' logs end.
    pub log_ends: Offsets,
    /// What is wanted and not there.
    pub losses: Vec<Loss>,
}

impl Beginning {
    /// Looks for the partitions of `start`, where the last batches ended, and for the records that come next.
    pub fn find(connection: &Connection, options: &KafkaOptions, start: &Offsets, stop: &Waker) -> Result<Self> {
        let patience = options.start_timeout;
        let found = settle(connection, options, start, stop)?;
        let ends = options.ending.as_ref().map(|ending| ending.resolve(connection, &found, start, patience));
        let ends = ends.transpose()?;
        let is_new = |(topic, partition): &&(String, i32)| start.get(topic, *partition).is_none();
        // Where the stream ends, the look-out adds none.
        let new: BTreeSet<(String, i32)> =
            found.iter().filter(|name| ends.is_some() && is_new(name)).cloned().collect();
        let there: Vec<_> = start.iter().filter(|(topic, p, _)| found.contains(&(topic.to_string(), *p))).collect();
        let names = there.iter().map(|(topic, partition, _)| (*topic, *partition));
        let names: Vec<_> = names.chain(new.iter().map(|(topic, partition)| (topic.as_str(), *partition))).collect();
        let firsts = connection.offsets(names.iter().copied(), At::Beginning, patience)?;
        let log_ends = connection.offsets(names.iter().copied(), At::End, patience)?;
        let begin = |(topic, partition): &(&str, i32)| {
            let begin = start.get(topic, *partition).or_else(|| firsts.get(topic, *partition));
            (topic.to_string(), *partition, begin.unwrap_or(0))
        };
        let begins = names.iter().map(begin).collect();
        let loss = |(topic, partition, wanted): (&str, i32, i64)| {
            let end = ends.as_ref().and_then(|ends| ends.get(topic, partition));
            // What lies behind the end of the stream is not wanted. But a log that ends before is another one than was read.
            let is_wanted = end.is_none_or(|end| wanted < end);
            let available = firsts.get(topic, partition).zip(log_ends.get(topic, partition));
            let is_lost = match available {
                Some((first, log_end)) => wanted > log_end || is_wanted && wanted < first,
                None => is_wanted,
            };
            is_lost.then(|| Loss { topic: topic.into(), partition, wanted, until: end.unwrap_or(i64::MAX), available })
        };
        let losses = start.iter().filter_map(loss).collect();
        Ok(Self { begins, ends, log_ends, losses })
    }
}

/// The partitions that there are. A broker that has just started does not know of all topics yet.
fn settle(
    connection: &Connection,
    options: &KafkaOptions,
    start: &Offsets,
    stop: &Waker,
) -> Result<BTreeSet<(String, i32)>> {
    let (began, patience) = (Instant::now(), options.start_timeout);
    loop {
        let found = options.strategy.find(connection, patience)?;
        let is_all = start.iter().all(|(topic, partition, _)| found.contains(&(topic.to_string(), partition)));
        if is_all || began.elapsed() >= patience.min(SETTLING) || stop.sleep(Duration::from_millis(100)) {
            return Ok(found);
        }
    }
}
