//! `SqlSink`: rows into a table of a database, each batch exactly once.
//!
//! Beside the table of the rows there are two of the sink's, in the same database:
//!
//! ```sql
//! tidemill_batches (sink text, batch_id bigint, batch_time bigint, primary key (sink, batch_id))
//! tidemill_staged  (sink text, batch_id bigint, part text, piece bigint, body bytea, primary key (sink, batch_id, part, piece))
//! ```
//!
//! The rows of a batch and its line in `tidemill_batches` are written in one transaction: both are there or none. So a batch that
//! runs again finds its line and writes nothing, whatever became of the connection, the server or the program when it ran first.
//! The line has the batch's time too, which tells the batches of another checkpoint apart. Lines of batches more than 10,000 behind
//! the newest one are removed.
//!
//! Tasks do not write to the table. A partition of up to a mebibyte goes to the driver in the task's receipt, a larger one is
//! staged, in pieces, in `tidemill_staged`; both as Arrow IPC. The driver's transaction copies them into the table. That takes less of
//! the server than a staging table with columns: PostgreSQL copied a million rows of three columns into a table in 0.5 s, or into an unlogged
//! staging table in as much and from there on in another 0.7 to 0.9 s.
//!
//! | Arrow | PostgreSQL | SQLite |
//! |---|---|---|
//! | integers | `smallint` `integer` `bigint` `numeric(20)` | `INTEGER`, up to 2^63 - 1 |
//! | floats | `real` `double precision` | `REAL`; NaN is no value |
//! | booleans | `boolean` | `INTEGER` 0 or 1 |
//! | text | `text` | `TEXT` |
//! | bytes | `bytea` | `BLOB` |
//! | timestamps | `timestamp`, with a zone `timestamptz` | `TEXT`, UTC: `2023-11-14 22:13:20.123` |
//!
//! A table that is not there is made with these types. One that is there may have others, where the database takes the text of the
//! values for them.

mod columns;
mod database;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod staged;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use tidemill_engine::batch::BatchStamp;
use tidemill_engine::clock::Waker;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::failpoint;
use tidemill_engine::sink::{Receipt, Sink};

use self::database::{Database, Failure, Target};
use self::staged::Staged;

/// The first pause between two attempts; each is twice the one before, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// How a [`SqlSink`] writes.
#[derive(Debug, Clone)]
pub struct SqlOptions {
    keys: Vec<String>,
    sink: Option<String>,
    attempts: u32,
    stage_above: usize,
}

impl SqlOptions {
    /// Every row is inserted.
    pub fn append() -> Self {
        Self { keys: Vec::new(), sink: None, attempts: 8, stage_above: 1 << 20 }
    }

    /// A row replaces the one with the same values in the key columns, on which the table must have a primary key or a unique index.
    /// Of several in a batch the last one counts.
    pub fn upsert(keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { keys: keys.into_iter().map(Into::into).collect(), ..Self::append() }
    }

    /// The name under which batches are remembered, instead of the table's: for several streams into one table.
    pub fn sink_name(mut self, name: impl Into<String>) -> Self {
        self.sink = Some(name.into());
        self
    }

    /// How often a transaction is tried on connections that are lost, at least once; 8 times unless said otherwise, which takes some
    /// 11 seconds.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The size from which on the rows of a partition are staged, in bytes; a mebibyte unless said otherwise.
    pub fn stage_above(mut self, bytes: usize) -> Self {
        self.stage_above = bytes;
        self
    }
}

/// Writes batches to a table of PostgreSQL or SQLite.
pub struct SqlSink {
    target: Target,
    options: SqlOptions,
    connect: Box<dyn Fn() -> Result<Box<dyn Database>, Failure> + Send + Sync>,
    /// Connections that nobody uses at the moment.
    idle: Mutex<Vec<Box<dyn Database>>>,
}

impl SqlSink {
    /// A sink of `table` (or `schema.table`) in the database at `url`: `postgres://user:password@host:port/database` or
    /// `sqlite:path/to/file`. Connects, and makes the tables of the sink's if they are not there.
    ///
    /// # Errors
    /// If the URL is not one of these, its feature is not built in, or the database can't be reached or does not let us in.
    pub fn connect(url: &str, table: &str, options: SqlOptions) -> Result<Self> {
        let (place, connect) = connector(url)?;
        let sink = options.sink.clone().unwrap_or_else(|| table.to_string());
        let target = Target { place, table: table.to_string(), keys: options.keys.clone(), sink };
        let sink = Self { target, options, connect, idle: Mutex::default() };
        sink.with_database(|_| Ok(()))?;
        Ok(sink)
    }

    /// Runs a transaction, again where its connection was lost: it must do no harm if it runs twice.
    fn with_database<R: Send>(
        &self,
        body: impl Fn(&mut dyn Database) -> Result<R, Failure> + Send + Sync,
    ) -> Result<R> {
        // Database clients wait in a way that tasks of an async runtime may not: they run on a thread of their own.
        std::thread::scope(|scope| {
            let attempts = scope.spawn(|| self.attempts(&body));
            attempts.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn attempts<R>(&self, body: impl Fn(&mut dyn Database) -> Result<R, Failure>) -> Result<R> {
        let (mut pause, mut attempt) = (FIRST_PAUSE, 1);
        loop {
            let idle = self.idle.lock().pop();
            let database = idle.map_or_else(&self.connect, Ok);
            let result = database.and_then(|mut database| {
                let result = body(database.as_mut())?;
                // After a failure its state is not known, and it is dropped.
                self.idle.lock().push(database);
                Ok(result)
            });
            match result {
                Ok(result) => return Ok(result),
                Err(Failure::Fatal(error)) => return Err(error.context(&self.target)),
                Err(Failure::Lost(error)) if attempt >= self.options.attempts => {
                    let message = format!("{}: given up after {attempt} attempts: {error}", self.target);
                    return Err(Error::retry(message));
                }
                Err(Failure::Lost(error)) => {
                    tracing::warn!(target = %self.target, %error, attempt, "a transaction is tried again");
                    // Connections that lay idle are as old as the one that was lost.
                    self.idle.lock().clear();
                    Waker::default().sleep(pause);
                    (pause, attempt) = ((pause * 2).min(MAX_PAUSE), attempt + 1);
                }
            }
        }
    }
}

type Connector = (String, Box<dyn Fn() -> Result<Box<dyn Database>, Failure> + Send + Sync>);

/// Where a URL leads to, without its secrets, and how to get there.
fn connector(url: &str) -> Result<Connector> {
    let scheme = url.split(':').next().unwrap_or_default();
    match scheme {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => postgres::connector(url),
        #[cfg(not(feature = "postgres"))]
        "postgres" | "postgresql" => Err(not_built_in("postgres")),
        #[cfg(feature = "sqlite")]
        "sqlite" => sqlite::connector(url),
        #[cfg(not(feature = "sqlite"))]
        "sqlite" => Err(not_built_in("sqlite")),
        _ => Err(Error::usage(
            "the URL of a database begins with postgres: or sqlite: (postgres://user:password@host:port/database, \
             sqlite:path/to/file)",
        )),
    }
}

#[cfg(not(all(feature = "postgres", feature = "sqlite")))]
fn not_built_in(feature: &str) -> Error {
    Error::usage(format!("a {feature} URL needs the feature `{feature}`, which this program was built without"))
}

impl Sink for SqlSink {
    fn name(&self) -> String {
        self.target.to_string()
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    fn write(&self, batch: BatchStamp, partition: usize, rows: Vec<RecordBatch>) -> Result<Receipt> {
        let Some(body) = staged::encode(&rows)? else { return Ok(Receipt::default()) };
        columns::check(rows[0].schema_ref()).map_err(|error| error.context(&self.target))?;
        if body.len() <= self.options.stage_above {
            return Staged::inline(&body).receipt();
        }
        // Two runs of a task stage beside each other.
        let part = format!("{partition}-{:016x}", RandomState::new().hash_one(partition));
        self.with_database(|database| database.stage(&self.target, batch, &part, &body))?;
        failpoint::hit("sql-staged");
        Staged::InDatabase { part, bytes: body.len() as u64 }.receipt()
    }

    fn commit(&self, batch: BatchStamp, receipts: Vec<Receipt>) -> Result<()> {
        let staged = receipts.iter().filter(|receipt| !receipt.0.is_empty());
        let staged = staged.map(Staged::of_receipt).collect::<Result<Vec<_>>>()?;
        // A batch without rows makes no difference to a reader, however often it runs.
        if staged.is_empty() {
            return Ok(());
        }
        let is_new = self.with_database(|database| database.commit(&self.target, batch, &staged))?;
        if !is_new {
            tracing::info!(target = %self.target, batch = batch.id.0, "a batch is there already");
        }
        failpoint::hit("sql-committed");
        Ok(())
    }
}
