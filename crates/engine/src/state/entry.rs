//! The entry of a batch in the state log: which entry came before it, and what changed in which partition.
//!
//! Length of the header (u32, little-endian), the header in postcard, the changes of each partition as Arrow IPC streams, one
//! after the other.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::change::change_schema;
use crate::error::{Error, Result};

/// The changes of one partition within an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The operator.
    pub operator: String,
    /// The partition.
    pub partition: u32,
    /// The length of its changes in bytes.
    pub length: u64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    prev: Option<u64>,
    frames: Vec<Frame>,
}

/// An entry that was read.
pub struct Entry {
    /// The number of the entry before it.
    pub prev: Option<u64>,
    /// What it holds, and where.
    pub frames: Vec<(Frame, Range<usize>)>,
}

/// The bytes of an entry.
pub fn encode_entry<'a>(
    prev: Option<u64>,
    changes: impl IntoIterator<Item = (&'a str, u32, &'a [RecordBatch])>,
) -> Result<Vec<u8>> {
    let mut bodies = Vec::new();
    let mut frames = Vec::new();
    for (operator, partition, batches) in changes {
        let start = bodies.len();
        to_ipc(batches, &mut bodies)?;
        frames.push(Frame { operator: operator.to_string(), partition, length: (bodies.len() - start) as u64 });
    }
    let header = postcard::to_stdvec(&Header { prev, frames })
        .map_err(|error| Error::internal("an entry of the state log can't be encoded").with_source(error))?;
    let mut entry = Vec::with_capacity(4 + header.len() + bodies.len());
    entry.extend((header.len() as u32).to_le_bytes());
    entry.extend(header);
    entry.extend(bodies);
    Ok(entry)
}

/// What an entry holds; `place` is where it lies.
pub fn decode_entry(bytes: &[u8], place: &str) -> Result<Entry> {
    let damaged = || Error::data(format!("{place} is not an entry of a state log"));
    let length = bytes.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes).ok_or_else(damaged)? as usize;
    let header = bytes.get(4..4 + length).ok_or_else(damaged)?;
    let Header { prev, frames } = postcard::from_bytes(header).map_err(|error| damaged().with_source(error))?;
    let mut at = 4 + length;
    let mut placed = Vec::with_capacity(frames.len());
    for frame in frames {
        let end = usize::try_from(frame.length).ok().and_then(|length| at.checked_add(length));
        let end = end.filter(|end| *end <= bytes.len()).ok_or_else(damaged)?;
        placed.push((frame, at..end));
        at = end;
    }
    Ok(Entry { prev, frames: placed })
}

/// Appends batches of changes as an Arrow IPC stream.
pub fn to_ipc(batches: &[RecordBatch], bytes: &mut Vec<u8>) -> Result<()> {
    let mut writer = StreamWriter::try_new(bytes, &change_schema())?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(())
}

/// The batches of an Arrow IPC stream of changes.
pub fn from_ipc(bytes: &Bytes, place: &str) -> Result<Vec<RecordBatch>> {
    let damaged = |error| Error::data(format!("the changes in {place} can't be read")).with_source(error);
    let reader = StreamReader::try_new(&bytes[..], None).map_err(damaged)?;
    if reader.schema() != change_schema() {
        return Err(Error::data(format!("the changes in {place} are of another schema: {}", reader.schema())));
    }
    reader.collect::<std::result::Result<_, _>>().map_err(damaged)
}
