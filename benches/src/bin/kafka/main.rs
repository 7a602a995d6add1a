//! Kafka to Kafka: how long a record takes to its result, and how many of them go through.
//!
//! The job counts records of 1 kB by 1,000 keys in tumbling windows of 10 s by the broker's time, and writes what each batch has changed.
//! The broker is a process of its own on the same machine; whoever sends records, and whoever looks at results, are threads here.

mod feed;
mod job;
mod peer;
mod sustain;
mod watch;

use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use tidemill::prelude::*;
use tidemill_servers::kafka::{KafkaOptions, KafkaServer};

use self::job::Delivery;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Partitions of either topic.
const PARTITIONS: i32 = 2;

#[derive(Parser)]
struct Options {
    /// Run the same job on Spark Structured Streaming, too: see `benches/spark/kafka.sh`.
    #[arg(long, global = true)]
    spark: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// From a record's append to its result's, by the broker's clock, and to a reader of committed records.
    Latency {
        #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
        rates: Vec<u64>,
        /// Milliseconds from batch to batch, of the runs with transactions.
        #[arg(long, default_value_t = 20)]
        interval_ms: u64,
        /// Milliseconds from batch to batch, of the runs without.
        #[arg(long, default_value_t = 5)]
        direct_interval_ms: u64,
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// Seconds before those.
        #[arg(long, default_value_t = 10)]
        warmup: u64,
    },
    /// Records a second from a topic that is full, beside a loop around the bare client.
    Throughput {
        #[arg(long, default_value_t = 1_000_000)]
        records: u64,
        /// Bytes of a record's value.
        #[arg(long, default_value_t = feed::KILOBYTE)]
        bytes: usize,
        #[arg(long, default_value_t = 100)]
        interval_ms: u64,
        #[arg(long, default_value_t = 3)]
        runs: usize,
        /// Bare clients, each with a part of the partitions.
        #[arg(long, default_value_t = 1)]
        clients: usize,
    },
    /// The highest rate at which batches do not wait longer and longer. Without Spark.
    Sustain(sustain::Trials),
}

/// A broker with two topics, whose records have the time of their append.
fn server() -> Result<KafkaServer> {
    let server = KafkaServer::start(KafkaOptions::default().heap_mb(1024).long_lived())?;
    for topic in ["in", "out"] {
        server.client().create_topic(topic, PARTITIONS, &[("message.timestamp.type", "LogAppendTime")])?;
    }
    Ok(server)
}

fn main() -> Result<()> {
    let options = Options::parse();
    match options.what {
        What::Latency { rates, interval_ms, direct_interval_ms, seconds, warmup } => {
            println!(
                "| records/s | delivery | interval ms | appended p50 | p99 | max | seen p50 | p99 | max | results |"
            );
            println!("|---|---|---|---|---|---|---|---|---|---|");
            let (lead, time) = (Duration::from_secs(warmup), Duration::from_secs(warmup + seconds));
            for rate in rates {
                let runs = [(Delivery::ExactlyOnce, interval_ms), (Delivery::AtLeastOnce, direct_interval_ms)];
                for (delivery, interval) in runs {
                    let server = server()?;
                    let watch = watch::start(&server)?;
                    let job = job::Job::start(&server.brokers(), delivery, Duration::from_millis(interval))?;
                    feed::send_at_rate(&server, rate, time)?;
                    let seen = watch.stop(Duration::from_secs(2), lead);
                    job.stop()?;
                    print_latencies(rate, delivery.name(), &interval.to_string(), &seen);
                }
                if options.spark {
                    let server = server()?;
                    let spark = peer::Spark::start(&server.brokers())?;
                    // The JVM's compiler needs longer than a broker's clients do.
                    feed::send_at_rate(&server, rate, 2 * lead)?;
                    let watch = watch::start(&server)?;
                    feed::send_at_rate(&server, rate, time)?;
                    let seen = watch.stop(Duration::from_secs(5), lead);
                    drop(spark);
                    print_latencies(rate, "Spark, at least once", "as fast as it can", &seen);
                }
            }
        }
        What::Throughput { records, bytes, interval_ms, runs, clients } => {
            let server = server()?;
            let began = Instant::now();
            feed::send_all(&server, records, bytes)?;
            println!("{records} records of {bytes} bytes are there after {:.1} s", began.elapsed().as_secs_f64());
            println!("| run | bare client records/s | job records/s | share |");
            println!("|---|---|---|---|");
            for run in 1..=runs {
                let bare = records as f64 / watch::read_all(&server.brokers(), "in", records, clients)?.as_secs_f64();
                let took = job::count_all(&server.brokers(), records, Duration::from_millis(interval_ms))?;
                let ours = records as f64 / took.as_secs_f64();
                println!("| {run} | {bare:.0} | {ours:.0} | {:.2} |", ours / bare);
            }
            if options.spark {
                for took in peer::count_all(&server.brokers(), runs)? {
                    println!("Spark: {:.0} records/s", records as f64 / took.as_secs_f64());
                }
            }
        }
        What::Sustain(trials) => sustain::run(&trials)?,
    }
    Ok(())
}

fn print_latencies(rate: u64, delivery: &str, interval: &str, seen: &watch::Seen) {
    let [appended, until_seen] = [&seen.appended, &seen.seen]
        .map(|times| format!("{:.0} | {:.0} | {:.0}", times.quantile(0.5), times.quantile(0.99), times.quantile(1.0)));
    println!("| {rate} | {delivery} | {interval} | {appended} | {until_seen} | {} |", seen.results);
}
