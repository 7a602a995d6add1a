//! Kafka: a source without a receiver, and a sink that writes each batch once.

mod config;

pub use self::config::KafkaConfig;
