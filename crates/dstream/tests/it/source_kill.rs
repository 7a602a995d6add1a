//! Programs that are killed while they receive from a server that is told what was stored.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill_dstream::context::SparkContext;
use tidemill_dstream::input::receiver::{Receiver, ReceiverContext};
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_dstream::testing::test_conf;
use tidemill_engine::error::{Error, Result};

use super::source_support::{listen, port_of, until};

const PROGRAM: &str = "TIDEMILL_TEST_KILLED";
const RECORDS: u64 = 1500;
const CONNECTIONS: usize = 3;

/// A record, and a number that no other row that was ever stored has.
type Row = (u64, u64);

/// Takes numbers from a server on several connections; tells it of each that is stored, and as which row.
struct Acknowledging {
    port: u16,
    next: Arc<AtomicU64>,
}

impl Acknowledging {
    fn receive(&self, context: &ReceiverContext<Row>) -> std::io::Result<()> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.set_nodelay(true)?;
        let mut lines = BufReader::new(socket.try_clone()?).lines();
        while let Some(line) = lines.next().transpose()? {
            let records = line.split(' ').map(|record| record.parse().unwrap());
            let rows: Vec<Row> = records.map(|record| (record, self.next.fetch_add(1, Ordering::SeqCst))).collect();
            let told: String = rows.iter().map(|(record, row)| format!("{record} {row},")).collect();
            if context.store_many(rows).is_err() {
                return Ok(());
            }
            socket.write_all(format!("{told}\n").as_bytes())?;
        }
        Ok(())
    }
}

impl Receiver<Row> for Acknowledging {
    fn on_start(&self, context: &ReceiverContext<Row>) {
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(|| {
                    let _ = self.receive(context);
                });
            }
        });
        context.restart("the server is gone", None);
    }
}

/// The server: records that are to be sent, and the rows that they were said to be.
struct Server {
    listener: TcpListener,
    left: Mutex<BTreeSet<u64>>,
    acknowledged: Mutex<BTreeMap<u64, u64>>,
}

impl Server {
    fn start() -> Arc<Self> {
        let left = Mutex::new((0..RECORDS).collect());
        let server = Arc::new(Self { listener: listen(), left, acknowledged: Mutex::default() });
        let serving = Arc::clone(&server);
        std::thread::spawn(move || {
            for socket in serving.listener.incoming() {
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || serving.serve(socket.unwrap()));
            }
        });
        server
    }

    fn serve(&self, mut socket: TcpStream) {
        socket.set_nodelay(true).unwrap();
        let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
        loop {
            let records: Vec<u64> = {
                let mut left = self.left.lock().unwrap();
                let some: Vec<u64> = left.iter().copied().take(3).collect();
                left.retain(|record| !some.contains(record));
                some
            };
            let line = records.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
            let sent = records.is_empty() || socket.write_all(format!("{line}\n").as_bytes()).is_ok();
            // At the end, or when the program is killed, this connection has nothing more to say.
            let told = if sent { lines.next().and_then(std::io::Result::ok) } else { None };
            let Some(told) = told else { return self.left.lock().unwrap().extend(records) };
            let rows = told.split_terminator(',').map(|row| row.split_once(' ').unwrap());
            let rows: BTreeMap<u64, u64> = rows.map(|(n, row)| (n.parse().unwrap(), row.parse().unwrap())).collect();
            self.acknowledged.lock().unwrap().extend(rows);
        }
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }
}

/// Runs in a process of its own, until its standard input ends.
#[test]
fn program_in_a_process_of_its_own() {
    let Ok(told) = std::env::var(PROGRAM) else { return };
    let [port, folder, log, sink, first_row] = told.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let conf = test_conf()
        .set("spark.streaming.checkpoint.directory", Path::new(folder).join("checkpoint").display())
        .set("spark.streaming.receiver.writeAheadLog.enable", log == "log")
        .set("spark.streaming.receiverRestartDelay", "5ms");
    let ssc = StreamingContext::new(&SparkContext::from_conf(conf).unwrap(), Duration::from_millis(20)).unwrap();
    let next = Arc::new(AtomicU64::new(first_row.parse().unwrap()));
    let rows = ssc.receiver_stream(Acknowledging { port: port.parse().unwrap(), next }).unwrap();
    let (output, is_stuck) = (Path::new(folder).join("output"), sink == "stuck");
    rows.foreach_rdd_with_time(move |rdd, time| {
        if is_stuck {
            loop {
                std::thread::park();
            }
        }
        put(&output, &time.as_millis().to_string(), &rdd.collect()?)
    })
    .unwrap();
    ssc.start().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
    ssc.stop_with(true, true).unwrap();
    ssc.await_termination().unwrap();
}

/// The idempotent sink: a file for each batch. One that is written again must be the same again.
fn put(folder: &Path, name: &str, rows: &[Row]) -> Result<()> {
    let failed = |error: std::io::Error| Error::retry("the sink").with_source(error);
    let (text, path) = (format!("{rows:?}"), folder.join(name));
    if let Ok(before) = std::fs::read_to_string(&path)
        && before != text
    {
        std::fs::write(folder.join("differs"), format!("{before} {text}")).map_err(failed)?;
    }
    std::fs::create_dir_all(folder).map_err(failed)?;
    let aside = folder.join("aside");
    std::fs::write(&aside, text).and_then(|()| std::fs::rename(&aside, &path)).map_err(failed)
}

struct Killed {
    folder: tempfile::TempDir,
    server: Arc<Server>,
    starts: u64,
}

impl Killed {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), server: Server::start(), starts: 0 }
    }

    fn start(&mut self, log: &str, sink: &str, kill_at: Option<&str>) -> Child {
        self.starts += 1;
        let (port, folder) = (port_of(&self.server.listener), self.folder.path().display());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["source_kill::program_in_a_process_of_its_own", "--exact", "--test-threads=1"])
            .env(PROGRAM, format!("{port} {folder} {log} {sink} {}", self.starts << 32))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(place) = kill_at {
            command.env("TIDEMILL_KILL_AT", place);
        }
        command.spawn().unwrap()
    }

    /// Starts it, and kills it when this many more records are acknowledged.
    fn kill_after(&mut self, records: usize, log: &str, sink: &str) {
        let mut child = self.start(log, sink, None);
        let enough = (self.server.acknowledged() + records).min(RECORDS as usize);
        until("so many are acknowledged", || self.server.acknowledged() >= enough);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Lets it run until all is acknowledged, and to its end; the rows that the sink has.
    fn finish(&mut self, log: &str) -> Vec<Row> {
        let mut child = self.start(log, "free", None);
        until("all is acknowledged", || self.server.acknowledged() == RECORDS as usize);
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        let files = std::fs::read_dir(self.folder.path().join("output")).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        assert!(!files.iter().any(|path| path.ends_with("differs")), "a batch was not the same again");
        let numbers = |text: String| {
            let numbers: Vec<u64> =
                text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
            numbers.chunks(2).map(|row| (row[0], row[1])).collect::<Vec<Row>>()
        };
        files.iter().flat_map(|path| numbers(std::fs::read_to_string(path).unwrap())).collect()
    }

    /// Every acknowledged record has come out, as the row it was said to be, and each row once, although batches were run again.
    fn check(&self, rows: &[Row], context: &str) {
        let distinct: BTreeSet<u64> = rows.iter().map(|(_, row)| *row).collect();
        assert_eq!(distinct.len(), rows.len(), "{context}: a row is in two batches");
        let acknowledged = self.server.acknowledged.lock().unwrap();
        let missing = acknowledged.iter().filter(|(_, row)| !distinct.contains(row)).count();
        assert_eq!(missing, 0, "{context}: acknowledged and lost");
        assert!(rows.len() >= RECORDS as usize);
    }
}

#[test]
fn what_was_acknowledged_survives_kills_at_any_moment() {
    let mut seed = u64::from(std::process::id());
    let mut killed = Killed::new();
    let mut kills = Vec::new();
    for _ in 0..6 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        kills.push((seed >> 33) as usize % 200 + 1);
        killed.kill_after(kills[kills.len() - 1], "log", if seed >> 63 == 0 { "free" } else { "stuck" });
    }
    let rows = killed.finish("log");
    killed.check(&rows, &format!("{kills:?}"));
}

#[test]
fn what_was_acknowledged_survives_kills_between_the_steps() {
    let places = ["block-logging:1", "block-logged:1", "block-logged:9", "block-logging:30"];
    let mut killed = Killed::new();
    for place in places {
        let mut child = killed.start("log", "free", Some(place));
        // To wait for a child ends its input, and so the program, unless somebody holds it.
        let _input = child.stdin.take();
        assert!(!child.wait().unwrap().success(), "{place}");
    }
    let rows = killed.finish("log");
    killed.check(&rows, "steps");
    // The last rows of a program that died behind the write were not acknowledged, and are there twice.
    assert!(rows.len() > RECORDS as usize);
}

#[test]
fn without_the_log_the_same_kills_lose_rows() {
    let mut killed = Killed::new();
    killed.kill_after(50, "no-log", "stuck");
    let rows: BTreeSet<u64> = killed.finish("no-log").into_iter().map(|(_, row)| row).collect();
    let acknowledged = killed.server.acknowledged.lock().unwrap();
    assert!(acknowledged.values().filter(|row| !rows.contains(row)).count() >= 50);
}
