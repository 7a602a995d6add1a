//! Each job against a hand-written loop on the same data, in turn, in one run.
//!
//! `TIDEMILL_BENCH_LINES` (2,000,000) and `TIDEMILL_BENCH_RUNS` (7) set the size. A ratio of 0.7 means that Tidemill reaches
//! 0.7 of the loop's throughput.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidemill::prelude::*;
use tidemill_benches::job::{self, Outcome, Words};
use tidemill_benches::stats::Times;
use tidemill_benches::{hand, input};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CORES: usize = 2;
const PATTERN: &str = "word00042";

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Runs the loop and one batch of the job in turn; prints a row.
fn row(
    name: &str,
    rows: usize,
    runs: usize,
    mut by_hand: impl FnMut() -> u64,
    build: impl Fn(&StreamingContext, Arc<Mutex<Outcome>>) -> Result<()>,
) -> Result<()> {
    let sc = SparkContext::from_conf(
        SparkConf::new().set_master(format!("local[{CORES}]")).set("spark.driver.allowMultipleContexts", true),
    )?;
    let (mut hand_times, mut job_times) = (Vec::new(), Vec::new());
    for n in 0..=runs {
        let began = Instant::now();
        let expected = by_hand();
        let hand_time = began.elapsed();
        let run = job::run(&sc, Duration::from_millis(100), 1, &build)?;
        assert_eq!(run.outcome.0, expected, "{name}: both must find the same");
        if n > 0 {
            hand_times.push(hand_time);
            job_times.extend(run.batches.iter().take(1).filter_map(|batch| batch.processing_delay));
        }
    }
    let (hand_ms, job_ms) = (Times::new(hand_times).median(), Times::new(job_times).median());
    let rate = |ms: f64| rows as f64 / ms / 1e3;
    println!(
        "{name:<28} {hand_ms:>10.1} {:>8.2} {job_ms:>10.1} {:>8.2} {:>7.2}",
        rate(hand_ms),
        rate(job_ms),
        hand_ms / job_ms
    );
    Ok(())
}

fn main() -> Result<()> {
    let (lines, runs) = (setting("TIDEMILL_BENCH_LINES", 2_000_000), setting("TIDEMILL_BENCH_RUNS", 7));
    let sc = SparkContext::new(&format!("local[{CORES}]"), "inputs")?;
    println!("{:<28} {:>10} {:>8} {:>10} {:>8} {:>7}", "", "loop ms", "M rows/s", "batch ms", "M rows/s", "ratio");
    {
        let text = input::zipf_lines(lines, 50_000);
        let parts: Vec<&[String]> = text.chunks(lines.div_ceil(CORES).max(1)).collect();
        let rdd = sc.text_lines(text.iter().map(String::as_str), CORES)?;
        row(
            "word count, String",
            lines,
            runs,
            || hand::count_strings(&parts).len() as u64,
            |ssc, outcome| job::word_count(ssc, &rdd, Words::Strings, outcome),
        )?;
        row(
            "word count, borrowed",
            lines,
            runs,
            || hand::count_slices(&parts).len() as u64,
            |ssc, outcome| job::word_count(ssc, &rdd, Words::Borrowed, outcome),
        )?;
        row(
            "grep",
            lines,
            runs,
            || hand::grep(&parts, PATTERN) as u64,
            |ssc, outcome| job::grep(ssc, &rdd, PATTERN.to_string(), outcome),
        )?;
    }
    let rows = lines / 2;
    for (name, keys) in [("reduce_by_key, 1 k keys", 1_000), ("reduce_by_key, 1 M keys", 1_000_000)] {
        let pairs = input::pairs(rows, keys, 2);
        let parts: Vec<&[(i64, i64)]> = pairs.chunks(rows.div_ceil(CORES).max(1)).collect();
        let rdd = sc.parallelize_in(pairs.clone(), CORES);
        row(
            name,
            rows,
            runs,
            || hand::reduce(&parts).len() as u64,
            |ssc, outcome| job::reduce_by_key(ssc, &rdd, outcome),
        )?;
    }
    let (left, right) = (input::pairs(rows / 2, 500_000, 3), input::pairs(rows / 2, 500_000, 4));
    let rdds = (sc.parallelize_in(left.clone(), CORES), sc.parallelize_in(right.clone(), CORES));
    row(
        "join",
        rows,
        runs,
        || hand::join(&left, &right, CORES as i64) as u64,
        |ssc, outcome| job::join(ssc, &rdds.0, &rdds.1, outcome),
    )
}
