//! Integration tests: one binary, a module per subject. They run against real servers, which they start and stop themselves.

mod databases;
mod sql_kill;
mod sql_outage;
mod sql_tables;
