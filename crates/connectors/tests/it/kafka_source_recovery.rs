//! Streams of Kafka's records under faults: restarts, kills, brokers that go away, logins that are refused.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use std::os::unix::process::ExitStatusExt;

use parking_lot::Mutex;
use tidemill_connectors::kafka::{
    ConsumerStrategy, KafkaConfig, KafkaOptions, KafkaUtils, OffsetRange, StartingOffsets, decode,
};
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::clock::ManualClock;
use tidemill_engine::error::{Error, ErrorKind, Result};
use tidemill_engine::time::Time;
use tidemill_servers::is_skipped;
use tidemill_servers::kafka::{KafkaOptions as ServerOptions, KafkaServer};

use crate::kafka_support::{Run, checkpointed, lost, send_texts, topic_options, wait_until};

#[test]
fn a_restart_reads_the_same_ranges_again_and_goes_on_behind_them() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("restart", 2, &[])?;
    let (folder, clock, fails) =
        (tempfile::tempdir().unwrap(), ManualClock::default(), Arc::new(AtomicBool::new(false)));
    let seen: Arc<Mutex<Vec<(i64, Vec<String>)>>> = Arc::default();
    let start = || {
        let (options, seen, fails) = (topic_options(&server, "restart"), Arc::clone(&seen), Arc::clone(&fails));
        Run::build(&clock, checkpointed(&folder), move |ssc| {
            let decode = decode::optional_string;
            let stream = KafkaUtils::create_direct_stream(ssc, options.clone(), decode, decode)?;
            let (seen, fails) = (Arc::clone(&seen), Arc::clone(&fails));
            stream.foreach_rdd_with_time(move |rdd, time| {
                if fails.load(Ordering::SeqCst) {
                    return Err(Error::retry("not now"));
                }
                let values = rdd.collect()?.into_iter().filter_map(|record| record.value);
                seen.lock().push((time.as_millis(), values.collect()));
                Ok(())
            })?;
            Ok(stream)
        })
    };
    let run = start()?;
    server.client().send("restart", [(0, "k", "a"), (1, "k", "b")])?;
    run.wait_for(&[("restart", 0, 1), ("restart", 1, 1)]);
    run.context.run_batch();
    // Two batches that are planned, and not done.
    fails.store(true, Ordering::SeqCst);
    send_texts(&server, "restart", &["c"]);
    run.wait_for(&[("restart", 0, 2)]);
    run.context.run_batch();
    server.client().send("restart", [(0, "k", "d"), (1, "k", "e"), (1, "k", "f")])?;
    run.wait_for(&[("restart", 0, 3), ("restart", 1, 3)]);
    run.context.run_batch();
    assert!(run.context.stop().is_err());
    fails.store(false, Ordering::SeqCst);
    server.client().send("restart", [(1, "k", "g")])?;
    let run = start()?;
    run.wait_for(&[("restart", 1, 4)]);
    run.context.run_batch();
    let seen = seen.lock().iter().map(|(time, values)| format!("{time}:{}", values.join(""))).collect::<Vec<_>>();
    assert_eq!(seen, ["1000:ab", "2000:c", "3000:def", "4000:g"]);
    run.context.stop()
}

#[test]
fn ranges_whose_records_are_gone_fail_their_replay() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("replay-gone", 1, &[])?;
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let start = |fails: bool, loss: bool| {
        let options = topic_options(&server, "replay-gone").fail_on_data_loss(loss);
        Run::build(&clock, checkpointed(&folder), move |ssc| {
            let stream = KafkaUtils::create_direct_stream(ssc, options.clone(), decode::bytes, decode::string)?;
            stream.foreach_rdd(move |_| if fails { Err(Error::retry("not now")) } else { Ok(()) })?;
            Ok(stream)
        })
    };
    let run = start(true, true)?;
    send_texts(&server, "replay-gone", &["a", "b", "c", "d"]);
    run.wait_for(&[("replay-gone", 0, 4)]);
    run.context.run_batch();
    assert!(run.context.stop().is_err());
    server.client().delete_records("replay-gone", 0, 3)?;
    let run = start(false, true)?;
    run.context.run_batch();
    let message = run.context.stop().unwrap_err().to_string();
    for part in ["reading topic: replay-gone", "offsets: 0 to 4", "offset 0 is wanted, and there are offsets 3 to 4"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let run = start(false, false)?;
    run.context.run_batch();
    assert_eq!(run.taken().into_iter().map(|record| record.value).collect::<Vec<_>>(), ["d"]);
    assert_eq!(lost("replay-gone", 0), (1, 3));
    run.context.stop()
}

#[test]
fn nothing_is_lost_or_doubled_while_the_broker_dies_and_comes_back() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::start(ServerOptions::default().heap_mb(256))?;
    server.client().create_topic("outage", 2, &[])?;
    let run = Run::start(&topic_options(&server, "outage"))?;
    let mut sent = 0;
    let mut values = Vec::new();
    for outage in [false, true, true] {
        if outage {
            server.kill()?;
            // Batches go on, without rows.
            (0..3).for_each(|_| assert_eq!(run.next(), []));
            server.start_again()?;
        }
        let new: Vec<String> = (sent..sent + 500).map(|n| n.to_string()).collect();
        server
            .client()
            .send("outage", new.iter().enumerate().map(|(n, value)| ((n % 2) as i32, "k", value.as_str())))?;
        sent += 500;
        run.wait_for(&[("outage", 0, sent / 2), ("outage", 1, sent / 2)]);
        values.extend(run.next().into_iter().filter_map(|record| record.value?.parse::<i64>().ok()));
        values.sort_unstable();
        assert_eq!(values, (0..sent).collect::<Vec<_>>());
    }
    // Nor does a stream that stops while the broker is away hang.
    server.kill()?;
    run.context.stop()
}

#[test]
fn a_replay_without_a_broker_fails_and_does_not_hang() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::start(ServerOptions::default().heap_mb(256))?;
    server.client().create_topic("silent", 1, &[])?;
    send_texts(&server, "silent", &["a"]);
    server.kill()?;
    let conf = test_conf().set("spark.streaming.kafka.consumer.poll.ms", 500);
    let sc = SparkContext::from_conf(conf)?;
    let ranges = [OffsetRange::new("silent", 0, 0, 1)];
    let config = KafkaConfig::new(server.brokers());
    let rdd = KafkaUtils::create_rdd(&sc, config, ranges, decode::bytes, decode::bytes)?;
    let error = rdd.count().unwrap_err();
    assert!(error.kind() == ErrorKind::Retry && error.message().contains(&server.brokers()), "{error}");
    Ok(())
}

#[test]
fn brokers_that_are_not_there_are_an_error_that_names_them() {
    let port = tidemill_servers::process::free_port().unwrap();
    let config = KafkaConfig::new(format!("127.0.0.1:{port}")).set("sasl.password", "hunter2");
    let options =
        KafkaOptions::new(config, ConsumerStrategy::subscribe(["any"])).start_timeout(Duration::from_millis(300));
    let error = Run::start(&options).err().unwrap();
    let message = format!("{error} {error:?}");
    assert_eq!(error.kind(), ErrorKind::Retry);
    for part in [&format!("127.0.0.1:{port}"), "check that the brokers run", "advertised", "security.protocol"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn a_login_works_and_a_wrong_password_is_an_error_without_it() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::start(ServerOptions::default().heap_mb(256).login("reader", "open-sesame"))?;
    server.client().create_topic("secret", 1, &[])?;
    send_texts(&server, "secret", &["a"]);
    let options = |password: &str| {
        let config = KafkaConfig::new(server.brokers())
            .set("security.protocol", "sasl_plaintext")
            .set("sasl.mechanism", "PLAIN")
            .set("sasl.username", "reader")
            .set("sasl.password", password);
        KafkaOptions::new(config, ConsumerStrategy::subscribe(["secret"])).starting(StartingOffsets::Earliest)
    };
    let run = Run::start(&options("open-sesame"))?;
    run.wait_for(&[("secret", 0, 1)]);
    assert_eq!(run.next_values(), ["secret-0@0=a"]);
    run.context.stop()?;
    let error = Run::start(&options("hunter2")).err().unwrap();
    let message = format!("{error} {error:?}");
    assert!(message.contains("uthentication") && message.contains("sasl"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
    Ok(())
}

#[test]
fn a_login_goes_over_tls_to_a_broker_that_is_trusted_only() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::start(ServerOptions::default().heap_mb(256).login("reader", "open-sesame").tls())?;
    server.client().create_topic("sealed", 1, &[])?;
    send_texts(&server, "sealed", &["a"]);
    let config = KafkaConfig::new(server.brokers())
        .set("security.protocol", "sasl_ssl")
        .set("sasl.mechanism", "PLAIN")
        .set("sasl.username", "reader")
        .set("sasl.password", "open-sesame");
    let options = |config: &KafkaConfig| {
        let sealed = ConsumerStrategy::subscribe(["sealed"]);
        KafkaOptions::new(config.clone(), sealed).starting(StartingOffsets::Earliest)
    };
    let trusting = config.clone().set("ssl.ca.location", server.certificate().display());
    let run = Run::start(&options(&trusting))?;
    run.wait_for(&[("sealed", 0, 1)]);
    assert_eq!(run.next_values(), ["sealed-0@0=a"]);
    run.context.stop()?;
    // Nobody has signed the broker's certificate.
    let error = Run::start(&options(&config).start_timeout(Duration::from_secs(2))).err().unwrap();
    let message = format!("{error} {error:?}");
    assert!(message.contains(&server.brokers()) && !message.contains("open-sesame"), "{message}");
    Ok(())
}

/// Where the program that is killed runs, on which topic, and as which of its lives.
const FOLDER: &str = "TIDEMILL_KAFKA_FOLDER";
const BROKERS: &str = "TIDEMILL_KAFKA_BROKERS";
const LIFE: &str = "TIDEMILL_KAFKA_LIFE";

/// The program, in the process that is to die: it writes what each batch has into a file of the batch's name.
#[test]
fn the_program() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = PathBuf::from(folder);
    let life: i64 = std::env::var(LIFE).unwrap().parse().unwrap();
    let config = KafkaConfig::new(std::env::var(BROKERS).unwrap());
    let options =
        KafkaOptions::new(config, ConsumerStrategy::subscribe(["killed"])).starting(StartingOffsets::Earliest);
    let conf = test_conf()
        .set("spark.streaming.checkpoint.directory", folder.join("checkpoint").display())
        .set("spark.streaming.kafka.maxRatePerPartition", 10);
    let clock = ManualClock::at(Time::from_millis(1_000_000 * life));
    let stream = Mutex::new(None);
    let context = TestContext::start_on(clock, conf, Duration::from_secs(1), false, |ssc| {
        let made = KafkaUtils::create_text_stream(ssc, options.clone())?;
        let out = folder.join("out");
        made.foreach_rdd_with_time(move |rdd, time| {
            let (name, text) = (time.as_millis().to_string(), rdd.collect()?.join("\n"));
            let failed = |error| Error::retry("can't write").with_source(error);
            std::fs::write(out.join(format!(".{name}")), text).map_err(failed)?;
            std::fs::rename(out.join(format!(".{name}")), out.join(name)).map_err(failed)
        })?;
        *stream.lock() = Some(made);
        Ok(())
    })
    .unwrap();
    let stream = stream.into_inner().unwrap();
    wait_until("the records", || stream.reached().get("killed", 0) == Some(100));
    for _ in 0..12 {
        context.run_batch();
    }
    context.stop().unwrap();
}

fn live(folder: &Path, server: &KafkaServer, life: i64, kill_at: Option<&str>) -> (ExitStatus, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kafka_source_recovery::the_program", "--nocapture"]);
    command.env(FOLDER, folder).env(BROKERS, server.brokers()).env(LIFE, life.to_string());
    command.env_remove("TIDEMILL_KILL_AT");
    if let Some(kill_at) = kill_at {
        command.env("TIDEMILL_KILL_AT", kill_at);
    }
    let output = command.output().unwrap();
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn batches_of_a_killed_program_are_run_again_with_the_same_records() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("killed", 1, &[])?;
    let texts: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    send_texts(&server, "killed", &texts.iter().map(String::as_str).collect::<Vec<_>>());
    for kill_at in ["batch-planned:4", "offsets-logged:2", "commit-logged:6"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("out")).unwrap();
        let (status, said) = live(folder.path(), &server, 1, Some(kill_at));
        assert_eq!(status.signal(), Some(9), "{kill_at} was not passed: {said}");
        let (status, said) = live(folder.path(), &server, 2, None);
        assert!(status.success(), "{status}: {said}");
        let mut files: Vec<_> =
            std::fs::read_dir(folder.path().join("out")).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort_by_key(|path| path.file_name().unwrap().to_str().unwrap().parse::<i64>().unwrap());
        let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
        let lines: Vec<String> =
            files.iter().flat_map(|f| read(f).lines().map(String::from).collect::<Vec<_>>()).collect();
        assert_eq!(lines, texts, "{kill_at}");
    }
    Ok(())
}
