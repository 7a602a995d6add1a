//! `DirectKafkaStream`: a stream of records that knows its offsets.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use tidemill_dstream::rdd::Rdd;
use tidemill_dstream::stream::DStream;
use tidemill_engine::chunk::Data;
use tidemill_engine::error::Result;
use tidemill_engine::time::Time;

use super::offsets::{OffsetRange, Offsets};
use super::source::KafkaSource;

/// A stream of Kafka's records: a [`DStream`], whose batches have a partition for each of Kafka's. Cheap to clone.
pub struct DirectKafkaStream<T> {
    stream: DStream<T>,
    source: Arc<KafkaSource>,
}

impl<T> Clone for DirectKafkaStream<T> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone(), source: Arc::clone(&self.source) }
    }
}

impl<T> Deref for DirectKafkaStream<T> {
    type Target = DStream<T>;

    fn deref(&self) -> &DStream<T> {
        &self.stream
    }
}

impl<T> fmt::Debug for DirectKafkaStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectKafkaStream")
    }
}

/// The ranges of a stream's batches, for functions in the graph of its context: they must not hold the stream, which holds the context.
/// Cheap to clone.
#[derive(Clone)]
pub struct BatchRanges(Arc<KafkaSource>);

impl BatchRanges {
    /// As [`DirectKafkaStream::offset_ranges`].
    pub fn of(&self, time: Time) -> Vec<OffsetRange> {
        self.0.offset_ranges(time)
    }
}

impl fmt::Debug for BatchRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BatchRanges")
    }
}

impl<T: Data> DirectKafkaStream<T> {
    pub(super) fn new(stream: DStream<T>, source: Arc<KafkaSource>) -> Self {
        Self { stream, source }
    }

    /// The ranges of its batches.
    pub fn batch_ranges(&self) -> BatchRanges {
        BatchRanges(Arc::clone(&self.source))
    }

    /// The ranges of the batch of `time`: the n-th is that of the n-th partition of the stream's RDD. There are none of batches that are
    /// over, or not made.
    pub fn offset_ranges(&self, time: Time) -> Vec<OffsetRange> {
        self.source.offset_ranges(time)
    }

    /// Runs `f` on the RDD of every batch and its ranges, on the driver.
    ///
    /// # Errors
    /// After the start.
    #[track_caller]
    pub fn foreach_rdd_with_offset_ranges(
        &self,
        f: impl Fn(Rdd<T>, Vec<OffsetRange>) -> Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        let source = Arc::clone(&self.source);
        self.stream.foreach_rdd_with_time(move |rdd, time| f(rdd, source.offset_ranges(time)))
    }

    /// Commits the ends of these ranges to the group `group.id`, in the background, for those who watch how far it is behind. The
    /// stream itself goes by its checkpoint.
    ///
    /// # Errors
    /// If there is no `group.id`, or the stream does not run.
    pub fn commit_async(&self, ranges: &[OffsetRange]) -> Result<()> {
        let end = |range: &OffsetRange| (range.topic.clone(), range.partition, range.until_offset);
        self.source.commit_to_group(&ranges.iter().map(end).collect())
    }

    /// Whether all records up to [`KafkaOptions::ending`](super::KafkaOptions::ending) were in batches, and these are over; they were
    /// done where the stream has not failed. Never, if the stream does not end.
    ///
    /// It is so when listeners hear that the last of these batches is completed. The stream goes on, without rows, until it is
    /// stopped:
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use tidemill_connectors::kafka::DirectKafkaStream;
    /// # use tidemill_dstream::streaming_context::StreamingContext;
    /// # use tidemill_engine::error::Result;
    /// # fn run(ssc: StreamingContext, lines: DirectKafkaStream<String>) -> Result<()> {
    /// ssc.start()?;
    /// while !lines.is_exhausted() && !ssc.await_termination_or_timeout(Duration::from_millis(100))? {}
    /// ssc.stop_with(true, true)
    /// # }
    /// ```
    pub fn is_exhausted(&self) -> bool {
        self.source.is_exhausted()
    }

    /// How far records were read ahead, which the next batch may cover.
    pub fn reached(&self) -> Offsets {
        self.source.reached()
    }
}
