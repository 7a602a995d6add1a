//! `KafkaUtils`: the entry points, as Spark names them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemill_dstream::conf::SparkConf;
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::dataset::Dataset;
use tidemill_dstream::op::narrow::text_to_strings;
use tidemill_dstream::op::text::decode_batches;
use tidemill_dstream::rdd::Rdd;
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_engine::chunk::Data;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::rate::RateLimiter;

use super::client::Connection;
use super::columns::Columns;
use super::config::KafkaConfig;
use super::decode::{decode_records, optional_string};
use super::direct_stream::DirectKafkaStream;
use super::limits::RateLimits;
use super::offsets::OffsetRange;
use super::range_reader::RangeSettings;
use super::range_values::{Part, RangeValues};
use super::record::ConsumerRecord;
use super::source::{KafkaSource, SourceSettings};
use super::source_options::{KafkaOptions, OnBadRecord};
use super::subscription::{ConsumerStrategy, StartingOffsets};

/// Makes streams and RDDs of Kafka's records.
pub struct KafkaUtils;

impl KafkaUtils {
    /// A stream of records, whose keys and values `key` and `value` decode: functions such as those in
    /// [`decode`](super::decode), or your own.
    ///
    /// # Errors
    /// After the start, or if a setting is wrong. Brokers are reached, and topics looked for, at the start.
    #[track_caller]
    pub fn create_direct_stream<K: Data, V: Data>(
        ssc: &StreamingContext,
        options: KafkaOptions,
        key: impl Fn(Option<&[u8]>) -> Result<K> + Send + Sync + 'static,
        value: impl Fn(Option<&[u8]>) -> Result<V> + Send + Sync + 'static,
    ) -> Result<DirectKafkaStream<ConsumerRecord<K, V>>> {
        let decode = decode_records(ssc.spark_context(), key, value, options.on_bad_record);
        let source = source(ssc, options, Columns::Records)?;
        let stream =
            ssc.source_stream("kafka_direct_stream", Arc::clone(&source) as _, move |data| data.op(&decode))?;
        Ok(DirectKafkaStream::new(stream, source))
    }

    /// A stream of the values as text, whose `text()` borrows from the Arrow buffer. Bytes that aren't UTF-8 become U+FFFD, and
    /// records without a value are left out; both are counted and logged.
    ///
    /// # Errors
    /// As [`create_direct_stream`](Self::create_direct_stream).
    pub fn create_text_stream(ssc: &StreamingContext, options: KafkaOptions) -> Result<DirectKafkaStream<String>> {
        let strings = text_to_strings(ssc.spark_context().functions());
        let source = source(ssc, options, Columns::Text)?;
        let stream = ssc.source_stream("kafka_text_stream", Arc::clone(&source) as _, move |data| data.op(&strings))?;
        Ok(DirectKafkaStream::new(stream, source))
    }

    /// The stream of Spark 0.7 to 2.4: keys and values as text, of topics that a group reads.
    ///
    /// There, a receiver per topic and thread read into blocks, and ZooKeeper kept the group's offsets. Here it is the direct stream: the
    /// numbers of threads say nothing, a new stream begins where the group `group` has committed (else with what comes from then
    /// on), and each batch that is done is committed there. With a checkpoint, that counts, so that nothing is lost or read twice.
    ///
    /// # Errors
    /// As [`create_direct_stream`](Self::create_direct_stream).
    #[track_caller]
    pub fn create_stream(
        ssc: &StreamingContext,
        brokers: &str,
        group: &str,
        topics: &BTreeMap<String, u32>,
    ) -> Result<DirectKafkaStream<ConsumerRecord<Option<String>, Option<String>>>> {
        let config = KafkaConfig::new(brokers).set("group.id", group);
        let options = KafkaOptions::new(config, ConsumerStrategy::subscribe(topics.keys().cloned()))
            .starting(StartingOffsets::Group(Box::default()))
            .commit_to_group(true);
        Self::create_direct_stream(ssc, options, optional_string, optional_string)
    }

    /// The records of fixed ranges, a partition for each, read when an action asks for them.
    #[track_caller]
    pub fn create_rdd<K: Data, V: Data>(
        sc: &SparkContext,
        config: KafkaConfig,
        ranges: impl IntoIterator<Item = OffsetRange>,
        key: impl Fn(Option<&[u8]>) -> Result<K> + Send + Sync + 'static,
        value: impl Fn(Option<&[u8]>) -> Result<V> + Send + Sync + 'static,
    ) -> Result<Rdd<ConsumerRecord<K, V>>> {
        let (columns, patience) = (Columns::Records, read_timeout(sc.conf())?);
        let settings = RangeSettings { config, columns, fail_on_data_loss: true, patience };
        let parts = ranges.into_iter().map(Part::There).collect();
        let values = RangeValues { parts, settings, decoder: decode_batches(sc.functions()) };
        let decode = decode_records(sc, key, value, OnBadRecord::Fail);
        Ok(Rdd::from_dataset(sc, Dataset::new(values.lineage()).op(&decode)))
    }

    /// The ranges between two moments, for [`create_rdd`](Self::create_rdd); partitions without a record between are left out.
    ///
    /// # Errors
    /// If the brokers can't be reached within 30 s, or a topic is not there.
    pub fn find_ranges(
        config: &KafkaConfig,
        strategy: &ConsumerStrategy,
        from: &StartingOffsets,
        until: &StartingOffsets,
    ) -> Result<Vec<OffsetRange>> {
        let (connection, patience) = (Connection::new(config, &[])?, Duration::from_secs(30));
        let partitions = strategy.find_all(&connection, patience)?;
        let from = from.resolve(&connection, &partitions, patience)?;
        let until = until.resolve(&connection, &partitions, patience)?;
        let range = |(topic, partition, until): (&str, i32, i64)| {
            Some(OffsetRange::new(topic, partition, from.get(topic, partition)?, until))
        };
        Ok(until.iter().filter_map(range).filter(|range| range.count() > 0).collect())
    }
}

fn read_timeout(conf: &SparkConf) -> Result<Duration> {
    let ms = Duration::from_millis(1);
    conf.get_duration("spark.streaming.kafka.consumer.poll.ms", ms, Duration::from_secs(120))
}

fn source(ssc: &StreamingContext, options: KafkaOptions, columns: Columns) -> Result<Arc<KafkaSource>> {
    ssc.check_may_add()?;
    if options.commit_to_group && options.config.get("group.id").is_none() {
        return Err(Error::usage("offsets are committed to a group: set group.id"));
    }
    let conf = ssc.spark_context().conf();
    // As in Spark, a rate that is not positive is no limit.
    let rate = |key: &str| conf.get_parsed(key, 0.0).map(|rate| if rate > 0.0 { rate } else { f64::INFINITY });
    let backpressure = conf.get_parsed("spark.streaming.backpressure.enabled", false)?;
    let initial = rate("spark.streaming.backpressure.initialRate")?;
    let limits = RateLimits {
        interval: ssc.batch_duration(),
        max_rate_per_partition: rate("spark.streaming.kafka.maxRatePerPartition")?,
        least_per_partition: conf.get_parsed("spark.streaming.kafka.minRatePerPartition", 1)?,
        limiter: backpressure.then(|| Arc::new(RateLimiter::new(initial, f64::INFINITY))),
    };
    let key = "spark.tidemill.kafka.maxBufferedBytes";
    let max_buffered_bytes = conf.get_bytes(key, 256 << 20)?;
    if max_buffered_bytes == 0 {
        return Err(Error::usage(format!("{key} should be a positive value: with 0, nothing could be read")));
    }
    let read_timeout = read_timeout(conf)?;
    let decoder = decode_batches(ssc.spark_context().functions());
    let settings = SourceSettings { limits, max_buffered_bytes, read_timeout, columns, decoder };
    Ok(Arc::new(KafkaSource::new(options, settings)))
}
