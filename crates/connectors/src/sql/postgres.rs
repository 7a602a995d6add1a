//! PostgreSQL: rows by `COPY`, through a temporary table where rows may replace others.

use std::io::Write as _;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Schema};
use postgres::config::{Host, SslMode};
use postgres::error::SqlState;
use postgres::{Client, Config, NoTls, Statement, Transaction};
use tidemill_engine::batch::BatchStamp;
use tidemill_engine::error::{Error, ErrorKind, Result};
use tidemill_engine::failpoint;

use super::columns::{self, Timestamps, cast_columns, is_bytes};
use super::database::{self, Database, Failure, PIECE, Target, list, numbers, on_conflict};
use super::staged::Staged;
use super::{Connector, database::quoted};

/// How long a connection may take, and a server may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes that are handed to `COPY` at once.
const COPIED: usize = 1 << 18;

/// The rows of a batch before they replace others, on this connection only.
const ROWS: &str = "tidemill_rows";
const ROW: &str = "tidemill_row";

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS tidemill_batches
        (sink text, batch_id bigint, batch_time bigint NOT NULL, PRIMARY KEY (sink, batch_id));
    CREATE UNLOGGED TABLE IF NOT EXISTS tidemill_staged
        (sink text, batch_id bigint, part text, piece bigint, body bytea NOT NULL,
         PRIMARY KEY (sink, batch_id, part, piece))";

/// How to reach the server at a URL.
pub(super) fn connector(url: &str) -> Result<Connector> {
    // What the parser says may quote the URL, and so the password.
    let mut config: Config = url.parse().map_err(|_| {
        Error::usage(
            "the URL of the PostgreSQL server can't be read: write postgres://user:password@host:port/database",
        )
    })?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(Error::usage(
            "the URL of the PostgreSQL server asks for TLS (sslmode=require), which is not built in",
        ));
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(PATIENCE);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(PATIENCE);
    }
    let place = place(&config);
    Ok((place, Box::new(move || Postgres::connect(&config).map(|postgres| Box::new(postgres) as _))))
}

/// Where a server is, without who asks.
fn place(config: &Config) -> String {
    let host = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        Host::Unix(path) => path.display().to_string(),
    };
    let hosts: Vec<String> = config.get_hosts().iter().map(host).collect();
    let ports: Vec<String> = config.get_ports().iter().map(|port| format!(":{port}")).collect();
    format!("postgres://{}{}/{}", hosts.join(","), ports.join(","), config.get_dbname().unwrap_or_default())
}

struct Postgres {
    /// Always there until it is dropped.
    client: Option<Client>,
    statements: Statements,
    /// The target table is known to be there.
    made: bool,
}

struct Statements {
    known: Statement,
    insert_batch: Statement,
    insert_staged: Statement,
    staged: Statement,
}

impl Postgres {
    fn connect(config: &Config) -> Result<Self, Failure> {
        let mut client = config.connect(NoTls).map_err(failure)?;
        client.batch_execute("SET client_min_messages = warning").map_err(failure)?;
        // Whoever may not make tables may use those that are there.
        let there = "SELECT to_regclass('tidemill_batches') IS NOT NULL AND to_regclass('tidemill_staged') IS NOT NULL";
        if !client.query_one(there, &[]).map_err(failure)?.get::<_, bool>(0) {
            client.batch_execute(TABLES).map_err(made_by_another)?;
        }
        let statements = Statements {
            known: client.prepare(database::KNOWN).map_err(failure)?,
            insert_batch: client.prepare(database::INSERT_BATCH).map_err(failure)?,
            insert_staged: client.prepare(database::INSERT_STAGED).map_err(failure)?,
            staged: client.prepare(database::STAGED).map_err(failure)?,
        };
        Ok(Self { client: Some(client), statements, made: false })
    }

    fn client(client: &mut Option<Client>) -> Result<&mut Client> {
        client.as_mut().ok_or_else(|| Error::internal("a connection is used after its end"))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The client says good-bye by waiting, which a thread of an async runtime may not.
        if let Some(client) = self.client.take() {
            std::thread::scope(|scope| drop(scope.spawn(|| drop(client)).join()));
        }
    }
}

impl Database for Postgres {
    fn stage(&mut self, target: &Target, batch: BatchStamp, part: &str, body: &[u8]) -> Result<(), Failure> {
        let (id, _) = numbers(batch)?;
        let mut transaction = Self::client(&mut self.client)?.transaction().map_err(failure)?;
        for (n, piece) in (0i64..).zip(body.chunks(PIECE)) {
            let line: [&(dyn postgres::types::ToSql + Sync); 5] = [&target.sink, &id, &part, &n, &piece];
            match transaction.execute(&self.statements.insert_staged, &line) {
                // Nobody else has this part's name: an earlier attempt came through, whole.
                Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => return Ok(()),
                done => done.map_err(failure)?,
            };
        }
        transaction.commit().map_err(failure)
    }

    fn commit(&mut self, target: &Target, batch: BatchStamp, staged: &[Staged]) -> Result<bool, Failure> {
        let (id, time) = numbers(batch)?;
        let statements = &self.statements;
        let mut transaction = Self::client(&mut self.client)?.transaction().map_err(failure)?;
        let line = transaction.query_one(&statements.known, &[&target.sink, &id]).map_err(failure)?;
        let known = database::known(line.get(0), line.get(1), line.get(2), line.get(3));
        let is_new = known.is_new(batch, target)?;
        if is_new {
            // Another driver that writes the same batch now is waited for here.
            let line: [&(dyn postgres::types::ToSql + Sync); 3] = [&target.sink, &id, &time];
            transaction.execute(&statements.insert_batch, &line).map_err(made_by_another)?;
            let mut copy = Copy { target, transaction: &mut transaction, made: self.made, columns: Vec::new() };
            let fetch = |transaction: &mut Transaction<'_>, part: &str| {
                let pieces = transaction.query(&statements.staged, &[&target.sink, &id, &part]).map_err(failure)?;
                Ok(pieces.iter().flat_map(|piece| piece.get::<_, &[u8]>(0)).copied().collect())
            };
            copy.all(staged, fetch)?;
        }
        if staged.iter().any(|part| matches!(part, Staged::InDatabase { .. })) {
            let delete = "DELETE FROM tidemill_staged WHERE sink = $1 AND batch_id = $2";
            transaction.execute(delete, &[&target.sink, &id]).map_err(failure)?;
        }
        if let Some(limit) = database::forgotten(batch, known.newest) {
            for delete in [database::FORGET_STAGED, database::FORGET_BATCHES] {
                transaction.execute(delete, &[&target.sink, &limit]).map_err(failure)?;
            }
        }
        failpoint::hit("postgres-rows-written");
        transaction.commit().map_err(failure)?;
        self.made |= is_new;
        Ok(is_new)
    }
}

/// A batch on its way into the table.
struct Copy<'a, 't> {
    target: &'a Target,
    transaction: &'a mut Transaction<'t>,
    made: bool,
    /// Set by the first rows.
    columns: Vec<String>,
}

impl Copy<'_, '_> {
    fn all(
        &mut self,
        staged: &[Staged],
        fetch: impl Fn(&mut Transaction<'_>, &str) -> Result<Vec<u8>, Failure>,
    ) -> Result<(), Failure> {
        let mut row = 0;
        for part in staged {
            let rows = part.rows(|part| fetch(self.transaction, part))?;
            let Some(first) = rows.first() else { continue };
            if self.columns.is_empty() {
                self.begin(first.schema_ref())?;
            }
            self.copy(&rows, &mut row)?;
        }
        if self.columns.is_empty() || self.target.keys.is_empty() { Ok(()) } else { self.merge() }
    }

    fn begin(&mut self, schema: &Schema) -> Result<(), Failure> {
        let Target { keys, .. } = self.target;
        let table = self.target.quoted_table();
        self.columns = columns::names(schema);
        if !self.made {
            let there = self.transaction.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).map_err(failure)?;
            if !there.get::<_, bool>(0) {
                let create = columns::create_table(&table, keys, schema, column_type);
                self.transaction.batch_execute(&create).map_err(made_by_another)?;
            }
        }
        if !keys.is_empty() {
            // Types and all as in the table itself; empty at the beginning of every transaction.
            let create = format!(
                "CREATE TEMP TABLE IF NOT EXISTS {ROWS} ON COMMIT DELETE ROWS AS SELECT {}, 0::bigint AS {ROW} FROM {table} \
                 WITH NO DATA",
                list(&self.columns)
            );
            self.transaction.batch_execute(&create).map_err(failure)?;
        }
        Ok(())
    }

    fn copy(&mut self, rows: &[RecordBatch], row: &mut u64) -> Result<(), Failure> {
        let is_upsert = !self.target.keys.is_empty();
        let columns = list(&self.columns);
        let copy = match is_upsert {
            true => format!("COPY {ROWS} ({columns}, {ROW}) FROM STDIN"),
            false => format!("COPY {} ({columns}) FROM STDIN", self.target.quoted_table()),
        };
        let mut writer = self.transaction.copy_in(&copy).map_err(failure)?;
        let mut text = Vec::with_capacity(COPIED + (1 << 12));
        for batch in rows {
            let values =
                cast_columns(
                    batch,
                    &TIMESTAMPS,
                    |data_type| {
                        if is_bytes(data_type) { DataType::Binary } else { DataType::Utf8 }
                    },
                )?;
            let values: Vec<Column<'_>> = values.iter().map(Column::of).collect::<Result<_>>()?;
            for at in 0..batch.num_rows() {
                for (n, column) in values.iter().enumerate() {
                    if n > 0 {
                        text.push(b'\t');
                    }
                    column.write(at, &mut text);
                }
                if is_upsert {
                    text.extend_from_slice(format!("\t{row}").as_bytes());
                    *row += 1;
                }
                text.push(b'\n');
                if text.len() >= COPIED {
                    writer.write_all(&text).map_err(copy_failure)?;
                    text.clear();
                }
            }
        }
        writer.write_all(&text).map_err(copy_failure)?;
        writer.finish().map(drop).map_err(failure)
    }

    /// The last row of each key goes to the table.
    fn merge(&mut self) -> Result<(), Failure> {
        let Target { keys, .. } = self.target;
        let (table, columns, key) = (self.target.quoted_table(), list(&self.columns), list(keys));
        let merge = format!(
            "INSERT INTO {table} ({columns}) SELECT DISTINCT ON ({key}) {columns} FROM {ROWS} ORDER BY {key}, {} DESC {}",
            quoted(ROW),
            on_conflict(keys, &self.columns)
        );
        self.transaction.batch_execute(&merge).map_err(failure)
    }
}

const TIMESTAMPS: Timestamps = Timestamps { naive: "%Y-%m-%dT%H:%M:%S%.f", zoned: "%Y-%m-%dT%H:%M:%S%.f+00" };

/// The type of a column that is made.
fn column_type(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => "smallint",
        DataType::UInt16 | DataType::Int32 => "integer",
        DataType::UInt32 | DataType::Int64 => "bigint",
        DataType::UInt64 => "numeric(20)",
        DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Boolean => "boolean",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        data_type if is_bytes(data_type) => "bytea",
        _ => "text",
    }
}

/// A column in the text form of `COPY`.
enum Column<'a> {
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
}

impl<'a> Column<'a> {
    fn of(column: &'a ArrayRef) -> Result<Self> {
        let text = column.as_string_opt().map(Column::Text);
        let column = text.or_else(|| column.as_binary_opt().map(Column::Bytes));
        column.ok_or_else(|| Error::internal("a column is not in the form that COPY takes"))
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Column::Text(column) if column.is_valid(row) => {
                for byte in column.value(row).bytes() {
                    match byte {
                        b'\\' => out.extend_from_slice(b"\\\\"),
                        b'\n' => out.extend_from_slice(b"\\n"),
                        b'\r' => out.extend_from_slice(b"\\r"),
                        b'\t' => out.extend_from_slice(b"\\t"),
                        byte => out.push(byte),
                    }
                }
            }
            Column::Bytes(column) if column.is_valid(row) => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\\\x");
                let digits = |byte: &u8| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.extend(column.value(row).iter().flat_map(digits));
            }
            _ => out.extend_from_slice(b"\\N"),
        }
    }
}

/// What an error of the server's or of the connection's means.
fn failure(error: postgres::Error) -> Failure {
    let Some(code) = error.code() else {
        // Nothing that the server said: the connection.
        return Failure::Lost(Error::retry("the connection to the PostgreSQL server failed").with_source(error));
    };
    let kind = match &code.code()[..2] {
        // Connection, resources, operator's intervention, rolled back, in use: they pass.
        "08" | "53" | "57" | "40" | "55" => {
            return Failure::Lost(Error::retry("the PostgreSQL server gave up").with_source(error));
        }
        "22" | "23" => ErrorKind::Data,
        "58" | "XX" => ErrorKind::Retry,
        _ => ErrorKind::Usage,
    };
    let said = error.as_db_error().map_or_else(String::new, |said| {
        let detail = said.detail().map_or_else(String::new, |detail| format!(" ({detail})"));
        format!("{}{detail}", said.message())
    });
    Failure::Fatal(Error::new(kind, format!("the PostgreSQL server refused with {}: {said}", code.code())))
}

/// [`failure`], where the same thing may have been made by another connection meanwhile.
fn made_by_another(error: postgres::Error) -> Failure {
    let codes = [&SqlState::UNIQUE_VIOLATION, &SqlState::DUPLICATE_TABLE, &SqlState::DUPLICATE_OBJECT];
    match error.code() {
        Some(code) if codes.contains(&code) => {
            Failure::Lost(Error::retry("another connection was first").with_source(error))
        }
        _ => failure(error),
    }
}

/// [`failure`] of a `COPY`, which wraps it.
fn copy_failure(error: std::io::Error) -> Failure {
    match error.downcast::<postgres::Error>() {
        Ok(error) => failure(error),
        Err(error) => Failure::Lost(Error::retry("the connection to the PostgreSQL server failed").with_source(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_their_secrets() {
        let (place, _) = connector("postgres://me:hunter2@db.example:5433/sales?application_name=x").unwrap();
        assert_eq!(place, "postgres://db.example:5433/sales");
        for url in [
            "postgres://me:hunter2@host:port/x",
            "postgres://me:hunter2@h/x?what=hunter2",
            "postgres://h/x?sslmode=require",
        ] {
            let error = connector(url).err().unwrap();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn values_are_escaped_for_copy() {
        let (text, bytes) =
            (StringArray::from(vec![Some("a\tb\\\n\rä"), None]), BinaryArray::from(vec![&[0u8, 255][..]]));
        let write = |column: Column<'_>, row| {
            let mut out = Vec::new();
            column.write(row, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(write(Column::Text(&text), 0), "a\\tb\\\\\\n\\rä");
        assert_eq!(write(Column::Text(&text), 1), "\\N");
        assert_eq!(write(Column::Bytes(&bytes), 0), "\\\\x00ff");
    }
}
