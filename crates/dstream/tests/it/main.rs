//! Integration tests: one binary, a module per subject.

mod rdd_actions;
mod rdd_errors;
mod rdd_files;
mod rdd_order_and_sample;
mod rdd_pairs;
mod rdd_persist;
mod rdd_transformations;
mod sink_files;
mod sink_kill;
mod source_files;
mod source_rate;
mod source_receiver;
mod source_socket;
mod source_support;
mod stream_checkpoint;
mod stream_failures;
mod stream_life_cycle;
mod stream_listener;
mod stream_output;
mod stream_pairs;
mod stream_slice;
mod stream_stateless;
mod stream_transform;
mod stream_travel;
mod stream_windows;
mod support;
