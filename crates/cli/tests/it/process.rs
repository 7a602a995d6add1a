//! A process of the command line, its output line by line, and servers for it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

/// The book that the command line ships.
pub const BOOK: &str = include_str!("../../assets/opticks.txt");

/// Longer than anything takes here: what does not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "this never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Word counts.
pub type Counts = BTreeMap<String, u64>;

/// The words of lines, counted.
pub fn count_words<'a>(lines: impl IntoIterator<Item = &'a str>) -> Counts {
    let mut counts = Counts::new();
    for word in lines.into_iter().flat_map(str::split_ascii_whitespace) {
        *counts.entry(word.to_string()).or_default() += 1;
    }
    counts
}

/// A batch as `--format json` prints it.
#[derive(Debug)]
pub struct Batch {
    pub time_ms: i64,
    pub records: u64,
    pub result: Counts,
}

impl Batch {
    fn parse(line: &str) -> Self {
        let batch: serde_json::Value = serde_json::from_str(line).unwrap();
        let keys: Vec<&str> = batch.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["batch_time_ms", "processing_ms", "records", "result", "scheduling_delay_ms"]);
        assert!(batch["processing_ms"].is_f64() && batch["scheduling_delay_ms"].is_f64(), "{line}");
        let result = batch["result"].as_object().unwrap();
        Self {
            time_ms: batch["batch_time_ms"].as_i64().unwrap(),
            records: batch["records"].as_u64().unwrap(),
            result: result.iter().map(|(word, count)| (word.clone(), count.as_u64().unwrap())).collect(),
        }
    }
}

/// A running `tidemill`; killed when it is dropped.
pub struct Tidemill {
    child: Child,
    lines: Option<Receiver<String>>,
    stderr: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

/// What a `tidemill` that ended by itself has said.
pub struct Ended {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `tidemill` to its end.
pub fn tidemill(arguments: &[&str]) -> Ended {
    let output =
        Command::new(env!("CARGO_BIN_EXE_tidemill")).args(arguments).env_remove("TIDEMILL_LOG").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Tidemill {
    /// Starts it; its output is read as it comes.
    pub fn start(arguments: &[&str]) -> Self {
        let mut tidemill = Self::start_unread(arguments);
        let stdout = tidemill.child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        tidemill.lines = Some(lines);
        tidemill
    }

    /// Starts it; its output stays in the pipe.
    pub fn start_unread(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidemill"))
            .args(arguments)
            .env_remove("TIDEMILL_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stderr, pipe) = (Arc::<Mutex<String>>::default(), child.stderr.take().unwrap());
        let text = Arc::clone(&stderr);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                *text.lock().unwrap() += &(line + "\n");
            }
        });
        Self { child, lines: None, stderr, reader: Some(reader) }
    }

    /// Its output, where nobody reads it yet; dropping that closes the pipe.
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    /// Its next line of output.
    pub fn line(&self) -> Option<String> {
        self.lines.as_ref().unwrap().recv_timeout(PATIENCE).ok()
    }

    /// The next batch of `--format json`.
    pub fn batch(&self) -> Batch {
        Batch::parse(&self.line().unwrap_or_else(|| panic!("no batch came: {}", self.stderr())))
    }

    /// The word counts of all batches until so many lines were read.
    pub fn counts_of(&self, lines: u64) -> Counts {
        let (mut counts, mut read) = (Counts::new(), 0);
        while read < lines {
            let batch = self.batch();
            read += batch.records;
            batch.result.into_iter().for_each(|(word, count)| *counts.entry(word).or_default() += count);
        }
        assert_eq!(read, lines);
        counts
    }

    /// What it has said on the standard error.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until the standard error has this text.
    pub fn wait_for_stderr(&self, text: &str) {
        until(text, || self.stderr().contains(text));
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal: `INT`, `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.id())).status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end; the standard error is complete then.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the end of the process", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status.unwrap()
    }

    /// Ends it as Ctrl-C does; it must end well.
    pub fn interrupt(mut self) {
        self.signal("INT");
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.stderr());
        assert!(!self.stderr().contains("panic"), "{}", self.stderr());
    }
}

impl Drop for Tidemill {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A listener on a free port that no outgoing connection and no `bind` of port 0 gets: it may be given up and taken again.
pub fn listen() -> TcpListener {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new((std::process::id() * 61 % 10_000) as u16));
    loop {
        let port = 10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
    }
}

/// Listens again on a port that [`listen`] gave.
pub fn listen_again(port: u16) -> TcpListener {
    let mut listener = None;
    until("the port is free", || {
        listener = TcpListener::bind(("127.0.0.1", port)).ok();
        listener.is_some()
    });
    listener.unwrap()
}
