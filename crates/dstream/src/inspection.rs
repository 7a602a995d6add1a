//! What the states of a checkpoint hold, for people: read from outside, without the program, while its driver may run.
//!
//! A state has a version for every batch: version N + 1 is what batch N has left, version 0 is empty.

mod layout;
mod summary;
mod table;

pub use summary::{Listing, OperatorSummary, PartitionSummary, list_states, short};
pub use table::{Change, Changes, Row, Rows, Which, diff_state, show_state};
