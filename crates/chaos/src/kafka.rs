//! The Kafka broker that the program writes to, and may read, seen by a client that is not the program's.

use std::fs;
use std::path::Path;

use tidemill_engine::error::{Error, Result};
use tidemill_servers::kafka::{KafkaOptions, KafkaServer};
use tidemill_servers::kafka_client::{KafkaClient, Record, Sender};

use crate::sink::Output;

/// The file in a program's folder that says where its broker is.
const PLACE: &str = "brokers";

/// The partitions of each topic.
const PARTITIONS: i32 = 3;

/// The topic that is read.
pub const INPUT: &str = "input";

/// More offsets of a partition than the last batches take.
const LAST: i64 = 2000;

/// Says in `folder` that the broker is a new one, with a topic for the input and for each output, which stops when it is dropped.
pub fn use_kafka(folder: &Path) -> Result<KafkaServer> {
    let server = KafkaServer::start(KafkaOptions::default())?;
    let path = folder.join(PLACE);
    fs::create_dir_all(folder).and_then(|()| fs::write(&path, server.brokers())).map_err(|error| {
        Error::retry(format!("can't write {}; is there space and permission?", path.display())).with_source(error)
    })?;
    let client = server.client();
    let topics = Output::ALL.iter().map(|output| output.name()).chain([INPUT]);
    topics.into_iter().try_for_each(|topic| client.create_topic(topic, PARTITIONS, &[]))?;
    Ok(server)
}

/// Where the broker of a folder is.
pub fn brokers(folder: &Path) -> Result<String> {
    let path = folder.join(PLACE);
    fs::read_to_string(&path)
        .map_err(|error| Error::usage(format!("{} does not say where Kafka is", path.display())).with_source(error))
}

/// What a topic holds, of transactions the committed ones.
pub fn values(folder: &Path, topic: &str) -> Result<Vec<String>> {
    Ok(texts(client(folder)?.read_committed(topic)?))
}

/// What the last batches have written to a topic.
pub fn last_values(folder: &Path, topic: &str) -> Result<Vec<String>> {
    Ok(texts(client(folder)?.read_committed_end(topic, LAST)?))
}

/// Sends lines to the topic that is read, by the number of their record.
pub fn send_input(sender: &Sender, lines: impl IntoIterator<Item = (u64, String)>) -> Result<()> {
    lines.into_iter().try_for_each(|(record, line)| {
        let partition = (record % PARTITIONS as u64) as i32;
        sender.send(INPUT, partition, "", &line, &[])
    })
}

/// A client of the broker of a folder.
pub fn client(folder: &Path) -> Result<KafkaClient> {
    Ok(KafkaClient::new([("bootstrap.servers", brokers(folder)?.as_str())]))
}

fn texts(records: Vec<Record>) -> Vec<String> {
    records.into_iter().filter_map(|record| record.value).collect()
}
