//! Checkpoints: what is logged, and where a restart goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_dstream::conf::SparkConf;
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::input::RddQueue;
use tidemill_dstream::input::receiver::{Receiver, ReceiverContext};
use tidemill_dstream::op::narrow::Collection;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::streaming_context::{StreamingContext, StreamingContextState};
use tidemill_dstream::testing::{StreamTest, TestContext, test_conf};
use tidemill_engine::batch::BatchId;
use tidemill_engine::checkpoint::metadata::{CheckpointMetadata, Program};
use tidemill_engine::clock::ManualClock;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::lineage::Lineage;
use tidemill_engine::log::commit_log::Commit;
use tidemill_engine::log::offset_log::LoggedBatch;
use tidemill_engine::recovery::open_checkpoint;
use tidemill_engine::source::{InputInfo, Offset, OffsetRange, Source, SourceBatch};
use tidemill_engine::time::Time;

const SECOND: Duration = Duration::from_secs(1);

fn conf(folder: &Path) -> SparkConf {
    test_conf().set("spark.streaming.checkpoint.directory", folder.display())
}

/// The rows of each batch, in the order in which batches ran.
type Rows = Arc<Mutex<Vec<(i64, Vec<u64>)>>>;

/// Gathers rows; fails, after that, in the batch at `bad`, if told to.
fn gather(stream: &DStream<u64>, rows: &Rows, bad: i64, failing: &Arc<AtomicBool>) -> Result<()> {
    let (rows, failing) = (Arc::clone(rows), Arc::clone(failing));
    stream.foreach_rdd_with_time(move |rdd, time| {
        rows.lock().push((time.as_millis(), rdd.collect()?));
        let fails = failing.load(Ordering::SeqCst) && time.as_millis() == bad;
        if fails { Err(Error::data("not now")) } else { Ok(()) }
    })
}

#[test]
fn offsets_and_commits_are_logged() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let context = TestContext::start(conf(folder.path()), SECOND, true, |ssc| ssc.rate_stream(3)?.print())?;
    assert_eq!(context.ssc.checkpoint_dir().as_deref(), Some(folder.path()));
    (0..3).for_each(|_| {
        context.run_batch();
    });
    context.stop()?;
    let (logs, resume) = open_checkpoint(folder.path())?;
    assert_eq!(
        (resume.unfinished.len(), resume.next, resume.last_time),
        (0, BatchId(3), Some(Time::from_millis(3000)))
    );
    assert_eq!(logs.metadata().map(|metadata| metadata.zero), Some(Time::default()));
    assert_eq!(resume.ends, [("rate 3 rows/s".into(), (BatchId(2), Offset::count(6)))].into());
    Ok(())
}

#[test]
fn a_restart_goes_on_where_the_last_run_ended() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    StreamTest::new(|ssc, _: DStream<u64>| ssc.rate_stream(2))
        .conf("spark.streaming.checkpoint.directory", folder.path().display())
        .ordered()
        .check_batch([])
        .check_batch([0, 1])
        .restart()
        // The time between the runs is nobody's.
        .check_batch([])
        .check_batch([2, 3])
        .restart()
        .check_batch([])
        .check_batch([4, 5])
        .run()
}

#[test]
fn a_batch_whose_output_failed_is_run_again_with_the_same_offsets() -> Result<()> {
    let (folder, clock, failing) =
        (tempfile::tempdir().unwrap(), ManualClock::default(), Arc::new(AtomicBool::new(true)));
    let run = |batches: usize| {
        let rows = Rows::default();
        let context = TestContext::start_on(clock.clone(), conf(folder.path()), SECOND, true, |ssc| {
            gather(&ssc.rate_stream(2)?, &rows, 3000, &failing)
        })?;
        (0..batches).for_each(|_| {
            context.run_batch();
        });
        let result = context.stop();
        let rows = rows.lock().clone();
        Ok::<_, Error>((rows, result.map_err(|error| error.to_string())))
    };
    let (rows, result) = run(4)?;
    assert_eq!(rows, [(1000, vec![]), (2000, vec![0, 1]), (3000, vec![2, 3]), (4000, vec![4, 5])]);
    assert!(result.unwrap_err().contains("not now"));
    // It fails again: it stays to be done, and what is new goes on.
    let (rows, result) = run(1)?;
    assert_eq!(rows, [(3000, vec![2, 3]), (5000, vec![])]);
    assert!(result.is_err());
    failing.store(false, Ordering::SeqCst);
    let (rows, result) = run(2)?;
    assert_eq!(rows, [(3000, vec![2, 3]), (6000, vec![]), (7000, vec![6, 7])]);
    result.unwrap();
    // Done at last.
    let (rows, result) = run(1)?;
    assert_eq!(rows, [(8000, vec![])]);
    result.unwrap();
    Ok(())
}

#[test]
fn a_batch_that_was_logged_and_never_planned_is_run() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let planned = |id, start, end| {
        let range = OffsetRange { start: Offset::count(start), end: Offset::count(end) };
        let time = Time::from_millis(1000 * (id as i64 + 1));
        LoggedBatch { id: BatchId(id), time, ranges: [("rate 1 rows/s".into(), range)].into() }
    };
    let (logs, _) = open_checkpoint(folder.path())?;
    let (zero, next) = (Time::default(), BatchId(0));
    let program = Program { batch_interval: SECOND, zero, next, streams: vec!["rate 1 rows/s"], dropped: "" };
    logs.set_metadata(CheckpointMetadata::for_program(None, &program)?)?;
    [planned(0, 0, 5), planned(1, 5, 7), planned(2, 7, 9)].iter().try_for_each(|b| logs.offsets.lock().append(b))?;
    logs.commits.lock().append(Commit { batch: BatchId(1), before: BatchId(0), state: None })?;
    drop(logs);
    let rows = Rows::default();
    let context = TestContext::start(conf(folder.path()), SECOND, true, |ssc| {
        gather(&ssc.rate_stream(1)?, &rows, 0, &Arc::default())
    })?;
    // The clock stands before the last batch: each has a time of its own.
    context.clock().advance(4 * SECOND);
    context.ssc.wait_for_batch(Time::from_millis(4000));
    assert_eq!(*rows.lock(), [(1000, vec![0, 1, 2, 3, 4]), (3000, vec![7, 8]), (4000, vec![])]);
    context.stop()
}

#[test]
fn a_batch_whose_planning_failed_is_planned_again() -> Result<()> {
    let (folder, clock, failing) =
        (tempfile::tempdir().unwrap(), ManualClock::default(), Arc::new(AtomicBool::new(true)));
    let run = || {
        let rows = Rows::default();
        let context = TestContext::start_on(clock.clone(), conf(folder.path()), SECOND, false, |ssc| {
            let failing = Arc::clone(&failing);
            let checked = ssc.rate_stream(2)?.transform_with_time(move |rdd, time| {
                assert!(time.as_millis() != 2000 || !failing.load(Ordering::SeqCst), "not now");
                rdd
            });
            gather(&checked, &rows, 0, &Arc::default())
        })?;
        (0..2).for_each(|_| {
            context.run_batch();
        });
        let result = context.stop();
        let rows = rows.lock().clone();
        Ok::<_, Error>((rows, result.is_ok()))
    };
    assert_eq!(run()?, (vec![(1000, vec![])], false));
    failing.store(false, Ordering::SeqCst);
    assert_eq!(run()?, (vec![(2000, vec![0, 1]), (3000, vec![]), (4000, vec![2, 3])], true));
    Ok(())
}

#[test]
fn windows_slide_from_the_same_time_after_a_restart() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let windows = |s: &DStream<u64>| s.window(2 * SECOND, 2 * SECOND).map(|s| s.count());
    StreamTest::new(move |ssc, _: DStream<u64>| windows(&ssc.rate_stream(1)?))
        .conf("spark.streaming.checkpoint.directory", folder.path().display())
        .check_batch([])
        .check_batch([1])
        .check_batch([])
        .restart()
        // The fourth batch ends a window, though it is the first of this run, with what came before the restart.
        .check_batch([1])
        .check_batch([])
        .check_batch([2])
        .run()
}

#[test]
fn a_checkpoint_has_one_driver_at_a_time() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let start = || TestContext::start(conf(folder.path()), SECOND, false, |ssc| ssc.rate_stream(1)?.print());
    let first = start()?;
    let error = start().err().unwrap();
    assert!(error.message().starts_with("another driver is running on the checkpoint folder"), "{error}");
    // The folder is free as soon as the stop returns, also while the context lives.
    first.ssc.stop()?;
    start()?.stop()
}

#[test]
fn a_queue_stream_does_not_go_on_from_a_checkpoint() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        TestContext::start(conf(folder.path()), SECOND, false, |ssc| {
            let queue = RddQueue::new([ssc.spark_context().parallelize([1])]);
            ssc.queue_stream(&queue, true)?.print()
        })
    };
    let first = start()?;
    first.run_batch();
    first.stop()?;
    let error = start().err().unwrap();
    let text = "queueStream doesn't support checkpointing. Please don't use queueStream when checkpointing is enabled.";
    assert_eq!(error.message(), format!("starting queue: {text}"));
    Ok(())
}

#[test]
fn rows_of_a_memory_stream_are_gone_with_their_process() -> Result<()> {
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let start = || {
        TestContext::start_on(clock.clone(), conf(folder.path()), SECOND, false, |ssc| {
            let (input, s) = ssc.memory_stream::<u64>()?;
            input.add([1, 2]);
            gather(&s, &Rows::default(), 1000, &Arc::new(AtomicBool::new(true)))
        })
    };
    let first = start()?;
    first.run_batch();
    assert!(first.stop().is_err());
    let second = start()?;
    second.run_batch();
    let error = second.stop().unwrap_err();
    assert!(error.message().contains("rows 0 to 2 of a memory stream are gone"), "{error}");
    Ok(())
}

#[test]
fn a_damaged_log_is_an_error_that_names_the_file() -> Result<()> {
    for log in ["offsets", "commits"] {
        let folder = tempfile::tempdir().unwrap();
        let start = || TestContext::start(conf(folder.path()), SECOND, false, |ssc| ssc.rate_stream(1)?.print());
        let first = start()?;
        (0..2).for_each(|_| {
            first.run_batch();
        });
        first.stop()?;
        let entry = folder.path().join(log).join("00000000000000000000.log");
        let mut bytes = std::fs::read(&entry).unwrap();
        bytes[10] ^= 1;
        std::fs::write(&entry, bytes).unwrap();
        let error = start().err().unwrap().to_string();
        assert!(error.contains(entry.to_str().unwrap()) && error.contains("damaged"), "{error}");
    }
    Ok(())
}

#[test]
fn a_log_that_is_lost_is_not_taken_for_a_new_one() -> Result<()> {
    for log in ["offsets", "commits", "state/log"] {
        let folder = tempfile::tempdir().unwrap();
        let start = || {
            TestContext::start(conf(folder.path()), SECOND, false, |ssc| {
                let count = |new: Vec<()>, so_far: Option<usize>| Some(new.len() + so_far.unwrap_or(0));
                ssc.rate_stream(1)?.map(|n| (n % 2, ())).update_state_by_key(count).print()
            })
        };
        let first = start()?;
        (0..3).for_each(|_| {
            first.run_batch();
        });
        first.stop()?;
        let log = folder.path().join(log);
        for file in std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|end| end == "log") {
                std::fs::remove_file(file).unwrap();
            }
        }
        let error = start().err().unwrap().to_string();
        assert!(error.contains(log.to_str().unwrap()) && error.contains("is missing"), "{error}");
    }
    Ok(())
}

#[test]
fn a_checkpoint_folder_that_can_t_be_made_stops_the_context() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let ssc = StreamingContext::get_or_create(file.join("checkpoint"), || {
        let ssc = StreamingContext::new(&SparkContext::from_conf(test_conf())?, SECOND)?;
        ssc.rate_stream(1)?.print()?;
        Ok(ssc)
    })?;
    let error = ssc.start().unwrap_err();
    assert!(error.message().contains("as checkpoint folder"), "{error}");
    assert_eq!(ssc.state(), StreamingContextState::Stopped);
    Ok(())
}

/// Counts batches, and what it is told of them.
#[derive(Default)]
struct Told(Mutex<Vec<u64>>);

impl Source for Told {
    fn name(&self) -> String {
        "told".into()
    }

    fn is_replayable(&self) -> bool {
        true
    }

    fn initial_offset(&self) -> Result<Offset> {
        Ok(Offset::count(0))
    }

    fn latest_offset(&self, start: &Offset, _: Time) -> Result<Offset> {
        Ok(Offset::count(start.as_count() + 1))
    }

    fn read(&self, range: &OffsetRange, _: Time) -> Result<SourceBatch> {
        let values = Collection::slice(&Arc::default(), vec![range.start.as_count()], 1);
        Ok(SourceBatch { lineage: Lineage::values(Arc::new(values)), info: InputInfo::default(), lost: false })
    }

    fn commit(&self, end: &Offset) -> Result<()> {
        self.0.lock().push(end.as_count());
        Ok(())
    }
}

#[test]
fn a_source_keeps_what_a_restart_reads_again() -> Result<()> {
    for (checkpoint, told) in [(true, vec![1, 2]), (false, vec![1, 2, 3, 4])] {
        let (folder, source) = (tempfile::tempdir().unwrap(), Arc::new(Told::default()));
        let conf = if checkpoint { conf(folder.path()) } else { test_conf() };
        let context = TestContext::start(conf, SECOND, false, |ssc| {
            let stream = ssc.source_stream::<u64>("told", Arc::clone(&source) as Arc<dyn Source>, |data| data)?;
            gather(&stream, &Rows::default(), 3000, &Arc::new(AtomicBool::new(true)))
        })?;
        (0..4).for_each(|_| {
            context.run_batch();
        });
        assert!(context.stop().is_err());
        assert_eq!(*source.0.lock(), told, "checkpoint: {checkpoint}");
    }
    Ok(())
}

/// Stores three rows when it starts.
struct ThreeRows;

impl Receiver<u64> for ThreeRows {
    fn on_start(&self, context: &ReceiverContext<u64>) {
        // Refused only if the test is over.
        let _ = context.store_many(vec![1, 2, 3]);
    }
}

#[test]
fn a_restart_without_the_received_rows_leaves_the_files_that_are_there() -> Result<()> {
    let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clock = ManualClock::at(Time::from_millis(0));
    let start = |fails: bool| {
        let prefix = out.path().join("rows");
        TestContext::start_on(clock.clone(), conf(folder.path()), SECOND, false, move |ssc| {
            let rows = ssc.receiver_stream(ThreeRows)?;
            rows.save_as_text_files(prefix.clone(), "")?;
            rows.foreach_rdd(move |rdd| {
                let count = rdd.count()?;
                if fails && count == 3 { Err(Error::data("not now")) } else { Ok(()) }
            })
        })
    };
    let written = || {
        let mut files: Vec<String> = std::fs::read_dir(out.path())
            .unwrap()
            .flat_map(|batch| std::fs::read_dir(batch.unwrap().path()).unwrap())
            .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
            .filter(|text| !text.is_empty())
            .collect();
        files.sort();
        files
    };
    let context = start(true)?;
    while written().is_empty() {
        context.run_batch();
    }
    assert!(context.stop().is_err(), "the second output has failed");
    assert_eq!(written(), ["1\n2\n3\n"]);
    let context = start(false)?;
    context.run_batch();
    context.stop()?;
    // The rows of the second run's own receiver, and those of the first run: not replaced by nothing.
    assert!(written().iter().any(|text| text == "1\n2\n3\n"));
    let (_, resume) = open_checkpoint(folder.path())?;
    assert!(resume.unfinished.is_empty(), "the batch is done with: it can't be run again");
    Ok(())
}

#[test]
fn another_batch_duration_on_a_checkpoint_is_refused() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let start = |ms: u64, now: i64| {
        let (clock, batch) = (ManualClock::at(Time::from_millis(now)), Duration::from_millis(ms));
        TestContext::start_on(clock, conf(folder.path()), batch, true, |ssc| ssc.rate_stream(3)?.print())
    };
    let context = start(700, 700)?;
    context.run_batch();
    context.stop()?;
    let error = start(1000, 5000).err().unwrap();
    assert!(error.message().contains("a batch duration of 700 ms, and the program has 1000 ms"), "{error}");
    start(700, 5000)?.stop()
}
