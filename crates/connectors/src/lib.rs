//! Sources and sinks of Tidemill that need a client library, each behind a feature of its own; none is on by default.
//!
//! | feature | what it brings |
//! |---|---|
//! | `postgres` | `sql::SqlSink` on PostgreSQL |
//! | `sqlite` | `sql::SqlSink` on SQLite, which is built in |
//! | `kafka` | `kafka`: a source and a sink; `librdkafka` is built in |
//! | `kafka-tls` | TLS for it, and SASL's SCRAM: needs the headers of OpenSSL |

#![forbid(unsafe_code)]

#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod sql;
