//! Topics under a program that is killed, at every step, and started again: each row is there once.
//!
//! The program is this test binary, started as a process of its own.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use tidemill_connectors::kafka::{KafkaConfig, KafkaSink, KafkaSinkOptions};
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::clock::ManualClock;
use tidemill_engine::error::Result;
use tidemill_engine::recovery::open_checkpoint;
use tidemill_engine::sink::Sink;
use tidemill_engine::time::Time;
use tidemill_servers::is_skipped;
use tidemill_servers::kafka::KafkaServer;

/// Whether the process is to run the program, where, to which brokers, into which topic, as which of its lives.
const DELIVERY: &str = "TIDEMILL_TEST_KAFKA_DELIVERY";
const FOLDER: &str = "TIDEMILL_TEST_FOLDER";
const BROKERS: &str = "TIDEMILL_TEST_BROKERS";
const TOPIC: &str = "TIDEMILL_TEST_TOPIC";
const LIFE: &str = "TIDEMILL_TEST_LIFE";

/// The program, in the process that is to die.
#[test]
fn the_program() {
    let Ok(delivery) = std::env::var(DELIVERY) else { return };
    if let Err(error) = run_program(&delivery) {
        eprintln!("the program failed: {error}");
        std::process::exit(7);
    }
}

fn run_program(delivery: &str) -> Result<()> {
    let variable = |name: &str| std::env::var(name).unwrap();
    let options = match delivery {
        "exactly" => KafkaSinkOptions::exactly_once(),
        _ => KafkaSinkOptions::at_least_once(),
    };
    let sink: Arc<dyn Sink> =
        Arc::new(KafkaSink::connect(KafkaConfig::new(variable(BROKERS)), &variable(TOPIC), options)?);
    // Some batches are missed between two lives, which are made up for.
    let clock = ManualClock::at(Time::from_millis(20_000 * variable(LIFE).parse::<i64>().unwrap()));
    let checkpoint = PathBuf::from(variable(FOLDER)).join("checkpoint");
    let conf = test_conf().set("spark.streaming.checkpoint.directory", checkpoint.display());
    let context = TestContext::start_on(clock, conf, Duration::from_secs(1), false, |ssc| {
        ssc.rate_stream(5)?.map(|n| n.to_string()).write_to(Arc::clone(&sink))
    })?;
    for _ in 0..10 {
        context.run_batch();
    }
    context.stop()
}

/// The lives of a program.
struct Lives<'a> {
    delivery: &'a str,
    server: &'a KafkaServer,
    topic: &'a str,
    folder: tempfile::TempDir,
}

impl<'a> Lives<'a> {
    fn new(delivery: &'a str, server: &'a KafkaServer, topic: &'a str) -> Self {
        server.client().create_topic(topic, 3, &[]).unwrap();
        Self { delivery, server, topic, folder: tempfile::tempdir().unwrap() }
    }

    fn live(&self, life: i64, kill_at: Option<&str>) -> (ExitStatus, String) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "kafka_sink_kill::the_program", "--nocapture"]).env_remove("TIDEMILL_KILL_AT");
        command.env(DELIVERY, self.delivery).env(FOLDER, self.folder.path()).env(LIFE, life.to_string());
        command.env(BROKERS, self.server.brokers()).env(TOPIC, self.topic);
        if let Some(kill_at) = kill_at {
            command.env("TIDEMILL_KILL_AT", kill_at);
        }
        let output = command.output().unwrap();
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn killed_at(&self, life: i64, point: &str) {
        let (status, said) = self.live(life, Some(point));
        assert_eq!(status.signal(), Some(9), "{point} was not passed: {said}");
    }

    fn live_to_the_end(&self, life: i64) {
        let (status, said) = self.live(life, None);
        assert!(status.success(), "{status}: {said}");
    }

    /// The rows that should be there: all that the checkpoint says are done.
    fn expected(&self) -> Vec<u64> {
        let (_, resume) = open_checkpoint(&self.folder.path().join("checkpoint")).unwrap();
        assert!(resume.unfinished.is_empty(), "the last life ended well");
        let (_, end) = resume.ends.values().next().expect("there is one stream");
        (0..end.as_count()).collect()
    }

    fn rows(&self) -> Vec<u64> {
        let records = self.server.client().read_committed(self.topic).unwrap();
        let mut rows: Vec<u64> = records.iter().map(|record| record.value.as_ref().unwrap().parse().unwrap()).collect();
        rows.sort_unstable();
        rows
    }
}

#[test]
fn rows_are_there_once_wherever_the_program_dies() {
    if is_skipped("kafka") {
        return;
    }
    let server = KafkaServer::shared().unwrap();
    let points = [
        // The first transaction is that of the connection.
        "kafka-transaction-begun:1",
        "kafka-transaction-begun:4",
        "kafka-offsets-sent:4",
        "kafka-rows-sent:1",
        "kafka-rows-sent:4",
        "kafka-transaction-committed:1",
        "kafka-transaction-committed:4",
        "jobs-done:4",
    ];
    for (n, point) in points.into_iter().enumerate() {
        let topic = format!("killed-{n}");
        let lives = Lives::new("exactly", &server, &topic);
        lives.killed_at(1, point);
        lives.killed_at(2, point);
        lives.live_to_the_end(3);
        assert_eq!(lives.rows(), lives.expected(), "{point}");
        assert!(lives.rows().len() > 40, "{point}");
        if point == "kafka-rows-sent:4" {
            let all = server.client().read_uncommitted(&topic).unwrap();
            assert!(all.len() > lives.rows().len(), "{point}: nothing was left of the transactions that died");
        }
    }
}

#[test]
fn at_least_once_doubles_rows_and_this_test_sees_it() {
    if is_skipped("kafka") {
        return;
    }
    let server = KafkaServer::shared().unwrap();
    let lives = Lives::new("at-least", &server, "doubled");
    lives.killed_at(1, "jobs-done:4");
    lives.live_to_the_end(2);
    let mut rows = lives.rows();
    assert!(rows.len() > lives.expected().len());
    rows.dedup();
    assert_eq!(rows, lives.expected());
}
