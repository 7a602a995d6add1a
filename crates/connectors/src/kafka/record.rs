//! `ConsumerRecord`: a record as programs see it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a topic; cheap to clone, for every record has one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl Deref for TopicName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for TopicName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl PartialEq<&str> for TopicName {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for TopicName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TopicName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self(name.into()))
    }
}

/// Who set a record's timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TimestampType {
    /// There is none.
    NoTimestamp,
    /// The producer, when it made the record.
    CreateTime,
    /// The broker, when it got the record.
    LogAppendTime,
}

impl TimestampType {
    /// Kafka's number for it.
    pub fn id(self) -> i32 {
        match self {
            Self::NoTimestamp => -1,
            Self::CreateTime => 0,
            Self::LogAppendTime => 1,
        }
    }

    /// What Kafka's number stands for.
    pub fn of(id: i32) -> Self {
        match id {
            0 => Self::CreateTime,
            1 => Self::LogAppendTime,
            _ => Self::NoTimestamp,
        }
    }
}

/// A record of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConsumerRecord<K, V> {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
    /// Milliseconds since 1970; none before Kafka 0.10.
    pub timestamp_ms: Option<i64>,
    /// Who set the timestamp.
    pub timestamp_type: TimestampType,
    /// The headers, in order; a name may come more than once.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
}
