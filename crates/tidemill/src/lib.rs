//! Tidemill: Spark Streaming, built in Rust.
//!
//! A live stream is cut into micro-batches (a discretized stream, [`DStream`]); every batch is an ordinary plan on Apache
//! DataFusion. What a program does with batches is written with closures, as in Spark Streaming:
//!
//! ```no_run
//! use std::time::Duration;
//! use tidemill::prelude::*;
//!
//! fn main() -> Result<()> {
//!     let sc = SparkContext::new("local[*]", "network word count")?;
//!     let ssc = StreamingContext::new(&sc, Duration::from_secs(1))?;
//!     let lines = ssc.socket_text_stream("localhost", 9999)?;
//!     let words = lines.flat_map(|line| line.split(' ').map(String::from).collect::<Vec<_>>());
//!     words.map(|word| (word, 1)).reduce_by_key(|a, b| a + b).print()?;
//!     ssc.start()?;
//!     ssc.await_termination()
//! }
//! ```
//!
//! The same without a server and without waiting, as a test: see [`testing`].
//!
//! This crate has no logic of its own. [`tidemill_engine`] is the micro-batch engine, [`tidemill_dstream`] the RDD and
//! DStream APIs.

#![forbid(unsafe_code)]

#[cfg(any(feature = "kafka", feature = "postgres", feature = "sqlite"))]
pub use tidemill_connectors as connectors;
pub use tidemill_dstream::op::columns;
pub use tidemill_dstream::testing;
pub use tidemill_dstream::{conf, context, input, inspection, rdd, state_spec, stream, streaming_context};
pub use tidemill_engine as engine;

pub use tidemill_dstream::stream::DStream;

/// What most programs need.
pub mod prelude {
    pub use tidemill_dstream::conf::SparkConf;
    pub use tidemill_dstream::context::SparkContext;
    pub use tidemill_dstream::input::receiver::{Receiver, ReceiverContext};
    pub use tidemill_dstream::input::{MemoryStream, RddQueue};
    pub use tidemill_dstream::op::columns::{schema_named, schema_of};
    pub use tidemill_dstream::op::partition::{PartitionBy, Partitioner, Partitioning};
    pub use tidemill_dstream::op::state::logic::{Session, State};
    pub use tidemill_dstream::rdd::{Accumulator, Broadcast, Codec, Rdd, TextRdd};
    pub use tidemill_dstream::state_spec::{self, StateSpec};
    pub use tidemill_dstream::stream::{DStream, MapWithStateDStream, TextDStream};
    pub use tidemill_dstream::streaming_context::{StreamingContext, StreamingContextState};
    pub use tidemill_engine::cache::StorageLevel;
    pub use tidemill_engine::error::{Error, ErrorKind, Result};
    pub use tidemill_engine::listener::{StreamingEvent, StreamingListener};
    pub use tidemill_engine::sink::Sink;
    pub use tidemill_engine::sink::files::{FileFormat, FileSink, FileTable};
    pub use tidemill_engine::time::Time;
}

/// The programs of the README: built, and run where they end by themselves.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
