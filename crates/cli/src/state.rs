//! `tidemill state`: what the states of a checkpoint hold. Nothing in it is touched, and its driver may run.

use std::path::PathBuf;

use serde_json::{Value, json};
use tidemill::engine::state::StateVersion;
use tidemill::engine::state::reader::Span;
use tidemill::inspection::{Change, Listing, Which, diff_state, list_states, short, show_state};
use tidemill::prelude::*;

use crate::count::complain;
use crate::table::{Layout, bytes, print, table};

/// The commands on states. A state has a version for every batch: version N + 1 is what batch N has left.
#[derive(clap::Subcommand)]
pub enum State {
    /// List the operators that have state, with their newest versions and sizes.
    Ls(List),
    /// Show the rows of a state at a version.
    Show(Show),
    /// Show what changed in a state from version N to N + 1.
    Diff(Diff),
}

/// The options of `state ls`.
#[derive(clap::Args)]
pub struct List {
    /// The checkpoint folder.
    checkpoint: PathBuf,
    /// A line for each partition, with the versions that can be restored.
    #[arg(short = 'v', long)]
    partitions: bool,
    /// What is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Layout,
}

/// The options of `state show` and `state diff`.
#[derive(clap::Args)]
struct Choice {
    /// The checkpoint folder.
    checkpoint: PathBuf,
    /// The operator, as `state ls` names it.
    operator: String,
    /// Only the rows of this partition.
    #[arg(long)]
    partition: Option<u32>,
    /// Only the row of this key, as JSON; what is not JSON counts as text.
    #[arg(long)]
    key: Option<String>,
    /// At most so many rows.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// What the batches of a window hold, not only how much.
    #[arg(long)]
    all: bool,
    /// What is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Layout,
}

/// The options of `state show`.
#[derive(clap::Args)]
pub struct Show {
    #[command(flatten)]
    choice: Choice,
    /// The version; without it, what the last committed batch has left.
    #[arg(long)]
    version: Option<u64>,
}

/// The options of `state diff`.
#[derive(clap::Args)]
pub struct Diff {
    #[command(flatten)]
    choice: Choice,
    /// The version before the change; without it, the one before the newest that `state ls` names.
    #[arg(long)]
    version: Option<u64>,
}

impl State {
    /// Runs it.
    pub fn run(&self) -> Result<()> {
        match self {
            Self::Ls(list) => list.run(),
            Self::Show(show) => show.run(),
            Self::Diff(diff) => diff.run(),
        }
    }
}

/// The batch that left a version.
fn batch_of(version: StateVersion) -> Option<u64> {
    version.0.checked_sub(1)
}

fn or_none(number: Option<u64>) -> String {
    number.map_or("-".to_string(), |number| number.to_string())
}

fn spans(spans: &[Span]) -> String {
    let text = |span: &Span| match span.start() == span.end() {
        true => span.start().to_string(),
        false => format!("{}-{}", span.start(), span.end()),
    };
    spans.iter().map(text).collect::<Vec<_>>().join(" ")
}

impl List {
    fn run(&self) -> Result<()> {
        let listing = list_states(&self.checkpoint)?;
        print(&match (self.format, self.partitions) {
            (Layout::Json, _) => as_json(&listing),
            (Layout::Table, false) => summed_up(&listing),
            (Layout::Table, true) => by_partition(&listing),
        })
    }
}

fn summed_up(listing: &Listing) -> String {
    let mut text = match listing.committed {
        None => "no batch is committed yet\n".to_string(),
        Some((batch, None)) => format!("the last committed batch is {batch}\n"),
        Some((batch, Some(time))) => format!("the last committed batch is {batch}, of {time}\n"),
    };
    if listing.operators.is_empty() {
        return text + "no operator has state\n";
    }
    let head = ["operator", "kind", "partitions", "key", "value", "version", "batch", "rows", "snapshots", "changes"];
    let row = |operator: &tidemill::inspection::OperatorSummary| {
        vec![
            operator.name.clone(),
            operator.kind.clone(),
            operator.partitions.len().to_string(),
            short(&operator.key_type),
            short(&operator.value_type),
            operator.version().to_string(),
            or_none(batch_of(operator.version())),
            operator.rows().to_string(),
            bytes(operator.snapshot_bytes()),
            bytes(operator.change_bytes()),
        ]
    };
    text.push_str(&table(&head, listing.operators.iter().map(row)));
    text
}

fn by_partition(listing: &Listing) -> String {
    let head = ["operator", "partition", "version", "batch", "rows", "snapshots", "changes", "restorable"];
    let rows = listing.operators.iter().flat_map(|operator| {
        operator.partitions.iter().map(|partition| {
            vec![
                operator.name.clone(),
                partition.partition.to_string(),
                partition.version.to_string(),
                or_none(batch_of(partition.version)),
                partition.rows.to_string(),
                bytes(partition.snapshot_bytes),
                bytes(partition.change_bytes),
                spans(&partition.restorable),
            ]
        })
    });
    table(&head, rows)
}

fn as_json(listing: &Listing) -> String {
    let span = |span: &Span| json!([span.start(), span.end()]);
    let mut text = String::new();
    for operator in &listing.operators {
        let partition = |partition: &tidemill::inspection::PartitionSummary| {
            json!({
                "partition": partition.partition,
                "version": partition.version,
                "batch": batch_of(partition.version),
                "rows": partition.rows,
                "snapshot_bytes": partition.snapshot_bytes,
                "change_bytes": partition.change_bytes,
                "restorable": partition.restorable.iter().map(span).collect::<Vec<_>>(),
            })
        };
        let line = json!({
            "operator": operator.name,
            "kind": operator.kind,
            "key_type": operator.key_type,
            "value_type": operator.value_type,
            "version": operator.version(),
            "batch": batch_of(operator.version()),
            "rows": operator.rows(),
            "snapshot_bytes": operator.snapshot_bytes(),
            "change_bytes": operator.change_bytes(),
            "partitions": operator.partitions.iter().map(partition).collect::<Vec<_>>(),
        });
        text.push_str(&format!("{line}\n"));
    }
    text
}

impl Choice {
    fn which(&self, version: Option<u64>) -> Which {
        let key = self.key.as_ref().map(|key| serde_json::from_str(key).unwrap_or_else(|_| json!(key)));
        Which { version: version.map(StateVersion), partition: self.partition, key, all: self.all }
    }

    /// What comes behind the first rows.
    fn rest(&self, count: usize) -> String {
        match count.checked_sub(self.limit).filter(|rest| *rest > 0) {
            None => String::new(),
            Some(rest) => format!("; {rest} are not shown, see --limit"),
        }
    }

    /// Prints rows, as far as they are wanted, in lines of JSON.
    fn lines(&self, rows: impl ExactSizeIterator<Item = Value>) -> Result<()> {
        let rest = self.rest(rows.len());
        if !rest.is_empty() {
            complain(&format!("{} rows{rest}", rows.len()));
        }
        let lines: Vec<String> = rows.take(self.limit).map(|row| format!("{row}\n")).collect();
        print(&lines.concat())
    }
}

impl Show {
    fn run(&self) -> Result<()> {
        let choice = &self.choice;
        let found = show_state(&choice.checkpoint, &choice.operator, &choice.which(self.version))?;
        let count = found.rows.len();
        if choice.format == Layout::Json {
            return choice.lines(found.rows.into_iter().map(|row| {
                let cells = std::iter::once(row.key).chain(row.values);
                let mut line: serde_json::Map<String, Value> =
                    found.columns.iter().map(|name| name.to_string()).zip(cells).collect();
                line.insert("partition".into(), row.partition.into());
                Value::Object(line)
            }));
        }
        let rows = found.rows.iter().take(choice.limit);
        // What kind a row is of is no value of the program's, and stands without quotes.
        let cell = |(name, value): (&&str, &Value)| match value {
            Value::String(kind) if *name == "of" => kind.clone(),
            value => value.to_string(),
        };
        let rows = rows.map(|row| {
            let values = std::iter::once(&row.key).chain(&row.values);
            found.columns.iter().zip(values).map(cell).collect()
        });
        let table = table(found.columns, rows);
        print(&format!("{table}{count} rows at version {}{}\n", found.version, choice.rest(count)))
    }
}

impl Diff {
    fn run(&self) -> Result<()> {
        let choice = &self.choice;
        let found = diff_state(&choice.checkpoint, &choice.operator, &choice.which(self.version))?;
        let names = &found.columns[1..];
        let before = |change: &Change| change.before.as_ref().map(|values| together(names, values));
        let after = |change: &Change| change.after.as_ref().map(|values| together(names, values));
        let count = found.rows.len();
        if choice.format == Layout::Json {
            return choice.lines(found.rows.iter().map(|change| {
                json!({
                    "key": change.key,
                    "change": change.what(),
                    "before": before(change),
                    "after": after(change),
                    "partition": change.partition,
                })
            }));
        }
        let text = |value: Option<Value>| value.map_or("-".to_string(), |value| value.to_string());
        let row = |change: &Change| {
            vec![change.key.to_string(), change.what().to_string(), text(before(change)), text(after(change))]
        };
        let rows =
            table(&[found.columns[0], "change", "before", "after"], found.rows.iter().take(choice.limit).map(row));
        let (from, to) = (found.before, StateVersion(found.before.0 + 1));
        print(&format!("{rows}{count} changes from version {from} to {to}, by batch {from}{}\n", choice.rest(count)))
    }
}

/// What stands in several columns, as one value; in one, as it is.
fn together(names: &[&str], values: &[Value]) -> Value {
    match values {
        [value] => value.clone(),
        values => names.iter().map(|name| name.to_string()).zip(values.iter().cloned()).collect(),
    }
}
