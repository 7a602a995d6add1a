//! The oracle: what the program must have written, from the input alone.
//!
//! Which batch has which records is for the program to choose: by the time at which it sees a file. Each record must be in one
//! batch, and all else follows from that: the counts after each batch, the words that fall silent, the windows.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use tidemill_engine::error::Result;
use tidemill_engine::time::{Time, millis};

use crate::input::word;
use crate::program::{INVERSE_WINDOW, SLIDE, TIMEOUT, WINDOW};
use crate::sink::{END, Output, SinkKind, Written};

/// What the outputs of a program hold.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The records of each batch.
    pub records: Written,
    /// What the states by key came to.
    pub states: Written,
    /// What the windows came to.
    pub windows: Written,
}

impl Outcome {
    /// Reads the outputs in a program's folder.
    pub fn read(sink: SinkKind, folder: &Path) -> Result<Self> {
        let read = |output| sink.read(folder, output);
        Ok(Self { records: read(Output::Records)?, states: read(Output::States)?, windows: read(Output::Windows)? })
    }
}

/// How an outcome compares with the input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The batches that were written.
    pub batches: u64,
    /// The records that were fed.
    pub records: u64,
    /// Those that are in no batch.
    pub lost: u64,
    /// How often records are there once more.
    pub doubled: u64,
    /// The batches of which states or windows are not what follows from the records: how many, and what of the first ones.
    pub wrong: u64,
    /// What is wrong, of the first ones.
    pub faults: Vec<String>,
}

impl Verdict {
    /// Nothing lost, nothing doubled, nothing wrong.
    pub fn is_exact(&self) -> bool {
        (self.lost, self.doubled, self.wrong) == (0, 0, 0)
    }

    fn fault(&mut self, fault: String) {
        self.wrong += 1;
        if self.faults.len() < 5 {
            self.faults.push(fault);
        }
    }

    fn compare(&mut self, what: &str, time: Time, got: Option<&Vec<String>>, mut expected: Vec<String>) {
        let Some(got) = got else { return self.fault(format!("batch {time} has no {what}")) };
        expected.push(END.to_string());
        expected.sort_unstable();
        let (mut got, mut missing) = (got.clone(), Vec::new());
        got.sort_unstable();
        for line in expected {
            match got.binary_search(&line) {
                Ok(at) => drop(got.remove(at)),
                Err(_) => missing.push(line),
            }
        }
        if !missing.is_empty() || !got.is_empty() {
            let first = |lines: &[String]| lines.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
            self.fault(format!("{what} of batch {time}: missing {}; too much {}", first(&missing), first(&got)));
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { batches, records, lost, doubled, wrong, faults } = self;
        write!(f, "{batches} batches, {records} records, {lost} lost, {doubled} doubled, {wrong} batches wrong")?;
        faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// Compares an outcome with an input of records 0, 1, 2 ... of this number.
pub fn judge(outcome: &Outcome, records: u64, interval: Duration) -> Verdict {
    let mut verdict = Verdict { batches: outcome.records.len() as u64, records, ..Verdict::default() };
    let mut seen = vec![0u64; usize::try_from(records).unwrap_or_default()];
    let mut model = Model { interval, ..Model::default() };
    let is_window = windows_from(&outcome.windows, interval);
    for (time, lines) in &outcome.records {
        let mut batch = Vec::new();
        if lines.iter().filter(|line| *line == END).count() != 1 {
            verdict.fault(format!("the records of batch {time} do not end once"));
        }
        for line in lines.iter().filter(|line| *line != END) {
            match line.parse::<usize>().ok().filter(|record| *record < seen.len()) {
                Some(record) => {
                    seen[record] += 1;
                    batch.push(record as u64);
                }
                None => verdict.fault(format!("batch {time} has a record that was never fed: {line}")),
            }
        }
        let states = model.batch(*time, batch);
        verdict.compare("states", *time, outcome.states.get(time), states);
        if is_window(*time) {
            let windows = model.windows(*time);
            verdict.compare("windows", *time, outcome.windows.get(time), windows);
        }
    }
    let beside = |written: &Written| written.keys().filter(|time| !outcome.records.contains_key(time)).count();
    (0..beside(&outcome.states) + beside(&outcome.windows))
        .for_each(|_| verdict.fault("a batch has no records".into()));
    verdict.lost = seen.iter().filter(|times| **times == 0).count() as u64;
    verdict.doubled = seen.iter().map(|times| times.saturating_sub(1)).sum();
    // Whatever batches say: in the end every record was counted once.
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    (0..records).for_each(|record| *totals.entry(word(record)).or_default() += 1);
    let totals: Vec<String> = totals.iter().map(|(word, count)| format!("count {word} {count}")).collect();
    if let Some((time, last)) = outcome.states.last_key_value() {
        let counts = last.iter().filter(|line| line.starts_with("count ") || *line == END).cloned().collect();
        verdict.compare("totals", *time, Some(&counts), totals);
    }
    verdict
}

/// Says which batches end a window: those a multiple of the slide from the first that did.
fn windows_from(windows: &Written, interval: Duration) -> impl Fn(Time) -> bool {
    let (first, slide) = (windows.first_key_value().map(|(time, _)| *time), millis(interval * SLIDE).max(1));
    move |time| first.is_some_and(|first| time.millis_since(first) % slide == 0)
}

/// The program, done by hand.
#[derive(Default)]
struct Model {
    interval: Duration,
    counts: BTreeMap<String, u64>,
    /// The count of a word since it was last silent, and when it last came.
    awake: BTreeMap<String, (u64, Time)>,
    batches: BTreeMap<Time, Vec<u64>>,
}

impl Model {
    /// What the states by key come to with a batch.
    fn batch(&mut self, time: Time, records: Vec<u64>) -> Vec<String> {
        let mut lines = Vec::new();
        for record in &records {
            let word = word(*record);
            *self.counts.entry(word.clone()).or_default() += 1;
            let (count, last) = self.awake.entry(word.clone()).or_insert((0, time));
            (*count, *last) = (*count + 1, time);
            lines.push(format!("seen {word} {count}"));
        }
        let oldest = time - self.interval * TIMEOUT;
        self.awake.retain(|word, (count, last)| {
            let stays = *last >= oldest;
            if !stays {
                lines.push(format!("silent {word} {count}"));
            }
            stays
        });
        lines.extend(self.counts.iter().map(|(word, count)| format!("count {word} {count}")));
        let begin = time - self.interval * INVERSE_WINDOW.max(WINDOW);
        self.batches.insert(time, records);
        self.batches.retain(|time, _| *time > begin);
        lines
    }

    /// What the windows come to that end with the last batch.
    fn windows(&self, time: Time) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, length) in [("inverse", INVERSE_WINDOW), ("window", WINDOW)] {
            let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
            let begin = time - self.interval * length;
            for record in self.batches.iter().filter(|(time, _)| **time > begin).flat_map(|(_, records)| records) {
                let (count, sum) = sums.entry(word(*record)).or_default();
                (*count, *sum) = (*count + 1, *sum + record);
            }
            lines.extend(sums.iter().map(|(word, (count, sum))| format!("{kind} {word} {count} {sum}")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(10);

    fn t(batch: i64) -> Time {
        Time::from_millis(10 * batch)
    }

    /// What a faultless program writes of three records a batch, in these batches.
    fn written(batches: &[i64]) -> Outcome {
        let mut model = Model { interval: INTERVAL, ..Model::default() };
        let mut outcome = Outcome::default();
        for (n, batch) in (0u64..).zip(batches) {
            let (time, records) = (t(*batch), (3 * n..3 * n + 3).collect::<Vec<_>>());
            let with_end = |lines: Vec<String>| lines.into_iter().chain([END.to_string()]).collect::<Vec<_>>();
            outcome.records.insert(time, with_end(records.iter().map(u64::to_string).collect()));
            outcome.states.insert(time, with_end(model.batch(time, records)));
            if batch % i64::from(SLIDE) == 0 {
                outcome.windows.insert(time, with_end(model.windows(time)));
            }
        }
        outcome
    }

    #[test]
    fn every_fault_is_counted() {
        type Fault = fn(&mut Outcome);
        // A fault -> (lost, doubled, whether something is wrong).
        let cases: [(Fault, (u64, u64, bool)); 10] = [
            (|_| {}, (0, 0, false)),
            (|o| drop(o.records.get_mut(&t(2)).unwrap().remove(0)), (1, 0, true)),
            (|o| drop(o.records.get_mut(&t(2)).unwrap().pop()), (0, 0, true)),
            (|o| o.records.get_mut(&t(3)).unwrap().push("0".into()), (0, 1, true)),
            (|o| o.records.get_mut(&t(3)).unwrap().push("999".into()), (0, 0, true)),
            (|o| drop(o.records.remove(&t(9))), (3, 0, true)),
            (|o| drop(o.states.remove(&t(3))), (0, 0, true)),
            (|o| drop(o.states.get_mut(&t(9)).unwrap().pop()), (0, 0, true)),
            (|o| drop(o.windows.remove(&t(4))), (0, 0, true)),
            (|o| drop(o.windows.insert(t(8), o.windows[&t(4)].clone())), (0, 0, true)),
        ];
        for (n, (fault, (lost, doubled, wrong))) in cases.into_iter().enumerate() {
            // A gap of two batches, as after a restart.
            let mut outcome = written(&[1, 2, 3, 4, 7, 8, 9]);
            fault(&mut outcome);
            let verdict = judge(&outcome, 21, INTERVAL);
            assert_eq!((verdict.lost, verdict.doubled, verdict.wrong > 0), (lost, doubled, wrong), "{n}: {verdict}");
            assert_eq!(verdict.is_exact(), n == 0);
        }
    }
}
