//! The databases under test, and a look into them that is not the sink's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use postgres::SimpleQueryMessage;
use rusqlite::types::ValueRef;
use tidemill_servers::is_skipped;
use tidemill_servers::postgres::PostgresServer;

/// A database of one test.
pub enum Database {
    /// A file in a folder of its own.
    Sqlite(tempfile::TempDir),
    /// The shared server; every test has tables of its own.
    Postgres(Arc<PostgresServer>),
}

impl Database {
    /// One of each kind.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Database::Sqlite(tempfile::tempdir().unwrap())];
        if !is_skipped("postgres") {
            all.push(Database::Postgres(PostgresServer::shared().unwrap()));
        }
        all
    }

    /// Its name, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Database::Sqlite(_) => "SQLite",
            Database::Postgres(_) => "PostgreSQL",
        }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        match self {
            Database::Sqlite(folder) => format!("sqlite:{}", sqlite_path(folder.path()).display()),
            Database::Postgres(server) => server.url(),
        }
    }

    /// Runs statements.
    pub fn run(&self, sql: &str) {
        match self {
            Database::Sqlite(folder) => open(folder.path()).execute_batch(sql).unwrap(),
            Database::Postgres(server) => server.client().unwrap().batch_execute(sql).unwrap(),
        }
    }

    /// The lines of a query, values between bars, `-` for none.
    pub fn query(&self, sql: &str) -> Vec<String> {
        match self {
            Database::Sqlite(folder) => {
                let connection = open(folder.path());
                let mut statement = connection.prepare(sql).unwrap();
                let columns = statement.column_count();
                let text = |value: ValueRef<'_>| match value {
                    ValueRef::Null => "-".to_string(),
                    ValueRef::Integer(n) => n.to_string(),
                    ValueRef::Real(x) => x.to_string(),
                    ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
                    ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                };
                let line = |line: &rusqlite::Row<'_>| {
                    Ok((0..columns).map(|n| text(line.get_ref(n).unwrap())).collect::<Vec<_>>().join("|"))
                };
                statement.query_map([], line).unwrap().map(Result::unwrap).collect()
            }
            Database::Postgres(server) => {
                let lines = server.client().unwrap().simple_query(sql).unwrap();
                let line = |message: &SimpleQueryMessage| match message {
                    SimpleQueryMessage::Row(row) => {
                        Some((0..row.len()).map(|n| row.get(n).unwrap_or("-")).collect::<Vec<_>>().join("|"))
                    }
                    _ => None,
                };
                lines.iter().filter_map(line).collect()
            }
        }
    }

    /// The numbers of a query of one column.
    pub fn numbers(&self, sql: &str) -> Vec<u64> {
        self.query(sql).iter().map(|line| line.parse().unwrap()).collect()
    }
}

/// The file of an SQLite database in a folder.
pub fn sqlite_path(folder: &Path) -> PathBuf {
    folder.join("rows.db")
}

fn open(folder: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(sqlite_path(folder)).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    connection
}
