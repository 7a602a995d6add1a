//! `StatsReportListener`: how long the last batches took, in Spark's layout.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use parking_lot::Mutex;

use crate::listener::{BatchInfo, StreamingEvent, StreamingListener};

/// Reports, after every batch, how total delay and processing time are distributed over the last batches.
pub struct StatsReportListener {
    batches: usize,
    last: Mutex<VecDeque<BatchInfo>>,
    report: Box<dyn Fn(&str) + Send + Sync>,
}

impl Default for StatsReportListener {
    /// Over the last 10 batches.
    fn default() -> Self {
        Self::new(10)
    }
}

impl StatsReportListener {
    /// Reports over the last `batches` batches, to the standard output.
    pub fn new(batches: usize) -> Self {
        Self::reporting_to(batches, |report| print!("{report}"))
    }

    /// Reports over the last `batches` batches to `report`, which gets some lines of text at a time.
    pub fn reporting_to(batches: usize, report: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { batches: batches.max(1), last: Mutex::default(), report: Box::new(report) }
    }
}

impl StreamingListener for StatsReportListener {
    fn on_event(&self, event: &StreamingEvent) {
        let StreamingEvent::BatchCompleted(info) = event else { return };
        let mut last = self.last.lock();
        last.push_back(info.clone());
        if last.len() > self.batches {
            last.pop_front();
        }
        let mut text = distribution("Total delay: ", last.iter().filter_map(BatchInfo::total_delay).collect());
        text += &distribution("Processing time: ", last.iter().filter_map(|batch| batch.processing_delay).collect());
        drop(last);
        (self.report)(&text);
    }
}

/// A heading with count, mean, standard deviation and extremes in milliseconds, and a table of percentiles.
fn distribution(heading: &str, mut delays: Vec<Duration>) -> String {
    const PERCENTILES: [usize; 9] = [0, 5, 10, 25, 50, 75, 90, 95, 100];
    delays.sort();
    let ms: Vec<f64> = delays.iter().map(|delay| delay.as_secs_f64() * 1e3).collect();
    let (Some(min), Some(max)) = (ms.first(), ms.last()) else { return String::new() };
    let count = ms.len() as f64;
    let mean = ms.iter().sum::<f64>() / count;
    let deviation = (ms.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
    let at = |percent: usize| delays[(percent * delays.len() / 100).min(delays.len() - 1)];
    let join = |cells: Vec<String>| cells.join("\t");
    let head = join(PERCENTILES.iter().map(|percent| format!("{percent}%")).collect());
    let row = join(PERCENTILES.iter().map(|percent| readable(at(*percent))).collect());
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(
        text,
        "{heading}(count: {count}, mean: {mean:.6}, stdev: {deviation:.6}, max: {max:.6}, min: {min:.6})\n\t{head}\n\t{row}"
    );
    text
}

/// `12.0 ms`, `2.5 s`, `1.1 min`, `3.0 hours`.
fn readable(delay: Duration) -> String {
    let seconds = delay.as_secs_f64();
    let (size, unit) = match seconds {
        s if s > 3600.0 => (s / 3600.0, "hours"),
        s if s > 60.0 => (s / 60.0, "min"),
        s if s > 1.0 => (s, "s"),
        s => (s * 1e3, "ms"),
    };
    format!("{size:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_shown_as_spark_shows_them() {
        let ms = Duration::from_millis;
        assert_eq!(
            [ms(12), ms(1000), ms(2500), ms(66_000), ms(10_800_000)].map(readable),
            ["12.0 ms", "1000.0 ms", "2.5 s", "1.1 min", "3.0 hours"]
        );
        let head = "\t0%\t5%\t10%\t25%\t50%\t75%\t90%\t95%\t100%\n";
        let row = "\t10.0 ms\t10.0 ms\t10.0 ms\t20.0 ms\t30.0 ms\t40.0 ms\t40.0 ms\t40.0 ms\t40.0 ms\n";
        assert_eq!(
            distribution("Total delay: ", vec![ms(40), ms(10), ms(30), ms(20)]),
            format!(
                "Total delay: (count: 4, mean: 25.000000, stdev: 11.180340, max: 40.000000, min: 10.000000)\n{head}{row}"
            )
        );
        assert_eq!(distribution("none", Vec::new()), "");
    }
}
