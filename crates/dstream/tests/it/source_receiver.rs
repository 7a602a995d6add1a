//! Receivers: what they store, in which blocks, their starts and stops, and how fast they may go.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver as Channel, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill_dstream::context::SparkContext;
use tidemill_dstream::input::receiver::{Receiver, ReceiverContext};
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_dstream::testing::test_conf;
use tidemill_engine::error::Error;
use tidemill_engine::time::Time;

use super::source_support::{Batches, Running, until};

const REFUSED: &str = "Cannot add data as BlockGenerator has not been started or has been stopped";
const QUICK: (&str, &str) = ("spark.streaming.receiverRestartDelay", "1ms");

/// A receiver whose strings a test pulls: each start hands out its context.
struct Remote {
    contexts: Sender<ReceiverContext<u64>>,
    stops: Arc<AtomicUsize>,
    on_start: Arc<dyn Fn(usize) + Send + Sync>,
    on_stop: Arc<dyn Fn(usize) + Send + Sync>,
    starts: AtomicUsize,
}

impl Receiver<u64> for Remote {
    fn on_start(&self, context: &ReceiverContext<u64>) {
        let start = self.starts.fetch_add(1, Ordering::SeqCst);
        let _ = self.contexts.send(context.clone());
        (self.on_start)(start);
    }

    fn on_stop(&self) {
        (self.on_stop)(self.stops.fetch_add(1, Ordering::SeqCst));
    }
}

struct Test {
    running: Running<u64>,
    contexts: Channel<ReceiverContext<u64>>,
    stops: Arc<AtomicUsize>,
}

impl Test {
    fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_with(settings, |_| {}, |_| {})
    }

    fn start_with(
        settings: &[(&str, &str)],
        on_start: impl Fn(usize) + Send + Sync + 'static,
        on_stop: impl Fn(usize) + Send + Sync + 'static,
    ) -> Self {
        let (sender, contexts) = channel();
        let stops = Arc::<AtomicUsize>::default();
        let (on_start, on_stop): (Arc<dyn Fn(usize) + Send + Sync>, Arc<dyn Fn(usize) + Send + Sync>) =
            (Arc::new(on_start), Arc::new(on_stop));
        let settings: Vec<_> = [QUICK].iter().chain(settings).copied().collect();
        let running = Running::start(&settings, |ssc| {
            ssc.receiver_stream(Remote {
                contexts: sender.clone(),
                stops: Arc::clone(&stops),
                on_start: Arc::clone(&on_start),
                on_stop: Arc::clone(&on_stop),
                starts: AtomicUsize::new(0),
            })
        });
        Self { running, contexts, stops }
    }

    /// What the next start gives to the receiver.
    fn context(&self) -> ReceiverContext<u64> {
        self.contexts.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn move_clock(&self, ms: u64) {
        self.running.context.clock().advance(Duration::from_millis(ms));
    }

    /// Stops; the number of times that the receiver was told to stop.
    fn stop(self) -> usize {
        self.running.stop();
        self.stops.load(Ordering::SeqCst)
    }
}

#[test]
fn rows_are_cut_into_blocks_by_the_interval_and_a_block_is_a_partition() {
    let test = Test::start(&[]);
    let context = test.context();
    assert_eq!(context.stream_id(), 0);
    context.store(1).unwrap();
    context.store(2).unwrap();
    test.move_clock(199);
    context.store(3).unwrap();
    // Blocks are cut at multiples of 200 ms, whenever their first row came.
    test.move_clock(1);
    context.store(4).unwrap();
    context.store_many(vec![5, 6]).unwrap();
    context.store_many(vec![]).unwrap();
    context.store(7).unwrap();
    test.move_clock(400);
    context.store(8).unwrap();
    assert_eq!(test.running.next(), [vec![1, 2, 3], vec![4], vec![5, 6], vec![7], vec![8]]);
    assert_eq!(test.running.next(), [[0u64; 0]; 0]);
    context.store(9).unwrap();
    assert_eq!(test.running.next(), [[9]]);
    assert_eq!(test.running.events.records(), [(1000, 8), (2000, 0), (3000, 1)]);
    assert_eq!(test.stop(), 1);
}

#[test]
fn the_block_interval_can_be_set() {
    let test = Test::start(&[("spark.streaming.blockInterval", "50ms")]);
    let context = test.context();
    for n in 0..4 {
        context.store(n).unwrap();
        test.move_clock(50);
    }
    assert_eq!(test.running.next(), [[0], [1], [2], [3]]);
    // More rows than a chunk has are one block all the same.
    context.store_many((0..5000).collect()).unwrap();
    assert_eq!(test.running.next(), [(0..5000).collect::<Vec<u64>>()]);
    test.stop();
}

#[test]
fn several_threads_store_and_each_keeps_its_order() {
    let test = Test::start(&[]);
    let context = test.context();
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (context, done) = (&context, &done);
            scope.spawn(move || {
                for n in 0..500 {
                    let row = thread << 32 | n;
                    if n % 7 == 0 { context.store_many(vec![row]).unwrap() } else { context.store(row).unwrap() }
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        while done.load(Ordering::SeqCst) < 4 {
            test.running.next();
        }
    });
    let rows = test.running.rows(2000);
    for thread in 0..4u64 {
        let own: Vec<u64> = rows.iter().filter(|row| **row >> 32 == thread).map(|row| row & 0xffff_ffff).collect();
        assert!(own == (0..500).collect::<Vec<u64>>(), "thread {thread}: {own:?}");
    }
    test.stop();
}

#[test]
fn nothing_is_stored_after_the_stop() {
    let test = Test::start(&[]);
    let context = test.context();
    context.store(1).unwrap();
    assert_eq!(test.running.next(), [[1]]);
    assert!(!context.is_stopped() && !context.sleep(Duration::ZERO));
    assert_eq!(test.stop(), 1);
    assert!(context.is_stopped() && context.sleep(Duration::from_secs(3600)));
    let refused = [context.store(2), context.store_many(vec![3])].map(|stored| stored.unwrap_err().to_string());
    assert_eq!(refused, [REFUSED, REFUSED]);
}

#[test]
fn a_restart_is_a_stop_and_a_start_and_the_first_request_counts() {
    let test = Test::start(&[]);
    let first = test.context();
    first.store(1).unwrap();
    first.restart("tired", Some(&std::io::Error::other("of it")));
    first.restart("again", None);
    let second = test.context();
    assert_eq!(test.stops.load(Ordering::SeqCst), 1);
    // The first start is over: its requests and rows are nobody's.
    first.restart("too late", None);
    first.stop("too late");
    assert_eq!(first.store(9).unwrap_err().to_string(), REFUSED);
    second.store(2).unwrap();
    second.restart_after("slow", None, Duration::from_millis(3));
    let third = test.context();
    third.store(3).unwrap();
    assert_eq!(test.running.rows(3), [1, 2, 3]);
    let info = test.running.events.wait_for_error("tired");
    assert_eq!((info.last_error.as_deref(), info.name.as_str()), (Some("of it"), "Remote"));
    assert_eq!(info.last_error_time, Some(Time::from_millis(0)));
    assert_eq!(
        test.running.events.receiver_log(),
        [
            "started true",
            "error Restarting receiver with delay 1 ms: tired",
            "stopped true",
            "started true",
            "error Restarting receiver with delay 3 ms: slow",
            "stopped true",
            "started true",
        ]
    );
    assert!(test.contexts.try_recv().is_err());
    assert_eq!(test.stop(), 3);
}

#[test]
fn a_receiver_may_stop_for_good() {
    let test = Test::start(&[]);
    let context = test.context();
    context.store(1).unwrap();
    context.stop("it is enough");
    context.restart("not any more", None);
    let log = || test.running.events.receiver_log();
    until("the receiver has stopped", || {
        test.running.context.ssc.bus().flush();
        log().last().is_some_and(|entry| entry == "stopped true")
    });
    // What it stored is there; the stream goes on without it.
    assert_eq!(test.running.rows(1), [1]);
    assert_eq!(test.running.next(), [[0u64; 0]; 0]);
    assert_eq!(log(), ["started true", "stopped true"]);
    assert!(test.contexts.try_recv().is_err());
    assert_eq!(test.stop(), 1);
}

#[test]
fn an_error_that_is_reported_changes_nothing_else() {
    let test = Test::start(&[]);
    let context = test.context();
    context.report_error("a hiccup", Some(&std::io::Error::other("hic")));
    context.store(1).unwrap();
    assert_eq!(test.running.rows(1), [1]);
    let info = test.running.events.wait_for_error("a hiccup");
    assert_eq!((info.active, info.last_error.as_deref()), (true, Some("hic")));
    assert_eq!(test.running.events.receiver_log(), ["started true", "error a hiccup"]);
    test.stop();
}

#[test]
fn a_panic_is_a_restart() {
    let test = Test::start_with(&[], |start| assert!(start > 0, "a bad start"), |stop| assert!(stop > 1, "a bad stop"));
    let first = test.context();
    let info = test.running.events.wait_for_error("delay 1 ms: the receiver panicked");
    assert_eq!(info.last_error.as_deref(), Some("a bad start"));
    assert!(test.running.events.wait_for_error("panicked while it stopped").last_error.is_some());
    let second = test.context();
    assert!(first.store(1).is_err());
    second.store(2).unwrap();
    second.restart("once more", None);
    test.context().store(3).unwrap();
    assert_eq!(test.running.rows(2), [2, 3]);
    assert_eq!(test.stop(), 3);
}

#[test]
fn a_receiver_that_never_returns_does_not_hold_up_the_stop() {
    let free = Arc::<AtomicBool>::default();
    let wait = Arc::clone(&free);
    let test = Test::start_with(&[], move |_| until("the test lets go", || wait.load(Ordering::SeqCst)), |_| {});
    let context = test.context();
    context.store(1).unwrap();
    assert_eq!(test.running.rows(1), [1]);
    assert_eq!(test.stop(), 1);
    free.store(true, Ordering::SeqCst);
}

#[test]
fn no_more_rows_than_the_rate_allows() {
    let test = Test::start(&[("spark.streaming.receiver.maxRate", "0.000001")]);
    let context = test.context();
    let accepted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while context.store(1).is_ok() {
                    accepted.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        assert_eq!(test.running.rows(1), [1]);
        (0..3).for_each(|_| assert_eq!(test.running.next(), [[0u64; 0]; 0]));
        // Those who wait are woken by the stop.
        test.stop();
    });
    assert_eq!(accepted.into_inner(), 1);
}

#[test]
fn backpressure_sets_the_rate_to_what_batches_can_bear() {
    let settings = [
        ("spark.streaming.backpressure.enabled", "true"),
        ("spark.streaming.backpressure.initialRate", "1000000"),
        ("spark.streaming.receiver.maxRate", "5000"),
        ("spark.streaming.backpressure.pid.minRate", "10"),
    ];
    // A batch takes as many milliseconds as its job moves the clock.
    let (sender, contexts) = channel();
    let processing = Arc::new(Mutex::new(100));
    let took = Arc::clone(&processing);
    let clock = Arc::new(Mutex::new(None::<tidemill_engine::clock::ManualClock>));
    let hand = Arc::clone(&clock);
    let running = Running::start(&settings, |ssc| {
        let remote = Remote {
            contexts: sender.clone(),
            stops: Arc::default(),
            on_start: Arc::new(|_| {}),
            on_stop: Arc::new(|_| {}),
            starts: AtomicUsize::new(0),
        };
        let (took, hand) = (Arc::clone(&took), Arc::clone(&hand));
        let stream = ssc.receiver_stream(remote)?;
        stream.foreach_rdd(move |_| {
            let took = Duration::from_millis(*took.lock().unwrap());
            hand.lock().unwrap().as_ref().unwrap().advance(took);
            Ok(())
        })?;
        Ok(stream)
    });
    *clock.lock().unwrap() = Some(running.context.clock().clone());
    let context: ReceiverContext<u64> = contexts.recv().unwrap();
    let source = running.context.ssc.graph().inputs().remove(0).source;
    let rate = || source.rate_limiter().unwrap().rate();
    let batch = |rows: u64, ms: u64| {
        *processing.lock().unwrap() = ms;
        if rows > 0 {
            context.store_many((0..rows).collect()).unwrap();
        }
        running.next();
        rate()
    };
    // The initial rate is not above the maximum. The first batch is only taken note of: 200 rows in 100 ms.
    assert_eq!(rate(), 5000.0);
    assert_eq!(batch(200, 100), 5000.0);
    // 200 rows in 200 ms: the error is 1000 a second, all of which counts.
    assert_eq!(batch(200, 200), 1000.0);
    // Nothing is learned of an empty batch, or of one that took no time.
    assert_eq!([batch(0, 100), batch(100, 0)], [1000.0, 1000.0]);
    // Not below the least rate, and not above the maximum.
    assert_eq!(batch(1, 500), 10.0);
    assert_eq!(batch(100, 1), 5000.0);
    running.stop();
}

#[test]
fn a_graceful_stop_loses_no_row_that_was_stored() {
    for round in 0..20 {
        let test = Test::start(&[]);
        let context = test.context();
        let stored = Mutex::new(Vec::new());
        let (batches, running) = (test.running.batches.clone(), &test.running);
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (context, stored) = (&context, &stored);
                scope.spawn(move || {
                    for n in 0.. {
                        let row = thread << 32 | n;
                        let result = if n % 5 == 0 { context.store_many(vec![row]) } else { context.store(row) };
                        match result {
                            Ok(()) => stored.lock().unwrap().push(row),
                            Err(_) => return,
                        }
                    }
                });
            }
            until("rows", || stored.lock().unwrap().len() > 10 * round);
            running.context.ssc.stop_with(true, true).unwrap();
        });
        let (mut stored, mut rows) = (stored.into_inner().unwrap(), batches.rows());
        stored.sort_unstable();
        rows.sort_unstable();
        assert!(stored == rows, "round {round}: {} rows stored, {} came out", stored.len(), rows.len());
    }
}

#[test]
fn a_restart_goes_on_with_new_blocks_and_without_those_that_were_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    // A batch that was missed would be made at once, and have the new blocks or not.
    let settings = [
        ("spark.streaming.checkpoint.directory", folder.path().to_str().unwrap()),
        ("spark.tidemill.recovery.maxMissedBatches", "0"),
    ];
    let run = |at: i64, failing: i64, store: &dyn Fn(&Running<u64>, &ReceiverContext<u64>)| {
        let (sender, contexts) = channel();
        let running = Running::start_at(at, &settings, |ssc| {
            let stream = ssc.receiver_stream(Remote {
                contexts: sender.clone(),
                stops: Arc::default(),
                on_start: Arc::new(|_| {}),
                on_stop: Arc::new(|_| {}),
                starts: AtomicUsize::new(0),
            })?;
            stream.foreach_rdd_with_time(move |_, time| match time.as_millis() == failing {
                true => Err(Error::usage("killed here")),
                false => Ok(()),
            })?;
            Ok(stream)
        });
        store(&running, &contexts.recv().unwrap());
        assert_eq!(running.context.stop().is_err(), failing > at);
    };
    run(0, 2000, &|running, context| {
        context.store_many(vec![1, 2]).unwrap();
        assert_eq!(running.next(), [[1, 2]]);
        context.store_many(vec![3]).unwrap();
        running.next();
    });
    // The batch of 2000 is run again; its block was in memory only.
    run(5000, 0, &|running, context| {
        context.store_many(vec![4]).unwrap();
        assert_eq!(running.next(), [[4]]);
        assert_eq!(running.events.records(), [(2000, 0), (6000, 1)]);
    });
    run(9000, 0, &|running, context| {
        context.store(5).unwrap();
        assert_eq!(running.next(), [[5]]);
    });
}

/// Stores as fast as it can, and counts what was taken.
struct Flood(Arc<AtomicUsize>);

impl Receiver<u64> for Flood {
    fn on_start(&self, context: &ReceiverContext<u64>) {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while context.store(1).is_ok() {
                        self.0.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }
}

#[test]
fn a_graceful_stop_on_a_clock_that_runs_loses_nothing_either() {
    let sc = SparkContext::from_conf(test_conf()).unwrap();
    let ssc = StreamingContext::new(&sc, Duration::from_millis(5)).unwrap();
    let (stored, batches) = (Arc::<AtomicUsize>::default(), Batches::default());
    let stream = ssc.receiver_stream(Flood(Arc::clone(&stored))).unwrap();
    batches.collect_from(&stream.count()).unwrap();
    ssc.start().unwrap();
    until("rows have come out", || batches.rows().iter().sum::<u64>() > 1000);
    ssc.stop_with(true, true).unwrap();
    // The threads that are refused count before they look again.
    until("all is counted", || batches.rows().iter().sum::<u64>() == stored.load(Ordering::SeqCst) as u64);
}
