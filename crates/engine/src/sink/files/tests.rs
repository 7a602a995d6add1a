//! The table as its readers see it: each batch once, whole, whatever happened on the way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray, TimestampMillisecondArray,
    UInt64Array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, Schema};

use super::*;
use crate::batch::BatchId;
use crate::clock::ManualClock;
use crate::time::Time;

fn stamp(id: u64) -> BatchStamp {
    BatchStamp { id: BatchId(id), time: Time::from_millis(1000 * (id as i64 + 1)) }
}

fn rows(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    rows(vec![("n", Arc::new(Int64Array::from_iter_values(range)))])
}

/// Batch `id` in two partitions: the numbers from `10 * id` on.
fn write(sink: &FileSink, id: u64) -> Result<()> {
    let first = 10 * id as i64;
    let halves = [first..first + 5, first + 5..first + 10].into_iter().enumerate();
    let receipts = halves.map(|(p, half)| sink.write(stamp(id), p, vec![numbers(half)])).collect::<Result<_>>()?;
    sink.commit(stamp(id), receipts)
}

fn read(folder: &Path) -> Result<Vec<i64>> {
    let batches = FileTable::open(folder)?.read()?;
    let column = |batch: &RecordBatch| batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec();
    Ok(batches.iter().flat_map(column).collect())
}

fn up_to(batches: i64) -> Vec<i64> {
    (0..10 * batches).collect()
}

/// The names of data files, those being written too.
fn data_files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = disk::names(folder).unwrap().into_iter().filter(|n| Origin::of(n).is_some()).collect();
    names.sort();
    names
}

fn eager(min_files: usize) -> Compaction {
    Compaction { target_bytes: 1 << 20, min_files, grace: Duration::ZERO }
}

#[test]
fn rows_come_back_from_every_format_as_they_were() {
    let text = rows(vec![("value", Arc::new(StringArray::from(vec!["a b", "", "ä,\"x\""])))]);
    let flat = rows(vec![
        ("name", Arc::new(StringArray::from(vec!["a,\"b\"\nc", "", "ü"]))),
        ("i", Arc::new(Int32Array::from(vec![Some(-1), None, Some(i32::MAX)]))),
        ("u", Arc::new(UInt64Array::from(vec![0, 1, u64::MAX]))),
        ("f", Arc::new(Float64Array::from(vec![Some(0.1), None, Some(1e300)]))),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
        ("t", Arc::new(TimestampMillisecondArray::from(vec![Some(0), Some(1_700_000_000_123), None]))),
    ]);
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1)]), Some(vec![]), None]);
    let nested = rows(vec![("l", Arc::new(list)), ("n", Arc::new(Int64Array::from(vec![1, 2, 3])))]);
    let mut cases = vec![
        (FileFormat::Text, text),
        (FileFormat::Json, flat.clone()),
        (FileFormat::Json, nested.clone()),
        (FileFormat::Csv { header: true }, flat.clone()),
        (FileFormat::Csv { header: false }, flat.clone()),
    ];
    #[cfg(feature = "parquet")]
    cases.extend([(FileFormat::Parquet, flat), (FileFormat::Parquet, nested)]);
    for (format, rows) in cases {
        let folder = tempfile::tempdir().unwrap();
        let sink = FileSink::new(folder.path(), format).compaction(eager(3));
        let table = || {
            let table = FileTable::open(folder.path()).unwrap();
            (table.files().unwrap().len(), concat_batches(&rows.schema(), &table.read().unwrap()).unwrap())
        };
        for id in 0..2 {
            let receipt = sink.write(stamp(id), 0, vec![rows.slice(0, 1), rows.slice(1, 2)]).unwrap();
            sink.commit(stamp(id), vec![receipt, Receipt::default()]).unwrap();
        }
        let twice = concat_batches(&rows.schema(), [&rows, &rows]).unwrap();
        assert_eq!(table(), (2, twice), "{format}");
        let receipt = sink.write(stamp(2), 0, vec![rows.clone()]).unwrap();
        sink.commit(stamp(2), vec![receipt]).unwrap();
        sink.compact().unwrap();
        let thrice = concat_batches(&rows.schema(), [&rows, &rows, &rows]).unwrap();
        assert_eq!(table(), (1, thrice), "{format}");
    }
}

#[test]
fn a_batch_is_there_once_however_often_it_runs() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::new(folder.path(), FileFormat::Json).compaction(None);
    assert!(FileTable::open(folder.path()).is_err(), "there is no table yet");
    let receipt = sink.write(stamp(0), 0, vec![numbers(0..10)])?;
    assert!(FileTable::open(folder.path()).is_err(), "what is written is not visible before the commit");
    sink.commit(stamp(0), vec![receipt.clone()])?;
    sink.commit(stamp(0), vec![receipt])?;
    write(&sink, 0)?;
    // Numbers may be missing, and come late.
    write(&sink, 2)?;
    write(&sink, 1)?;
    assert_eq!(read(folder.path())?, [up_to(1), (20..30).collect(), (10..20).collect()].concat());
    assert_eq!(data_files(folder.path()).len(), 5, "what a run too many wrote is removed");
    drop(sink);
    let sink = FileSink::new(folder.path(), FileFormat::Json).compaction(None);
    (0..4).try_for_each(|id| write(&sink, id))?;
    assert_eq!(read(folder.path())?.len(), 40);
    assert_eq!(committed_files(folder.path())?.len(), 7);
    assert_eq!(FileTable::open(folder.path())?.newest_batch()?, Some(BatchId(3)));
    Ok(())
}

#[test]
fn batches_of_another_checkpoint_and_other_columns_are_refused() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::new(folder.path(), FileFormat::Json);
    (0..3).try_for_each(|id| write(&sink, id))?;
    let later = BatchStamp { id: BatchId(0), time: Time::from_millis(99_000) };
    let receipt = sink.write(later, 0, vec![numbers(0..1)])?;
    let error = sink.commit(later, vec![receipt]).unwrap_err();
    let place = folder.path().to_str().unwrap();
    let parts = ["batch 0 of 99000 ms", place, "another checkpoint", "new place"];
    parts.iter().for_each(|part| assert!(error.message().contains(part), "{error}"));
    let other = rows(vec![("m", Arc::new(Int64Array::from(vec![1])))]);
    let receipt = sink.write(stamp(3), 0, vec![other])?;
    let error = sink.commit(stamp(3), vec![receipt]).unwrap_err();
    assert!(
        error.message().contains("JSON lines with (n: Int64)") && error.message().contains("(m: Int64)"),
        "{error}"
    );
    drop(sink);
    let error = write(&FileSink::new(folder.path(), FileFormat::Csv { header: true }), 3).unwrap_err();
    assert!(error.message().contains("write to another folder"), "{error}");
    assert_eq!(read(folder.path())?, up_to(3));
    Ok(())
}

#[test]
fn columns_without_a_form_are_refused_by_name() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1)])]);
    let list = rows(vec![("n", Arc::new(Int64Array::from(vec![1]))), ("items", Arc::new(list))]);
    let folder = tempfile::tempdir().unwrap();
    for (format, part) in [(FileFormat::Csv { header: true }, "column items"), (FileFormat::Text, "one column of text")]
    {
        let error = FileSink::new(folder.path(), format).write(stamp(0), 0, vec![list.clone()]).unwrap_err();
        assert!(error.message().contains(part), "{error}");
    }
}

#[test]
fn a_table_has_one_writer_at_a_time() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = [(); 2].map(|()| FileSink::new(folder.path(), FileFormat::Json)).into();
    write(&first, 0)?;
    let error = write(&second, 1).unwrap_err();
    assert!(error.message().contains("another program is writing to"), "{error}");
    drop(first);
    write(&second, 1)?;
    assert_eq!(read(folder.path())?, up_to(2));
    Ok(())
}

#[test]
fn what_an_unfinished_run_left_is_removed_when_nobody_can_need_it() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::new(folder.path(), FileFormat::Json).compaction(None);
    write(&sink, 0)?;
    write(&sink, 2)?;
    drop(sink);
    // Of a batch that is there, of one that is not, of a compaction, and of somebody else.
    let left = ["part-0000000002-00000-x.json", ".part-0000000002-00001-x.json", "compact-x.json", ".compact-x.json"];
    let kept = ["part-0000000001-00000-x.json", ".part-0000000003-00000-x.json", "part-of-the-house.json"];
    left.iter().chain(&kept).for_each(|name| fs::write(folder.path().join(name), "half").unwrap());
    let sink = FileSink::new(folder.path(), FileFormat::Json).compaction(None);
    write(&sink, 4)?;
    let there = |name: &&str| folder.path().join(name).exists();
    assert!(!left.iter().any(there) && kept.iter().all(there));
    write(&sink, 1)?;
    write(&sink, 3)?;
    drop(sink);
    write(&FileSink::new(folder.path(), FileFormat::Json).compaction(None), 5)?;
    assert_eq!(kept.map(|name| there(&name)), [false, false, true]);
    assert_eq!(read(folder.path())?.len(), 60);
    Ok(())
}

#[test]
fn the_manifest_does_not_grow_and_is_read_from_its_checkpoints() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::default();
    let open = || {
        let compaction = Compaction { grace: Duration::from_secs(5), ..eager(4) };
        FileSink::new(folder.path(), FileFormat::Json).compaction(compaction).clock(Arc::new(clock.clone()))
    };
    let mut sink = open();
    for id in 0..200 {
        write(&sink, id)?;
        clock.advance(Duration::from_secs(1));
        if id % 7 == 0 {
            sink.compact()?;
        }
        if id == 150 {
            drop(sink);
            sink = open();
        }
    }
    sink.compact()?;
    assert_eq!(read(folder.path())?, up_to(200));
    let entries = disk::names(&folder.path().join(manifest::FOLDER))?;
    assert!(entries.len() < 220, "{} files of manifest", entries.len());
    assert!(entries.iter().filter(|name| name.ends_with(".checkpoint")).count() <= 2);
    let files = FileTable::open(folder.path())?.files()?;
    assert!(files.len() < 20, "{} files", files.len());
    // All is deleted that was replaced, but what is still within the grace.
    clock.advance(Duration::from_secs(10));
    sink.compact()?;
    assert_eq!(data_files(folder.path()).len(), files.len());
    assert_eq!(
        FileTable::open(folder.path())?.schema()?.as_deref(),
        Some(numbers(0..1).schema_ref().as_ref() as &Schema)
    );
    Ok(())
}

#[test]
fn replaced_files_stay_for_the_grace() -> Result<()> {
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let compaction = Compaction { grace: Duration::from_secs(60), ..eager(4) };
    let sink = FileSink::new(folder.path(), FileFormat::Json).compaction(compaction).clock(Arc::new(clock.clone()));
    write(&sink, 0)?;
    write(&sink, 1)?;
    sink.compact()?;
    let files = || data_files(folder.path()).len();
    assert_eq!((files(), committed_files(folder.path())?.len()), (5, 1));
    clock.advance(Duration::from_secs(59));
    sink.compact()?;
    assert_eq!(files(), 5);
    clock.advance(Duration::from_secs(1));
    sink.compact()?;
    assert_eq!((files(), read(folder.path())?), (1, up_to(2)));
    Ok(())
}

#[test]
fn readers_see_whole_batches_while_the_sink_writes_and_compacts() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::new(folder.path(), FileFormat::Json).compaction(eager(4));
    write(&sink, 0)?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers = [(); 2].map(|()| {
            scope.spawn(|| {
                let (mut seen, mut reads) = (0, 0);
                // The last reading begins behind the last commit.
                loop {
                    let last = over.load(Ordering::SeqCst);
                    let rows = read(folder.path())?;
                    assert!(rows.len() >= seen && rows.len() % 10 == 0);
                    assert_eq!(rows, up_to(rows.len() as i64 / 10));
                    (seen, reads) = (rows.len(), reads + 1);
                    if last {
                        return Ok::<_, Error>((seen, reads));
                    }
                }
            })
        });
        let written = (1..150).try_for_each(|id| write(&sink, id));
        over.store(true, Ordering::SeqCst);
        for reader in readers {
            let (seen, reads) = reader.join().unwrap()?;
            assert!(seen == 1500 && reads > 0);
        }
        written
    })
}

#[test]
fn damage_and_loss_are_errors_that_name_the_file() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::new(folder.path(), FileFormat::Json).compaction(None);
    write(&sink, 0)?;
    drop(sink);
    let data = committed_files(folder.path())?.remove(0);
    let entry = folder.path().join(manifest::FOLDER).join("00000000000000000001.entry");
    let damages: [(&Path, &dyn Fn(&Path)); 4] = [
        (&entry, &|path| fs::write(path, "x").unwrap()),
        (&entry, &|path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[30] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        (&data, &|path| fs::write(path, "{\"n\":").unwrap()),
        (&data, &|path| fs::remove_file(path).unwrap()),
    ];
    for (path, damage) in damages {
        let whole = fs::read(path).unwrap();
        damage(path);
        let error = read(folder.path()).unwrap_err();
        assert!(error.message().contains(path.to_str().unwrap()), "{error}");
        fs::write(path, whole).unwrap();
    }
    assert_eq!(read(folder.path())?, up_to(1));
    Ok(())
}

#[test]
fn an_entry_that_is_lost_is_missed_by_readers_and_by_the_next_run() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let sink = || FileSink::new(folder.path(), FileFormat::Json).compaction(None);
    let written = sink();
    (0..200).try_for_each(|id| write(&written, id))?;
    drop(written);
    let manifest = folder.path().join(manifest::FOLDER);
    let mut checkpoints = disk::names(&manifest)?;
    checkpoints.retain(|name| name.ends_with(".checkpoint"));
    checkpoints.sort();
    // What is taken away, and the first entry that nothing stands in for then; the last checkpoint has its entries.
    let newest = checkpoints.len() - 1;
    let cases: [(&[&str], Option<&str>); 3] = [
        (&["00000000000000000199.entry"], Some("00000000000000000199.entry")),
        (&[&checkpoints[newest]], None),
        (&[&checkpoints[newest], &checkpoints[newest - 1]], Some("00000000000000000001.entry")),
    ];
    for (lost, missing) in cases {
        lost.iter().for_each(|name| fs::rename(manifest.join(name), folder.path().join(name)).unwrap());
        match missing {
            None => assert_eq!(read(folder.path())?, up_to(200)),
            Some(missing) => {
                let said = format!("{} is missing", manifest.join(missing).display());
                for error in [read(folder.path()).unwrap_err(), write(&sink(), 200).unwrap_err()] {
                    assert!(error.to_string().contains(&said), "{error}");
                }
            }
        }
        lost.iter().for_each(|name| fs::rename(folder.path().join(name), manifest.join(name)).unwrap());
    }
    assert_eq!(read(folder.path())?, up_to(200));
    Ok(())
}

#[test]
fn after_a_failed_write_the_sink_reads_the_manifest_again_and_goes_on() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::new(folder.path(), FileFormat::Json).compaction(None);
    write(&sink, 0)?;
    let (manifest, aside) = (folder.path().join(manifest::FOLDER), folder.path().join("aside"));
    fs::rename(&manifest, &aside).unwrap();
    let error = write(&sink, 1).unwrap_err();
    assert!(error.kind() == crate::error::ErrorKind::Retry && error.message().contains("_manifest"), "{error}");
    fs::rename(&aside, &manifest).unwrap();
    write(&sink, 1)?;
    assert_eq!(read(folder.path())?, up_to(2));
    Ok(())
}
