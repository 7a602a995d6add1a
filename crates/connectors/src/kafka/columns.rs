//! Records as Arrow: the columns, and the builder that copies them out of the client's buffer, once.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Array, Int32Builder, Int64Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, StructBuilder, TimestampMillisecondBuilder,
};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use rdkafka::message::{Headers, Message, Timestamp};
use tidemill_engine::chunk::{BATCH_ROWS, text_schema};
use tidemill_engine::error::Result;

use super::record::TimestampType;

/// A block is full with this many bytes: what lies in memory is let go block by block.
const BLOCK_BYTES: usize = 1 << 20;

/// What a record takes beside its key, value and headers.
const ROW_BYTES: usize = 40;

/// Which columns are made of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Columns {
    /// All: see [`record_schema`].
    Records,
    /// The values as text, where there are any. Bytes that aren't UTF-8 become U+FFFD.
    Text,
}

impl Columns {
    /// The schema of the batches.
    pub fn schema(self) -> SchemaRef {
        match self {
            Self::Records => record_schema(),
            Self::Text => text_schema(),
        }
    }
}

fn header_fields() -> Fields {
    vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)].into()
}

/// The columns of records: `key`, `value`, `topic`, `partition`, `offset`, `timestamp`, `timestamp_type`, `headers`.
pub fn record_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let header = Field::new_list_field(DataType::Struct(header_fields()), true);
        Arc::new(Schema::new(vec![
            Field::new("key", DataType::Binary, true),
            Field::new("value", DataType::Binary, true),
            Field::new("topic", DataType::Utf8, false),
            Field::new("partition", DataType::Int32, false),
            Field::new("offset", DataType::Int64, false),
            Field::new("timestamp", DataType::Timestamp(TimeUnit::Millisecond, None), true),
            Field::new("timestamp_type", DataType::Int32, false),
            Field::new("headers", DataType::List(Arc::new(header)), true),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// Records of one partition, in order.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// The offset of each row.
    pub offsets: ScalarBuffer<i64>,
    /// The rows.
    pub batch: RecordBatch,
    /// About how much memory they take.
    pub bytes: u64,
}

/// Collects records of one partition.
pub(super) struct BlockBuilder {
    topic: Arc<str>,
    partition: i32,
    offsets: Vec<i64>,
    bytes: usize,
    rows: Rows,
}

enum Rows {
    Records(Box<RecordRows>),
    Text(StringBuilder, Faults),
}

struct RecordRows {
    keys: BinaryBuilder,
    values: BinaryBuilder,
    timestamps: TimestampMillisecondBuilder,
    timestamp_types: Int32Builder,
    headers: ListBuilder<StructBuilder>,
}

/// What was not text, where text was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Faults {
    /// Values with bytes that aren't UTF-8.
    pub invalid_utf8: u64,
    /// Records without a value.
    pub without_value: u64,
}

impl Faults {
    /// Counts them, and says so in the log.
    pub fn tell(self, topic: &str, partition: i32) {
        let Self { invalid_utf8, without_value } = self;
        if invalid_utf8 > 0 {
            metrics::counter!("tidemill_text_invalid_utf8_lines_total", "topic" => topic.to_string())
                .increment(invalid_utf8);
            tracing::warn!(topic, partition, invalid_utf8, "values are not UTF-8: U+FFFD stands for what is not");
        }
        if without_value > 0 {
            metrics::counter!("tidemill_kafka_records_without_value_total", "topic" => topic.to_string())
                .increment(without_value);
            tracing::warn!(topic, partition, without_value, "records without a value are left out of text");
        }
    }
}

impl RecordRows {
    fn new() -> Self {
        Self {
            keys: BinaryBuilder::new(),
            values: BinaryBuilder::new(),
            timestamps: TimestampMillisecondBuilder::new(),
            timestamp_types: Int32Builder::new(),
            headers: ListBuilder::new(StructBuilder::from_fields(header_fields(), 0)),
        }
    }

    /// Appends a record; how many bytes its headers have.
    fn append(&mut self, message: &impl Message) -> usize {
        self.keys.append_option(message.key());
        self.values.append_option(message.payload());
        let (kind, timestamp) = match message.timestamp() {
            Timestamp::NotAvailable => (TimestampType::NoTimestamp, None),
            Timestamp::CreateTime(ms) => (TimestampType::CreateTime, Some(ms)),
            Timestamp::LogAppendTime(ms) => (TimestampType::LogAppendTime, Some(ms)),
        };
        self.timestamps.append_option(timestamp);
        self.timestamp_types.append_value(kind.id());
        let Some(headers) = message.headers() else {
            self.headers.append(false);
            return 0;
        };
        let mut bytes = 0;
        for header in headers.iter() {
            let fields = self.headers.values();
            // The builder was made of these two fields.
            if let Some(keys) = fields.field_builder::<StringBuilder>(0) {
                keys.append_value(header.key);
            }
            if let Some(values) = fields.field_builder::<BinaryBuilder>(1) {
                values.append_option(header.value);
            }
            fields.append(true);
            bytes += header.key.len() + header.value.map_or(0, <[u8]>::len) + ROW_BYTES;
        }
        self.headers.append(true);
        bytes
    }
}

impl BlockBuilder {
    /// An empty one.
    pub fn new(columns: Columns, topic: &str, partition: i32) -> Self {
        let rows = match columns {
            Columns::Records => Rows::Records(Box::new(RecordRows::new())),
            Columns::Text => Rows::Text(StringBuilder::new(), Faults::default()),
        };
        Self { topic: topic.into(), partition, offsets: Vec::new(), bytes: 0, rows }
    }

    /// About how much memory its rows take.
    pub fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// Whether its rows should become a block.
    pub fn is_full(&self) -> bool {
        self.offsets.len() >= BATCH_ROWS || self.bytes >= BLOCK_BYTES
    }

    /// Appends a record.
    pub fn append(&mut self, message: &impl Message) {
        let headers = match &mut self.rows {
            Rows::Records(rows) => rows.append(message),
            Rows::Text(values, faults) => {
                let Some(value) = message.payload() else {
                    faults.without_value += 1;
                    return;
                };
                match std::str::from_utf8(value) {
                    Ok(text) => values.append_value(text),
                    Err(_) => {
                        values.append_value(String::from_utf8_lossy(value));
                        faults.invalid_utf8 += 1;
                    }
                }
                0
            }
        };
        self.offsets.push(message.offset());
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        self.bytes += length(message.key()) + length(message.payload()) + headers + ROW_BYTES;
    }

    /// The rows so far as a block; none if there are none.
    pub fn seal(&mut self) -> Result<Option<Block>> {
        if self.offsets.is_empty() {
            return Ok(None);
        }
        let offsets = ScalarBuffer::from(std::mem::take(&mut self.offsets));
        let rows = offsets.len();
        let columns: Vec<ArrayRef> = match &mut self.rows {
            Rows::Records(made) => vec![
                Arc::new(made.keys.finish()),
                Arc::new(made.values.finish()),
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&*self.topic, rows))),
                Arc::new(Int32Array::from_value(self.partition, rows)),
                Arc::new(Int64Array::new(offsets.clone(), None)),
                Arc::new(made.timestamps.finish()),
                Arc::new(made.timestamp_types.finish()),
                Arc::new(made.headers.finish()),
            ],
            Rows::Text(values, _) => vec![Arc::new(values.finish())],
        };
        let schema = match &self.rows {
            Rows::Records(_) => record_schema(),
            Rows::Text(..) => text_schema(),
        };
        let bytes = std::mem::take(&mut self.bytes) as u64;
        Ok(Some(Block { offsets, batch: RecordBatch::try_new(schema, columns)?, bytes }))
    }

    /// What was not text since the last call.
    pub fn take_faults(&mut self) -> Faults {
        match &mut self.rows {
            Rows::Records(_) => Faults::default(),
            Rows::Text(_, faults) => std::mem::take(faults),
        }
    }
}
