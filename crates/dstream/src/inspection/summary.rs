//! Which operators of a checkpoint have state, and how much.

use std::path::Path;

use tidemill_engine::batch::BatchId;
use tidemill_engine::error::Result;
use tidemill_engine::inspection::inspect;
use tidemill_engine::state::operator_record::OperatorRecord;
use tidemill_engine::state::reader::{Span, StateReader};
use tidemill_engine::state::{StateId, StateVersion};
use tidemill_engine::time::Time;

use super::layout::Layout;

/// The operators of a checkpoint that have state.
#[derive(Debug)]
pub struct Listing {
    /// The last batch that is done, and its time, if the log still has it.
    pub committed: Option<(BatchId, Option<Time>)>,
    /// The operators, by name.
    pub operators: Vec<OperatorSummary>,
}

/// An operator and the size of its state.
#[derive(Debug)]
pub struct OperatorSummary {
    /// Its name.
    pub name: String,
    /// What it does: `update_state_by_key`.
    pub kind: String,
    /// The type of its keys.
    pub key_type: String,
    /// The type of its values.
    pub value_type: String,
    /// Its partitions.
    pub partitions: Vec<PartitionSummary>,
}

/// A partition and the size of its state.
#[derive(Debug)]
pub struct PartitionSummary {
    /// Its number.
    pub partition: u32,
    /// The newest version to which it was changed; 0 of one that never was.
    pub version: StateVersion,
    /// The number of rows now.
    pub rows: usize,
    /// The bytes of its snapshots on disk.
    pub snapshot_bytes: u64,
    /// The bytes of its changes on disk.
    pub change_bytes: u64,
    /// The versions that can be restored.
    pub restorable: Vec<Span>,
}

impl OperatorSummary {
    /// The newest version to which it was changed; 0 of one that never was.
    pub fn version(&self) -> StateVersion {
        self.partitions.iter().map(|partition| partition.version).max().unwrap_or_default()
    }

    /// The number of rows now.
    pub fn rows(&self) -> usize {
        self.partitions.iter().map(|partition| partition.rows).sum()
    }

    /// The bytes of its snapshots on disk.
    pub fn snapshot_bytes(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.snapshot_bytes).sum()
    }

    /// The bytes of its changes on disk.
    pub fn change_bytes(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.change_bytes).sum()
    }
}

/// The states of the checkpoint in `folder`, which is left as it is.
///
/// # Errors
/// If there is no checkpoint, or a file of it is missing or damaged: the error names it.
pub fn list_states(folder: &Path) -> Result<Listing> {
    inspect(folder, |view| {
        let states = view.states()?;
        let records = OperatorRecord::read_all(&view.metadata.operators)?;
        let operators = records.iter().map(|(name, record)| summary(&states, name, record));
        let time = |id| view.batches.iter().find(|batch| batch.id == id).map(|batch| batch.time);
        let committed = view.committed.map(|id| (id, time(id)));
        Ok(Listing { committed, operators: operators.collect::<Result<_>>()? })
    })
}

fn summary(states: &StateReader, name: &str, record: &OperatorRecord) -> Result<OperatorSummary> {
    let layout = Layout::of(record, false);
    let mut partitions = Vec::with_capacity(record.partitions);
    for id in partition_ids(name, record) {
        let (snapshot_bytes, change_bytes) = states.sizes(&id);
        partitions.push(PartitionSummary {
            partition: id.partition,
            version: states.latest(&id, states.reached()).unwrap_or_default(),
            rows: layout.count(&states.rows(&id, states.reached())?).map_err(|error| error.context(&id))?,
            snapshot_bytes,
            change_bytes,
            restorable: states.restorable(&id),
        });
    }
    let (key_type, value_type) = (layout.key_type().to_string(), layout.value_type().to_string());
    Ok(OperatorSummary { name: name.to_string(), kind: record.kind.clone(), key_type, value_type, partitions })
}

/// The partitions of an operator as the store names them.
pub(super) fn partition_ids(name: &str, record: &OperatorRecord) -> Vec<StateId> {
    let operator = record.store_name(name).into();
    let count = u32::try_from(record.partitions).unwrap_or(u32::MAX);
    (0..count).map(|partition| StateId { operator: std::sync::Arc::clone(&operator), partition }).collect()
}

/// The name of a type without the modules that its parts are in: `(String, u64)`.
pub fn short(type_name: &str) -> String {
    let mut short = String::new();
    for (n, part) in type_name.split("::").enumerate() {
        if n > 0 {
            let modules = short.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').len();
            short.truncate(modules);
        }
        short.push_str(part);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn type_names_lose_their_modules() {
        let cases = [
            ("u64", "u64"),
            ("alloc::string::String", "String"),
            ("(alloc::string::String, u64)", "(String, u64)"),
            ("alloc::vec::Vec<(a::B, core::option::Option<c_d::e1::F>)>", "Vec<(B, Option<F>)>"),
        ];
        cases.iter().for_each(|(long, expected)| assert_eq!(short(long), *expected));
    }
}
