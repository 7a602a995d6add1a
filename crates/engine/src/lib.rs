//! The micro-batch engine of Tidemill: plan in, exactly-once batches out.
//!
//! In the order in which data goes: rows are [`chunk`]s; closures over them are [`function`]s; a data set is the
//! [`lineage`] of its operators; [`operator::lower`] makes of it a DataFusion plan of stages with a [`shuffle`] between
//! them; a [`runner`] runs it. [`codec`] turns plans into bytes and back.
#![forbid(unsafe_code)]
pub mod cache;
pub mod chunk;
pub mod clock;
pub mod codec;
pub mod error;
pub mod function;
pub mod lineage;
pub mod operator;
pub mod runner;
pub mod shuffle;
pub mod text;
pub mod time;
