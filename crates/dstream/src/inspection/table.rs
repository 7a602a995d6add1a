//! The rows of a state at a version, and what changed from one version to the next.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::inspection::{CheckpointView, inspect};
use tidemill_engine::state::operator_record::OperatorRecord;
use tidemill_engine::state::reader::{Span, StateReader, in_both};
use tidemill_engine::state::{StateId, StateVersion};

use super::layout::Layout;
use super::summary::partition_ids;

/// Which rows are wanted.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// The version; by default the newest.
    pub version: Option<StateVersion>,
    /// The partition; by default all.
    pub partition: Option<u32>,
    /// The key; by default all.
    pub key: Option<Value>,
    /// Whether what the batches of a window hold is wanted, and not only how much.
    pub all: bool,
}

/// The rows of a state.
#[derive(Debug)]
pub struct Rows {
    /// The version of the state.
    pub version: StateVersion,
    /// What stands in the columns, the key first.
    pub columns: &'static [&'static str],
    /// The rows, by key.
    pub rows: Vec<Row>,
}

/// A row of a state.
#[derive(Debug, PartialEq)]
pub struct Row {
    /// The partition that has it.
    pub partition: u32,
    /// The key.
    pub key: Value,
    /// What stands in the other columns.
    pub values: Vec<Value>,
}

/// What changed from one version to the next.
#[derive(Debug)]
pub struct Changes {
    /// The version before.
    pub before: StateVersion,
    /// What stands in the columns of the rows, the key first.
    pub columns: &'static [&'static str],
    /// The rows that changed, by key.
    pub rows: Vec<Change>,
}

/// A row that changed.
#[derive(Debug, PartialEq)]
pub struct Change {
    /// The partition that has it.
    pub partition: u32,
    /// The key.
    pub key: Value,
    /// The other columns before; none if it was added.
    pub before: Option<Vec<Value>>,
    /// The other columns after; none if it was removed.
    pub after: Option<Vec<Value>>,
}

impl Change {
    /// What happened: `added`, `removed` or `changed`.
    pub fn what(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        }
    }
}

/// The rows of an operator's state in the checkpoint in `folder`, which is left as it is. The newest version is that which the last
/// committed batch has left.
///
/// # Errors
/// If there is no checkpoint, operator, partition or version of this name or number: the error says which there are. If a file is
/// missing or damaged: the error names it.
pub fn show_state(folder: &Path, operator: &str, which: &Which) -> Result<Rows> {
    inspect(folder, |view| {
        let state = State::find(view, operator, which)?;
        let version = which.version.unwrap_or(state.states.reached());
        state.check(operator, version)?;
        let mut rows = Vec::new();
        for id in &state.ids {
            for (key, value) in state.states.rows(id, version)? {
                let order = state.layout.order(&key);
                let (key, values) = state.layout.row(&key, &value).map_err(|error| error.context(id))?;
                rows.push((order, Row { partition: id.partition, key, values }));
            }
        }
        rows.retain(|(_, row)| which.key.as_ref().is_none_or(|key| row.key == *key));
        rows.sort_by(|(n, a), (m, b)| by_key((*n, &a.key, a.partition), (*m, &b.key, b.partition)));
        let rows = rows.into_iter().map(|(_, row)| row).collect();
        Ok(Rows { version, columns: state.layout.columns(), rows })
    })
}

/// What changed in an operator's state from a version to the next, as [`show_state`] shows it. By default the last change of this
/// operator.
///
/// # Errors
/// As [`show_state`].
pub fn diff_state(folder: &Path, operator: &str, which: &Which) -> Result<Changes> {
    inspect(folder, |view| {
        let state = State::find(view, operator, which)?;
        let newest = state.ids.iter().filter_map(|id| state.states.latest(id, state.states.reached())).max();
        let last = StateVersion(newest.unwrap_or_default().0.saturating_sub(1));
        let before = which.version.unwrap_or(last);
        let after = StateVersion(before.0.saturating_add(1));
        state.check(operator, before)?;
        state.check(operator, after)?;
        let mut rows = Vec::new();
        for id in &state.ids {
            let (old, new) = (state.states.rows(id, before)?, state.states.rows(id, after)?);
            let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for key in keys.into_iter().filter(|key| old.get(*key) != new.get(*key)) {
                let mut shown = Value::Null;
                let mut values = |value: Option<&Vec<u8>>| -> Result<Option<Vec<Value>>> {
                    let Some(value) = value else { return Ok(None) };
                    let (key, values) = state.layout.row(key, value).map_err(|error| error.context(id))?;
                    shown = key;
                    Ok(Some(values))
                };
                let (before, after) = (values(old.get(key))?, values(new.get(key))?);
                let change = Change { partition: id.partition, key: shown, before, after };
                rows.push((state.layout.order(key), change));
            }
        }
        rows.retain(|(_, row)| which.key.as_ref().is_none_or(|key| row.key == *key));
        rows.sort_by(|(n, a), (m, b)| by_key((*n, &a.key, a.partition), (*m, &b.key, b.partition)));
        let rows = rows.into_iter().map(|(_, row)| row).collect();
        Ok(Changes { before, columns: state.layout.columns(), rows })
    })
}

/// The part of a state that is wanted.
struct State {
    states: StateReader,
    layout: Layout,
    ids: Vec<StateId>,
}

impl State {
    fn find(view: &CheckpointView, operator: &str, which: &Which) -> Result<Self> {
        let records = OperatorRecord::read_all(&view.metadata.operators)?;
        let record = records.get(operator).ok_or_else(|| {
            let names: Vec<String> = records.keys().map(|name| format!("{name:?}")).collect();
            let there = if names.is_empty() { "none has any".to_string() } else { names.join(", ") };
            Error::usage(format!("the checkpoint has no state of an operator {operator:?}; it has: {there}"))
        })?;
        let mut ids = partition_ids(operator, record);
        if let Some(partition) = which.partition {
            ids.retain(|id| id.partition == partition);
            if ids.is_empty() {
                let last = record.partitions.saturating_sub(1);
                return Err(Error::usage(format!("{operator:?} has no partition {partition}: it has 0 to {last}")));
            }
        }
        Ok(Self { states: view.states()?, layout: Layout::of(record, which.all), ids })
    }

    /// An error unless all of it can be restored at this version.
    fn check(&self, operator: &str, version: StateVersion) -> Result<()> {
        let whole = vec![StateVersion(0)..=self.states.reached()];
        let spans = self.ids.iter().fold(whole, |spans, id| in_both(&spans, &self.states.restorable(id)));
        if spans.iter().any(|span| span.contains(&version)) {
            return Ok(());
        }
        let spans: Vec<String> = spans.iter().map(between).collect();
        let there = spans.join(", ");
        Err(Error::usage(format!("the state of {operator:?} can't be restored at version {version}, but at {there}")))
    }
}

/// A span in words.
fn between(span: &Span) -> String {
    if span.start() == span.end() { span.start().to_string() } else { format!("{} to {}", span.start(), span.end()) }
}

/// By order, then by key: numbers by size, all else by its text. Then by partition.
fn by_key((n, a, p): (u8, &Value, u32), (m, b, q): (u8, &Value, u32)) -> Ordering {
    let keys = match (a.as_i64(), b.as_i64(), a.as_f64(), b.as_f64()) {
        (Some(a), Some(b), ..) => a.cmp(&b),
        (_, _, Some(a), Some(b)) => a.total_cmp(&b),
        (_, _, a_number, b_number) => {
            a_number.is_none().cmp(&b_number.is_none()).then_with(|| a.to_string().cmp(&b.to_string()))
        }
    };
    n.cmp(&m).then(keys).then(p.cmp(&q))
}
