//! From bytes to values: decoders, and the operator that makes records of columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, BinaryArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampMillisecondArray,
};
use serde::de::DeserializeOwned;
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::dataset::register;
use tidemill_engine::chunk::{CHUNK_ROWS, Chunk, Data, binary_column, column};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{Emit, Flow, Function, PerChunk};

use super::record::{ConsumerRecord, TimestampType, TopicName};
use super::source_options::OnBadRecord;

/// The bytes as they are, if there are any.
pub fn bytes(bytes: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
    Ok(bytes.map(<[u8]>::to_vec))
}

/// Text, if there are bytes.
///
/// # Errors
/// If they are not UTF-8.
pub fn optional_string(bytes: Option<&[u8]>) -> Result<Option<String>> {
    bytes.map(|bytes| string(Some(bytes))).transpose()
}

/// Text.
///
/// # Errors
/// If there is none, or it is not UTF-8.
pub fn string(bytes: Option<&[u8]>) -> Result<String> {
    let bytes = bytes.ok_or_else(|| Error::data("there are no bytes where text is wanted"))?;
    let text = std::str::from_utf8(bytes).map_err(|error| Error::data("it is not UTF-8").with_source(error))?;
    Ok(text.to_string())
}

/// JSON. Where there are no bytes, `null`.
///
/// # Errors
/// If it is not JSON, or is not that of a `T`.
pub fn json<T: DeserializeOwned>(bytes: Option<&[u8]>) -> Result<T> {
    serde_json::from_slice(bytes.unwrap_or(b"null"))
        .map_err(|error| Error::data(format!("it is not JSON of a {}", std::any::type_name::<T>())).with_source(error))
}

/// The operator that makes records of the columns of [`record_schema`](super::record_schema).
#[track_caller]
pub(super) fn decode_records<K: Data, V: Data>(
    sc: &SparkContext,
    key: impl Fn(Option<&[u8]>) -> Result<K> + Send + Sync + 'static,
    value: impl Fn(Option<&[u8]>) -> Result<V> + Send + Sync + 'static,
    on_bad_record: OnBadRecord,
) -> Arc<Function> {
    let decoders = Arc::new((key, value));
    let operator = PerChunk(move |chunk: Chunk, out: &mut Emit<'_>| {
        let (key, value) = &*decoders;
        let batch = chunk.take::<RecordBatch>()?;
        let columns = RecordColumns::of(&batch)?;
        for start in (0..batch.num_rows()).step_by(CHUNK_ROWS) {
            let rows = start..batch.num_rows().min(start + CHUNK_ROWS);
            let records = columns.records(rows, key, value, on_bad_record)?;
            if !records.is_empty() && out(Chunk::of(records))? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    });
    register::<ConsumerRecord<K, V>>(sc, "kafka_records", operator)
}

struct RecordColumns<'a> {
    keys: &'a BinaryArray,
    values: &'a BinaryArray,
    topics: &'a StringArray,
    partitions: &'a Int32Array,
    offsets: &'a Int64Array,
    timestamps: &'a TimestampMillisecondArray,
    timestamp_types: &'a Int32Array,
    headers: &'a ListArray,
}

impl<'a> RecordColumns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self> {
        Ok(Self {
            keys: binary_column(batch, 0)?,
            values: binary_column(batch, 1)?,
            topics: column(batch, 2)?,
            partitions: column(batch, 3)?,
            offsets: column(batch, 4)?,
            timestamps: column(batch, 5)?,
            timestamp_types: column(batch, 6)?,
            headers: column(batch, 7)?,
        })
    }

    fn records<K, V>(
        &self,
        rows: std::ops::Range<usize>,
        key: impl Fn(Option<&[u8]>) -> Result<K>,
        value: impl Fn(Option<&[u8]>) -> Result<V>,
        on_bad_record: OnBadRecord,
    ) -> Result<Vec<ConsumerRecord<K, V>>> {
        let mut records = Vec::with_capacity(rows.len());
        let mut topic: Option<TopicName> = None;
        let (mut bad, mut first_bad) = (BTreeMap::new(), None);
        for row in rows {
            // A batch of one partition has one topic; one that traveled may have more.
            let name = self.topics.value(row);
            let topic = match &topic {
                Some(topic) if **topic == *name => topic.clone(),
                _ => topic.insert(TopicName::from(name)).clone(),
            };
            let (partition, offset) = (self.partitions.value(row), self.offsets.value(row));
            let decoded = key(bytes_at(self.keys, row)).map_err(|error| error.context("the key")).and_then(|key| {
                Ok((key, value(bytes_at(self.values, row)).map_err(|error| error.context("the value"))?))
            });
            let (key, value) = match decoded {
                Ok(decoded) => decoded,
                Err(error) => {
                    let error = error.context(format!("{topic}-{partition} at offset {offset}"));
                    if on_bad_record == OnBadRecord::Fail {
                        return Err(error);
                    }
                    *bad.entry(topic).or_insert(0) += 1;
                    first_bad.get_or_insert(error);
                    continue;
                }
            };
            let timestamp_ms = self.timestamps.is_valid(row).then(|| self.timestamps.value(row));
            let timestamp_type = TimestampType::of(self.timestamp_types.value(row));
            let headers = self.headers(row)?;
            records.push(ConsumerRecord {
                topic,
                partition,
                offset,
                timestamp_ms,
                timestamp_type,
                headers,
                key,
                value,
            });
        }
        if let Some(first) = first_bad {
            tracing::warn!(bad = bad.values().sum::<u64>(), %first, "records can't be decoded and are left out");
            for (topic, bad) in bad {
                metrics::counter!("tidemill_kafka_bad_records_total", "topic" => topic.to_string()).increment(bad);
            }
        }
        Ok(records)
    }

    fn headers(&self, row: usize) -> Result<Vec<(String, Option<Vec<u8>>)>> {
        if self.headers.is_null(row) {
            return Ok(Vec::new());
        }
        let list = self.headers.value(row);
        let not_headers = || Error::internal("the headers of a record are not what they should be");
        let fields = list.as_any().downcast_ref::<StructArray>().ok_or_else(not_headers)?;
        let names = fields.column(0).as_any().downcast_ref::<StringArray>().ok_or_else(not_headers)?;
        let values = fields.column(1).as_any().downcast_ref::<BinaryArray>().ok_or_else(not_headers)?;
        let header = |n: usize| (names.value(n).to_string(), bytes_at(values, n).map(<[u8]>::to_vec));
        Ok((0..names.len()).map(header).collect())
    }
}

fn bytes_at(column: &BinaryArray, row: usize) -> Option<&[u8]> {
    column.is_valid(row).then(|| column.value(row))
}
