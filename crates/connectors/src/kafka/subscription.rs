//! What is read: topics, a pattern of topics, or partitions; and from where.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::Offset as At;
use regex::Regex;
use tidemill_engine::error::{Error, Result};

use super::client::Connection;
use super::offsets::Offsets;

/// Which partitions are read.
#[derive(Debug, Clone)]
pub enum ConsumerStrategy {
    /// All partitions of these topics, also those that are added while the stream runs.
    Subscribe(Vec<String>),
    /// All partitions of the topics whose whole name fits, also of those that are made while the stream runs.
    SubscribePattern(Regex),
    /// These partitions.
    Assign(Vec<(String, i32)>),
}

impl ConsumerStrategy {
    /// All partitions of these topics.
    pub fn subscribe<T: Into<String>>(topics: impl IntoIterator<Item = T>) -> Self {
        Self::Subscribe(topics.into_iter().map(Into::into).collect())
    }

    /// All partitions of the topics whose whole name fits a regular expression.
    ///
    /// # Errors
    /// If it is none.
    pub fn subscribe_pattern(pattern: &str) -> Result<Self> {
        let whole = Regex::new(&format!("^(?:{pattern})$"));
        let wrong = |error| Error::usage(format!("{pattern:?} is not a pattern of topics")).with_source(error);
        Ok(Self::SubscribePattern(whole.map_err(wrong)?))
    }

    /// These partitions.
    pub fn assign<T: Into<String>>(partitions: impl IntoIterator<Item = (T, i32)>) -> Self {
        Self::Assign(partitions.into_iter().map(|(topic, partition)| (topic.into(), partition)).collect())
    }

    /// What it reads, for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Subscribe(topics) => topics.join(", "),
            Self::SubscribePattern(pattern) => pattern.as_str().to_string(),
            Self::Assign(partitions) => {
                let names = partitions.iter().map(|(topic, partition)| format!("{topic}-{partition}"));
                names.collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// Which of these partitions there are now.
    pub(super) fn find(&self, connection: &Connection, patience: Duration) -> Result<BTreeSet<(String, i32)>> {
        let mut found = BTreeSet::new();
        let mut add = |topic: &str, partitions: Vec<i32>| {
            found.extend(partitions.into_iter().map(|partition| (topic.to_string(), partition)));
        };
        match self {
            Self::Subscribe(topics) => {
                topics
                    .iter()
                    .try_for_each(|topic| connection.partitions(topic, patience).map(|all| add(topic, all)))?;
            }
            Self::SubscribePattern(pattern) => {
                let topics = connection.topics(patience)?.into_iter().filter(|(topic, _)| pattern.is_match(topic));
                topics.for_each(|(topic, partitions)| add(&topic, partitions));
            }
            Self::Assign(partitions) => {
                let topics: BTreeSet<&str> = partitions.iter().map(|(topic, _)| topic.as_str()).collect();
                for topic in topics {
                    let mut all = connection.partitions(topic, patience)?;
                    all.retain(|partition| partitions.iter().any(|(of, wanted)| of == topic && wanted == partition));
                    add(topic, all);
                }
            }
        }
        Ok(found)
    }

    /// [`find`](Self::find), where what is asked for by name must be there.
    pub(super) fn find_all(&self, connection: &Connection, patience: Duration) -> Result<BTreeSet<(String, i32)>> {
        let found = self.find(connection, patience)?;
        let missing: Vec<String> = match self {
            Self::Subscribe(topics) => {
                topics.iter().filter(|topic| !found.iter().any(|(found, _)| found == *topic)).cloned().collect()
            }
            Self::SubscribePattern(_) => Vec::new(),
            Self::Assign(partitions) => {
                let missing = partitions.iter().filter(|partition| !found.contains(partition));
                missing.map(|(topic, partition)| format!("{topic}-{partition}")).collect()
            }
        };
        if missing.is_empty() {
            return Ok(found);
        }
        Err(Error::usage(format!(
            "Kafka has no {}: create it first, or subscribe to a pattern, which waits for topics that come",
            missing.join(", ")
        )))
    }
}

/// Where a new stream begins. One that goes on with a checkpoint begins where that ends.
#[derive(Debug, Clone, Default)]
pub enum StartingOffsets {
    /// With the oldest records.
    Earliest,
    /// With what comes from now on.
    #[default]
    Latest,
    /// At these offsets; partitions that are not named begin as the second says.
    At(Offsets, Box<StartingOffsets>),
    /// With the first records that are not older than this, in milliseconds since 1970.
    Timestamp(i64),
    /// Where the group `group.id` has committed; partitions without a commit begin as this says.
    Group(Box<StartingOffsets>),
}

impl StartingOffsets {
    /// The offsets of these partitions.
    pub(super) fn resolve(
        &self,
        connection: &Connection,
        partitions: &BTreeSet<(String, i32)>,
        patience: Duration,
    ) -> Result<Offsets> {
        let at = |at| connection.offsets(partitions.iter().map(|(topic, p)| (topic.as_str(), *p)), at, patience);
        let (known, otherwise) = match self {
            Self::Earliest => return at(At::Beginning),
            Self::Latest => return at(At::End),
            Self::Timestamp(ms) => return at(At::Offset(*ms)),
            Self::At(offsets, otherwise) => (offsets.clone(), otherwise),
            Self::Group(otherwise) => {
                let all: Vec<_> = partitions.iter().cloned().collect();
                (connection.committed(&all, patience)?, otherwise)
            }
        };
        if let Some((topic, partition, _)) =
            known.iter().find(|(topic, partition, _)| !partitions.contains(&(topic.to_string(), *partition)))
        {
            return Err(Error::usage(format!(
                "an offset is given of {topic}-{partition}, which is not read or not there"
            )));
        }
        let rest = partitions.iter().filter(|(topic, partition)| known.get(topic, *partition).is_none()).cloned();
        let mut all = otherwise.resolve(connection, &rest.collect(), patience)?;
        known.iter().for_each(|(topic, partition, offset)| all.set(topic, partition, offset));
        Ok(all)
    }
}
