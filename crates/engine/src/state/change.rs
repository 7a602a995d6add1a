//! The rows of a changelog: `key`, and the `value` that it has from here on, or none.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, BinaryBuilder, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::Serialize;

use crate::chunk::{MAX_COLUMN_BYTES, check_room};
use crate::error::{Error, Result};

/// Rows per batch of changes.
const CHANGE_ROWS: usize = 64 << 10;

/// Bytes per batch of changes, unless one row has more.
const CHANGE_BYTES: usize = 256 << 20;

/// `key: Binary`, `value: Binary?`
pub fn change_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let fields = vec![Field::new("key", DataType::Binary, false), Field::new("value", DataType::Binary, true)];
        Arc::new(Schema::new(fields))
    });
    Arc::clone(&SCHEMA)
}

/// Collects the changes of one batch to one partition.
#[derive(Default)]
pub struct ChangeWriter {
    keys: BinaryBuilder,
    values: BinaryBuilder,
    rows: usize,
    bytes: usize,
    key: Vec<u8>,
    value: Vec<u8>,
    done: Vec<RecordBatch>,
}

impl ChangeWriter {
    /// `key` has `value` from here on.
    ///
    /// # Errors
    /// If either can't be encoded, or is larger than [`MAX_COLUMN_BYTES`].
    pub fn put<K: Serialize + ?Sized, V: Serialize + ?Sized>(&mut self, key: &K, value: &V) -> Result<()> {
        let mut scratch = std::mem::take(&mut self.value);
        let done = encode(value, &mut scratch).and_then(|value| self.row(key, Some(value)));
        self.value = scratch;
        done
    }

    /// `key` has this encoded value from here on.
    ///
    /// # Errors
    /// As [`ChangeWriter::put`].
    pub fn put_encoded<K: Serialize + ?Sized>(&mut self, key: &K, value: &[u8]) -> Result<()> {
        self.row(key, Some(value))
    }

    /// `key` is no more.
    ///
    /// # Errors
    /// As [`ChangeWriter::put`].
    pub fn remove<K: Serialize + ?Sized>(&mut self, key: &K) -> Result<()> {
        self.row(key, None)
    }

    fn row<K: Serialize + ?Sized>(&mut self, key: &K, value: Option<&[u8]>) -> Result<()> {
        let mut scratch = std::mem::take(&mut self.key);
        let done = encode(key, &mut scratch).and_then(|key| self.append(key, value));
        self.key = scratch;
        done
    }

    fn append(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let length = value.map_or(0, <[u8]>::len);
        let what = |error: Error| error.context("a key or value of a state");
        [key.len(), length].iter().try_for_each(|length| check_room(0, *length, MAX_COLUMN_BYTES).map_err(what))?;
        if self.rows > 0 && self.bytes + key.len() + length > CHANGE_BYTES {
            self.end_batch()?;
        }
        self.keys.append_value(key);
        self.values.append_option(value);
        (self.rows, self.bytes) = (self.rows + 1, self.bytes + key.len() + length);
        if self.rows >= CHANGE_ROWS { self.end_batch() } else { Ok(()) }
    }

    fn end_batch(&mut self) -> Result<()> {
        let columns: Vec<ArrayRef> = vec![Arc::new(self.keys.finish()), Arc::new(self.values.finish())];
        self.done.push(RecordBatch::try_new(change_schema(), columns)?);
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    /// All changes, in order.
    pub fn finish(mut self) -> Result<Vec<RecordBatch>> {
        if self.rows > 0 {
            self.end_batch()?;
        }
        Ok(self.done)
    }
}

/// The encoded form of a key or a value; `scratch` holds it.
pub fn encode<'a, T: Serialize + ?Sized>(row: &T, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
    scratch.clear();
    *scratch = postcard::to_extend(row, std::mem::take(scratch)).map_err(|error| {
        Error::data(format!("a {} of a state can't be encoded", std::any::type_name::<T>())).with_source(error)
    })?;
    Ok(scratch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_column_can_hold_is_an_error() {
        let mut changes = ChangeWriter::default();
        changes.put(&1u8, &2u8).unwrap();
        // Pages of zeros that nobody looks at.
        let huge = vec![0; MAX_COLUMN_BYTES + 1];
        let error = changes.put_encoded(&1u8, &huge).unwrap_err();
        assert!(error.to_string().contains("a key or value of a state: 2147483648 encoded bytes at once"), "{error}");
        changes.remove(&3u8).unwrap();
        assert_eq!(changes.finish().unwrap().iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn large_values_are_spread_over_batches() {
        let mut changes = ChangeWriter::default();
        let large = vec![1; CHANGE_BYTES / 2];
        for (key, value) in [(1u8, &large), (2, &vec![]), (3, &large), (4, &vec![])] {
            changes.put_encoded(&key, value).unwrap();
        }
        assert_eq!(changes.finish().unwrap().iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [2, 2]);
    }
}
