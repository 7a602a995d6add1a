//! `Loss`: records that are gone before they were read.

use tidemill_engine::error::Error;

/// Records that batches should have had, and that are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loss {
    pub topic: String,
    pub partition: i32,
    /// The next offset that was wanted.
    pub wanted: i64,
    /// What there is: the beginning and the end; none if there is no such partition.
    pub available: Option<(i64, i64)>,
}

impl Loss {
    /// The error that it is, where nothing may be lost.
    pub fn error(&self) -> Error {
        let Self { topic, partition, wanted, available } = self;
        let there = match available {
            Some((first, end)) => format!("there are offsets {first} to {end}"),
            None => "the topic or partition is gone, or is not read any more".to_string(),
        };
        Error::data(format!(
            "records of {topic}-{partition} are lost: offset {wanted} is wanted, and {there}. They were deleted, by retention or by \
             hand, before they were read. To go on without them, set fail_on_data_loss(false); to keep records for longer, raise \
             retention.ms of the topic"
        ))
    }

    /// Counts it, and says so in the log.
    pub fn tell(&self) {
        let Self { topic, partition, wanted, available } = self;
        let skipped = available.map_or(0, |(first, _)| u64::try_from(first - wanted).unwrap_or(0));
        metrics::counter!("tidemill_kafka_data_loss_total").increment(1);
        metrics::counter!("tidemill_kafka_skipped_offsets_total").increment(skipped);
        tracing::warn!(
            topic,
            partition,
            wanted,
            ?available,
            skipped,
            "records are lost: the stream goes on without them"
        );
    }
}
