//! The RDD and DStream APIs of Tidemill: thin typed shells over untyped lineage.
//!
//! [`context`] is the driver's entry; [`rdd`] are the batch data sets; [`op`] holds every operator once, for both doors.
#![forbid(unsafe_code)]
pub mod conf;
pub mod context;
pub mod dataset;
pub mod op;
pub mod rdd;
