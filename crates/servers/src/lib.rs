//! Real servers for tests and benches: on free ports of this machine, in folders that are removed, stopped when they are dropped.
//!
//! `scripts/install-servers` has put their programs here before.

#![forbid(unsafe_code)]

pub mod kafka;
pub mod kafka_client;
mod kafka_tls;
pub mod postgres;
pub mod process;
mod skip;

pub use self::skip::is_skipped;
