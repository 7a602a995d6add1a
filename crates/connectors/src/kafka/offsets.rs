//! Positions in topics: `OffsetRange`, and `Offsets`, the form in which batches log them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::source::Offset;

/// A part of a partition: from `from_offset`, inclusive, to `until_offset`, exclusive.
///
/// Its length is not a number of records: transactions leave markers, and compaction leaves gaps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OffsetRange {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from_offset: i64,
    /// The offset behind the last one.
    pub until_offset: i64,
}

impl OffsetRange {
    /// A range.
    pub fn new(topic: impl Into<String>, partition: i32, from_offset: i64, until_offset: i64) -> Self {
        Self { topic: topic.into(), partition, from_offset, until_offset }
    }

    /// The number of offsets that it spans: at least as many as there are records.
    pub fn count(&self) -> u64 {
        u64::try_from(self.until_offset - self.from_offset).unwrap_or(0)
    }
}

/// As Spark's.
impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, from_offset, until_offset } = self;
        write!(f, "topic: {topic}\tpartition: {partition}\toffsets: {from_offset} to {until_offset}")
    }
}

/// A position for each partition, in order of topic and partition. Its JSON is Spark's: `{"topic":{"0":12}}`.
///
/// ```
/// use tidemill_connectors::kafka::Offsets;
///
/// let offsets: Offsets = [("words", 1, 7), ("words", 0, 12)].into_iter().collect();
/// assert_eq!(offsets.to_string(), r#"{"words":{"0":12,"1":7}}"#);
/// assert_eq!(offsets.get("words", 1), Some(7));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offsets(BTreeMap<String, BTreeMap<i32, i64>>);

impl Offsets {
    /// The position in a partition, if there is one.
    pub fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        self.0.get(topic)?.get(&partition).copied()
    }

    /// Sets the position in a partition.
    pub fn set(&mut self, topic: &str, partition: i32, offset: i64) {
        match self.0.get_mut(topic) {
            Some(partitions) => drop(partitions.insert(partition, offset)),
            None => drop(self.0.insert(topic.to_string(), BTreeMap::from([(partition, offset)]))),
        }
    }

    /// All positions, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i32, i64)> {
        self.0.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(partition, offset)| (topic.as_str(), *partition, *offset))
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a batch logged.
    pub(super) fn from_logged(offset: &Offset) -> Result<Self> {
        serde_json::from_value(offset.0.clone())
            .map_err(|error| Error::data(format!("{offset} is not a position in Kafka's topics")).with_source(error))
    }

    /// What a batch logs.
    pub(super) fn to_logged(&self) -> Offset {
        let partitions = |partitions: &BTreeMap<i32, i64>| {
            partitions.iter().map(|(partition, offset)| (partition.to_string(), (*offset).into())).collect()
        };
        let topics = self.0.iter().map(|(topic, of)| (topic.clone(), serde_json::Value::Object(partitions(of))));
        Offset(serde_json::Value::Object(topics.collect()))
    }
}

impl fmt::Display for Offsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_logged().fmt(f)
    }
}

impl<T: AsRef<str>> FromIterator<(T, i32, i64)> for Offsets {
    fn from_iter<I: IntoIterator<Item = (T, i32, i64)>>(positions: I) -> Self {
        let mut offsets = Self::default();
        positions.into_iter().for_each(|(topic, partition, offset)| offsets.set(topic.as_ref(), partition, offset));
        offsets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_comes_back_and_other_things_are_refused() {
        let offsets: Offsets = [("b", 10, 5), ("b", 9, i64::MAX), ("a", 0, 0)].into_iter().collect();
        let logged = offsets.to_logged();
        assert_eq!(logged.to_string(), format!(r#"{{"a":{{"0":0}},"b":{{"10":5,"9":{}}}}}"#, i64::MAX));
        assert_eq!(Offsets::from_logged(&logged).unwrap(), offsets);
        // Partitions go by number, not by the text that JSON has for it.
        assert_eq!(offsets.iter().map(|(_, partition, _)| partition).collect::<Vec<_>>(), [0, 9, 10]);
        assert!(Offsets::from_logged(&Offset::count(3)).unwrap_err().message().contains("3 is not a position"));
    }
}
