//! Kafka's records as tuples: (topic, partition, offset, timestamp in ms, key, value).

use std::collections::BTreeMap;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tidemill_connectors::kafka::{
    ConsumerRecord, ConsumerStrategy, DirectKafkaStream, KafkaConfig, KafkaOptions, KafkaUtils, OffsetRange, Offsets,
    StartingOffsets, decode,
};
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::dataset::Transform;
use tidemill_dstream::rdd::Rdd;
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_engine::error::Result;

use crate::operator::rows_to_pieces;
use crate::piece::Piece;

/// A record as the client gave it.
pub type Record = ConsumerRecord<Option<Vec<u8>>, Option<Vec<u8>>>;

const BROKERS: &str = "bootstrap.servers";
const RESET: &str = "auto.offset.reset";
const COMMIT: &str = "enable.auto.commit";

/// The client's settings.
pub fn config(mut params: BTreeMap<String, String>) -> PyResult<KafkaConfig> {
    let brokers = params.remove(BROKERS).ok_or_else(|| PyValueError::new_err(format!("kafkaParams lack {BROKERS}")))?;
    Ok(params.into_iter().fold(KafkaConfig::new(brokers), |config, (key, value)| config.set(key, value)))
}

/// What a direct stream reads, and from where on: `auto.offset.reset` says it for partitions without an offset of their own. With
/// `enable.auto.commit` it begins where the group has committed, and each batch that is done is committed there.
pub fn options(
    topics: Vec<String>,
    mut params: BTreeMap<String, String>,
    from: Option<BTreeMap<(String, i32), i64>>,
) -> PyResult<KafkaOptions> {
    let reset = match params.remove(RESET).as_deref() {
        None | Some("latest") => StartingOffsets::Latest,
        Some("earliest") => StartingOffsets::Earliest,
        Some(other) => return Err(PyValueError::new_err(format!("{RESET} is earliest or latest, not {other}"))),
    };
    let by_group = match params.remove(COMMIT).map(|value| value.to_ascii_lowercase()).as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(PyValueError::new_err(format!("{COMMIT} is true or false, not {other}"))),
    };
    let config = config(params)?;
    let reset = if by_group { StartingOffsets::Group(Box::new(reset)) } else { reset };
    let options = match from.filter(|from| !from.is_empty()) {
        None => KafkaOptions::new(config, ConsumerStrategy::subscribe(topics)).starting(reset),
        Some(from) => {
            let strategy = ConsumerStrategy::assign(from.keys().cloned());
            let mut offsets = Offsets::default();
            from.iter().for_each(|((topic, partition), offset)| offsets.set(topic, *partition, *offset));
            KafkaOptions::new(config, strategy).starting(StartingOffsets::At(offsets, Box::new(reset)))
        }
    };
    Ok(options.commit_to_group(by_group))
}

/// A direct stream.
pub fn stream(ssc: &StreamingContext, options: KafkaOptions) -> Result<DirectKafkaStream<Record>> {
    KafkaUtils::create_direct_stream(ssc, options, decode::bytes, decode::bytes)
}

/// The records of fixed ranges.
pub fn rdd(sc: &SparkContext, config: KafkaConfig, ranges: Vec<OffsetRange>) -> Result<Rdd<Piece>> {
    let records = KafkaUtils::create_rdd(sc, config, ranges, decode::bytes, decode::bytes)?;
    Ok(records.then(&records_to_pieces(sc)))
}

/// Records to tuples.
pub fn records_to_pieces(sc: &SparkContext) -> Transform<Piece> {
    rows_to_pieces(sc, |py, record: Record| {
        let bytes = |bytes: Option<Vec<u8>>| bytes.map(|bytes| PyBytes::new(py, &bytes));
        let place = (record.topic.to_string(), record.partition, record.offset, record.timestamp_ms);
        let tuple = (place.0, place.1, place.2, place.3, bytes(record.key), bytes(record.value));
        Ok(tuple.into_pyobject(py)?.into_any())
    })
}
