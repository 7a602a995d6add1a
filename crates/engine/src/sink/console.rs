//! `ConsoleSink`: batches of text on the standard output, in Spark's layout. A batch that runs again is printed again.

use std::collections::BTreeMap;
use std::io::Write as _;

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use super::{Receipt, Sink, lines};
use crate::batch::{BatchId, BatchStamp};
use crate::error::{Error, Result};
use crate::time::Time;

/// Prints the first lines of every batch.
pub struct ConsoleSink {
    rows: usize,
    written: Mutex<BTreeMap<BatchId, BTreeMap<usize, Vec<String>>>>,
}

impl ConsoleSink {
    /// Prints up to `rows` lines of a batch.
    pub fn new(rows: usize) -> Self {
        Self { rows, written: Mutex::default() }
    }
}

impl Sink for ConsoleSink {
    fn name(&self) -> String {
        "console".into()
    }

    fn is_idempotent(&self) -> bool {
        false
    }

    fn write(&self, batch: BatchStamp, partition: usize, rows: Vec<RecordBatch>) -> Result<Receipt> {
        let first = lines(&rows)?.into_iter().take(self.rows.saturating_add(1)).map(String::from).collect();
        self.written.lock().entry(batch.id).or_default().insert(partition, first);
        Ok(Receipt::default())
    }

    fn commit(&self, batch: BatchStamp, _: Vec<Receipt>) -> Result<()> {
        let rows: Vec<String> =
            self.written.lock().remove(&batch.id).unwrap_or_default().into_values().flatten().collect();
        print(&rows, self.rows, batch.time)
    }
}

/// Prints up to `n` of the lines of the batch of `time` on the standard output.
pub fn print(rows: &[String], n: usize, time: Time) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(layout(rows, n, time).as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Error::retry("can't write to the standard output").with_source(error))
}

/// A batch as Spark prints it: a heading with the time, up to `n` lines, dots if there are more.
fn layout(rows: &[String], n: usize, time: Time) -> String {
    let rule = "-".repeat(43);
    let mut text = format!("{rule}\nTime: {time}\n{rule}\n");
    for row in rows.iter().take(n) {
        text.push_str(row);
        text.push('\n');
    }
    if rows.len() > n {
        text.push_str("...\n");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_printed_as_spark_prints_them() {
        let rule = "-".repeat(43);
        let head = format!("{rule}\nTime: 1000 ms\n{rule}\n");
        let cases: [(&[&str], &str); 3] = [(&[], "\n"), (&["1", "2"], "1\n2\n\n"), (&["1", "2", "3"], "1\n2\n...\n\n")];
        for (rows, body) in cases {
            let rows: Vec<String> = rows.iter().map(|row| row.to_string()).collect();
            assert_eq!(layout(&rows, 2, Time::from_millis(1000)), format!("{head}{body}"));
        }
    }
}
