//! A job as a streaming program: the same input for every batch, every batch counted.

use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidemill::engine::listener::BatchInfo;
use tidemill::prelude::*;

/// What a program does with a batch: it gives (rows, checksum).
pub type Outcome = (u64, i64);

/// The batches of a run.
pub struct Run {
    /// All batches, the warm-up's first.
    pub batches: Vec<BatchInfo>,
    /// What the last batch gave.
    pub outcome: Outcome,
    /// When the first batch was over.
    pub first: Instant,
}

impl Run {
    /// Processing times, without the first `warmup` batches.
    pub fn processing(&self, warmup: usize) -> crate::stats::Times {
        crate::stats::Times::new(self.batches.iter().skip(warmup).filter_map(|batch| batch.processing_delay))
    }

    /// Scheduling delays, without the first `warmup` batches.
    pub fn scheduling(&self, warmup: usize) -> crate::stats::Times {
        crate::stats::Times::new(self.batches.iter().skip(warmup).filter_map(|batch| batch.scheduling_delay))
    }
}

/// Runs a program that `build` makes until `batches` batches are over. `build` registers one output operation, which sets the
/// outcome.
pub fn run(
    sc: &SparkContext,
    interval: Duration,
    batches: usize,
    build: impl FnOnce(&StreamingContext, Arc<Mutex<Outcome>>) -> Result<()>,
) -> Result<Run> {
    let ssc = StreamingContext::new(sc, interval)?;
    let outcome = Arc::new(Mutex::new((0, 0)));
    build(&ssc, Arc::clone(&outcome))?;
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    ssc.add_streaming_listener(Arc::new(move |event: &StreamingEvent| {
        if let StreamingEvent::BatchCompleted(info) = event {
            // The reader has gone when it has seen enough.
            let _ = sender.lock().expect("no panic while sending").send((info.clone(), Instant::now()));
        }
    }));
    ssc.start()?;
    let mut seen = Vec::with_capacity(batches);
    let mut first = None;
    while seen.len() < batches {
        let Ok((info, at)) = receiver.recv_timeout(Duration::from_secs(600)) else { break };
        first.get_or_insert(at);
        seen.push(info);
        ssc.await_termination_or_timeout(Duration::ZERO)?;
    }
    ssc.stop_with(false, false)?;
    let outcome = *outcome.lock().expect("no panic in the jobs");
    Ok(Run { batches: seen, outcome, first: first.unwrap_or_else(Instant::now) })
}

/// Which way words are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// Closures over a `String` for every word.
    Strings,
    /// Closures over slices of the Arrow buffer.
    Borrowed,
}

/// Word count of the same lines for every batch, collected by the driver.
pub fn word_count(
    ssc: &StreamingContext,
    lines: &Rdd<String>,
    words: Words,
    outcome: Arc<Mutex<Outcome>>,
) -> Result<()> {
    counts(ssc, lines, words)?.foreach_rdd(move |rdd| {
        let counts = rdd.collect()?;
        let total = counts.iter().map(|(_, count)| count).sum();
        *outcome.lock().expect("no panic in the jobs") = (counts.len() as u64, total);
        Ok(())
    })
}

/// The words of every batch with their counts.
fn counts(ssc: &StreamingContext, lines: &Rdd<String>, words: Words) -> Result<DStream<(String, i64)>> {
    let lines = ssc.constant_stream(lines)?;
    Ok(match words {
        Words::Borrowed => lines.text().split_words().reduce_by_key(|_| 1i64, |a, b| a + b),
        Words::Strings => lines
            .flat_map(|line| line.split_ascii_whitespace().map(String::from).collect::<Vec<_>>())
            .map(|word| (word, 1i64))
            .reduce_by_key(|a, b| a + b),
    })
}

/// The words of all batches with their counts, kept as state under a checkpoint; their number is counted.
pub fn update_state(
    ssc: &StreamingContext,
    checkpoint: &Path,
    lines: &Rdd<String>,
    words: Words,
    outcome: Arc<Mutex<Outcome>>,
) -> Result<()> {
    ssc.checkpoint(checkpoint)?;
    let sum = |new: Vec<i64>, sum: Option<i64>| Some(sum.unwrap_or(0) + new.iter().sum::<i64>());
    counts(ssc, lines, words)?.update_state_by_key(sum).foreach_rdd(move |rdd| {
        *outcome.lock().expect("no panic in the jobs") = (rdd.count()?, 0);
        Ok(())
    })
}

/// The words of the last ten batches with their counts, brought forward by an inverse, under a checkpoint; their number is counted.
pub fn inverse_window(
    ssc: &StreamingContext,
    checkpoint: &Path,
    lines: &Rdd<String>,
    words: Words,
    outcome: Arc<Mutex<Outcome>>,
) -> Result<()> {
    ssc.checkpoint(checkpoint)?;
    let (window, slide) = (10 * ssc.batch_duration(), ssc.batch_duration());
    let counts = counts(ssc, lines, words)?;
    let windows = counts.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, window, slide)?;
    windows.foreach_rdd(move |rdd| {
        *outcome.lock().expect("no panic in the jobs") = (rdd.count()?, 0);
        Ok(())
    })
}

/// Lines that contain a pattern, counted.
pub fn grep(ssc: &StreamingContext, lines: &Rdd<String>, pattern: String, outcome: Arc<Mutex<Outcome>>) -> Result<()> {
    let lines = ssc.constant_stream(lines)?;
    lines.text().filter(move |line| line.contains(&pattern)).count().foreach_rdd(move |rdd| {
        let count = rdd.collect()?.into_iter().sum();
        *outcome.lock().expect("no panic in the jobs") = (count, 0);
        Ok(())
    })
}

/// Sums by key, counted.
pub fn reduce_by_key(ssc: &StreamingContext, pairs: &Rdd<(i64, i64)>, outcome: Arc<Mutex<Outcome>>) -> Result<()> {
    ssc.constant_stream(pairs)?.reduce_by_key(|a, b| a + b).foreach_rdd(move |rdd| {
        *outcome.lock().expect("no panic in the jobs") = (rdd.count()?, 0);
        Ok(())
    })
}

/// A join of two streams, counted.
pub fn join(
    ssc: &StreamingContext,
    left: &Rdd<(i64, i64)>,
    right: &Rdd<(i64, i64)>,
    outcome: Arc<Mutex<Outcome>>,
) -> Result<()> {
    ssc.constant_stream(left)?.join(&ssc.constant_stream(right)?).foreach_rdd(move |rdd| {
        *outcome.lock().expect("no panic in the jobs") = (rdd.count()?, 0);
        Ok(())
    })
}
