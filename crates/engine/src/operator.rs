//! The `ExecutionPlan` nodes that are ours, one file each.

pub mod lower;
pub mod stage;
pub mod stage_wire;
pub mod text_scan;
