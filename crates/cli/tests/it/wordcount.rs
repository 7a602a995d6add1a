//! `tidemill wordcount` against text servers, held to what `tr`, `sort` and `uniq` count.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use super::process::{BOOK, Counts, Tidemill, listen, listen_again};

fn start(port: u16) -> Tidemill {
    let port = port.to_string();
    Tidemill::start(&["wordcount", "--host", "127.0.0.1", "--port", &port, "--batch-ms", "50", "--format", "json"])
}

/// The words of the book as the system's own tools count them.
fn counts_of_the_system() -> Counts {
    // Rust's ASCII white space has no vertical tab; that of the C locale has.
    assert!(!BOOK.contains('\u{b}'));
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/opticks.txt");
    let script = "tr -s '[:space:]' '\\n' < \"$0\" | grep -v '^$' | sort | uniq -c";
    let output = Command::new("sh").args(["-c", script, book]).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let parse = |line: &str| {
        let (count, word) = line.trim_start().split_once(' ')?;
        Some((word.to_string(), count.parse().ok()?))
    };
    let counts: Counts = text.lines().map(|line| parse(line).unwrap()).collect();
    assert!(counts.len() > 5000 && counts["the"] > 1000);
    counts
}

fn lines(text: &str) -> u64 {
    text.lines().count() as u64
}

#[test]
fn a_book_is_counted_exactly() {
    let server = listen();
    let tidemill = start(server.local_addr().unwrap().port());
    let mut socket = server.accept().unwrap().0;
    socket.write_all(BOOK.as_bytes()).unwrap();
    // The server holds the connection: nothing waits for its end.
    assert_eq!(tidemill.counts_of(lines(BOOK)), counts_of_the_system());
    tidemill.interrupt();
}

#[test]
fn a_server_that_is_killed_and_comes_back_changes_no_count() {
    let server = listen();
    let port = server.local_addr().unwrap().port();
    let tidemill = start(port);
    let middle = BOOK[..BOOK.len() / 2].rfind('\n').unwrap() + 1;
    let mut first = server.accept().unwrap().0;
    first.write_all(&BOOK.as_bytes()[..middle]).unwrap();
    drop((first, server));
    tidemill.wait_for_stderr("Restarting receiver with delay 2000 ms: Socket data stream had no more data");
    let server = listen_again(port);
    let mut second: TcpStream = server.accept().unwrap().0;
    second.write_all(&BOOK.as_bytes()[middle..]).unwrap();
    assert_eq!(tidemill.counts_of(lines(BOOK)), counts_of_the_system());
    tidemill.interrupt();
}

#[test]
fn where_nobody_listens_it_says_what_to_do() {
    let server = listen();
    let port = server.local_addr().unwrap().port();
    drop(server);
    let tidemill = start(port);
    tidemill.wait_for_stderr(&format!("\nhint: start a text server there: nc -lk {port}\n"));
    let said = tidemill.stderr();
    let error = format!("delay 2000 ms: Error connecting to 127.0.0.1:{port}: Connection refused");
    assert!(said.lines().next().unwrap().contains(&error), "{said}");
    // And it goes on when somebody does.
    let server = listen_again(port);
    let mut socket = server.accept().unwrap().0;
    socket.write_all(b"now now\n").unwrap();
    assert_eq!(tidemill.counts_of(1), [("now".to_string(), 2)].into());
    assert_eq!(tidemill.stderr().matches("hint:").count(), 1);
    tidemill.interrupt();
}

#[test]
fn an_interrupt_is_graceful_if_the_settings_say_so() {
    let server = listen();
    let port = server.local_addr().unwrap().port().to_string();
    let (graceful, patience) =
        ("spark.streaming.stopGracefullyOnShutdown=true", "spark.streaming.gracefulStopTimeout=100ms");
    let arguments = ["wordcount", "--host", "127.0.0.1", "--port", &port, "--batch-ms", "3600000", "--format", "json"];
    let tidemill = Tidemill::start(&[&arguments[..], &["--conf", graceful, "--conf", patience]].concat());
    server.accept().unwrap().0.write_all(b"last words\n").unwrap();
    tidemill.wait_for_stderr("Socket data stream had no more data");
    tidemill.signal("INT");
    assert_eq!(tidemill.counts_of(1), [("last".to_string(), 1), ("words".to_string(), 1)].into());
    let refused = Tidemill::start(&["wordcount", "--port", "1", "--conf", "nothing"]);
    refused.wait_for_stderr("it must be KEY=VALUE");
}

/// The most memory that a process has had, in bytes.
#[cfg(target_os = "linux")]
fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[cfg(target_os = "linux")]
#[test]
fn a_line_of_100_mb_is_skipped_told_and_not_held() {
    let server = listen();
    let tidemill = start(server.local_addr().unwrap().port());
    let mut socket = server.accept().unwrap().0;
    socket.write_all(b"first\n").unwrap();
    assert_eq!(tidemill.counts_of(1), [("first".to_string(), 1)].into());
    let before = peak_memory(tidemill.id());
    let piece = vec![b'x'; 1 << 20];
    (0..100).for_each(|_| socket.write_all(&piece).unwrap());
    socket.write_all(b"\nnext line\n").unwrap();
    assert_eq!(tidemill.counts_of(1), [("next".to_string(), 1), ("line".to_string(), 1)].into());
    tidemill.wait_for_stderr("1 lines longer than 16777216 bytes skipped");
    let grown = peak_memory(tidemill.id()) - before;
    assert!(grown < 64 << 20, "{grown} bytes more");
    tidemill.interrupt();
}
