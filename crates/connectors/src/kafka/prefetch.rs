//! The reader: one thread that copies records from the client's queue to the buffer, so that the next batch is read while this
//! one runs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset as At, TopicPartitionList};
use tidemill_engine::error::{Error, Result};

use super::buffer::{Buffer, Next};
use super::client::{Connection, is_passing, list};
use super::offsets::Offsets;

/// How long the reader waits for a record before it looks around.
const LOOK_AROUND: Duration = Duration::from_millis(50);

/// After so many records it looks around, too.
const RECORDS: usize = 1024;

/// Reads until the stream stops.
pub(super) fn read(connection: &Connection, buffer: &Buffer) {
    let mut away = false;
    while !buffer.stop.is_awake() {
        if let Err(error) = read_some(connection, buffer, &mut away) {
            return buffer.fail(error);
        }
    }
}

fn read_some(connection: &Connection, buffer: &Buffer, away: &mut bool) -> Result<()> {
    if let Some(positions) = buffer.take_moved() {
        // Partitions stay paused through an assignment.
        resume(connection, positions.iter().map(|(topic, partition, _)| (topic, partition)))?;
        connection.assign(&positions)?;
    }
    let resumed = buffer.take_resumed();
    if !resumed.is_empty() {
        resume(connection, resumed.iter().map(|(topic, partition)| (topic.as_str(), *partition)))?;
    }
    if !buffer.wait_for_room(LOOK_AROUND) {
        return Ok(());
    }
    for _ in 0..RECORDS {
        match connection.consumer.poll(LOOK_AROUND) {
            Some(Ok(message)) => {
                if std::mem::take(away) {
                    tracing::info!(brokers = connection.brokers(), "Kafka is back");
                }
                match buffer.push(&message)? {
                    Next::Read => {}
                    Next::Wait => return Ok(()),
                    Next::Pause => {
                        let full = list([(message.topic(), message.partition(), At::Invalid)])?;
                        connection.consumer.pause(&full).map_err(client_failed)?;
                    }
                }
            }
            Some(Err(error)) => return failed(error, connection, buffer, away),
            None => {
                if let Ok(positions) = connection.consumer.position() {
                    buffer.pass(&known(&positions));
                }
                return Ok(());
            }
        }
    }
    Ok(())
}

fn resume<'a>(connection: &Connection, partitions: impl Iterator<Item = (&'a str, i32)>) -> Result<()> {
    let list = list(partitions.map(|(topic, partition)| (topic, partition, At::Invalid)))?;
    // Partitions that are assigned only now are not known yet, and not paused.
    let _ = connection.consumer.resume(&list);
    Ok(())
}

/// What lies before these positions was handed to the reader, or is no record.
fn known(positions: &TopicPartitionList) -> Offsets {
    let elements = positions.elements();
    let known = elements.iter().filter_map(|element| match element.offset() {
        At::Offset(offset) => Some((element.topic().to_string(), element.partition(), offset)),
        _ => None,
    });
    known.collect()
}

fn failed(error: KafkaError, connection: &Connection, buffer: &Buffer, away: &mut bool) -> Result<()> {
    if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
        return Err(client_failed(error));
    }
    match error.rdkafka_error_code() {
        Some(Code::LogTruncation) => {
            buffer.truncated()?;
            buffer.doubtful.store(true, Ordering::SeqCst)
        }
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => buffer.doubtful.store(true, Ordering::SeqCst),
        // The look-out sees it, too, and knows which.
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {}
        Some(Code::TopicAuthorizationFailed | Code::SaslAuthenticationFailed | Code::GroupAuthorizationFailed) => {
            return Err(connection.no_answer("the records of the stream", Duration::ZERO, error));
        }
        _ if is_passing(&error) => {
            if !std::mem::replace(away, true) {
                tracing::warn!(
                    brokers = connection.brokers(),
                    %error,
                    "Kafka is away: batches are without rows until it is back, and nothing is lost. Check that the brokers run, and that \
                     they can be reached from here; the stream goes on by itself"
                );
            }
        }
        _ => tracing::warn!(%error, "Kafka's client complains"),
    }
    Ok(())
}

fn client_failed(error: KafkaError) -> Error {
    Error::retry("Kafka's client failed").with_source(error)
}
