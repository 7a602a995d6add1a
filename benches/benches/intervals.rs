//! Small batches at short intervals: how long a batch takes, beside a hand-written loop, and whether the interval is held.
//!
//! `TIDEMILL_BENCH_SECONDS` (5) sets how long each job runs at each interval; `TIDEMILL_BENCH_HOLD_SECONDS` (60) how long word
//! count and the empty stream run at 5 ms.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidemill::prelude::*;
use tidemill_benches::job::{self, Outcome, Run, Words};
use tidemill_benches::stats::Times;
use tidemill_benches::{hand, input};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CORES: usize = 2;
const ROWS: usize = 1_000;
const PATTERN: &str = "word00042";

fn seconds(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The median of a loop that runs again and again, in ms: its cores never sleep.
fn median_of_loop(by_hand: &dyn Fn() -> u64) -> f64 {
    let times = (0..1_000).map(|_| {
        let began = Instant::now();
        std::hint::black_box(by_hand());
        began.elapsed()
    });
    Times::new(times).median()
}

fn print(name: &str, loop_ms: f64, interval_ms: u64, run: &Run) {
    let warmup = run.batches.len() / 20;
    let (processing, waiting) = (run.processing(warmup), run.scheduling(warmup));
    // A queue that grows shows in the last batches' delays.
    let tail = run.scheduling(run.batches.len() * 9 / 10);
    println!(
        "{name:<24} {loop_ms:>8.3} {interval_ms:>8} {:>8} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>12.3}",
        run.batches.len(),
        processing.median(),
        processing.quantile(0.99),
        waiting.median(),
        waiting.quantile(0.99),
        tail.median(),
    );
}

type Build<'a> = Box<dyn Fn(&StreamingContext, Arc<Mutex<Outcome>>) -> Result<()> + 'a>;

/// A job, its loop by hand, and whether it is among those that must hold 5 ms for long.
struct Case<'a> {
    name: &'static str,
    by_hand: Box<dyn Fn() -> u64 + 'a>,
    build: Build<'a>,
    held: bool,
}

fn main() -> Result<()> {
    let text = input::zipf_lines(ROWS, 50_000);
    let parts: Vec<&[String]> = text.chunks(ROWS / CORES).collect();
    let (left, right) = (input::pairs(ROWS, 100_000, 3), input::pairs(ROWS, 100_000, 4));
    let halves: Vec<&[(i64, i64)]> = left.chunks(ROWS / CORES).collect();
    let sc = SparkContext::new(&format!("local[{CORES}]"), "intervals")?;
    let lines = sc.text_lines(text.iter().map(String::as_str), CORES)?;
    let none = sc.text_lines([], CORES)?;
    let pairs = (sc.parallelize_in(left.clone(), CORES), sc.parallelize_in(right.clone(), CORES));
    let cases = [
        Case {
            name: "words, borrowed",
            by_hand: Box::new(|| hand::count_slices(&parts).len() as u64),
            build: Box::new(|ssc, outcome| job::word_count(ssc, &lines, Words::Borrowed, outcome)),
            held: true,
        },
        Case {
            name: "words, String",
            by_hand: Box::new(|| hand::count_strings(&parts).len() as u64),
            build: Box::new(|ssc, outcome| job::word_count(ssc, &lines, Words::Strings, outcome)),
            held: true,
        },
        Case {
            name: "grep",
            by_hand: Box::new(|| hand::grep(&parts, PATTERN) as u64),
            build: Box::new(|ssc, outcome| job::grep(ssc, &lines, PATTERN.to_string(), outcome)),
            held: false,
        },
        Case {
            name: "reduce_by_key, many keys",
            by_hand: Box::new(|| hand::reduce(&halves).len() as u64),
            build: Box::new(|ssc, outcome| job::reduce_by_key(ssc, &pairs.0, outcome)),
            held: false,
        },
        Case {
            name: "join",
            by_hand: Box::new(|| hand::join(&left, &right, CORES as i64) as u64),
            build: Box::new(|ssc, outcome| job::join(ssc, &pairs.0, &pairs.1, outcome)),
            held: false,
        },
        Case {
            name: "no rows",
            by_hand: Box::new(|| hand::count_slices(&[&[], &[]]).len() as u64),
            build: Box::new(|ssc, outcome| job::word_count(ssc, &none, Words::Borrowed, outcome)),
            held: true,
        },
    ];
    println!(
        "{:<24} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>12}",
        "", "loop ms", "interval", "batches", "median", "p99", "wait med", "wait p99", "last waits"
    );
    let (short, long) = (seconds("TIDEMILL_BENCH_SECONDS", 5), seconds("TIDEMILL_BENCH_HOLD_SECONDS", 60));
    for case in &cases {
        let loop_ms = median_of_loop(&*case.by_hand);
        for (interval_ms, seconds) in [(1, short), (5, if case.held { long } else { short }), (10, short), (100, short)]
        {
            let batches = (seconds * 1_000 / interval_ms).max(1) as usize;
            let run = job::run(&sc, Duration::from_millis(interval_ms), batches, &case.build)?;
            print(case.name, loop_ms, interval_ms, &run);
        }
    }
    Ok(())
}
