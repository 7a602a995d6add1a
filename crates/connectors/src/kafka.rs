//! Kafka: a source without a receiver, and a sink that writes each batch once.
//!
//! # The source
//!
//! [`KafkaUtils`] makes streams of topics ([`create_direct_stream`](KafkaUtils::create_direct_stream) of typed records,
//! [`create_text_stream`](KafkaUtils::create_text_stream) of text that stays Arrow) and RDDs of fixed ranges
//! ([`create_rdd`](KafkaUtils::create_rdd)).
//!
//! ```no_run
//! use std::time::Duration;
//! use tidemill_connectors::kafka::{ConsumerStrategy, KafkaConfig, KafkaOptions, KafkaUtils, StartingOffsets, decode};
//! use tidemill_dstream::conf::SparkConf;
//! use tidemill_dstream::streaming_context::StreamingContext;
//!
//! let conf = SparkConf::new().set("spark.streaming.checkpoint.directory", "/var/lib/orders");
//! let ssc = StreamingContext::from_conf(conf, Duration::from_millis(100))?;
//! let options = KafkaOptions::new(KafkaConfig::new("localhost:9092"), ConsumerStrategy::subscribe(["orders"]))
//!     .starting(StartingOffsets::Earliest);
//! let orders = KafkaUtils::create_direct_stream(&ssc, options, decode::optional_string, decode::string)?;
//! orders.map(|order| (order.key, 1)).reduce_by_key(|a, b| a + b).print()?;
//! ssc.start()?;
//! ssc.await_termination()?;
//! # Ok::<(), tidemill_engine::error::Error>(())
//! ```
//!
//! Offsets are logged with each batch in the checkpoint: after a crash the same ranges are read again, from the brokers. Kafka's
//! groups are for those who watch only. One consumer reads all partitions ahead, into Arrow buffers in memory, while batches run; a batch
//! ends where the buffer ends, so that no question to the brokers stands between one batch and the next. Aborted transactions are
//! not seen. A partition of Kafka's is a partition of the RDD, in order of topic and number.
//!
//! | setting | where | default | what it says |
//! |---|---|---|---|
//! | strategy | [`KafkaOptions::new`] | | topics, a pattern of topics, or partitions |
//! | `starting` | [`KafkaOptions`] | latest | where a new stream begins: earliest, latest, by partition, by time, by group |
//! | `ending` | [`KafkaOptions`] | nowhere | where the stream ends: at what is there when it starts, by partition, by time |
//! | `fail_on_data_loss` | [`KafkaOptions`] | true | whether records that are gone fail the stream, or are counted and passed over |
//! | `on_bad_record` | [`KafkaOptions`] | fail | the same for records that can't be decoded |
//! | `commit_to_group` | [`KafkaOptions`] | false | whether done batches are committed to `group.id` |
//! | `discovery_interval` | [`KafkaOptions`] | 1 s | how often new partitions are looked for, and the lag is measured |
//! | `start_timeout` | [`KafkaOptions`] | 30 s | how long the start tries to reach brokers |
//! | `isolation.level` | [`KafkaConfig`] | `read_committed` | whether records of open and aborted transactions are left out |
//! | all of librdkafka's | [`KafkaConfig`] | | `security.protocol`, `sasl.*`, `ssl.*`, `fetch.*` ... |
//! | `spark.streaming.kafka.maxRatePerPartition` | conf | none | records per second of a partition |
//! | `spark.streaming.kafka.minRatePerPartition` | conf | 1 | records of a partition that a batch may take under any rate |
//! | `spark.streaming.backpressure.*` | conf | off | the rate of all partitions, split by how far each is behind |
//! | `spark.streaming.kafka.consumer.poll.ms` | conf | 120 s | how long the read of a replay waits for silent brokers |
//! | `spark.tidemill.kafka.maxBufferedBytes` | conf | 256m | what is read ahead; no batch is larger |
//! | `queued.max.messages.kbytes` | [`KafkaConfig`] | 64 MiB, or `maxBufferedBytes` | what waits in the client before that, of all partitions |
//! | `fetch.message.max.bytes` | [`KafkaConfig`] | 2 MiB | what is asked for of one partition at once |
//!
//! So a stream takes up to `maxBufferedBytes` and `queued.max.messages.kbytes`, of all its partitions together; and in the client about 0.3 kB
//! for each of the `queued.min.messages` (100,000) records at which it asks for no more, and one answer of each broker, which has up to
//! `fetch.max.bytes` (50 MiB, but no more than the queue may hold).
//!
//! A stream that ends reads what there is and is then exhausted, which [`is_exhausted`](DirectKafkaStream::is_exhausted) tells the program:
//! stopped then, and started again from its checkpoint, it takes what has come meanwhile. See [`EndingOffsets`].
//!
//! Where brokers go away, batches have no rows until they are back; the log says so, what to do, and when it is over. A topic that is deleted and made again is seen when the new one
//! ends before what was read of the old one.
//!
//! What it counts, by the facade of the crate `metrics`:
//!
//! | counter or gauge | labels | |
//! |---|---|---|
//! | `tidemill_kafka_lag` | topic, partition | offsets that no batch is done with, as of the last look |
//! | `tidemill_kafka_data_loss_total` | topic, partition | how often records were gone; without labels: brokers took records back |
//! | `tidemill_kafka_skipped_offsets_total` | topic, partition | offsets that were passed over because of that, as far as known |
//! | `tidemill_kafka_bad_records_total` | topic | records that were left out because they can't be decoded |
//! | `tidemill_kafka_records_without_value_total` | topic | records that are left out of text |
//! | `tidemill_text_invalid_utf8_lines_total` | topic | values that were mended |
//!
//! # The sink
//!
//! [`KafkaSink`] writes rows or lines to topics: each batch in a transaction that holds its number, too, or at least once without.
//!
//! ```no_run
//! use std::sync::Arc;
//! use tidemill_connectors::kafka::{KafkaConfig, KafkaSink, KafkaSinkOptions};
//! use tidemill_dstream::op::columns::schema_named;
//! # use tidemill_dstream::stream::DStream;
//! # use tidemill_engine::error::Result;
//! # fn write(counts: DStream<(String, String)>) -> Result<()> {
//! let sink = KafkaSink::connect(KafkaConfig::new("localhost:9092"), "counts", KafkaSinkOptions::exactly_once())?;
//! counts.write_rows_to(Arc::new(sink), schema_named::<(String, String)>(&["key", "value"])?)?;
//! # Ok(())
//! # }
//! ```
//!
//! | setting | where | default | what it says |
//! |---|---|---|---|
//! | delivery | [`KafkaSinkOptions`] | exactly once | or at least once |
//! | `sink_name` | [`KafkaSinkOptions`] | the topic | under what batches are remembered; one writes at a time |
//! | `delivery_timeout` | [`KafkaSinkOptions`] | 120 s | how long brokers may be away before a batch fails |
//! | `transaction_timeout` | [`KafkaSinkOptions`] | 180 s | after how long brokers give up a transaction that nobody ends |
//! | all of librdkafka's | [`KafkaConfig`] | | `message.max.bytes`, `batch.size`, `compression.type` ... |
//!
//! Where brokers are silent, a batch waits, up to `delivery_timeout`; after 5 s the log says so. Readers set
//! `isolation.level=read_committed`. A broker forgets what a sink has written 7 days after its last batch
//! (`offsets.retention.minutes`); from then on only the checkpoint knows.

mod beginning;
mod buffer;
mod client;
mod columns;
mod config;
pub mod decode;
mod direct_stream;
mod discovery;
mod ending;
mod kafka_utils;
mod limits;
mod loss;
mod offsets;
mod partition_buffer;
mod prefetch;
mod range_reader;
mod range_values;
mod record;
mod sink;
mod source;
mod source_options;
mod subscription;

pub use self::columns::record_schema;
pub use self::config::KafkaConfig;
pub use self::direct_stream::{BatchRanges, DirectKafkaStream};
pub use self::ending::EndingOffsets;
pub use self::kafka_utils::KafkaUtils;
pub use self::offsets::{OffsetRange, Offsets};
pub use self::record::{ConsumerRecord, TimestampType, TopicName};
pub use self::sink::{Delivery, KafkaSink, KafkaSinkOptions};
pub use self::source_options::{KafkaOptions, OnBadRecord};
pub use self::subscription::{ConsumerStrategy, StartingOffsets};
