//! Benches of Tidemill.
