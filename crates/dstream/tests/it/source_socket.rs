//! Sockets: text against real servers that come, go and send what they should not; decoders; raw frames.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use tidemill_dstream::conf::SparkConf;
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::error::Error;

use super::source_support::{Batches, Running, SECOND, accept, listen, listen_again, logged, port_of, serve, until};

const QUICK: (&str, &str) = ("spark.streaming.receiverRestartDelay", "5ms");

fn text(port: u16, settings: &[(&str, &str)]) -> Running<String> {
    let settings: Vec<_> = settings.iter().copied().chain([QUICK]).collect();
    Running::start(&settings, |ssc| ssc.socket_text_stream("127.0.0.1", port))
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

#[test]
fn lines_in_batches_out_in_order() {
    let server = listen();
    let running = text(port_of(&server), &[]);
    let mut socket = serve(&server, lines(0..1000));
    assert_eq!(running.rows(1000), numbers(0..1000));
    socket.write_all(lines(1000..1500).as_bytes()).unwrap();
    assert_eq!(running.rows(1500), numbers(0..1500));
    let records: u64 = running.events.records().iter().map(|(_, records)| records).sum();
    assert_eq!(records, 1500);
    // The end of the stream ends the connection.
    running.stop();
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
}

#[test]
fn packets_and_line_ends_make_no_difference() {
    let server = listen();
    let running = text(port_of(&server), &[]);
    let mut socket = accept(&server);
    for piece in ["on", "e\r", "\ntw", "o\n", "\n", "a\rb\r\n", "\u{e9}t\u{e9} \u{1f30a}\nlast"] {
        for byte in piece.bytes() {
            socket.write_all(&[byte]).unwrap();
        }
        std::thread::yield_now();
    }
    let complete = ["one", "two", "", "a\rb", "\u{e9}t\u{e9} \u{1f30a}"];
    assert_eq!(running.rows(5), complete);
    // The last line has no end; the end of the connection is its end.
    drop(socket);
    assert_eq!(running.rows(6)[5], "last");
    running.stop();
}

#[test]
fn a_server_that_is_killed_and_comes_back_loses_no_line() {
    logged();
    let server = listen();
    let port = port_of(&server);
    let running = text(port, &[]);
    let socket = serve(&server, lines(0..500));
    // Killed with lines under way.
    drop((server, socket));
    running.events.wait_for_error("Error connecting to");
    for round in 1..4 {
        let server = listen_again(port);
        let socket = serve(&server, lines(round * 500..(round + 1) * 500));
        if round == 2 {
            running.rows(1500);
        }
        drop((server, socket));
    }
    assert_eq!(running.rows(2000), numbers(0..2000));
    let end = "error Restarting receiver with delay 5 ms: Socket data stream had no more data";
    let log = || running.events.receiver_log();
    until("each of the four connections has ended", || log().iter().filter(|entry| *entry == end).count() == 4);
    assert_eq!(log()[..4], ["started true", end, "stopped true", "started true"]);
    let name = format!("SocketReceiver 127.0.0.1:{port}");
    let told = logged();
    let line = told.lines().find(|line| line.contains(&name) && line.contains("no more data")).unwrap();
    assert!(line.contains("WARN") && line.contains("restarting the receiver"), "{line}");
    let (events, errors) = (running.events.clone(), running.events.wait_for_error("no more data"));
    assert_eq!((errors.name.as_str(), errors.active, errors.last_error), (name.as_str(), true, None));
    running.stop();
    assert_eq!(events.receiver_log().last().unwrap(), "stopped true");
}

#[test]
fn a_server_may_come_after_the_stream() {
    let server = listen();
    let port = port_of(&server);
    drop(server);
    let running = text(port, &[]);
    let info = running.events.wait_for_error(&format!("Error connecting to 127.0.0.1:{port}"));
    assert!(info.last_error.unwrap().contains("refused"), "the reason is told");
    assert!(info.last_error_time.is_some());
    let server = listen_again(port);
    let _socket = serve(&server, "here\n");
    assert_eq!(running.rows(1), ["here"]);
    running.stop();
}

#[test]
fn lines_that_are_not_utf8_are_kept_and_told() {
    let server = listen();
    let running = text(port_of(&server), &[]);
    let _socket = serve(&server, b"good\nb\xffd\n\xc3\x28\nend\n");
    assert_eq!(running.rows(4), ["good", "b\u{fffd}d", "\u{fffd}(", "end"]);
    let info = running.events.wait_for_error("2 lines are not UTF-8");
    assert!(info.active, "the receiver goes on");
    assert_eq!(running.events.receiver_log()[0], "started true");
    assert!(!running.events.receiver_log().iter().any(|entry| entry.starts_with("stopped")));
    running.stop();
}

#[test]
fn a_line_over_the_limit_is_skipped_and_told_and_ends_with_its_connection() {
    let server = listen();
    let running = text(port_of(&server), &[("spark.streaming.maxLineBytes", "1000")]);
    let mut socket = serve(&server, "x".repeat(1000) + "\r\n" + &"x".repeat(1001) + "\nnext\n");
    socket.write_all("y".repeat(1 << 20).as_bytes()).unwrap();
    assert_eq!(running.rows(2), ["x".repeat(1000), "next".to_string()]);
    running.events.wait_for_error("1 lines longer than 1000 bytes skipped");
    drop(socket);
    let _second = serve(&server, "fresh\n");
    assert_eq!(running.rows(3)[2], "fresh");
    let skipped = running.events.receiver_log().iter().filter(|entry| entry.contains("skipped")).count();
    assert_eq!(skipped, 2);
    running.stop();
}

#[test]
fn a_block_is_cut_before_arrow_can_not_count_its_bytes() {
    let server = listen();
    let port = port_of(&server);
    let batches = Batches::default();
    // So much text takes its time through the bytes of a plan: it stays.
    let context = TestContext::start(test_conf(), SECOND, false, |ssc| {
        batches.collect_from(&ssc.socket_text_stream("127.0.0.1", port)?.text().map(str::len))
    });
    let context = context.unwrap();
    let mut socket = accept(&server);
    let line = "x".repeat(1 << 20) + "\n";
    // More than the sockets hold was taken in when all is sent, though no batch and no block interval was over.
    (0..96).for_each(|_| socket.write_all(line.as_bytes()).unwrap());
    let blocks: Vec<usize> = batches.at(context.run_batch()).iter().map(Vec::len).collect();
    assert_eq!(blocks[0], 64, "{blocks:?}");
    until("all lines", || {
        context.run_batch();
        batches.rows() == [1 << 20; 96]
    });
    context.stop().unwrap();
}

#[test]
fn lines_come_as_the_rate_allows() {
    let server = listen();
    let running = text(port_of(&server), &[("spark.streaming.receiver.maxRate", "0.000001")]);
    let _socket = serve(&server, lines(0..1000));
    assert_eq!(running.rows(1), ["0"]);
    (0..3).for_each(|_| drop(running.next()));
    assert_eq!(running.batches.rows(), ["0"]);
    // One who waits for the rate is stopped all the same.
    running.stop();
}

#[test]
fn lines_held_back_come_when_backpressure_lets_go() {
    let server = listen();
    let slow =
        [("spark.streaming.backpressure.enabled", "true"), ("spark.streaming.backpressure.initialRate", "0.000001")];
    let running = text(port_of(&server), &slow);
    let _socket = serve(&server, lines(0..1000));
    assert_eq!(running.rows(1), ["0"]);
    let source = running.context.ssc.graph().inputs().remove(0).source;
    source.rate_limiter().unwrap().set_rate(1e9);
    assert_eq!(running.rows(1000), numbers(0..1000));
    running.stop();
}

#[test]
fn settings_that_can_not_be_are_refused() {
    let refused = |key: &str, value: &str| {
        let sc = SparkContext::from_conf(SparkConf::new().set_master("local[1]").set(key, value)).unwrap();
        let ssc = StreamingContext::new(&sc, Duration::from_secs(1)).unwrap();
        ssc.socket_text_stream("127.0.0.1", 1).err().map(|error| error.to_string())
    };
    assert!(refused("spark.streaming.maxLineBytes", "99999999999").unwrap().contains("at most"));
    assert!(refused("spark.streaming.blockInterval", "0").unwrap().contains("should be a positive value"));
    assert!(refused("spark.streaming.receiver.maxRate", "fast").unwrap().contains("maxRate=fast"));
    // As in Spark, no limit.
    assert_eq!(refused("spark.streaming.receiver.maxRate", "0"), None);
}

/// Four bytes a number; 0 is what no number may be.
fn decode(mut bytes: Box<dyn Read + Send>) -> Box<dyn Iterator<Item = tidemill_engine::error::Result<u32>>> {
    Box::new(std::iter::from_fn(move || {
        let mut number = [0; 4];
        bytes.read_exact(&mut number).ok()?;
        match u32::from_be_bytes(number) {
            0 => Some(Err(Error::data("a zero"))),
            n => Some(Ok(n)),
        }
    }))
}

fn be(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
}

#[test]
fn a_decoder_of_ones_own_and_its_errors() {
    let server = listen();
    let port = port_of(&server);
    let running = Running::start(&[QUICK], |ssc| ssc.socket_stream("127.0.0.1", port, decode));
    let bad = serve(&server, be(&[1, 2, 0, 3]));
    let info = running.events.wait_for_error("Error decoding data from");
    assert_eq!(info.last_error.as_deref(), Some("a zero"));
    // What was decoded before the error is kept; the next connection is a new beginning, and its end one more.
    let good = serve(&server, be(&[4, 5]));
    drop(good);
    let _third = serve(&server, be(&[6]));
    assert_eq!(running.rows(5), [1, 2, 4, 5, 6]);
    running.events.wait_for_error("Socket data stream had no more data");
    drop(bad);
    running.stop();
}

fn frame(rows: &[u64]) -> Vec<u8> {
    let body = postcard::to_stdvec(&rows.to_vec()).unwrap();
    [(body.len() as u32).to_be_bytes().to_vec(), body].concat()
}

fn raw(server: &TcpListener) -> Running<u64> {
    let port = port_of(server);
    Running::start(&[QUICK], |ssc| ssc.raw_socket_stream("127.0.0.1", port))
}

#[test]
fn raw_frames_are_blocks() {
    let server = listen();
    let running = raw(&server);
    let large: Vec<u64> = (0..5000).collect();
    let frames = [frame(&[1, 2, 3]), frame(&[]), frame(&[4]), frame(&large)].concat();
    let _socket = serve(&server, frames);
    running.rows(5004);
    let partitions: Vec<Vec<u64>> = (1..)
        .map(|n| running.batches.at(tidemill_engine::time::Time::from_millis(n * 1000)))
        .take(100)
        .flatten()
        .collect();
    assert_eq!(partitions, [vec![1, 2, 3], vec![4], large]);
    running.stop();
}

#[test]
fn damaged_frames_restart_the_receiver() {
    let server = listen();
    let running = raw(&server);
    let whole = frame(&[7, 8]);
    let cases = [
        (u32::MAX.to_be_bytes().to_vec(), "is over the limit"),
        (whole[..whole.len() - 1].to_vec(), "a block was cut short"),
        (whole[..2].to_vec(), "a block was cut short"),
        ([2u32.to_be_bytes().to_vec(), vec![9, 9]].concat(), "are not an encoded"),
    ];
    for (n, (bytes, _)) in cases.iter().enumerate() {
        // What came whole before the damage is kept.
        drop(serve(&server, [frame(&[n as u64]), bytes.clone()].concat()));
    }
    let _socket = serve(&server, frame(&[4]));
    assert_eq!(running.rows(5), [0, 1, 2, 3, 4]);
    let errors = running.events.receiver_log();
    assert_eq!(errors.iter().filter(|entry| entry.contains("Error receiving data from")).count(), 4, "{errors:?}");
    running.stop();
}

#[test]
fn a_stop_does_not_wait_for_a_server_that_says_nothing() {
    let server = listen();
    let running = text(port_of(&server), &[]);
    let mut socket = accept(&server);
    let events = running.events.clone();
    running.stop();
    until("the receiver has stopped", || events.receiver_log().last().is_some_and(|entry| entry == "stopped true"));
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
}
