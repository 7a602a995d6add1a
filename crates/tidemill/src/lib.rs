//! Tidemill: Spark Streaming, built in Rust.
