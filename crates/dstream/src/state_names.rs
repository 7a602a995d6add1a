//! The states of a program against those of its checkpoint: matched by name, and refused where they don't fit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tidemill_engine::batch::BatchId;
use tidemill_engine::checkpoint::metadata::{CheckpointMetadata, is_dropped};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::recovery::{CheckpointLogs, Resume};
use tidemill_engine::shuffle::hash_fingerprint;
use tidemill_engine::state::changelog::{ChangelogStore, SnapshotPolicy};
use tidemill_engine::state::operator_record::OperatorRecord;
use tidemill_engine::state::{MemoryStateStore, StateStore};

use crate::conf::SparkConf;
use crate::op::state::StateCore;

/// The states of a program, found in a checkpoint or new.
pub struct Matched {
    /// What the checkpoint is to know.
    pub records: BTreeMap<String, Value>,
    /// Each operator with the name under which the store has its state, and the number of its partitions.
    pub states: Vec<(Arc<StateCore>, String, usize)>,
}

impl Matched {
    /// The names under which the store has states that are still wanted.
    pub fn store_names(&self) -> BTreeSet<&str> {
        self.states.iter().map(|(_, name, _)| name.as_str()).collect()
    }
}

/// Opens the store of all states and ties the operators to it. With a checkpoint its metadata are written: what the program is;
/// without one states are in memory only.
///
/// # Errors
/// If the states don't fit the checkpoint, or can't be read.
pub fn open_states(
    conf: &SparkConf,
    states: &[Arc<StateCore>],
    checkpoint: Option<(&CheckpointLogs, &Resume, CheckpointMetadata)>,
) -> Result<Arc<dyn StateStore>> {
    let (matched, store): (_, Arc<dyn StateStore>) = match checkpoint {
        Some((logs, resume, mut metadata)) => {
            let dropped = conf.get("spark.tidemill.checkpoint.drop").unwrap_or_default();
            let matched = match_states(states, &metadata.operators, resume.next, dropped)?;
            metadata.operators.clone_from(&matched.records);
            logs.set_metadata(metadata)?;
            let store: Arc<dyn StateStore> = if states.is_empty() && resume.state_entry.is_none() {
                Arc::<MemoryStateStore>::default()
            } else {
                let policy = SnapshotPolicy {
                    deltas: conf.get_parsed("spark.tidemill.state.snapshotDeltas", SnapshotPolicy::default().deltas)?,
                    ..SnapshotPolicy::default()
                };
                let storage = Arc::clone(&logs.storage);
                let store = ChangelogStore::open(storage, resume.committed, resume.state_entry, policy)?;
                store.keep_operators(&matched.store_names())?;
                Arc::new(store)
            };
            (matched, store)
        }
        None => (match_states(states, &BTreeMap::new(), BatchId(0), "")?, Arc::<MemoryStateStore>::default()),
    };
    for (state, name, partitions) in &matched.states {
        state.bind(name, *partitions, Arc::clone(&store));
    }
    Ok(store)
}

/// The names of states: those that the program gave, else what they do, with a number from the second one on.
fn names(states: &[Arc<StateCore>]) -> Vec<(String, bool)> {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let name = |state: &Arc<StateCore>| match state.name() {
        Some(name) => (name, true),
        None => {
            let count = seen.entry(state.kind).and_modify(|count| *count += 1).or_insert(1);
            (if *count == 1 { state.kind.to_string() } else { format!("{}-{count}", state.kind) }, false)
        }
    };
    states.iter().map(name).collect()
}

/// Matches the states of a program with the records of its checkpoint. `next` is the number of the first new batch; states whose
/// names are in `dropped` may be missing, or begin anew.
///
/// # Errors
/// If two have the same name; if one of the checkpoint is missing, or has another kind, key, value or placement, or it can't be
/// told which is which.
pub fn match_states(
    states: &[Arc<StateCore>],
    previous: &BTreeMap<String, Value>,
    next: BatchId,
    dropped: &str,
) -> Result<Matched> {
    let mut old = OperatorRecord::read_all(previous)?;
    let names = names(states);
    let mut records = BTreeMap::new();
    let mut matched = Vec::new();
    for (state, (name, named)) in states.iter().zip(&names) {
        let place = format!("{} at {}", state.kind, state.call_site);
        let (key, value) = state.shapes();
        let fresh = OperatorRecord {
            kind: state.kind.to_string(),
            named: *named,
            partitions: state.partitions(),
            key,
            value,
            since: next,
            hash: hash_fingerprint(),
        };
        let record = match old.remove(name) {
            None => fresh,
            Some(found) => match misfit(&found, &fresh) {
                // From here on the state is written as this program writes it, which may know more variants of an enum.
                None => OperatorRecord { named: *named, key: fresh.key, value: fresh.value, ..found },
                Some(what) if is_dropped(dropped, name) => {
                    tracing::warn!(state = name, what, "a state of the checkpoint is dropped, and begins anew");
                    OperatorRecord { since: next, ..fresh }
                }
                Some(what) => {
                    return Err(Error::usage(format!(
                        "the state {name:?} ({place}) does not fit the one in the checkpoint: {what}; change it back, or give it \
                         another name with `named`, or begin it anew by spark.tidemill.checkpoint.drop={name}"
                    )));
                }
            },
        };
        matched.push((Arc::clone(state), record.store_name(name), record.partitions));
        let value = serde_json::to_value(&record)
            .map_err(|error| Error::internal("the record of a state can't be encoded").with_source(error))?;
        if records.insert(name.clone(), value).is_some() {
            return Err(Error::usage(format!(
                "two states are named {name:?}, one of them {place}: give them different names"
            )));
        }
    }
    for (name, record) in &old {
        if !is_dropped(dropped, name) {
            return Err(Error::usage(format!(
                "the checkpoint has a state {name:?} ({}) that the program has no more: give one this name with `named`, or \
                 drop it by spark.tidemill.checkpoint.drop={name}",
                record.kind
            )));
        }
        tracing::warn!(state = name, "a state of the checkpoint is dropped");
    }
    ambiguous(states, &names, previous, &old, dropped)?;
    Ok(Matched { records, states: matched })
}

/// What keeps the state of a checkpoint from being that of an operator.
fn misfit(found: &OperatorRecord, wanted: &OperatorRecord) -> Option<String> {
    if found.kind != wanted.kind {
        return Some(format!("it is of {}, not of {}", found.kind, wanted.kind));
    }
    for (what, found, wanted) in [("keys", &found.key, &wanted.key), ("values", &found.value, &wanted.value)] {
        if !found.fits(wanted) && found.type_name == wanted.type_name {
            return Some(format!("its {what} are {}, which had another form then", found.type_name));
        }
        if !found.fits(wanted) {
            return Some(format!("its {what} are {}, not {}", found.type_name, wanted.type_name));
        }
    }
    (found.hash != wanted.hash).then(|| "its keys were placed by another version of the hash".to_string())
}

/// Operators without names of the same kind are told apart by their order only: when one is added, they must be named.
fn ambiguous(
    states: &[Arc<StateCore>],
    names: &[(String, bool)],
    previous: &BTreeMap<String, Value>,
    removed: &BTreeMap<String, OperatorRecord>,
    dropped: &str,
) -> Result<()> {
    for (state, (name, named)) in states.iter().zip(names) {
        let is_new = !named && !previous.contains_key(name) && !is_dropped(dropped, name);
        let others = previous.iter().filter(|(other, value)| {
            !removed.contains_key(*other) && value["kind"] == state.kind && value["named"] == false
        });
        if let (true, Some((other, _))) = (is_new, others.into_iter().next()) {
            return Err(Error::usage(format!(
                "the program has one {} more than the checkpoint, and which is the new one can't be told: name them all with \
                 `named`; the old one is {other:?}, and so must be called that",
                state.kind
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    mod first {
        #[derive(Clone, serde::Serialize, serde::Deserialize)]
        pub enum Side {
            Left,
            Right(u8),
        }
    }

    mod second {
        #[derive(Clone, serde::Serialize, serde::Deserialize)]
        pub enum Side {
            Left,
            Right(u8),
            Above,
        }
    }

    fn records<S: tidemill_engine::chunk::Data>(previous: &BTreeMap<String, Value>) -> Result<BTreeMap<String, Value>> {
        let state = StateCore::new("update_state_by_key", 2, true);
        state.describe::<String, Vec<S>>();
        Ok(match_states(&[state], previous, BatchId(0), "")?.records)
    }

    #[test]
    fn an_enum_of_a_state_may_get_another_variant_and_not_lose_it() -> Result<()> {
        let first = records::<first::Side>(&BTreeMap::new())?;
        let second = records::<second::Side>(&first)?;
        assert_eq!(second, records::<second::Side>(&second)?);
        let error = records::<first::Side>(&second).unwrap_err();
        assert!(error.message().contains("does not fit the one in the checkpoint: its values are "), "{error}");
        Ok(())
    }
}
