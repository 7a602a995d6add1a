//! Rows as records of Kafka's.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Int32Array, RecordBatch, StringArray, StructArray, TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};
use rdkafka::message::{Header, OwnedHeaders};
use tidemill_engine::error::{Error, Result};

const NAMES: [&str; 6] = ["value", "key", "topic", "partition", "timestamp", "headers"];

/// The columns of a batch of rows, in the types that Kafka's clients take.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    value: BinaryArray,
    key: Option<BinaryArray>,
    topic: Option<StringArray>,
    partition: Option<Int32Array>,
    timestamp: Option<TimestampMillisecondArray>,
    headers: Option<HeaderLists>,
}

/// A row.
pub(super) struct Record<'a> {
    pub value: Option<&'a [u8]>,
    pub key: Option<&'a [u8]>,
    /// None: the sink's.
    pub topic: Option<&'a str>,
    /// None: by the key.
    pub partition: Option<i32>,
    /// Milliseconds since 1970; none: the time of sending.
    pub timestamp: Option<i64>,
    pub headers: Option<OwnedHeaders>,
}

impl Columns {
    /// The columns of rows.
    ///
    /// # Errors
    /// If there is no `value`, a column has another name than Kafka's, or a type that does not fit.
    pub fn of(rows: &RecordBatch) -> Result<Self> {
        let schema = rows.schema_ref();
        if let Some(field) = schema.fields().iter().find(|field| !NAMES.contains(&field.name().as_str())) {
            return Err(Error::usage(format!(
                "column {} is none of Kafka's, which are {}: rename it, or make it part of the value",
                field.name(),
                NAMES.join(", ")
            )));
        }
        let find = |name: &str, to: &DataType, fits: fn(&DataType) -> bool| match rows.column_by_name(name) {
            Some(column) if !fits(column.data_type()) => Err(misfit(name, column.data_type())),
            Some(column) => cast_to(name, column, to).map(Some),
            None => Ok(None),
        };
        let bytes = |name| find(name, &DataType::Binary, is_text_or_bytes);
        let milliseconds = DataType::Timestamp(TimeUnit::Millisecond, None);
        let value = bytes("value")?.ok_or_else(|| Error::usage("there is no column value"))?;
        let partition = find("partition", &DataType::Int32, DataType::is_integer)?;
        let partition = partition.map(|column| column.as_primitive().clone());
        if let Some(negative) =
            partition.iter().flat_map(|column: &Int32Array| column.iter().flatten()).find(|n| *n < 0)
        {
            return Err(Error::data(format!("column partition has a row of {negative}: partitions begin at 0")));
        }
        Ok(Self {
            value: value.as_binary().clone(),
            key: bytes("key")?.map(|column| column.as_binary().clone()),
            topic: find("topic", &DataType::Utf8, is_text)?.map(|column| column.as_string().clone()),
            partition,
            timestamp: find("timestamp", &milliseconds, is_time)?.map(|column| column.as_primitive().clone()),
            headers: rows.column_by_name("headers").map(HeaderLists::of).transpose()?,
        })
    }

    /// The rows, in order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        (0..self.value.len()).map(|row| Record {
            value: self.value.is_valid(row).then(|| self.value.value(row)),
            key: self.key.as_ref().filter(|key| key.is_valid(row)).map(|key| key.value(row)),
            topic: self.topic.as_ref().filter(|topic| topic.is_valid(row)).map(|topic| topic.value(row)),
            partition: self.partition.as_ref().filter(|column| column.is_valid(row)).map(|column| column.value(row)),
            timestamp: self.timestamp.as_ref().filter(|column| column.is_valid(row)).map(|column| column.value(row)),
            headers: self.headers.as_ref().and_then(|headers| headers.row(row)),
        })
    }
}

impl Record<'_> {
    /// The bytes of key and value.
    pub fn bytes(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }
}

/// The headers of rows: lists of keys and values.
#[derive(Debug, Clone)]
struct HeaderLists {
    lists: ArrayRef,
    offsets: OffsetBuffer<i32>,
    keys: StringArray,
    values: BinaryArray,
}

impl HeaderLists {
    fn of(column: &ArrayRef) -> Result<Self> {
        let (offsets, entries): (_, &StructArray) = match column.data_type() {
            DataType::Map(..) => (column.as_map().offsets(), column.as_map().entries()),
            DataType::List(item) if matches!(item.data_type(), DataType::Struct(_)) => {
                (column.as_list::<i32>().offsets(), column.as_list::<i32>().values().as_struct())
            }
            other => return Err(misfit("headers", other)),
        };
        // The names of a map's columns are its maker's.
        let is_map = matches!(column.data_type(), DataType::Map(..));
        let part = |at: usize, name: &str, fits: fn(&DataType) -> bool, to: &DataType| {
            let part = if is_map { Some(entries.column(at)) } else { entries.column_by_name(name) };
            let part =
                part.filter(|part| fits(part.data_type())).ok_or_else(|| misfit("headers", column.data_type()))?;
            cast_to("headers", part, to)
        };
        let keys = part(0, "key", is_text, &DataType::Utf8)?.as_string().clone();
        let values = part(1, "value", is_text_or_bytes, &DataType::Binary)?.as_binary().clone();
        if keys.null_count() > 0 {
            return Err(Error::data("column headers has a header without a key"));
        }
        Ok(Self { lists: Arc::clone(column), offsets: offsets.clone(), keys, values })
    }

    fn row(&self, row: usize) -> Option<OwnedHeaders> {
        let (start, end) = (*self.offsets.get(row)? as usize, *self.offsets.get(row + 1)? as usize);
        if self.lists.is_null(row) || start == end {
            return None;
        }
        let header = |at: usize| Header {
            key: self.keys.value(at),
            value: self.values.is_valid(at).then(|| self.values.value(at)),
        };
        Some((start..end).map(header).fold(OwnedHeaders::new_with_capacity(end - start), OwnedHeaders::insert))
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null)
}

fn is_text_or_bytes(data_type: &DataType) -> bool {
    is_text(data_type) || matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Int64)
}

fn cast_to(name: &str, column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    // Without its zone a time is the same number of milliseconds.
    let column = match column.data_type() {
        DataType::Timestamp(unit, Some(_)) => cast_with_options(column, &DataType::Int64, &options)
            .and_then(|numbers| cast_with_options(&numbers, &DataType::Timestamp(*unit, None), &options)),
        _ => Ok(Arc::clone(column)),
    };
    column
        .and_then(|column| cast_with_options(&column, to, &options))
        .map_err(|error| Error::data(format!("column {name} has a value that does not fit")).with_source(error))
}

fn misfit(name: &str, data_type: &DataType) -> Error {
    let wanted = match name {
        "value" | "key" => "text or bytes",
        "topic" => "text",
        "partition" => "an integer",
        "timestamp" => "a timestamp, or milliseconds since 1970",
        _ => {
            "a list of structs of key, which is text, and value, which is text or bytes; or a map from one to the other"
        }
    };
    Error::usage(format!("column {name} is a {data_type}, and should be {wanted}"))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, LargeStringArray, StringViewArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn rows(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn columns_come_in_all_their_types() {
        let value: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("a"), None])),
            Arc::new(LargeStringArray::from(vec![Some("a"), None])),
            Arc::new(StringViewArray::from(vec![Some("a"), None])),
            Arc::new(BinaryArray::from(vec![Some(&b"a"[..]), None])),
        ];
        let time: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![Some(7), None])),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(7000), None])),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(7000), None]).with_timezone("+02:00")),
        ];
        for value in value {
            for time in &time {
                let rows = rows(vec![("value", Arc::clone(&value)), ("timestamp", Arc::clone(time))]);
                let columns = Columns::of(&rows).unwrap();
                let got: Vec<_> = columns.records().map(|record| (record.value, record.timestamp)).collect();
                assert_eq!(got, [(Some(&b"a"[..]), Some(7)), (None, None)], "{}", rows.schema());
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (text, number): (ArrayRef, ArrayRef) =
            (Arc::new(StringArray::from(vec!["a"])), Arc::new(Int32Array::from(vec![-1])));
        let cases = [
            (vec![("value", &number)], "column value is a Int32, and should be text or bytes"),
            (vec![("key", &text)], "there is no column value"),
            (vec![("value", &text), ("count", &number)], "column count is none of Kafka's"),
            (vec![("value", &text), ("headers", &text)], "column headers is a Utf8, and should be a list"),
            (vec![("value", &text), ("partition", &number)], "a row of -1"),
        ];
        for (columns, expected) in cases {
            let fields: Vec<Field> =
                columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
            let columns = columns.into_iter().map(|(_, column)| Arc::clone(column)).collect();
            let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
            let error = Columns::of(&rows).unwrap_err();
            assert!(error.message().contains(expected), "{error}");
        }
    }
}
