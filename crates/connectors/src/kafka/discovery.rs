//! The look-out: a thread that finds new topics and partitions, sees those that vanish, and measures how far the stream is
//! behind.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::Offset as At;
use tidemill_engine::error::Result;

use super::buffer::Buffer;
use super::client::Connection;
use super::columns::Faults;
use super::loss::Loss;
use super::offsets::Offsets;
use super::subscription::ConsumerStrategy;

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is seen so often in a row is so: brokers that have just started may not know everything yet.
const DOUBTS: u32 = 3;

/// Looks every `interval`, until the stream stops.
pub(super) fn look_out(connection: &Connection, strategy: &ConsumerStrategy, buffer: &Buffer, interval: Duration) {
    let mut away = false;
    loop {
        let stopped = buffer.stop.sleep(interval);
        match if stopped { Ok(()) } else { look(connection, strategy, buffer) } {
            Ok(()) => {
                if std::mem::take(&mut away) && !stopped {
                    tracing::info!("Kafka answers again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut away, true) && !buffer.stop.is_awake() {
                    tracing::warn!(%error, "Kafka does not answer");
                }
            }
        }
        if let Err(error) = connection.commit_noted() {
            tracing::warn!(%error, "offsets were not committed to the group");
        }
        buffer.for_each(|topic, partition, buffer| {
            let faults = buffer.take_faults();
            if faults != Faults::default() {
                faults.tell(topic, partition);
            }
        });
        if stopped {
            return;
        }
    }
}

fn look(connection: &Connection, strategy: &ConsumerStrategy, buffer: &Buffer) -> Result<()> {
    let found = strategy.find(connection, PATIENCE)?;
    let mut known = BTreeSet::new();
    let mut gone = Vec::new();
    buffer.for_each(|topic, partition, buffer| {
        let name = (topic.to_string(), partition);
        if !found.contains(&name) && !buffer.is_done() {
            buffer.doubts += 1;
            if buffer.doubts >= DOUBTS {
                let (topic, wanted, until) = (topic.to_string(), buffer.reached(), buffer.until());
                gone.push(Loss { topic, partition, wanted, until, available: None });
            }
        }
        known.insert(name);
    });
    gone.iter().try_for_each(|loss| buffer.lose(loss))?;
    let new: Vec<&(String, i32)> = found.difference(&known).collect();
    // A stream that ends has all of its partitions from the start on.
    if !new.is_empty() && !buffer.has_ends() {
        let names = new.iter().map(|(topic, partition)| (topic.as_str(), *partition));
        let begin = connection.offsets(names, At::Beginning, PATIENCE)?;
        tracing::info!(%begin, "new partitions are read");
        // How far they go is seen in a moment.
        buffer.add(&begin, &begin);
    }
    measure(connection, buffer, &known.intersection(&found).cloned().collect())
}

/// Compares what was read with what there is.
fn measure(connection: &Connection, buffer: &Buffer, partitions: &BTreeSet<(String, i32)>) -> Result<()> {
    let doubtful = buffer.doubtful.swap(false, Ordering::SeqCst);
    let compared = compare(connection, buffer, partitions, doubtful);
    if compared.is_err() && doubtful {
        buffer.doubtful.store(true, Ordering::SeqCst);
    }
    compared
}

fn compare(
    connection: &Connection,
    buffer: &Buffer,
    partitions: &BTreeSet<(String, i32)>,
    doubtful: bool,
) -> Result<()> {
    // Before the question: an end that is asked for later is not before what was read until now.
    let reached = buffer.reached();
    let at = |at| connection.offsets(partitions.iter().map(|(topic, p)| (topic.as_str(), *p)), at, PATIENCE);
    let ends = at(At::End)?;
    let begins = if doubtful { at(At::Beginning)? } else { Offsets::default() };
    let mut losses = Vec::new();
    let mut beyond = Vec::new();
    buffer.for_each(|topic, partition, buffer| {
        let (Some(end), Some(wanted)) = (ends.get(topic, partition), reached.get(topic, partition)) else { return };
        buffer.end = end;
        // What no batch is done with counts, whether it was read or not.
        let lag = buffer.waiting(buffer.floor());
        metrics::gauge!("tidemill_kafka_lag", "topic" => topic.to_string(), "partition" => partition.to_string())
            .set(lag as f64);
        let first = begins.get(topic, partition);
        let (until, name) = (buffer.until(), || topic.to_string());
        let loss = |first| Loss { topic: name(), partition, wanted, until, available: Some((first, end)) };
        match first {
            Some(first) if wanted < first && !buffer.is_done() => losses.push(loss(first)),
            _ if wanted > end => {
                buffer.doubts += 1;
                if buffer.doubts >= DOUBTS {
                    buffer.doubts = 0;
                    beyond.push(loss(end));
                }
            }
            _ => buffer.doubts = 0,
        }
    });
    for mut loss in beyond {
        let (topic, partition) = (loss.topic.as_str(), loss.partition);
        let first = connection.offsets([(topic, partition)], At::Beginning, PATIENCE)?.get(topic, partition);
        loss.available = loss.available.map(|(end, _)| (first.unwrap_or(end), end));
        losses.push(loss);
    }
    losses.iter().try_for_each(|loss| buffer.lose(loss))?;
    if doubtful {
        // The client has stopped at a position that it was refused.
        buffer.read_again();
    }
    Ok(())
}
