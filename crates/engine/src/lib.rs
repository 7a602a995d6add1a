//! The micro-batch engine of Tidemill: plan in, batches out.
//!
//! In the order in which data goes: rows are [`chunk`]s; closures over them are [`function`]s; a data set is the
//! [`lineage`] of its operators; [`operator::lower`] makes of it a DataFusion plan of stages with a [`shuffle`] between
//! them; a [`runner`] runs it. [`codec`] turns plans into bytes and back.
//!
//! And over time: a [`source`] says how far it goes; the loop, [`micro_batch`], logs that in the [`log`], has a
//! [`planner`] make jobs of the [`batch`], runs them, which fill [`sink`]s, and logs that they are done. [`recovery`] finds
//! where a restart resumes, [`inspection`] looks into a checkpoint from outside. [`listener`]s hear of everything; [`rate`] slows sources down.

#![forbid(unsafe_code)]

pub mod batch;
mod batch_run;
pub mod cache;
pub mod checkpoint;
pub mod chunk;
pub mod clock;
pub mod codec;
pub mod error;
pub mod failpoint;
mod frontier;
pub mod function;
pub mod input;
pub mod inspection;
mod ledger;
pub mod lineage;
pub mod listener;
pub mod log;
mod loop_threads;
pub mod micro_batch;
pub mod operator;
pub mod planner;
pub mod rate;
pub mod recovery;
pub mod runner;
mod setup;
pub mod shuffle;
pub mod sink;
pub mod source;
pub mod state;
mod state_turns;
pub mod stats_report;
pub mod text;
pub mod time;
pub mod trigger;
pub mod waiter;
