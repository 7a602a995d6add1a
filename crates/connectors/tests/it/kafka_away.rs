//! Kafka to Kafka, while the broker is away for a whole minute.
//!
//! The program and its broker are in a process of their own: there they say what they have to say, and other tests may start brokers
//! meanwhile.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidemill_connectors::kafka::{KafkaConfig, KafkaSink, KafkaSinkOptions, KafkaUtils};
use tidemill_engine::clock::{ManualClock, Waker};
use tidemill_engine::error::Result;
use tidemill_engine::sink::Sink;
use tidemill_servers::is_skipped;
use tidemill_servers::kafka::{KafkaOptions, KafkaServer};

use crate::kafka_support::{Run, checkpointed, topic_options};

/// Set in the process of the program.
const PROGRAM: &str = "TIDEMILL_TEST_KAFKA_AWAY";

const AWAY: Duration = Duration::from_secs(60);

/// Records of each of four parts: in a batch, and read ahead, before the broker goes; sent while it is away; and when it is back.
const PART: usize = 1000;

/// The program.
#[test]
fn the_program() -> Result<()> {
    if std::env::var_os(PROGRAM).is_none() {
        return Ok(());
    }
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let server = KafkaServer::start(KafkaOptions::default().heap_mb(256))?;
    let client = server.client();
    ["in", "out"].iter().try_for_each(|topic| client.create_topic(topic, 2, &[]))?;
    let folder = tempfile::tempdir().unwrap();
    let sink: Arc<dyn Sink> =
        Arc::new(KafkaSink::connect(KafkaConfig::new(server.brokers()), "out", KafkaSinkOptions::exactly_once())?);
    let run = Run::build(&ManualClock::default(), checkpointed(&folder), |ssc| {
        let options = topic_options(&server, "in");
        let lines = KafkaUtils::create_text_stream(ssc, options)?;
        lines.write_to(Arc::clone(&sink))?;
        Ok(lines)
    })?;
    let sender = client.sender()?;
    let send = |part: usize| {
        let mut numbers = part * PART..(part + 1) * PART;
        numbers.try_for_each(|n| sender.send("in", (n % 2) as i32, "k", &n.to_string(), &[]))
    };
    let half = |parts: usize| (parts * PART / 2) as i64;
    let read = |parts: usize| run.wait_for(&[("in", 0, half(parts)), ("in", 1, half(parts))]);
    send(0)?;
    read(1);
    run.context.run_batch();
    send(1)?;
    read(2);
    let is_back = AtomicBool::new(false);
    server.kill()?;
    let killed = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            send(2).unwrap();
            while killed.elapsed() < AWAY {
                Waker::default().sleep(Duration::from_millis(100));
            }
            server.start_again().unwrap();
            is_back.store(true, Ordering::SeqCst);
        });
        // The first of them writes what was read ahead, as soon as there is somebody to write to.
        while !is_back.load(Ordering::SeqCst) {
            run.context.run_batch();
            Waker::default().sleep(Duration::from_millis(100));
        }
    });
    assert!(killed.elapsed() >= AWAY);
    send(3)?;
    read(4);
    run.context.run_batch();
    run.context.stop()?;
    let mut numbers: Vec<usize> =
        client.read_committed("out")?.iter().map(|record| record.value.as_ref().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers == (0..4 * PART).collect::<Vec<_>>(), "{} of {} records", numbers.len(), 4 * PART);
    Ok(())
}

#[test]
fn a_broker_that_is_away_for_a_minute_loses_and_doubles_nothing() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    // Else others that run meanwhile, one after the other, would each start it anew.
    let _shared = KafkaServer::shared()?;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kafka_away::the_program", "--nocapture"]).env(PROGRAM, "1");
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    // Both ends say, once, that it is gone, what to do, and that it is back.
    let lines = |parts: &[&str]| said.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count();
    let what_to_do = ["WARN", "127.0.0.1:", "nothing is lost", "Check that the brokers run"];
    let is_told = |parts: &[&str]| lines(&[&what_to_do[..], parts].concat());
    assert_eq!(is_told(&["Kafka is away", "batches are without rows", "the stream goes on by itself"]), 1, "{said}");
    assert_eq!(is_told(&["topic out", "has taken no batch", "it waits, for up to 120 s"]), 1, "{said}");
    assert_eq!(
        (lines(&["INFO", "Kafka is back"]), lines(&["INFO", "topic out", "Kafka takes batches again"])),
        (1, 1),
        "{said}"
    );
    Ok(())
}
