//! Batches into tables: what the rows become, and that each batch is there once.

use std::sync::{Arc, Barrier};

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMillisecondArray, UInt64Array,
};
use arrow::datatypes::Int64Type;
use tidemill_connectors::sql::{SqlOptions, SqlSink};
use tidemill_engine::batch::{BatchId, BatchStamp};
use tidemill_engine::error::{Error, ErrorKind, Result};
use tidemill_engine::sink::{Receipt, Sink};
use tidemill_engine::time::Time;
use tidemill_servers::is_skipped;
use tidemill_servers::postgres::PostgresServer;

use crate::databases::Database;

fn stamp(id: u64) -> BatchStamp {
    BatchStamp { id: BatchId(id), time: Time::from_millis(1000 * (id as i64 + 1)) }
}

fn rows(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let nullable = columns.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(nullable).unwrap()
}

fn counts(words: &[&str], counts: &[i64]) -> RecordBatch {
    let words: ArrayRef = Arc::new(StringArray::from(words.to_vec()));
    rows(vec![("word", words), ("n", Arc::new(Int64Array::from(counts.to_vec())))])
}

/// Writes a batch, a partition for each list of rows.
fn write(sink: &SqlSink, batch: BatchStamp, partitions: Vec<Vec<RecordBatch>>) -> Result<()> {
    let write = |(n, rows): (usize, Vec<RecordBatch>)| sink.write(batch, n, rows);
    let receipts = partitions.into_iter().enumerate().map(write).collect::<Result<Vec<Receipt>>>()?;
    sink.commit(batch, receipts)
}

fn says(error: &Error, parts: &[&str]) {
    let text = format!("{error} {error:?}");
    parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in: {text}"));
    assert!(!text.contains("hunter2"), "a password is in: {text}");
}

#[test]
fn a_batch_is_there_once_however_often_it_runs() -> Result<()> {
    for database in Database::all() {
        for stage_above in [1 << 20, 0] {
            let table = format!("once_{stage_above}");
            let connect = || SqlSink::connect(&database.url(), &table, SqlOptions::append().stage_above(stage_above));
            let batch =
                |id: i64| vec![vec![counts(&["a"], &[id]), counts(&["b"], &[id])], vec![], vec![counts(&["c"], &[id])]];
            let sink = connect()?;
            for id in [0, 0, 2, 1, 1] {
                write(&sink, stamp(id), batch(id as i64))?;
            }
            let sink = connect()?;
            for id in 0..4 {
                write(&sink, stamp(id), batch(id as i64))?;
                // Without rows there is nothing to remember.
                write(&sink, stamp(id + 10), vec![vec![], vec![]])?;
            }
            let lines = database.query(&format!("SELECT n, word FROM {table} ORDER BY n, word"));
            let expected: Vec<String> =
                (0..4).flat_map(|n| ["a", "b", "c"].map(|word| format!("{n}|{word}"))).collect();
            assert_eq!(lines, expected, "{}", database.name());
            let mine = format!("WHERE sink = '{table}'");
            let batches =
                database.query(&format!("SELECT batch_id, batch_time FROM tidemill_batches {mine} ORDER BY 1"));
            assert_eq!(batches, ["0|1000", "1|2000", "2|3000", "3|4000"]);
            assert_eq!(
                database.query(&format!("SELECT count(*) FROM tidemill_staged {mine}")),
                ["0"],
                "{}",
                database.name()
            );
        }
    }
    Ok(())
}

#[test]
fn arrow_types_become_those_of_sql() -> Result<()> {
    let zoned = TimestampMillisecondArray::from(vec![Some(1_700_000_000_123), None]).with_timezone("+02:00");
    let batch = rows(vec![
        ("i", Arc::new(Int32Array::from(vec![Some(-7), None]))),
        ("u", Arc::new(UInt64Array::from(vec![Some(1 << 62), None]))),
        ("f", Arc::new(Float64Array::from(vec![Some(0.1), None]))),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("text", Arc::new(StringArray::from(vec![Some("a\tb\\N\n'\"ä"), None]))),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None]))),
        ("at", Arc::new(TimestampMillisecondArray::from(vec![Some(1_700_000_000_123), None]))),
        ("at zone", Arc::new(zoned)),
    ]);
    for database in Database::all() {
        let sink = SqlSink::connect(&database.url(), "types", SqlOptions::append())?;
        write(&sink, stamp(0), vec![vec![batch.clone()]])?;
        let query = match &database {
            Database::Sqlite(_) => "SELECT * FROM types",
            Database::Postgres(_) => {
                "SELECT i, u, f, b::int, text, encode(bytes, 'hex'), at, \"at zone\" AT TIME ZONE 'UTC' FROM types"
            }
        };
        let line = "-7|4611686018427387904|0.1|1|a\tb\\N\n'\"ä|00ff|2023-11-14 22:13:20.123|2023-11-14 22:13:20.123";
        assert_eq!(database.query(query), [line, "-|-|-|-|-|-|-|-"], "{}", database.name());
    }
    Ok(())
}

#[test]
fn an_upsert_replaces_rows_and_the_last_one_counts() -> Result<()> {
    for database in Database::all() {
        for stage_above in [1 << 20, 0] {
            let table = format!("latest_{stage_above}");
            let options = SqlOptions::upsert(["word"]).stage_above(stage_above);
            let sink = SqlSink::connect(&database.url(), &table, options)?;
            write(&sink, stamp(0), vec![vec![counts(&["a", "b", "a"], &[1, 2, 3])], vec![counts(&["a"], &[4])]])?;
            write(&sink, stamp(1), vec![vec![counts(&["b", "c"], &[5, 6])]])?;
            // The first batch runs again: it is not put over the second one.
            write(&sink, stamp(0), vec![vec![counts(&["b"], &[2])]])?;
            let lines = database.query(&format!("SELECT word, n FROM {table} ORDER BY word"));
            assert_eq!(lines, ["a|4", "b|5", "c|6"], "{}", database.name());
        }
        // Keys alone, and several.
        let sink = SqlSink::connect(&database.url(), "seen", SqlOptions::upsert(["word", "n"]))?;
        write(&sink, stamp(0), vec![vec![counts(&["a", "a", "a"], &[1, 1, 2])]])?;
        write(&sink, stamp(1), vec![vec![counts(&["a"], &[1])]])?;
        assert_eq!(database.query("SELECT word, n FROM seen ORDER BY n"), ["a|1", "a|2"], "{}", database.name());
    }
    Ok(())
}

#[test]
fn tables_that_are_there_keep_their_types_and_names() -> Result<()> {
    for database in Database::all() {
        database.run("CREATE TABLE \"my table\" (id INTEGER PRIMARY KEY, word VARCHAR(10), n NUMERIC(10, 2), extra TEXT DEFAULT 'x')");
        let sink =
            SqlSink::connect(&database.url(), "my table", SqlOptions::append().sink_name("a \"sink\" 'of' mine"))?;
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let batch = |ids: ArrayRef| {
            rows(vec![
                ("id", ids),
                ("n", Arc::new(Int64Array::from(vec![7, 8]))),
                ("word", Arc::new(StringArray::from(vec!["a", "b"]))),
            ])
        };
        write(&sink, stamp(0), vec![vec![batch(ids)]])?;
        let n = if database.name() == "SQLite" { ["7", "8"] } else { ["7.00", "8.00"] };
        let expected = [format!("1|a|{}|x", n[0]), format!("2|b|{}|x", n[1])];
        assert_eq!(database.query("SELECT * FROM \"my table\" ORDER BY id"), expected);
        // A row that the table refuses: nothing of its batch is there.
        let error = write(&sink, stamp(1), vec![vec![batch(Arc::new(Int64Array::from(vec![3, 1])))]]).unwrap_err();
        says(&error, &["table my table of"]);
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        assert_eq!(database.query("SELECT count(*) FROM \"my table\""), ["2"]);
        write(&sink, stamp(1), vec![vec![batch(Arc::new(Int64Array::from(vec![3, 4])))]])?;
        assert_eq!(database.query("SELECT count(*) FROM \"my table\""), ["4"]);
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_an_error_that_says_what() -> Result<()> {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1)])]);
    let big: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
    for database in Database::all() {
        let sink = SqlSink::connect(&database.url(), "misfits", SqlOptions::append())?;
        let error = sink.write(stamp(0), 0, vec![rows(vec![("items", Arc::new(list.clone()))])]).unwrap_err();
        says(&error, &["table misfits of", "column items is a List"]);
        write(&sink, stamp(0), vec![vec![counts(&["a"], &[1])]])?;
        let error =
            write(&sink, stamp(1), vec![vec![rows(vec![("other", Arc::new(Int64Array::from(vec![1])))])]]).unwrap_err();
        says(&error, &["table misfits of", "other"]);
        let sink = SqlSink::connect(&database.url(), "big", SqlOptions::append())?;
        let written = write(&sink, stamp(0), vec![vec![rows(vec![("n", Arc::clone(&big))])]]);
        match database {
            Database::Sqlite(_) => says(&written.unwrap_err(), &["column n has a value that does not fit"]),
            Database::Postgres(_) => assert_eq!(database.query("SELECT n FROM big"), [u64::MAX.to_string()]),
        }
    }
    Ok(())
}

#[test]
fn batches_of_another_checkpoint_are_refused_and_old_lines_removed() -> Result<()> {
    for database in Database::all() {
        let sink = SqlSink::connect(&database.url(), "guarded", SqlOptions::append())?;
        let batch = || vec![vec![counts(&["a"], &[1])]];
        for id in 0..3 {
            write(&sink, stamp(id), batch())?;
        }
        for other in [
            BatchStamp { id: BatchId(1), time: Time::from_millis(99_000) },
            BatchStamp { id: BatchId(9), time: Time::from_millis(2000) },
        ] {
            let error = write(&sink, other, batch()).unwrap_err();
            says(&error, &["table guarded of", "another checkpoint folder", "new place"]);
        }
        write(&sink, stamp(64 * 200), batch())?;
        assert_eq!(database.query("SELECT batch_id FROM tidemill_batches WHERE sink = 'guarded'"), ["12800"]);
        says(&write(&sink, stamp(3), batch()).unwrap_err(), &["is not known any more"]);
        assert_eq!(database.query("SELECT count(*) FROM guarded"), ["4"]);
    }
    Ok(())
}

#[test]
fn two_drivers_at_once_write_a_batch_once() -> Result<()> {
    for database in Database::all() {
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            let drivers = [(); 2].map(|()| {
                scope.spawn(|| {
                    let sink = SqlSink::connect(&database.url(), "raced", SqlOptions::append())?;
                    (0..20).try_for_each(|id| {
                        start.wait();
                        write(&sink, stamp(id), vec![vec![counts(&["a"], &[id as i64])]])
                    })
                })
            });
            drivers.into_iter().try_for_each(|driver| driver.join().unwrap())
        })?;
        let expected: Vec<u64> = (0..20).collect();
        assert_eq!(database.numbers("SELECT n FROM raced ORDER BY n"), expected, "{}", database.name());
    }
    Ok(())
}

#[test]
fn who_can_t_get_in_is_told_why_without_the_password() {
    if is_skipped("postgres") {
        return;
    }
    let server = PostgresServer::shared().unwrap();
    let connect = |url: &str| SqlSink::connect(url, "t", SqlOptions::append().attempts(1)).err().unwrap();
    let wrong = connect(&server.url_with("wrong-hunter2"));
    says(&wrong, &["table t of postgres://127.0.0.1:", "28P01", "password authentication failed"]);
    assert_eq!(wrong.kind(), ErrorKind::Usage);
    let nobody = connect("postgres://me:hunter2@127.0.0.1:1/x");
    says(&nobody, &["postgres://127.0.0.1:1/x", "given up after 1 attempts"]);
    assert_eq!(nobody.kind(), ErrorKind::Retry);
    says(&connect("mysql://me:hunter2@h/x"), &["begins with postgres: or sqlite:"]);
    says(&connect("sqlite:/proc/rows.db"), &["table t of sqlite:/proc/rows.db", "unable to open"]);
    // TLS is not built in, and a URL that insists on it is not put up with.
    says(&connect("postgres://me:hunter2@h/x?sslmode=require"), &["TLS"]);
}

#[test]
fn staged_rows_that_are_gone_are_not_taken_for_none() -> Result<()> {
    for database in Database::all() {
        let sink = SqlSink::connect(&database.url(), "gone", SqlOptions::append().stage_above(0))?;
        let receipt = sink.write(stamp(0), 0, vec![counts(&["a"], &[1])])?;
        database.run("DELETE FROM tidemill_staged WHERE sink = 'gone'");
        let error = sink.commit(stamp(0), vec![receipt]).unwrap_err();
        says(&error, &["table gone of", "the batch must run again"]);
        assert_eq!(error.kind(), ErrorKind::Retry);
        write(&sink, stamp(0), vec![vec![counts(&["a"], &[1])]])?;
        assert_eq!(database.query("SELECT count(*) FROM gone"), ["1"], "{}", database.name());
    }
    Ok(())
}

#[test]
fn rows_by_the_ten_thousand_go_in_pieces() -> Result<()> {
    let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..20_000).map(|n| format!("{n:01000}"))));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..20_000));
    let batch = rows(vec![("n", numbers), ("text", text)]);
    for database in Database::all() {
        // 20 MB, so three pieces.
        let sink = SqlSink::connect(&database.url(), "large", SqlOptions::append())?;
        write(&sink, stamp(0), vec![vec![batch.slice(0, 10_000), batch.slice(10_000, 10_000)]])?;
        let totals = database.query("SELECT count(*), sum(n), sum(length(text)), count(DISTINCT text) FROM large");
        assert_eq!(totals, ["20000|199990000|20000000|20000"], "{}", database.name());
    }
    Ok(())
}
