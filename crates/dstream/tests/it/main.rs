//! The tests of the crate from outside, as one binary: each one links all of DataFusion.

mod source_files;
mod source_rate;
mod source_receiver;
mod source_socket;
mod source_support;
