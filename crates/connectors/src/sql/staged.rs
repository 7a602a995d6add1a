//! Rows on their way from a task to the driver's transaction.

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::sink::Receipt;

/// What the receipt of a partition holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Staged {
    /// The rows.
    Inline(String),
    /// Where the rows are, in `tidemill_staged`, and how many bytes.
    InDatabase { part: String, bytes: u64 },
}

impl Staged {
    pub fn inline(body: &[u8]) -> Self {
        Staged::Inline(STANDARD_NO_PAD.encode(body))
    }

    pub fn receipt(&self) -> Result<Receipt> {
        let receipt = serde_json::to_string(self);
        receipt.map(Receipt).map_err(|error| Error::internal("a receipt can't be encoded").with_source(error))
    }

    pub fn of_receipt(receipt: &Receipt) -> Result<Self> {
        serde_json::from_str(&receipt.0).map_err(|error| Error::internal(WRONG_RECEIPT).with_source(error))
    }

    /// The rows; `fetch` gets what is in the database.
    pub fn rows<E: From<Error>>(&self, fetch: impl FnOnce(&str) -> Result<Vec<u8>, E>) -> Result<Vec<RecordBatch>, E> {
        let body = match self {
            Staged::Inline(text) => {
                STANDARD_NO_PAD.decode(text).map_err(|error| Error::internal(WRONG_RECEIPT).with_source(error))?
            }
            Staged::InDatabase { part, bytes } => {
                let body = fetch(part)?;
                if body.len() as u64 != *bytes {
                    let message = format!("part {part} is staged with {} bytes instead of {bytes}", body.len());
                    return Err(Error::retry(format!("{message}: the batch must run again")).into());
                }
                body
            }
        };
        let read = || StreamReader::try_new(body.as_slice(), None)?.collect::<Result<Vec<_>, _>>();
        Ok(read().map_err(|error| Error::internal("staged rows can't be read").with_source(error))?)
    }
}

const WRONG_RECEIPT: &str = "a receipt is not one of an SQL sink's";

/// Rows as bytes; `None` if there are none.
pub(super) fn encode(rows: &[RecordBatch]) -> Result<Option<Vec<u8>>> {
    let Some(first) = rows.first().filter(|_| rows.iter().any(|batch| batch.num_rows() > 0)) else { return Ok(None) };
    let mut writer = StreamWriter::try_new(Vec::new(), first.schema_ref())?;
    rows.iter().try_for_each(|batch| writer.write(batch))?;
    Ok(Some(writer.into_inner()?))
}
