//! The `tidemill` command line.
fn main() {}
