//! What survives: which batches were planned, and which are done.

pub mod commit_log;
pub mod metadata_log;
pub mod offset_log;
pub mod receiver_log;
