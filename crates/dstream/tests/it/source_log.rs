//! The write-ahead log of receivers: what a restart finds, and what happens when the disk does not take it.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use tidemill_dstream::input::receiver::ReceiverContext;
use tidemill_dstream::stream::DStream;
use tidemill_engine::chunk::Data;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::time::Time;

use super::source_support::{Handed, Running, accept, listen, port_of, until};

const ON: (&str, &str) = ("spark.streaming.receiver.writeAheadLog.enable", "true");

fn checkpoint(folder: &Path) -> (&str, &str) {
    ("spark.streaming.checkpoint.directory", folder.to_str().unwrap())
}

/// Fails in the batch of `bad`.
fn failing<T: Data>(stream: DStream<T>, bad: i64) -> Result<DStream<T>> {
    stream.foreach_rdd_with_time(
        move |_, time| {
            if time.as_millis() == bad { Err(Error::usage("not now")) } else { Ok(()) }
        },
    )?;
    Ok(stream)
}

/// A run from `at` on, in which the batch of `bad` fails; with what stores.
fn run(at: i64, bad: i64, settings: &[(&str, &str)]) -> (Running<u64>, ReceiverContext<u64>) {
    let (sender, contexts) = channel();
    // The time between two runs has no batches.
    let settings: Vec<_> =
        settings.iter().copied().chain([("spark.tidemill.recovery.maxMissedBatches", "0")]).collect();
    let running = Running::start_at(at, &settings, |ssc| failing(ssc.receiver_stream(Handed(sender.clone()))?, bad));
    (running, contexts.recv().unwrap())
}

#[test]
fn a_restart_has_the_blocks_of_unfinished_batches_and_of_none() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [ON, checkpoint(folder.path())];
    let (running, context) = run(0, 2000, &settings);
    context.store_many(vec![1, 2]).unwrap();
    assert_eq!(running.next(), [[1, 2]]);
    context.store(3).unwrap();
    context.store_many(vec![4, 5]).unwrap();
    assert_eq!(running.next(), [vec![3], vec![4, 5]]);
    context.store_many(vec![6]).unwrap();
    assert_eq!(running.next(), [[6]]);
    context.store_many((10..1100).collect()).unwrap();
    context.store(7).unwrap();
    assert!(running.context.stop().is_err());
    // It fails again: everything stays as it is.
    let (running, context) = run(4000, 2000, &settings);
    until("it has failed again", || running.context.ssc.await_termination_or_timeout(Duration::ZERO).is_err());
    running.context.stop().unwrap_err();
    assert!(context.store(0).is_err());
    let (running, context) = run(5000, 0, &settings);
    context.store_many(vec![8]).unwrap();
    assert_eq!(running.next(), [(10..1100).collect(), vec![7], vec![8]]);
    assert_eq!(running.events.records(), [(2000, 3), (6000, 1092)]);
    assert_eq!(running.batches.at(Time::from_millis(2000)), [vec![3], vec![4, 5]]);
    running.stop();
    let (running, _) = run(9000, 0, &settings);
    assert_eq!(running.next(), [[0u64; 0]; 0]);
    assert_eq!(running.events.records(), [(10_000, 0)]);
    running.stop();
}

#[test]
fn what_is_in_the_log_is_not_lost_when_it_is_switched_off_and_on() {
    let folder = tempfile::tempdir().unwrap();
    let (on, off) = ([ON, checkpoint(folder.path())], [checkpoint(folder.path())]);
    let (running, context) = run(0, 1000, &on);
    context.store_many(vec![1]).unwrap();
    running.next();
    context.store_many(vec![2]).unwrap();
    assert!(running.context.stop().is_err());
    let (running, context) = run(2000, 4000, &off);
    context.store_many(vec![3]).unwrap();
    assert_eq!(running.next(), [[2], [3]]);
    assert_eq!(running.events.records(), [(1000, 1), (3000, 2)]);
    context.store_many(vec![4]).unwrap();
    running.next();
    assert!(running.context.stop().is_err());
    // Block 3 was in memory only: its batch is not what another block makes of it.
    let (running, context) = run(5000, 0, &on);
    context.store_many(vec![5]).unwrap();
    assert_eq!(running.next(), [[5]]);
    assert_eq!(running.events.records(), [(4000, 0), (6000, 1)]);
    running.stop();
}

#[test]
fn lines_of_a_socket_are_in_the_log_before_a_batch_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = listen();
    let start = |at, bad| {
        let settings = [ON, checkpoint(folder.path()), ("spark.streaming.receiverRestartDelay", "1ms")];
        Running::start_at(at, &settings, |ssc| failing(ssc.socket_text_stream("127.0.0.1", port_of(&server))?, bad))
    };
    let running = start(0, 1000);
    {
        use std::io::Write;
        accept(&server).write_all("a\n\u{e9}\n\nlast".as_bytes()).unwrap();
    }
    running.events.wait_for_error("no more data");
    assert_eq!(running.next().concat(), ["a", "\u{e9}", "", "last"]);
    assert!(running.context.stop().is_err());
    let running = start(5000, 0);
    running.next();
    assert_eq!(running.batches.at(Time::from_millis(1000)).concat(), ["a", "\u{e9}", "", "last"]);
    running.stop();
}

#[test]
fn the_log_needs_a_checkpoint() {
    let started = std::panic::catch_unwind(|| run(0, 0, &[ON]));
    let message = *started.err().unwrap().downcast::<String>().unwrap();
    assert!(message.contains("Cannot enable receiver write-ahead log without checkpoint directory set"), "{message}");
}

#[test]
fn a_failed_batch_keeps_its_blocks_on_disk_and_not_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [ON, checkpoint(folder.path()), ("spark.tidemill.receiver.maxBufferedBytes", "1k")];
    let (running, context) = run(0, 1000, &settings);
    for n in 0..20 {
        // Each of them fills the receiver.
        context.store_many(vec![n; 200]).unwrap();
        assert_eq!(running.next(), [vec![n; 200]]);
    }
    assert!(running.context.stop().is_err());
    let (running, _) = run(30_000, 0, &settings);
    running.next();
    assert_eq!(running.events.records(), [(1000, 200), (31_000, 0)]);
    running.stop();
}

/// Blocks whose writes succeed before [`obstacle`] is met.
const WRITABLE: u64 = 1024;

/// A folder where the second segment of the log should be: as if the disk were full from there on.
fn obstacle(folder: &Path) -> PathBuf {
    let stream = std::fs::read_dir(folder.join("sources")).unwrap().next().unwrap().unwrap();
    let path = stream.path().join(format!("0/received/{WRITABLE:020}.log"));
    std::fs::create_dir(&path).unwrap();
    path
}

#[test]
fn while_the_disk_is_full_blocks_are_refused_and_buffered_rows_wait() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [ON, checkpoint(folder.path()), ("spark.tidemill.receiver.maxBufferedBytes", "20k")];
    let (running, context) = run(0, 0, &settings);
    let path = obstacle(folder.path());
    (0..WRITABLE).for_each(|n| context.store_many(vec![n]).unwrap());
    let refused = context.store_many(vec![0]).unwrap_err().to_string();
    assert!(refused.contains("can't write") && refused.contains(".log"), "{refused}");
    context.store(WRITABLE).unwrap();
    assert_eq!(running.next().len() as u64, WRITABLE);
    until("listeners are told", || {
        running.next();
        running.events.receiver_log().iter().any(|entry| entry.contains("wait in memory"))
    });
    let info = running.events.wait_for_error("wait in memory");
    assert!(info.last_error.is_some_and(|error| error.contains(".log")));
    // No more is taken than may be held.
    let stored = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in WRITABLE + 1..3000 {
                context.store(n).unwrap();
                stored.fetch_add(1, Ordering::SeqCst);
            }
        });
        (0..3).for_each(|_| assert_eq!(running.next(), [[0u64; 0]; 0]));
        assert!(stored.load(Ordering::SeqCst) < 2500);
        std::fs::remove_dir(&path).unwrap();
        running.rows(3000);
    });
    assert_eq!(running.batches.rows(), (0..3000).collect::<Vec<u64>>());
    running.stop();
}

#[test]
fn a_stop_while_the_disk_is_full_says_what_is_lost_and_loses_nothing_that_was_acknowledged() {
    for graceful in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let settings = [ON, checkpoint(folder.path())];
        let (running, context) = run(0, 0, &settings);
        let path = obstacle(folder.path());
        let stored = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            // One thread: each block is a write of its own.
            scope.spawn(|| {
                for row in 0.. {
                    match context.store_many(vec![row]) {
                        Ok(()) => stored.lock().unwrap().push(row),
                        Err(_) if context.is_stopped() => return,
                        Err(_) => std::thread::sleep(Duration::from_millis(1)),
                    }
                }
            });
            until("the disk is full", || stored.lock().unwrap().len() as u64 >= WRITABLE);
            context.store(7).unwrap();
            context.store(8).unwrap();
            let error = running.context.ssc.stop_with(true, graceful).unwrap_err().to_string();
            assert!(error.contains("2 rows are lost") && error.contains("Handed"), "{error}");
        });
        assert!(running.context.ssc.await_termination().unwrap_err().to_string().contains("2 rows are lost"));
        std::fs::remove_dir(&path).unwrap();
        let mut rows = running.batches.rows();
        drop(running);
        let (running, _) = run(100_000, 0, &settings);
        running.next();
        rows.extend(running.batches.rows());
        running.stop();
        let mut stored = stored.into_inner().unwrap();
        stored.sort_unstable();
        rows.sort_unstable();
        assert_eq!(stored, rows, "graceful: {graceful}");
    }
}

#[test]
fn a_graceful_stop_drains_a_full_receiver() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [ON, checkpoint(folder.path()), ("spark.tidemill.receiver.maxBufferedBytes", "2k")];
    let (running, context) = run(0, 0, &settings);
    let stored = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (context, stored) = (&context, &stored);
            scope.spawn(move || {
                for n in 0.. {
                    let row = 1_000_000 * thread + n;
                    let result = if thread % 2 == 0 { context.store_many(vec![row]) } else { context.store(row) };
                    match result {
                        Ok(()) => stored.lock().unwrap().push(row),
                        Err(_) => return,
                    }
                }
            });
        }
        until("the receiver is full", || stored.lock().unwrap().len() >= 120);
        running.context.ssc.stop_with(true, true).unwrap();
    });
    let (mut stored, mut rows) = (stored.into_inner().unwrap(), running.batches.rows());
    stored.sort_unstable();
    rows.sort_unstable();
    assert_eq!(stored, rows);
}
