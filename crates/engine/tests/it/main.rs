//! Integration tests of the engine: one binary, a module per subject.

#[cfg(feature = "s3")]
mod s3;
mod simulation;
