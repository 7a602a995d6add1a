//! Receivers under load: a bound on what they hold, rates that follow what the batches can bear, and memory that stays flat.

use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill_dstream::context::SparkContext;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_dstream::testing::test_conf;
use tidemill_engine::error::Result;
use tidemill_engine::source::Source;

use super::source_support::{Handed, Running, accept, handed, listen, port_of, until};

/// The bytes that a `u64` above 2^56 counts for: 8, and 9 encoded.
const ROW_BYTES: u64 = 17;
const HIGH: u64 = 1 << 60;

#[test]
fn a_full_receiver_waits_for_the_end_of_a_batch_and_drops_nothing() {
    // Rows at a time, and by how many a full receiver is over its bound.
    for (at_once, over) in [(1, 1), (10, 10), (1000, 1000)] {
        let (running, contexts) = handed(&[("spark.tidemill.receiver.maxBufferedBytes", "1700b")]);
        let context = contexts.recv().unwrap();
        let most = 1700 / ROW_BYTES + over;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for n in 0..3000 / at_once {
                    let rows = (n * at_once..(n + 1) * at_once).map(|row| HIGH + row);
                    match at_once {
                        1 => rows.for_each(|row| context.store(row).unwrap()),
                        _ => context.store_many(rows.collect()).unwrap(),
                    }
                }
            });
            running.rows(3000);
        });
        assert_eq!(running.batches.rows(), (HIGH..HIGH + 3000).collect::<Vec<u64>>());
        let records: Vec<u64> = running.events.records().into_iter().map(|(_, records)| records).collect();
        // What was stored while a batch ran is in the next one: at most what may be held.
        assert!(records.iter().all(|records| *records <= most), "{at_once} at once: {records:?}");
        running.stop();
    }
}

#[test]
fn a_full_socket_receiver_does_not_read() {
    let server = listen();
    let settings = [("spark.tidemill.receiver.maxBufferedBytes", "10k")];
    let running = Running::start(&settings, |ssc| ssc.socket_text_stream("127.0.0.1", port_of(&server)));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut socket = accept(&server);
            let line = [b'x'; 99];
            (0..20_000).for_each(|_| socket.write_all(&line).and_then(|()| socket.write_all(b"\n")).unwrap());
        });
        let rows = running.rows(20_000);
        assert!(rows.len() == 20_000 && rows.iter().all(|row| row.len() == 99));
    });
    // Over the bound by what is read at once: 64 KiB.
    let records: Vec<u64> = running.events.records().into_iter().map(|(_, records)| records).collect();
    assert!(records.iter().all(|records| *records <= 103 + 656), "{records:?}");
    running.stop();
}

#[test]
fn who_waits_for_room_is_let_go_by_every_kind_of_end() {
    for end in ["stop", "graceful stop", "restart", "stop of the receiver"] {
        let (running, contexts) = handed(&[("spark.tidemill.receiver.maxBufferedBytes", "1k")]);
        let context = contexts.recv().unwrap();
        let stored = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..3u64 {
                let (context, stored) = (&context, &stored);
                scope.spawn(move || {
                    for n in 0.. {
                        let row = HIGH + (thread << 32) + n;
                        let result = if thread > 0 { context.store(row) } else { context.store_many(vec![row]) };
                        match result {
                            Ok(()) => stored.lock().unwrap().push(row),
                            Err(_) => return,
                        }
                    }
                });
            }
            until("the receiver is full", || stored.lock().unwrap().len() as u64 * ROW_BYTES >= 1024);
            match end {
                "stop" => running.context.ssc.stop_with(true, false).unwrap(),
                "graceful stop" => running.context.ssc.stop_with(true, true).unwrap(),
                "restart" => context.restart("full", None),
                _ => context.stop("full"),
            }
        });
        if end == "restart" {
            // The next start waits as well, until there is room.
            let next = contexts.recv_timeout(Duration::from_secs(20)).unwrap();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| next.store(HIGH).unwrap());
                until("there is room", || {
                    running.next();
                    waiting.is_finished()
                });
            });
            stored.lock().unwrap().push(HIGH);
        }
        if end != "stop" {
            let mut stored = stored.into_inner().unwrap();
            let mut rows = if end == "graceful stop" { running.batches.rows() } else { running.rows(stored.len()) };
            stored.sort_unstable();
            rows.sort_unstable();
            assert_eq!(stored, rows, "{end}");
        }
        running.stop();
    }
}

#[test]
fn a_block_far_over_the_rate_keeps_nobody_waiting_when_the_batches_have_caught_up() {
    let (clock, took) =
        (Arc::new(Mutex::new(None::<tidemill_engine::clock::ManualClock>)), Arc::new(AtomicU64::new(0)));
    let (sender, contexts) = channel();
    let settings =
        [("spark.streaming.backpressure.enabled", "true"), ("spark.streaming.backpressure.pid.minRate", "0.001")];
    let running = Running::start(&settings, |ssc| {
        let stream = ssc.receiver_stream(Handed(sender.clone()))?;
        let (hand, took) = (Arc::clone(&clock), Arc::clone(&took));
        stream.foreach_rdd(move |rdd| {
            if rdd.count()? == 0 {
                return Ok(());
            }
            let took = Duration::from_millis(took.load(Ordering::SeqCst));
            hand.lock().unwrap().as_ref().unwrap().advance(took);
            Ok(())
        })?;
        Ok(stream)
    });
    *clock.lock().unwrap() = Some(running.context.clock().clone());
    let context = contexts.recv().unwrap();
    let source = running.context.ssc.graph().inputs().remove(0).source;
    let rate = || source.rate_limiter().unwrap().rate();
    for ms in [1000, 600_000] {
        took.store(ms, Ordering::SeqCst);
        context.store_many(vec![1, 2, 3]).unwrap();
        running.next();
    }
    assert!(rate() < 0.01, "{}", rate());
    took.store(0, Ordering::SeqCst);
    // At this rate the second of these has to wait for longer than anybody does.
    let storing = std::thread::spawn(move || (0..20).for_each(|_| context.store_many(vec![4, 5, 6]).unwrap()));
    until("batches without rows let it go on", || {
        running.next();
        storing.is_finished()
    });
    running.stop();
}

/// A server that sends lines of 100 bytes as fast as it can, until told to end.
struct Flood {
    port: u16,
    sent: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Flood {
    fn start(limit: u64) -> Self {
        let server = listen();
        let (port, sent, over) = (port_of(&server), Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, end) = (Arc::clone(&sent), Arc::clone(&over));
        let thread = Some(std::thread::spawn(move || flood(&server, limit, &count, &end)));
        Self { port, sent, over, thread }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(self.thread.take().unwrap().join());
    }
}

fn flood(server: &TcpListener, limit: u64, sent: &AtomicU64, over: &AtomicBool) {
    let lines: Vec<u8> =
        std::iter::repeat_n([b'x'; 100], 100).flat_map(|mut line| (line[99] = b'\n', line).1).collect();
    let mut socket = accept(server);
    socket.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut rest: &[u8] = &[];
    while !over.load(Ordering::SeqCst) {
        if rest.is_empty() {
            if sent.load(Ordering::SeqCst) >= limit {
                return until("the test is over", || over.load(Ordering::SeqCst));
            }
            rest = &lines;
        }
        match socket.write(rest) {
            Ok(count) => {
                rest = &rest[count..];
                sent.fetch_add(count as u64, Ordering::SeqCst);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // The stream has ended.
            Err(_) => return,
        }
    }
}

/// Two receivers of servers that send as fast as they can, on a clock that runs.
fn under_load(
    settings: &[(&str, &str)],
    batch: Duration,
    floods: &[Flood],
    sink: impl Fn(u64) + Send + Sync + 'static,
) -> (StreamingContext, Vec<Arc<dyn Source>>) {
    let conf = settings.iter().fold(test_conf(), |conf, (key, value)| conf.set(*key, *value));
    let ssc = StreamingContext::new(&SparkContext::from_conf(conf).unwrap(), batch).unwrap();
    let lines = |flood: &Flood| ssc.socket_text_stream("127.0.0.1", flood.port);
    let streams = floods.iter().map(lines).collect::<Result<Vec<DStream<String>>>>().unwrap();
    let all = streams[1..].iter().fold(streams[0].clone(), |all, stream| all.union(stream).unwrap());
    all.foreach_rdd(move |rdd| {
        sink(rdd.count()?);
        Ok(())
    })
    .unwrap();
    ssc.start().unwrap();
    let sources = ssc.graph().inputs().into_iter().map(|input| input.source).collect();
    (ssc, sources)
}

#[test]
fn backpressure_slows_every_receiver_down_to_what_the_sink_bears_and_lets_them_go_again() {
    let floods = [Flood::start(u64::MAX), Flood::start(u64::MAX)];
    let slow = Arc::new(AtomicBool::new(false));
    let (is_slow, counted) = (Arc::clone(&slow), Arc::<AtomicU64>::default());
    let count = Arc::clone(&counted);
    let settings = [
        ("spark.streaming.backpressure.enabled", "true"),
        ("spark.streaming.backpressure.initialRate", "2000"),
        ("spark.streaming.backpressure.pid.minRate", "20"),
        ("spark.streaming.receiver.maxRate", "100000"),
    ];
    let (ssc, sources) = under_load(&settings, Duration::from_millis(20), &floods, move |rows| {
        if is_slow.load(Ordering::SeqCst) {
            // 500 rows a second; a batch of the fast times does not take all of the test's.
            std::thread::sleep(Duration::from_millis((2 * rows).min(400)));
        }
        count.fetch_add(rows, Ordering::SeqCst);
    });
    let rates = || sources.iter().map(|source| source.rate_limiter().unwrap().rate()).collect::<Vec<f64>>();
    for _ in 0..2 {
        until("the sink is fast: the rates rise", || rates().iter().all(|rate| *rate > 20_000.0));
        slow.store(true, Ordering::SeqCst);
        until("the sink is slow: the rates fall", || rates().iter().all(|rate| *rate < 1000.0));
        slow.store(false, Ordering::SeqCst);
    }
    until("from few rows to many", || rates().iter().all(|rate| *rate > 20_000.0));
    let sent = || floods.iter().map(|flood| flood.sent.load(Ordering::SeqCst)).sum::<u64>();
    ssc.stop_with(true, true).unwrap();
    ssc.await_termination().unwrap();
    assert!(counted.load(Ordering::SeqCst) * 100 <= sent(), "no line is counted twice");
}

/// How much the program of the next test may hold, and how many MiB come.
const LOAD: &str = "TIDEMILL_TEST_LOAD";

/// Runs in a process of its own: prints its peak of memory, and what it counted.
#[test]
fn load_in_a_process_of_its_own() {
    let Ok(load) = std::env::var(LOAD) else { return };
    let (max, mib) = load.split_once(' ').unwrap();
    let bytes = mib.parse::<u64>().unwrap() << 20;
    let floods = [Flood::start(bytes / 2), Flood::start(bytes / 2)];
    let (count, batches) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let (counted, ran) = (Arc::clone(&count), Arc::clone(&batches));
    let settings = [("spark.tidemill.receiver.maxBufferedBytes", max)];
    let (ssc, _) = under_load(&settings, Duration::from_millis(20), &floods, move |rows| {
        // Slow, until the servers are far ahead or wait.
        if ran.fetch_add(1, Ordering::SeqCst) < 20 {
            std::thread::sleep(Duration::from_millis(100));
        }
        counted.fetch_add(rows, Ordering::SeqCst);
    });
    let mut seen = 0;
    while seen * 100 < bytes {
        until("more comes through", || count.load(Ordering::SeqCst) > seen);
        seen = count.load(Ordering::SeqCst);
    }
    ssc.stop_with(true, true).unwrap();
    ssc.await_termination().unwrap();
    println!("\npeak {} rows {}", peak_kib(), count.load(Ordering::SeqCst));
}

/// The largest resident set of this process so far, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn memory_stays_flat_when_servers_send_faster_than_the_sink_takes() {
    let peak_kib = |mib: u64| {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["source_pressure::load_in_a_process_of_its_own", "--exact", "--nocapture", "--test-threads=1"])
            .env(LOAD, format!("1m {mib}"))
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stdout).into_owned();
        assert!(child.status.success(), "{output}\n{}", String::from_utf8_lossy(&child.stderr));
        let line = output.lines().find(|line| line.starts_with("peak")).unwrap().to_string();
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        assert!(numbers[1] * 100 >= mib << 20, "{line}");
        numbers[0]
    };
    let (few, many) = (peak_kib(16), peak_kib(64));
    // 48 MiB more came through; without a bound most of it is in memory at once.
    assert!(many < few + (20 << 10), "from {few} to {many} KiB");
}
