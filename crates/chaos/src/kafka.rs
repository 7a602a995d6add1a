//! The Kafka broker that the program writes to, seen by a client that is not the sink's.

use std::fs;
use std::path::Path;

use tidemill_engine::error::{Error, Result};
use tidemill_servers::kafka::{KafkaOptions, KafkaServer};
use tidemill_servers::kafka_client::{KafkaClient, Record};

use crate::sink::Output;

/// The file in a program's folder that says where its broker is.
const PLACE: &str = "brokers";

/// The partitions of each topic.
const PARTITIONS: i32 = 3;

/// More offsets of a partition than the last batches take.
const LAST: i64 = 2000;

/// Says in `folder` that the broker is a new one, with a topic for each output, which stops when it is dropped.
pub fn use_kafka(folder: &Path) -> Result<KafkaServer> {
    let server = KafkaServer::start(KafkaOptions::default())?;
    let path = folder.join(PLACE);
    fs::create_dir_all(folder).and_then(|()| fs::write(&path, server.brokers())).map_err(|error| {
        Error::retry(format!("can't write {}; is there space and permission?", path.display())).with_source(error)
    })?;
    let client = server.client();
    Output::ALL.iter().try_for_each(|output| client.create_topic(output.name(), PARTITIONS, &[]))?;
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

fn client(folder: &Path) -> Result<KafkaClient> {
    Ok(KafkaClient::new([("bootstrap.servers", brokers(folder)?.as_str())]))
}

fn texts(records: Vec<Record>) -> Vec<String> {
    records.into_iter().filter_map(|record| record.value).collect()
}
