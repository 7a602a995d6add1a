//! What flows between closures: typed chunks of rows, or Arrow batches, behind one opaque type.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, BinaryArray, BinaryBuilder, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Rows per typed chunk: small enough that a chunk of words stays in the second-level cache.
pub const CHUNK_ROWS: usize = 1024;

/// Rows of an Arrow batch that a chain takes at once.
pub const BATCH_ROWS: usize = 8192;

/// Bytes of a column after which rows on their way begin another batch: 64 MiB.
pub const BATCH_BYTES: usize = 64 << 20;

/// What an element of an RDD or a DStream must be: any serde type that can be cloned and shared.
///
/// Its postcard form is its form between stages. Where it is a key, equal values must have equal forms.
pub trait Data: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {}
impl<T: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Data for T {}

/// A `Vec<T>` or a `RecordBatch`; its reader knows which.
pub struct Chunk(Box<dyn Any + Send + Sync>);

impl Chunk {
    /// Wraps a chunk's content.
    pub fn of<C: Any + Send + Sync>(content: C) -> Self {
        Self(Box::new(content))
    }

    /// Unwraps a chunk whose content is known to be `C`.
    pub fn take<C: Any>(self) -> Result<C> {
        match self.0.downcast::<C>() {
            Ok(content) => Ok(*content),
            Err(_) => Err(wrong_content::<C>()),
        }
    }

    /// Looks at a chunk whose content is known to be `C`.
    pub fn get<C: Any>(&self) -> Result<&C> {
        self.0.downcast_ref::<C>().ok_or_else(wrong_content::<C>)
    }
}

fn wrong_content<C>() -> Error {
    Error::internal(format!("a chunk is not the {} that its reader expects", std::any::type_name::<C>()))
}

/// What the untyped engine must be able to do with chunks of one element type.
pub trait Element: Send + Sync {
    /// The name of the element type, for people.
    fn type_name(&self) -> &'static str;
    /// A copy of a chunk.
    fn copy(&self, chunk: &Chunk) -> Result<Chunk>;
    /// A chunk as an Arrow batch, one Binary column `value`.
    fn encode(&self, chunk: &Chunk) -> Result<RecordBatch>;
    /// The chunk that [`Element::encode`] made this batch of.
    fn decode(&self, batch: &RecordBatch) -> Result<Chunk>;
    /// A guess at the memory that a chunk holds, in bytes.
    fn size(&self, chunk: &Chunk) -> Result<usize>;
}

/// Chunks that are `Vec<T>`.
pub struct Rows<T>(PhantomData<fn() -> T>);

impl<T: Data> Rows<T> {
    /// The one value of this type.
    pub const ELEMENT: &'static dyn Element = &Rows::<T>(PhantomData);
}

impl<T: Data> Element for Rows<T> {
    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }

    fn copy(&self, chunk: &Chunk) -> Result<Chunk> {
        Ok(Chunk::of(chunk.get::<Vec<T>>()?.clone()))
    }

    fn encode(&self, chunk: &Chunk) -> Result<RecordBatch> {
        encode_rows(chunk.get::<Vec<T>>()?)
    }

    fn decode(&self, batch: &RecordBatch) -> Result<Chunk> {
        Ok(Chunk::of(decode_rows::<T>(batch)?))
    }

    fn size(&self, chunk: &Chunk) -> Result<usize> {
        // The heap behind the rows is judged by their encoded form, of a sample.
        let rows = chunk.get::<Vec<T>>()?;
        let sample = &rows[..rows.len().min(16)];
        let encoded: usize = sample.iter().map(|row| postcard::to_stdvec(row).map_or(0, |bytes| bytes.len())).sum();
        let heap = if sample.is_empty() { 0 } else { encoded * rows.len() / sample.len() };
        Ok(rows.len() * size_of::<T>() + heap)
    }
}

/// Chunks that are Arrow batches.
pub struct ArrowBatches;

impl Element for ArrowBatches {
    fn type_name(&self) -> &'static str {
        "RecordBatch"
    }

    fn copy(&self, chunk: &Chunk) -> Result<Chunk> {
        Ok(Chunk::of(chunk.get::<RecordBatch>()?.clone()))
    }

    fn encode(&self, chunk: &Chunk) -> Result<RecordBatch> {
        Ok(chunk.get::<RecordBatch>()?.clone())
    }

    fn decode(&self, batch: &RecordBatch) -> Result<Chunk> {
        Ok(Chunk::of(batch.clone()))
    }

    fn size(&self, chunk: &Chunk) -> Result<usize> {
        Ok(chunk.get::<RecordBatch>()?.get_array_memory_size())
    }
}

/// The schema of encoded rows: one Binary column `value`.
pub fn rows_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> =
        LazyLock::new(|| Arc::new(Schema::new(vec![Field::new("value", DataType::Binary, false)])));
    Arc::clone(&SCHEMA)
}

/// The schema of text: one Utf8 column `value`.
pub fn text_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> =
        LazyLock::new(|| Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, false)])));
    Arc::clone(&SCHEMA)
}

/// The most bytes that a column of encoded rows holds: its offsets are of 31 bits.
pub const MAX_COLUMN_BYTES: usize = i32::MAX as usize;

/// An error if `more` bytes do not fit into a column of encoded rows that has `held`, of at most `most`.
pub fn check_room(held: usize, more: usize, most: usize) -> Result<()> {
    if more <= most.saturating_sub(held) {
        return Ok(());
    }
    let all = held.saturating_add(more);
    Err(Error::usage(format!(
        "{all} encoded bytes at once are more than a batch of rows takes, {most}: make rows smaller, or chunks and partitions of fewer rows"
    )))
}

/// Encodes rows, one value each.
///
/// # Errors
/// If one can't be encoded, or all together take more than [`MAX_COLUMN_BYTES`].
pub fn encode_rows<T: Serialize>(rows: &[T]) -> Result<RecordBatch> {
    let mut builder = BinaryBuilder::with_capacity(rows.len(), rows.len() * 16);
    let mut buffer = Vec::new();
    for row in rows {
        append_encoded(&mut builder, &mut buffer, row)?;
    }
    Ok(RecordBatch::try_new(rows_schema(), vec![Arc::new(builder.finish()) as ArrayRef])?)
}

/// Appends one value's encoded form; `buffer` is scratch space.
///
/// # Errors
/// If it can't be encoded, or the column would have more than [`MAX_COLUMN_BYTES`].
pub fn append_encoded<T: Serialize>(builder: &mut BinaryBuilder, buffer: &mut Vec<u8>, row: &T) -> Result<()> {
    buffer.clear();
    let bytes = postcard::to_extend(row, std::mem::take(buffer)).map_err(|error| {
        Error::data(format!("a {} can't be encoded", std::any::type_name::<T>())).with_source(error)
    })?;
    let room = check_room(builder.values_slice().len(), bytes.len(), MAX_COLUMN_BYTES);
    if room.is_ok() {
        builder.append_value(&bytes);
    }
    *buffer = bytes;
    room
}

/// Decodes one value.
pub fn decode_row<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let wrong = || Error::data(format!("{} bytes are not an encoded {}", bytes.len(), std::any::type_name::<T>()));
    match postcard::take_from_bytes(bytes) {
        Ok((row, [])) => Ok(row),
        Ok((_, _rest)) => Err(wrong()),
        Err(error) => Err(wrong().with_source(error)),
    }
}

/// Decodes what [`encode_rows`] made.
pub fn decode_rows<T: DeserializeOwned>(batch: &RecordBatch) -> Result<Vec<T>> {
    binary_column(batch, 0)?.iter().flatten().map(decode_row).collect()
}

/// The Binary column at `index`.
pub fn binary_column(batch: &RecordBatch, index: usize) -> Result<&BinaryArray> {
    column(batch, index)
}

/// The column at `index`, as the array type that its reader expects.
pub fn column<A: Array + 'static>(batch: &RecordBatch, index: usize) -> Result<&A> {
    batch.columns().get(index).and_then(|column| column.as_any().downcast_ref::<A>()).ok_or_else(|| {
        Error::internal(format!("column {index} of {} is not a {}", batch.schema(), std::any::type_name::<A>()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_takes_what_its_offsets_can_tell() {
        let cases =
            [(0, 10, 10, true), (4, 6, 10, true), (4, 7, 10, false), (11, 0, 10, true), (1, usize::MAX, 10, false)];
        for (held, more, most, fits) in cases {
            assert_eq!(check_room(held, more, most).is_ok(), fits, "{held} {more}");
        }
        let error = check_room(MAX_COLUMN_BYTES, 1, MAX_COLUMN_BYTES).unwrap_err();
        assert!(error.message().starts_with("2147483648 encoded bytes at once"), "{error}");
    }

    #[test]
    fn rows_come_back_from_their_encoded_form() {
        let rows = vec![("a".to_string(), Some(1u64)), (String::new(), None)];
        let element = Rows::<(String, Option<u64>)>::ELEMENT;
        let batch = element.encode(&Chunk::of(rows.clone())).unwrap();
        assert_eq!(element.decode(&batch).unwrap().take::<Vec<(String, Option<u64>)>>().unwrap(), rows);
        assert!(Chunk::of(rows).take::<Vec<u8>>().is_err());
    }
}
