//! Kills a streaming program, again and again, and compares what it leaves with what it should be.
//!
//! - [`input`] writes numbered records into files that appear in a folder.
//! - [`program`] reads them, keeps states and windows of them, and writes what each batch came to into [`sink`]s: files, a [`database`], or topics of [`kafka`].
//! - [`life`] is the program as a process that can be killed; [`trial`] is its folder, its input and its lives, one after the other.
//! - [`oracle`] computes what must have been written from the input alone, and counts what is lost, doubled or wrong.
//! - [`kills`] kills at random moments, as a command, and the [`server`] that is written to; the tests of this crate kill at every step of the protocol.
//! - [`restart`] measures the time from a kill to the next committed batch, with more and more state.

#![forbid(unsafe_code)]

pub mod database;
pub mod input;
pub mod kafka;
pub mod kills;
pub mod life;
pub mod oracle;
pub mod program;
pub mod restart;
pub mod server;
pub mod sink;
pub mod trial;
