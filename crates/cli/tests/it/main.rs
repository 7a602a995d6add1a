//! The built binary, run as a process: one test binary, a module per subject.

mod demo;
#[cfg(feature = "kafka")]
mod kafka;
mod process;
mod replay;
mod state;
mod wordcount;
