//! A stream into a server that is killed under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill_connectors::sql::{SqlOptions, SqlSink};
use tidemill_dstream::op::columns::schema_named;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::clock::{Clock, ManualClock};
use tidemill_engine::error::{ErrorKind, Result};
use tidemill_engine::sink::Sink;
use tidemill_engine::time::Time;
use tidemill_servers::is_skipped;
use tidemill_servers::postgres::PostgresServer;

use crate::databases::Database;

/// A stream of five rows a batch into a table, from a checkpoint.
fn start(sink: Arc<SqlSink>, folder: &std::path::Path, clock: &ManualClock) -> Result<TestContext> {
    let conf = test_conf().set("spark.streaming.checkpoint.directory", folder.display());
    TestContext::start_on(clock.clone(), conf, Duration::from_secs(1), true, move |ssc| {
        let rows = ssc.rate_stream(5)?.map(|n| (n, format!("row {n}")));
        rows.write_rows_to(Arc::clone(&sink) as Arc<dyn Sink>, schema_named::<(u64, String)>(&["n", "text"])?)
    })
}

#[test]
fn a_server_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing() -> Result<()> {
    if is_skipped("postgres") {
        return Ok(());
    }
    let server = Arc::new(PostgresServer::start().unwrap());
    for (table, options) in [("copied", SqlOptions::append()), ("merged", SqlOptions::upsert(["n"]))] {
        let folder = tempfile::tempdir().unwrap();
        let sink = Arc::new(SqlSink::connect(&server.url(), table, options.attempts(200))?);
        let clock = ManualClock::at(Time::from_millis(0));
        let context = start(sink, folder.path(), &clock)?;
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..3 {
                    server.kill().unwrap();
                    server.start_again().unwrap();
                }
                over.store(true, Ordering::SeqCst);
            });
            // Batches run while it dies and comes back, and a few behind that.
            let mut left = 5;
            while left > 0 {
                context.run_batch();
                left -= u32::from(over.load(Ordering::SeqCst));
            }
        });
        context.stop()?;
        let batches = Clock::now(&clock).as_millis() as u64 / 1000;
        let rows = Database::Postgres(Arc::clone(&server)).numbers(&format!("SELECT n FROM {table} ORDER BY n"));
        assert_eq!(rows, (0..5 * (batches - 1)).collect::<Vec<_>>(), "{table}");
    }
    Ok(())
}

#[test]
fn a_server_that_stays_away_fails_the_batch_which_runs_when_it_is_back() -> Result<()> {
    if is_skipped("postgres") {
        return Ok(());
    }
    let server = PostgresServer::start().unwrap();
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(Time::from_millis(0)));
    let connect = || SqlSink::connect(&server.url(), "later", SqlOptions::append().attempts(2).stage_above(0));
    let context = start(Arc::new(connect()?), folder.path(), &clock)?;
    (0..3).for_each(|_| {
        context.run_batch();
    });
    server.kill().unwrap();
    context.run_batch();
    let error = context.stop().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    let text = error.to_string();
    ["table later of postgres://127.0.0.1:", "given up after 2 attempts", "sql_outage.rs"]
        .iter()
        .for_each(|part| assert!(text.contains(part), "{part:?} is not in {text}"));
    assert!(!text.contains("hunter2"), "{text}");
    server.start_again().unwrap();
    let context = start(Arc::new(connect()?), folder.path(), &clock)?;
    (0..2).for_each(|_| {
        context.run_batch();
    });
    context.stop()?;
    let rows = Database::Postgres(Arc::new(server)).numbers("SELECT n FROM later ORDER BY n");
    assert!(rows.len() >= 15 && rows == (0..rows.len() as u64).collect::<Vec<_>>(), "{rows:?}");
    Ok(())
}
