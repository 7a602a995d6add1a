//! The operators behind RDD and DStream methods. Each is written once: a method of either door applies the
//! [`Transform`](crate::dataset::Transform) that is made here.

pub mod beside;
pub mod columns;
pub mod narrow;
pub mod pair;
pub mod partition;
pub mod sink;
pub mod state;
pub mod text;
