//! Sources and sinks of Tidemill that need a client library, each behind a feature of its own; none is on by default.
//!
//! | feature | what it brings |
//! |---|---|
//! | `postgres` | `sql::SqlSink` on PostgreSQL |
//! | `sqlite` | `sql::SqlSink` on SQLite, which is built in |

#![forbid(unsafe_code)]

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod sql;
