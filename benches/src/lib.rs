//! Benches of Tidemill: the inputs, the hand-written loops, the jobs, and how they are timed.
//!
//! `cargo bench` runs two tables: `loops` holds each job against a hand-written loop on the same data, `intervals` holds
//! small batches at short intervals. The program `compare`, which needs `job` built beside it, holds the same jobs against
//! Spark, each run in a process of its own.

#![forbid(unsafe_code)]

pub mod hand;
pub mod input;
pub mod job;
pub mod stats;
