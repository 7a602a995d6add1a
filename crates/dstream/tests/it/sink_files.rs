//! Streams into tables of files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::op::columns::{schema_named, schema_of};
use tidemill_dstream::stream::DStream;
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::batch::{BatchId, BatchStamp};
use tidemill_engine::chunk::Data;
use tidemill_engine::error::{ErrorKind, Result};
use tidemill_engine::sink::files::{FileFormat, FileSink, FileTable};
use tidemill_engine::sink::{Receipt, Sink};
use tidemill_engine::time::Time;

use crate::support::says;

const SECOND: Duration = Duration::from_secs(1);

/// Runs a batch for each list of rows; plans travel.
fn run<T: Data>(batches: &[Vec<T>], build: impl Fn(DStream<T>) -> Result<()>) -> Result<()> {
    run_at(0, batches, build)
}

fn run_at<T: Data>(start_ms: i64, batches: &[Vec<T>], build: impl Fn(DStream<T>) -> Result<()>) -> Result<()> {
    let input = Mutex::new(None);
    let context = TestContext::start_at(Time::from_millis(start_ms), test_conf(), SECOND, true, |ssc| {
        let (memory, stream) = ssc.memory_stream()?;
        *input.lock() = Some(memory);
        build(stream)
    })?;
    for rows in batches {
        input.lock().as_ref().unwrap().add(rows.clone());
        context.run_batch();
    }
    let (_, stayed) = context.traveled();
    assert_eq!(stayed, 0, "a plan could not travel");
    context.stop()
}

/// The rows of a table, each as the texts of its columns; the names of the columns before them.
fn table(folder: &Path) -> Vec<String> {
    let table = FileTable::open(folder).unwrap();
    let schema = table.schema().unwrap().unwrap();
    let rows = concat_batches(&schema, &table.read().unwrap()).unwrap();
    [names(&rows), texts(&rows)].concat()
}

fn names(rows: &RecordBatch) -> Vec<String> {
    vec![rows.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>().join("|")]
}

fn texts(rows: &RecordBatch) -> Vec<String> {
    let columns: Vec<_> = rows.columns().iter().map(|column| cast(column, &DataType::Utf8).unwrap()).collect();
    let text = |column: &Arc<dyn Array>, row: usize| {
        if column.is_null(row) { "-".into() } else { column.as_string::<i32>().value(row).to_string() }
    };
    (0..rows.num_rows()).map(|row| columns.iter().map(|c| text(c, row)).collect::<Vec<_>>().join("|")).collect()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Odd,
    Even,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    sensor: String,
    n: u32,
    celsius: Option<f64>,
    kind: Kind,
}

fn reading(n: u32) -> Reading {
    let kind = if n.is_multiple_of(2) { Kind::Even } else { Kind::Odd };
    Reading { sensor: format!("s{n}"), n, celsius: (n != 2).then_some(f64::from(n) / 2.0), kind }
}

#[test]
fn structs_become_columns_in_every_format() -> Result<()> {
    let formats =
        [FileFormat::Json, FileFormat::Csv { header: true }, FileFormat::Csv { header: false }, FileFormat::Parquet];
    for format in formats {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("table");
        run(&[vec![reading(1), reading(2)], vec![], vec![reading(3)]], |s| s.write_files(&place, format))?;
        let rows = ["sensor|n|celsius|kind", "s1|1|0.5|Odd", "s2|2|-|Even", "s3|3|1.5|Odd"];
        assert_eq!(table(&place), rows, "{format}");
    }
    Ok(())
}

#[test]
fn tuples_values_and_text_become_columns() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let rows = vec![("b".to_string(), 2u64), ("a".to_string(), 1)];
    run(&[rows], |s| {
        s.write_files(at("pairs"), FileFormat::Json)?;
        s.map(|(_, n)| n).write_files(at("numbers"), FileFormat::Parquet)?;
        s.map(|(word, _)| word).write_files(at("words"), FileFormat::Text)?;
        s.map(|(_, n)| n).write_text_files(at("lines"))?;
        let named = Arc::new(FileSink::new(at("named"), FileFormat::Csv { header: true }));
        s.write_rows_to(named, schema_named::<(String, u64)>(&["word", "n"])?)
    })?;
    let cases: [(&str, [&str; 3]); 5] = [
        ("pairs", ["0|1", "b|2", "a|1"]),
        ("numbers", ["value", "2", "1"]),
        ("words", ["value", "b", "a"]),
        ("lines", ["value", "2", "1"]),
        ("named", ["word|n", "b|2", "a|1"]),
    ];
    for (name, expected) in cases {
        assert_eq!(table(&at(name)), expected, "{name}");
    }
    Ok(())
}

#[test]
fn a_schema_of_your_own_decides_the_types() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let schema = Arc::new(Schema::new(vec![
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("bytes", DataType::Binary, true),
    ]));
    let rows = |bytes: &[u8]| vec![(1_700_000_000_123i64, bytes.to_vec())];
    let write = |name: &str, rows: Vec<(i64, Vec<u8>)>| {
        let sink = Arc::new(FileSink::new(folder.path().join(name), FileFormat::Parquet));
        run(&[rows], |s| s.write_rows_to(Arc::clone(&sink) as _, Arc::clone(&schema)))
    };
    write("fits", rows(b"ab"))?;
    assert_eq!(table(&folder.path().join("fits")), ["at|bytes", "2023-11-14T22:13:20.123|ab"]);
    let short = Arc::new(Schema::new(vec![Field::new("n", DataType::Int8, false)]));
    let error = run(&[vec![1000u32]], |s| {
        s.write_rows_to(Arc::new(FileSink::new(folder.path().join("short"), FileFormat::Json)), Arc::clone(&short))
    });
    let error = error.unwrap_err();
    says(&error, &["write_rows_to at", "sink_files.rs", "a u32 does not fit the columns"]);
    assert_eq!(error.kind(), ErrorKind::Data);
    Ok(())
}

#[test]
fn many_rows_go_in_arrow_batches_of_some_size() -> Result<()> {
    struct Sizes(Mutex<Vec<usize>>);
    impl Sink for Sizes {
        fn name(&self) -> String {
            "sizes".into()
        }
        fn is_idempotent(&self) -> bool {
            true
        }
        fn write(&self, _: BatchStamp, _: usize, rows: Vec<RecordBatch>) -> Result<Receipt> {
            self.0.lock().extend(rows.iter().map(RecordBatch::num_rows));
            Ok(Receipt::default())
        }
        fn commit(&self, _: BatchStamp, _: Vec<Receipt>) -> Result<()> {
            Ok(())
        }
    }
    let sizes = Arc::new(Sizes(Mutex::default()));
    run(&[(0..40_000u64).collect()], |s| s.write_rows_to(Arc::clone(&sizes) as _, schema_of::<u64>()?))?;
    let sizes = sizes.0.lock();
    assert_eq!(sizes.iter().sum::<usize>(), 40_000);
    assert!(sizes.len() <= 6 && sizes.iter().any(|rows| *rows >= 8192), "{sizes:?}");
    Ok(())
}

#[test]
fn what_can_t_be_written_is_refused_when_the_program_is_built() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let ssc = StreamingContext::new(&SparkContext::from_conf(test_conf())?, SECOND)?;
    let (_, pairs) = ssc.memory_stream::<(u64, Vec<u64>)>()?;
    says(&pairs.write_files(folder.path(), FileFormat::Csv { header: true }).unwrap_err(), &["column 1", "CSV"]);
    says(&pairs.write_files(folder.path(), FileFormat::Text).unwrap_err(), &["one column of text"]);
    says(
        &pairs.write_files("s3://bucket/table", FileFormat::Json).unwrap_err(),
        &["s3://bucket/table", "not a local file"],
    );
    pairs.write_files(folder.path(), FileFormat::Json)?;
    let again = pairs.count().write_files(folder.path(), FileFormat::Json).unwrap_err();
    says(&again, &["two output operations write to", folder.path().to_str().unwrap()]);
    // The sink would take the second output's batch for the first one's, run again.
    let sink: Arc<dyn Sink> = Arc::new(FileSink::new(folder.path().join("shared"), FileFormat::Text));
    pairs.count().write_to(Arc::clone(&sink))?;
    says(&pairs.count().write_to(sink).unwrap_err(), &["two output operations write to one sink", "shared"]);
    Ok(())
}

#[test]
fn a_table_that_can_t_be_written_fails_the_batch_and_says_where() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let (file, closed) = (folder.path().join("file"), folder.path().join("closed"));
    std::fs::write(&file, "").unwrap();
    std::fs::create_dir(&closed).unwrap();
    let mut mode = std::fs::metadata(&closed).unwrap().permissions();
    mode.set_readonly(true);
    std::fs::set_permissions(&closed, mode).unwrap();
    let mut places = vec![file.join("table"), "/proc/table".into()];
    // Whoever may write everywhere is not stopped by this one.
    if std::fs::write(closed.join("probe"), "").is_err() {
        places.push(closed);
    }
    for place in places {
        let error = run(&[vec![1u64]], |s| s.write_files(&place, FileFormat::Json)).unwrap_err();
        says(&error, &["write_files at", "sink_files.rs", "can't write", place.to_str().unwrap()]);
        assert_eq!(error.kind(), ErrorKind::Retry);
    }
    Ok(())
}

#[test]
fn batches_keep_their_numbers() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    run(&[vec![1u64], vec![], vec![2]], |s| s.write_files(folder.path(), FileFormat::Json))?;
    assert_eq!(FileTable::open(folder.path())?.newest_batch()?, Some(BatchId(2)));
    // A second program without a checkpoint begins at batch 0 of another time: that is no replay.
    let error = run_at(60_000, &[vec![], vec![1u64]], |s| s.write_files(folder.path(), FileFormat::Json)).unwrap_err();
    says(&error, &["another checkpoint", "spark.streaming.checkpoint.directory"]);
    Ok(())
}
