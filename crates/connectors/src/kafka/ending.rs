//! `EndingOffsets`: where a stream ends.

use std::collections::BTreeSet;
use std::time::Duration;

use tidemill_engine::error::Result;

use super::client::Connection;
use super::offsets::Offsets;
use super::subscription::StartingOffsets;

/// Where a stream ends: before these offsets, which are fixed for all partitions when the program starts.
///
/// Partitions and topics that are made later are not read. A partition that begins at its end, or behind it, has no records.
///
/// A restart from a checkpoint goes on where that ends, and fixes the ends anew: those of [`At`](Self::At) are the same again,
/// [`Latest`](Self::Latest) takes in what has come meanwhile, so that a program that is started every night reads what came since the
/// last one. Batches that were planned before run again as they were.
#[derive(Debug, Clone, Default)]
pub enum EndingOffsets {
    /// Behind the records that there are when the program starts. Those of transactions that are open then are not among them, nor is
    /// what lies behind.
    #[default]
    Latest,
    /// Before these offsets, which may lie ahead of what there is; partitions that are not named end as the second says.
    At(Offsets, Box<EndingOffsets>),
    /// Before the first records that are not older than this, in milliseconds since 1970. Where there are none when the program
    /// starts, as [`Latest`](Self::Latest).
    Timestamp(i64),
}

impl EndingOffsets {
    /// The ends of `found`, the partitions that there are; and of those in `start` that are gone, where they are named.
    ///
    /// # Errors
    /// If the brokers do not answer, or a partition is named that is in neither.
    pub(super) fn resolve(
        &self,
        connection: &Connection,
        found: &BTreeSet<(String, i32)>,
        start: &Offsets,
        patience: Duration,
    ) -> Result<Offsets> {
        let gone = start.iter().filter(|(topic, partition, _)| self.names(topic, *partition));
        let gone = gone.map(|(topic, partition, _)| (topic.to_string(), partition));
        let partitions = found.iter().cloned().chain(gone).collect();
        self.moment().resolve(connection, &partitions, patience)
    }

    fn names(&self, topic: &str, partition: i32) -> bool {
        match self {
            Self::At(offsets, otherwise) => {
                offsets.get(topic, partition).is_some() || otherwise.names(topic, partition)
            }
            Self::Latest | Self::Timestamp(_) => false,
        }
    }

    /// The same, as a start: either is an offset for each partition.
    fn moment(&self) -> StartingOffsets {
        match self {
            Self::Latest => StartingOffsets::Latest,
            Self::At(offsets, otherwise) => StartingOffsets::At(offsets.clone(), Box::new(otherwise.moment())),
            Self::Timestamp(ms) => StartingOffsets::Timestamp(*ms),
        }
    }
}
