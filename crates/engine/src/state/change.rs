//! The rows of a changelog: `key`, and the `value` that it has from here on, or none.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, BinaryBuilder, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::Serialize;

use crate::error::{Error, Result};

/// Rows per batch of changes.
const CHANGE_ROWS: usize = 64 << 10;

/// Bytes per batch of changes: the offsets of a Binary column are of 31 bits.
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
    scratch: Vec<u8>,
    done: Vec<RecordBatch>,
}

impl ChangeWriter {
    /// `key` has `value` from here on.
    pub fn put<K: Serialize + ?Sized, V: Serialize + ?Sized>(&mut self, key: &K, value: &V) -> Result<()> {
        self.key(key)?;
        let value = encode(value, &mut self.scratch)?;
        self.values.append_value(value);
        self.bytes += value.len();
        self.end_row()
    }

    /// `key` has this encoded value from here on.
    pub fn put_encoded<K: Serialize + ?Sized>(&mut self, key: &K, value: &[u8]) -> Result<()> {
        self.key(key)?;
        self.values.append_value(value);
        self.bytes += value.len();
        self.end_row()
    }

    /// `key` is no more.
    pub fn remove<K: Serialize + ?Sized>(&mut self, key: &K) -> Result<()> {
        self.key(key)?;
        self.values.append_null();
        self.end_row()
    }

    fn key<K: Serialize + ?Sized>(&mut self, key: &K) -> Result<()> {
        let key = encode(key, &mut self.scratch)?;
        self.keys.append_value(key);
        self.bytes += key.len();
        Ok(())
    }

    fn end_row(&mut self) -> Result<()> {
        self.rows += 1;
        if self.rows >= CHANGE_ROWS || self.bytes >= CHANGE_BYTES { self.end_batch() } else { Ok(()) }
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
