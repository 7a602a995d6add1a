//! A stream into a broker that is killed under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill_connectors::kafka::{KafkaConfig, KafkaSink, KafkaSinkOptions};
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::clock::{Clock, ManualClock};
use tidemill_engine::error::{ErrorKind, Result};
use tidemill_engine::sink::Sink;
use tidemill_engine::time::Time;
use tidemill_servers::is_skipped;
use tidemill_servers::kafka::{KafkaOptions, KafkaServer};

/// A stream of five rows a batch into a topic, from a checkpoint.
fn start(sink: KafkaSink, folder: &std::path::Path, clock: &ManualClock) -> Result<TestContext> {
    let conf = test_conf().set("spark.streaming.checkpoint.directory", folder.display());
    let sink: Arc<dyn Sink> = Arc::new(sink);
    TestContext::start_on(clock.clone(), conf, Duration::from_secs(1), true, move |ssc| {
        ssc.rate_stream(5)?.map(|n| n.to_string()).write_to(Arc::clone(&sink))
    })
}

fn rows(server: &KafkaServer, topic: &str) -> Vec<u64> {
    let records = server.client().read_committed(topic).unwrap();
    let mut rows: Vec<u64> = records.iter().map(|record| record.value.as_ref().unwrap().parse().unwrap()).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn a_broker_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::start(KafkaOptions::default())?;
    server.client().create_topic("killed", 3, &[])?;
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(Time::from_millis(0)));
    let config = KafkaConfig::new(server.brokers());
    let sink = KafkaSink::connect(config.clone(), "killed", KafkaSinkOptions::exactly_once())?;
    let context = start(sink, folder.path(), &clock)?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3 {
                server.kill().unwrap();
                server.start_again().unwrap();
            }
            over.store(true, Ordering::SeqCst);
        });
        // Batches run while it dies and comes back, and a few behind that.
        let mut left = 5;
        while left > 0 {
            context.run_batch();
            left -= u32::from(over.load(Ordering::SeqCst));
        }
    });
    context.stop()?;
    let batches = Clock::now(&clock).as_millis() as u64 / 1000;
    assert_eq!(rows(&server, "killed"), (0..5 * (batches - 1)).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_broker_that_stays_away_fails_the_batch_which_runs_when_it_is_back() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::start(KafkaOptions::default())?;
    server.client().create_topic("later", 1, &[])?;
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(Time::from_millis(0)));
    let options = KafkaSinkOptions::exactly_once().delivery_timeout(Duration::from_secs(3));
    let connect = |options| KafkaSink::connect(KafkaConfig::new(server.brokers()), "later", options);
    let context = start(connect(options)?, folder.path(), &clock)?;
    (0..3).for_each(|_| {
        context.run_batch();
    });
    server.kill()?;
    context.run_batch();
    let error = context.stop().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    let text = error.to_string();
    ["topic later of Kafka at 127.0.0.1", "can't be written", "up to 3 s", "start again"]
        .iter()
        .for_each(|part| assert!(text.contains(part), "{part:?} is not in {text}"));
    server.start_again()?;
    let context = start(connect(KafkaSinkOptions::exactly_once())?, folder.path(), &clock)?;
    (0..2).for_each(|_| {
        context.run_batch();
    });
    context.stop()?;
    let rows = rows(&server, "later");
    assert!(rows.len() >= 15 && rows == (0..rows.len() as u64).collect::<Vec<_>>(), "{rows:?}");
    Ok(())
}
