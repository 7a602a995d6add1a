//! What the sink needs of a database.

use std::fmt;

use tidemill_engine::batch::{BatchId, BatchStamp};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::sink::once::{Known, REMEMBERED_BATCHES};
use tidemill_engine::time::Time;

use super::staged::Staged;

/// Bytes of a piece of staged rows.
pub(super) const PIECE: usize = 8 << 20;

/// How many batches pass between two removals of old lines from the sink's tables.
const CLEANED: u64 = 64;

/// The times of a batch and of its neighbours, and the newest number.
pub(super) const KNOWN: &str = "SELECT \
    (SELECT batch_time FROM tidemill_batches WHERE sink = $1 AND batch_id = $2), \
    (SELECT batch_time FROM tidemill_batches WHERE sink = $1 AND batch_id < $2 ORDER BY batch_id DESC LIMIT 1), \
    (SELECT batch_time FROM tidemill_batches WHERE sink = $1 AND batch_id > $2 ORDER BY batch_id LIMIT 1), \
    (SELECT max(batch_id) FROM tidemill_batches WHERE sink = $1)";

/// Removes lines of batches up to a number.
pub(super) const FORGET_BATCHES: &str = "DELETE FROM tidemill_batches WHERE sink = $1 AND batch_id <= $2";

/// Removes staged rows of batches that are written, and of those up to a number.
pub(super) const FORGET_STAGED: &str = "DELETE FROM tidemill_staged WHERE sink = $1 \
    AND (batch_id <= $2 OR batch_id IN (SELECT batch_id FROM tidemill_batches WHERE sink = $1))";

/// Adds the line of a batch.
pub(super) const INSERT_BATCH: &str = "INSERT INTO tidemill_batches (sink, batch_id, batch_time) VALUES ($1, $2, $3)";

/// Adds a piece of staged rows.
pub(super) const INSERT_STAGED: &str =
    "INSERT INTO tidemill_staged (sink, batch_id, part, piece, body) VALUES ($1, $2, $3, $4, $5)";

/// The pieces of a part, in order.
pub(super) const STAGED: &str =
    "SELECT body FROM tidemill_staged WHERE sink = $1 AND batch_id = $2 AND part = $3 ORDER BY piece";

/// Why a transaction failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection is gone, or somebody was in the way: to be tried again.
    Lost(Error),
    /// It will fail again.
    Fatal(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Fatal(error)
    }
}

/// Where a sink writes to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The database, without secrets.
    pub place: String,
    /// The table, with its schema if that was given.
    pub table: String,
    /// Of an upsert, the key columns.
    pub keys: Vec<String>,
    /// The name under which batches are remembered.
    pub sink: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {} of {}", self.table, self.place)
    }
}

impl Target {
    /// The table's name as SQL.
    pub fn quoted_table(&self) -> String {
        self.table.split('.').map(quoted).collect::<Vec<_>>().join(".")
    }
}

/// A connection.
pub(super) trait Database: Send {
    /// Keeps the rows of a partition for the commit.
    fn stage(&mut self, target: &Target, batch: BatchStamp, part: &str, body: &[u8]) -> Result<(), Failure>;

    /// Writes a batch in one transaction. False if it was there.
    fn commit(&mut self, target: &Target, batch: BatchStamp, staged: &[Staged]) -> Result<bool, Failure>;
}

/// A name as SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names as SQL, between commas.
pub(super) fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    names.into_iter().map(|name| quoted(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// What an upsert does with a row whose key is there.
pub(super) fn on_conflict(keys: &[String], columns: &[String]) -> String {
    let values = columns.iter().filter(|column| !keys.contains(column));
    let set: Vec<String> = values.map(|column| format!("{0} = EXCLUDED.{0}", quoted(column))).collect();
    let action = if set.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", set.join(", ")) };
    format!("ON CONFLICT ({}) DO {action}", list(keys))
}

/// A batch's number and time as SQL has them.
pub(super) fn numbers(batch: BatchStamp) -> Result<(i64, i64)> {
    let id = i64::try_from(batch.id.0).map_err(|_| Error::internal(format!("batch {} is no bigint", batch.id)))?;
    Ok((id, batch.time.as_millis()))
}

/// What a line of [`KNOWN`] says.
pub(super) fn known(same: Option<i64>, before: Option<i64>, after: Option<i64>, newest: Option<i64>) -> Known {
    let [same, before, after] = [same, before, after].map(|ms| ms.map(Time::from_millis));
    Known { same, before, after, newest: newest.and_then(|id| u64::try_from(id).ok()).map(BatchId) }
}

/// The number up to which batches are forgotten, if it is time to remove their lines.
pub(super) fn forgotten(batch: BatchStamp, newest: Option<BatchId>) -> Option<i64> {
    let newest = newest.map_or(batch.id, |newest| newest.max(batch.id));
    let limit = i64::try_from(newest.0).unwrap_or(i64::MAX) - REMEMBERED_BATCHES as i64;
    batch.id.0.is_multiple_of(CLEANED).then_some(limit)
}
