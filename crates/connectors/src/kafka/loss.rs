//! `Loss`: records that are gone before they were read.

use tidemill_engine::error::Error;

/// Records that batches should have had, and that are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loss {
    pub topic: String,
    pub partition: i32,
    /// The next offset that was wanted.
    pub wanted: i64,
    /// Before which offset all are wanted; the largest number where there is no end.
    pub until: i64,
    /// What there is: the beginning and the end; none if there is no such partition.
    pub available: Option<(i64, i64)>,
}

impl Loss {
    /// The error that it is, where nothing may be lost.
    pub fn error(&self) -> Error {
        let Self { topic, partition, wanted, available, .. } = self;
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

    /// How many offsets are passed over, as far as that is known: of a topic that is gone it is known only where there is an end.
    fn skipped(&self) -> u64 {
        let next = match self.available {
            Some((first, _)) if first > self.wanted => first.min(self.until),
            _ if self.until == i64::MAX => self.wanted,
            _ => self.until,
        };
        u64::try_from(next - self.wanted).unwrap_or(0)
    }

    /// Counts it, and says so in the log.
    pub fn tell(&self) {
        let (Self { topic, partition, wanted, available, .. }, skipped) = (self, self.skipped());
        let labels = [("topic", topic.clone()), ("partition", partition.to_string())];
        metrics::counter!("tidemill_kafka_data_loss_total", &labels).increment(1);
        metrics::counter!("tidemill_kafka_skipped_offsets_total", &labels).increment(skipped);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_over_is_counted_as_far_as_it_is_known() {
        const NO_END: i64 = i64::MAX;
        // (wanted, end, what there is, offsets passed over)
        let cases = [
            (2, NO_END, Some((5, 9)), 3),
            (2, 4, Some((5, 9)), 2),
            (2, 4, Some((0, 3)), 2),
            (4, 2, Some((5, 9)), 0),
            // Made anew, or gone.
            (7, NO_END, Some((0, 3)), 0),
            (7, 9, Some((0, 3)), 2),
            (7, NO_END, None, 0),
            (7, 9, None, 2),
        ];
        for (wanted, until, available, skipped) in cases {
            let loss = Loss { topic: "t".into(), partition: 0, wanted, until, available };
            assert_eq!(loss.skipped(), skipped, "{loss:?}");
        }
    }
}
