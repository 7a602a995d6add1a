//! The database that the program writes to, seen by a client that is not the sink's.

use std::fs;
use std::path::Path;

use tidemill_engine::error::{Error, Result};
use tidemill_servers::postgres::PostgresServer;

/// The file in a program's folder that says where its database is: so the password is on no command line.
const PLACE: &str = "database";

/// Says in `folder` that the database is a file there.
pub fn use_sqlite(folder: &Path) -> Result<()> {
    put_place(folder, &format!("sqlite:{}", folder.join("rows.db").display()))
}

/// Says in `folder` that the database is a new server, which stops when it is dropped.
pub fn use_postgres(folder: &Path) -> Result<PostgresServer> {
    let server = PostgresServer::start()?;
    put_place(folder, &server.url())?;
    Ok(server)
}

fn put_place(folder: &Path, url: &str) -> Result<()> {
    let path = folder.join(PLACE);
    fs::create_dir_all(folder).and_then(|()| fs::write(&path, url)).map_err(|error| {
        Error::retry(format!("can't write {}; is there space and permission?", path.display())).with_source(error)
    })
}

/// Where the database of a folder is.
pub fn url(folder: &Path) -> Result<String> {
    let path = folder.join(PLACE);
    fs::read_to_string(&path).map_err(|error| {
        Error::usage(format!("{} does not say where the database is", path.display())).with_source(error)
    })
}

/// The text in the only column and row of a query's result; none if that is null, or the query fails for want of its table.
pub fn text(folder: &Path, sql: &str) -> Result<Option<String>> {
    Ok(texts(folder, sql)?.into_iter().next())
}

/// The texts in the only column of a query's result, but for nulls; none for want of its table.
pub fn texts(folder: &Path, sql: &str) -> Result<Vec<String>> {
    let url = url(folder)?;
    match url.strip_prefix("sqlite:") {
        Some(path) => sqlite_texts(path, sql),
        None => postgres_texts(&url, sql),
    }
}

fn sqlite_texts(path: &str, sql: &str) -> Result<Vec<String>> {
    let failed = |error| Error::retry("the SQLite database can't be read").with_source(error);
    let connection = rusqlite::Connection::open(path).map_err(failed)?;
    connection.busy_timeout(std::time::Duration::from_secs(30)).map_err(failed)?;
    let mut statement = match connection.prepare(sql) {
        Err(error) if error.to_string().contains("no such table") => return Ok(Vec::new()),
        statement => statement.map_err(failed)?,
    };
    let rows = statement.query_map([], |row| row.get::<_, Option<String>>(0)).map_err(failed)?;
    let rows = rows.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    Ok(rows.into_iter().flatten().collect())
}

fn postgres_texts(url: &str, sql: &str) -> Result<Vec<String>> {
    let failed = |error| Error::retry("the PostgreSQL database can't be read").with_source(error);
    let mut client = postgres::Client::connect(url, postgres::NoTls).map_err(failed)?;
    match client.query(sql, &[]) {
        Err(error) if error.code() == Some(&postgres::error::SqlState::UNDEFINED_TABLE) => Ok(Vec::new()),
        rows => Ok(rows.map_err(failed)?.iter().filter_map(|row| row.get(0)).collect()),
    }
}
