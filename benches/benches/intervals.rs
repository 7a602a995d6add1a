//! Small batches at short intervals: how long a batch takes, and whether the interval is held.
//!
//! `TIDEMILL_BENCH_SECONDS` (5) sets how long each interval runs; `TIDEMILL_BENCH_HOLD_SECONDS` (60) the one of 5 ms.

use std::time::{Duration, Instant};

use tidemill::prelude::*;
use tidemill_benches::job::{self, Run, Words};
use tidemill_benches::stats::Times;
use tidemill_benches::{hand, input};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CORES: usize = 2;
const LINES: usize = 1_000;

fn seconds(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn print(name: &str, interval_ms: u64, run: &Run) {
    let warmup = run.batches.len() / 20;
    let (processing, waiting) = (run.processing(warmup), run.scheduling(warmup));
    // A queue that grows shows in the last batches' delays.
    let tail = run.scheduling(run.batches.len() * 9 / 10);
    println!(
        "{name:<24} {interval_ms:>8} {:>8} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>12.3}",
        run.batches.len(),
        processing.median(),
        processing.quantile(0.99),
        waiting.median(),
        waiting.quantile(0.99),
        tail.median(),
    );
}

fn main() -> Result<()> {
    let text = input::zipf_lines(LINES, 50_000);
    let parts: Vec<&[String]> = text.chunks(LINES / CORES).collect();
    let times = (0..1_000).map(|_| {
        let began = Instant::now();
        std::hint::black_box(hand::count_slices(&parts));
        began.elapsed()
    });
    let times = Times::new(times);
    println!("hand-written loop, {LINES} lines: median {:.3} ms, p99 {:.3} ms", times.median(), times.quantile(0.99));
    println!(
        "{:<24} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>12}",
        "", "interval", "batches", "median", "p99", "wait med", "wait p99", "last waits"
    );
    let sc = SparkContext::new(&format!("local[{CORES}]"), "intervals")?;
    let rdd = sc.text_lines(text.iter().map(String::as_str), CORES)?;
    let short = seconds("TIDEMILL_BENCH_SECONDS", 5);
    for (interval_ms, seconds) in
        [(1, short), (5, seconds("TIDEMILL_BENCH_HOLD_SECONDS", 60)), (10, short), (100, short)]
    {
        let batches = (seconds * 1_000 / interval_ms) as usize;
        let interval = Duration::from_millis(interval_ms);
        for (name, words) in [("words, borrowed", Words::Borrowed), ("words, String", Words::Strings)] {
            let run = job::run(&sc, interval, batches, |ssc, outcome| job::word_count(ssc, &rdd, words, outcome))?;
            print(name, interval_ms, &run);
        }
        let none = sc.text_lines([], CORES)?;
        let run =
            job::run(&sc, interval, batches, |ssc, outcome| job::word_count(ssc, &none, Words::Borrowed, outcome))?;
        print("empty", interval_ms, &run);
    }
    Ok(())
}
