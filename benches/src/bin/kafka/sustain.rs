//! The highest rate that the job holds: its batches do not wait longer and longer, and it is not behind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidemill::prelude::*;
use tidemill_benches::stats::Times;

use crate::job::{Delivery, Job};
use crate::{feed, server};

/// Batches at the start that say nothing yet: clients and caches are cold.
const WARMUP: Duration = Duration::from_secs(3);

/// A job that holds a rate has counted all but what came in so short a time.
const MOST_BEHIND: Duration = Duration::from_secs(1);

/// A sender that reaches less than this part of a rate can't measure it.
const SENT: f64 = 0.95;

/// How rates are tried.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Trials {
    /// The first rate in records a second; the next ones are twice the one before.
    #[arg(long, default_value_t = 10_000)]
    from: u64,
    /// Milliseconds from batch to batch.
    #[arg(long, default_value_t = 100)]
    interval_ms: u64,
    /// Seconds at each rate, behind 3 s that do not count. A gigabyte of disk for each 1,000,000 records that are sent.
    #[arg(long, default_value_t = 12)]
    seconds: u64,
    /// A rate is too high when so many batches in a row waited longer than the one before, and longer than an interval.
    #[arg(long, default_value_t = 10)]
    growing: usize,
    /// Rates that are tried between the highest one that was held and the lowest one that was not.
    #[arg(long, default_value_t = 3)]
    refine: u32,
    /// Write at least once, not in transactions.
    #[arg(long)]
    at_least_once: bool,
}

/// What a rate came to.
struct Trial {
    /// Records that were sent in a second.
    sent: f64,
    delays: Times,
    /// The most batches in a row that waited longer and longer.
    growth: usize,
    /// How long it takes to send what was not counted when all was sent.
    behind: Duration,
    held: bool,
}

/// Tries rates, prints what they came to, and the highest one that was held.
pub fn run(trials: &Trials) -> Result<()> {
    println!("| records/s | sent/s | scheduling delay ms, p50 | p99 | max | growing | behind ms | held |");
    println!("|---|---|---|---|---|---|---|---|");
    let (mut held, mut failed, mut rate, mut left) = (None, None, trials.from.max(1), trials.refine);
    loop {
        let trial = trials.run(rate)?;
        println!(
            "| {rate} | {:.0} | {:.1} | {:.1} | {:.1} | {} | {} | {} |",
            trial.sent,
            trial.delays.quantile(0.5),
            trial.delays.quantile(0.99),
            trial.delays.quantile(1.0),
            trial.growth,
            trial.behind.as_millis(),
            if trial.held { "yes" } else { "no" }
        );
        if trial.sent < SENT * rate as f64 {
            println!("The sender reaches no more: rates above can't be told on this machine.");
            failed = Some(rate);
            left = 0;
        } else if trial.held {
            held = Some(rate);
        } else {
            failed = Some(rate);
        }
        rate = match (held, failed) {
            (Some(held), None) => 2 * held,
            (Some(held), Some(failed)) if left > 0 => {
                left -= 1;
                held + (failed - held) / 2
            }
            _ => break,
        };
    }
    match held {
        Some(rate) => println!("held: {rate} records/s"),
        None => println!("held: none, not even {} records/s", trials.from),
    }
    Ok(())
}

impl Trials {
    fn run(&self, rate: u64) -> Result<Trial> {
        let server = server()?;
        let delivery = if self.at_least_once { Delivery::AtLeastOnce } else { Delivery::ExactlyOnce };
        let interval = Duration::from_millis(self.interval_ms);
        let job = Job::start(&server.brokers(), delivery, interval)?;
        let batches = job.batches();
        let (time, began) = (WARMUP + Duration::from_secs(self.seconds), Instant::now());
        let sent = feed::send_at_rate(&server, rate, time)?;
        let took = began.elapsed();
        let uncounted = sent.saturating_sub(batches.records());
        let delays = batches.delays_after(WARMUP);
        job.stop()?;
        let behind = Duration::from_secs_f64(uncounted as f64 / rate as f64);
        let growth = longest_growth(&delays, interval);
        let held = growth < self.growing && behind < MOST_BEHIND;
        Ok(Trial { sent: sent as f64 / took.as_secs_f64(), delays: Times::new(delays), growth, behind, held })
    }
}

/// The most in a row that are longer than the one before, and than `least`.
fn longest_growth(delays: &[Duration], least: Duration) -> usize {
    let (mut longest, mut run) = (0, 0);
    for pair in delays.windows(2) {
        run = if pair[1] > pair[0] && pair[1] > least { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// What a job's batches have told: when each of them ended, its records, and how long it waited.
#[derive(Default)]
pub struct Batches(Mutex<Vec<(Instant, u64, Duration)>>);

impl Batches {
    /// As a listener.
    pub fn listen(self: &Arc<Self>, ssc: &StreamingContext) {
        let batches = Arc::clone(self);
        ssc.add_streaming_listener(Arc::new(move |event: &StreamingEvent| {
            if let StreamingEvent::BatchCompleted(info) = event {
                let delay = info.scheduling_delay.unwrap_or_default();
                batches.lock().push((Instant::now(), info.records(), delay));
            }
        }));
    }

    /// The records of all batches.
    fn records(&self) -> u64 {
        self.lock().iter().map(|(_, records, _)| records).sum()
    }

    /// The scheduling delays of batches that ended so long after the first one, or later.
    fn delays_after(&self, warmup: Duration) -> Vec<Duration> {
        let batches = self.lock();
        let Some((first, ..)) = batches.first() else { return Vec::new() };
        batches.iter().filter(|(at, ..)| *at >= *first + warmup).map(|(.., delay)| *delay).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, u64, Duration)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_counted_in_a_row_and_above_an_interval() {
        let cases: [(&[u64], usize); 6] = [
            (&[], 0),
            (&[900], 0),
            // Short delays rise and fall.
            (&[1, 2, 3, 4, 5], 0),
            (&[50, 150, 200, 300], 3),
            (&[150, 200, 190, 210, 220, 230], 3),
            (&[500, 500, 500], 0),
        ];
        for (ms, expected) in cases {
            let delays: Vec<_> = ms.iter().copied().map(Duration::from_millis).collect();
            assert_eq!(longest_growth(&delays, Duration::from_millis(100)), expected, "{ms:?}");
        }
    }
}
