//! Integration tests: one binary, a module per subject.

mod rdd_actions;
mod rdd_errors;
mod rdd_files;
mod rdd_order_and_sample;
mod rdd_pairs;
mod rdd_persist;
mod rdd_transformations;
mod source_files;
mod source_rate;
mod source_receiver;
mod source_socket;
mod source_support;
mod support;
