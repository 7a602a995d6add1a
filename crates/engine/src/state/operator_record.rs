//! `OperatorRecord`: what a checkpoint knows of a stateful operator.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::shape::Shape;
use crate::batch::BatchId;
use crate::error::{Error, Result};

/// What a checkpoint knows of a stateful operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperatorRecord {
    /// What it does: `update_state_by_key`.
    pub kind: String,
    /// Whether the program named it.
    pub named: bool,
    /// The number of its partitions.
    pub partitions: usize,
    /// The keys of its changelog.
    pub key: Shape,
    /// The values of its changelog.
    pub value: Shape,
    /// The first batch that may have changed it: one of its name before that is another one.
    pub since: BatchId,
    /// Tells how keys are placed.
    pub hash: u32,
}

impl OperatorRecord {
    /// The name under which the store has the state.
    pub fn store_name(&self, name: &str) -> String {
        if self.since == BatchId(0) { name.to_string() } else { format!("{name}@{}", self.since) }
    }

    /// The record of an operator in a checkpoint's metadata.
    ///
    /// # Errors
    /// If it is not what this version writes.
    pub fn read(name: &str, value: &Value) -> Result<Self> {
        serde_json::from_value(value.clone()).map_err(|error| {
            let message = format!("the checkpoint's record of the state {name:?} was written by another version");
            Error::data(message).with_source(error)
        })
    }

    /// All records of a checkpoint's metadata, by the operators' names.
    ///
    /// # Errors
    /// As [`OperatorRecord::read`].
    pub fn read_all(operators: &BTreeMap<String, Value>) -> Result<BTreeMap<String, Self>> {
        operators.iter().map(|(name, value)| Ok((name.clone(), Self::read(name, value)?))).collect()
    }
}
