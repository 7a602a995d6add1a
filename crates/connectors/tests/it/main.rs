//! Integration tests: one binary, a module per subject. They run against real servers, which they start and stop themselves.

mod counters;
mod databases;
mod kafka_away;
mod kafka_sink;
mod kafka_sink_kill;
mod kafka_sink_outage;
mod kafka_source;
mod kafka_source_changes;
mod kafka_source_ends;
mod kafka_source_rate;
mod kafka_source_recovery;
mod kafka_support;
mod sql_kill;
mod sql_outage;
mod sql_tables;
