//! A batch on the standard output: for people, or for scripts.

use std::io::Write;
use std::time::Duration;

use tidemill::engine::listener::BatchInfo;

/// How batches are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// The most frequent words, and how fast it went.
    #[default]
    Text,
    /// One JSON object a line: batch_time_ms, records, scheduling_delay_ms, processing_ms, result.
    Json,
}

/// Prints batches.
pub struct Report {
    format: Format,
}

impl Report {
    /// A report in this format.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Prints one batch.
    pub fn batch(&self, info: &BatchInfo, counts: Vec<(String, u64)>) -> std::io::Result<()> {
        let text = match self.format {
            Format::Text => for_people(info, counts),
            Format::Json => for_scripts(info, counts),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }
}

fn ms(duration: Option<Duration>) -> f64 {
    duration.unwrap_or_default().as_secs_f64() * 1e3
}

fn for_scripts(info: &BatchInfo, counts: Vec<(String, u64)>) -> String {
    let result: serde_json::Map<String, serde_json::Value> =
        counts.into_iter().map(|(word, count)| (word, count.into())).collect();
    serde_json::json!({
        "batch_time_ms": info.batch_time.as_millis(),
        "records": info.records(),
        "scheduling_delay_ms": ms(info.scheduling_delay),
        "processing_ms": ms(info.processing_delay),
        "result": result,
    })
    .to_string()
}

fn for_people(info: &BatchInfo, mut counts: Vec<(String, u64)>) -> String {
    let (records, processing) = (info.records(), ms(info.processing_delay));
    let rate = if processing > 0.0 { records as f64 / processing * 1e3 } else { 0.0 };
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let (total, distinct) = (counts.iter().map(|(_, count)| count).sum::<u64>(), counts.len());
    let top: Vec<String> = counts.iter().take(8).map(|(word, count)| format!("{word} {count}")).collect();
    format!(
        "batch {} | {records} lines, {processing:.2} ms ({rate:.0} lines/s), waited {:.2} ms\n  {total} words, {distinct} \
         different: {}",
        info.batch_time,
        ms(info.scheduling_delay),
        if top.is_empty() { "none".to_string() } else { top.join(", ") }
    )
}
