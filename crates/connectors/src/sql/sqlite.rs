//! SQLite: rows by prepared statements, in the write-ahead log, which is synced at every commit.

use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params, params_from_iter};
use tidemill_engine::batch::BatchStamp;
use tidemill_engine::error::{Error, ErrorKind, Result};
use tidemill_engine::failpoint;

use super::Connector;
use super::columns::{self, Timestamps, cast_columns, is_bytes};
use super::database::{self, Database, Failure, PIECE, Target, list, numbers, on_conflict};
use super::staged::Staged;

/// How long a transaction waits for that of another connection.
const PATIENCE: Duration = Duration::from_secs(30);

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS tidemill_batches
        (sink TEXT NOT NULL, batch_id INTEGER NOT NULL, batch_time INTEGER NOT NULL, PRIMARY KEY (sink, batch_id)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS tidemill_staged
        (sink TEXT NOT NULL, batch_id INTEGER NOT NULL, part TEXT NOT NULL, piece INTEGER NOT NULL, body BLOB NOT NULL,
         PRIMARY KEY (sink, batch_id, part, piece));";

/// How to reach the database at a URL.
pub(super) fn connector(url: &str) -> Result<Connector> {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = path.strip_prefix("//").unwrap_or(path);
    // Every connection would have a database of its own.
    if path.is_empty() || path == ":memory:" {
        return Err(Error::usage("the URL of an SQLite database names a file: sqlite:path/to/file"));
    }
    let path = PathBuf::from(path);
    let place = format!("sqlite:{}", path.display());
    Ok((place, Box::new(move || Sqlite::connect(&path).map(|sqlite| Box::new(sqlite) as _))))
}

struct Sqlite(Connection);

impl Sqlite {
    fn connect(path: &Path) -> Result<Self, Failure> {
        let connection = Connection::open(path).map_err(failure)?;
        connection.busy_timeout(PATIENCE).map_err(failure)?;
        // A commit is on the disk when it returns; readers and the writer don't wait for each other.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;").map_err(failure)?;
        connection.execute_batch(TABLES).map_err(failure)?;
        Ok(Self(connection))
    }

    /// A transaction that waits for its turn at its beginning, and so never in the middle.
    fn transaction(&mut self) -> Result<Transaction<'_>, Failure> {
        self.0.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failure)
    }
}

impl Database for Sqlite {
    fn stage(&mut self, target: &Target, batch: BatchStamp, part: &str, body: &[u8]) -> Result<(), Failure> {
        let (id, _) = numbers(batch)?;
        let transaction = self.transaction()?;
        for (n, piece) in (0i64..).zip(body.chunks(PIECE)) {
            let line = params![target.sink, id, part, n, piece];
            transaction.prepare_cached(database::INSERT_STAGED).and_then(|mut s| s.execute(line)).map_err(failure)?;
        }
        transaction.commit().map_err(failure)
    }

    fn commit(&mut self, target: &Target, batch: BatchStamp, staged: &[Staged]) -> Result<bool, Failure> {
        let (id, time) = numbers(batch)?;
        let transaction = self.transaction()?;
        let known = {
            let mut statement = transaction.prepare_cached(database::KNOWN).map_err(failure)?;
            let line = |line: &rusqlite::Row<'_>| Ok((line.get(0)?, line.get(1)?, line.get(2)?, line.get(3)?));
            let (same, before, after, newest) = statement.query_row(params![target.sink, id], line).map_err(failure)?;
            database::known(same, before, after, newest)
        };
        let is_new = known.is_new(batch, target)?;
        if is_new {
            let line = params![target.sink, id, time];
            transaction.prepare_cached(database::INSERT_BATCH).and_then(|mut s| s.execute(line)).map_err(failure)?;
            let mut made = false;
            for part in staged {
                let rows = part.rows(|part| fetch(&transaction, target, id, part))?;
                if let (Some(first), false) = (rows.first(), made) {
                    let (table, schema) = (target.quoted_table(), first.schema());
                    let create = columns::create_table(&table, &target.keys, &schema, column_type);
                    transaction.execute_batch(&create).map_err(failure)?;
                    made = true;
                }
                rows.iter().try_for_each(|rows| insert(&transaction, target, rows))?;
            }
        }
        let delete = "DELETE FROM tidemill_staged WHERE sink = $1 AND batch_id = $2";
        transaction.prepare_cached(delete).and_then(|mut s| s.execute(params![target.sink, id])).map_err(failure)?;
        if let Some(limit) = database::forgotten(batch, known.newest) {
            for delete in [database::FORGET_STAGED, database::FORGET_BATCHES] {
                transaction.execute(delete, params![target.sink, limit]).map_err(failure)?;
            }
        }
        failpoint::hit("sqlite-rows-written");
        transaction.commit().map_err(failure)?;
        Ok(is_new)
    }
}

fn fetch(transaction: &Transaction<'_>, target: &Target, id: i64, part: &str) -> Result<Vec<u8>, Failure> {
    let fetch = || {
        let mut statement = transaction.prepare_cached(database::STAGED)?;
        let mut pieces = statement.query(params![target.sink, id, part])?;
        let mut body = Vec::new();
        while let Some(piece) = pieces.next()? {
            body.extend_from_slice(piece.get_ref(0)?.as_blob()?);
        }
        Ok(body)
    };
    fetch().map_err(failure)
}

fn insert(transaction: &Transaction<'_>, target: &Target, rows: &RecordBatch) -> Result<(), Failure> {
    let names = columns::names(rows.schema_ref());
    let places: Vec<String> = (1..=names.len()).map(|n| format!("?{n}")).collect();
    let conflict = if target.keys.is_empty() { String::new() } else { on_conflict(&target.keys, &names) };
    let insert =
        format!("INSERT INTO {} ({}) VALUES ({}) {conflict}", target.quoted_table(), list(&names), places.join(", "));
    let values = cast_columns(rows, &TIMESTAMPS, stored_type)?;
    let values: Vec<Column<'_>> = values.iter().map(Column::of).collect::<Result<_>>()?;
    let mut statement = transaction.prepare_cached(&insert).map_err(failure)?;
    for row in 0..rows.num_rows() {
        statement.execute(params_from_iter(values.iter().map(|column| column.value(row)))).map_err(failure)?;
    }
    Ok(())
}

const TIMESTAMPS: Timestamps = Timestamps { naive: "%Y-%m-%d %H:%M:%S%.3f", zoned: "%Y-%m-%d %H:%M:%S%.3f" };

/// The type of a column that is made.
fn column_type(data_type: &DataType) -> &'static str {
    match stored_type(data_type) {
        DataType::Int64 | DataType::Boolean => "INTEGER",
        DataType::Float64 => "REAL",
        DataType::Binary => "BLOB",
        _ => "TEXT",
    }
}

/// The Arrow type in which values are handed over.
fn stored_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Boolean => DataType::Boolean,
        data_type if data_type.is_integer() => DataType::Int64,
        data_type if data_type.is_floating() => DataType::Float64,
        data_type if is_bytes(data_type) => DataType::Binary,
        _ => DataType::Utf8,
    }
}

/// A column whose values SQLite can look at where they are.
struct Column<'a>(&'a ArrayRef, Kind);

#[derive(Clone, Copy)]
enum Kind {
    Integer,
    Real,
    Boolean,
    Text,
    Blob,
}

impl<'a> Column<'a> {
    fn of(column: &'a ArrayRef) -> Result<Self> {
        let kind = match column.data_type() {
            DataType::Int64 => Kind::Integer,
            DataType::Float64 => Kind::Real,
            DataType::Boolean => Kind::Boolean,
            DataType::Utf8 => Kind::Text,
            DataType::Binary => Kind::Blob,
            other => return Err(Error::internal(format!("a column is a {other}, which SQLite does not take"))),
        };
        Ok(Self(column, kind))
    }

    fn value(&self, row: usize) -> ToSqlOutput<'a> {
        let Self(column, kind) = self;
        if column.is_null(row) {
            return ToSqlOutput::Owned(Value::Null);
        }
        match kind {
            Kind::Integer => ToSqlOutput::Owned(Value::Integer(column.as_primitive::<Int64Type>().value(row))),
            Kind::Real => ToSqlOutput::Owned(Value::Real(column.as_primitive::<Float64Type>().value(row))),
            Kind::Boolean => ToSqlOutput::Owned(Value::Integer(column.as_boolean().value(row).into())),
            Kind::Text => ToSqlOutput::Borrowed(ValueRef::Text(column.as_string::<i32>().value(row).as_bytes())),
            Kind::Blob => ToSqlOutput::Borrowed(ValueRef::Blob(column.as_binary::<i32>().value(row))),
        }
    }
}

/// What an error of SQLite's means.
fn failure(error: rusqlite::Error) -> Failure {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            return Failure::Lost(Error::retry("the SQLite database is in use").with_source(error));
        }
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => ErrorKind::Data,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => ErrorKind::Data,
        Some(ErrorCode::Unknown) | None => ErrorKind::Usage,
        Some(_) => ErrorKind::Retry,
    };
    Failure::Fatal(Error::new(kind, "SQLite refused").with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_file() {
        let place = |url: &str| connector(url).ok().map(|(place, _)| place);
        let cases = [
            ("sqlite:a/b.db", Some("sqlite:a/b.db")),
            ("sqlite:///a/b.db", Some("sqlite:/a/b.db")),
            ("sqlite:", None),
            ("sqlite::memory:", None),
        ];
        for (url, expected) in cases {
            assert_eq!(place(url).as_deref(), expected, "{url}");
        }
    }
}
