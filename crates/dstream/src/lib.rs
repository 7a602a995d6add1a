//! The RDD and DStream APIs of Tidemill: thin typed shells over untyped lineage.
//!
//! [`context`] is the driver's entry; [`rdd`] are the batch data sets; [`op`] holds every operator once, for both doors.
//! [`streaming_context`] is the entry to streams; [`input`] is where they begin, [`stream`] what they are; each is a
//! [`node`] of the [`graph`], which plans the jobs of every batch.

#![forbid(unsafe_code)]

pub mod conf;
pub mod context;
pub mod dataset;
pub mod graph;
pub mod input;
pub mod inspection;
pub mod node;
pub mod op;
pub mod rdd;
pub mod state_names;
pub mod state_spec;
pub mod stateful;
pub mod stream;
pub mod streaming_context;
pub mod testing;
