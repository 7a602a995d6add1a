//! Where a sink writes to.

use std::fmt;

use rdkafka::ClientConfig;

use super::super::KafkaConfig;
use super::{Delivery, KafkaSinkOptions};

/// Where a sink writes to, and how.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub config: KafkaConfig,
    pub topic: String,
    /// Under which batches are remembered.
    pub name: String,
    pub options: KafkaSinkOptions,
}

impl Target {
    pub fn new(config: KafkaConfig, topic: &str, options: KafkaSinkOptions) -> Self {
        let name = options.name.clone().unwrap_or_else(|| topic.to_string());
        Self { config, topic: topic.to_string(), name, options }
    }

    /// The transactional id and the group.
    pub fn id(&self) -> String {
        match self.name == self.topic {
            true => format!("tidemill-{}", self.name),
            // The same name may stand for streams into several topics.
            false => format!("tidemill-{}-{}", self.name, self.topic),
        }
    }

    /// The settings of its producers: what delivery needs, and, where the user has set nothing, what makes it fast.
    pub fn producer(&self) -> ClientConfig {
        let ms = |duration: std::time::Duration| duration.as_millis().clamp(1, i32::MAX as u128).to_string();
        let message_timeout = self.options.delivery_timeout.min(self.options.transaction_timeout);
        let defaults = [
            // A batch is sent as it is: nothing more comes that would be worth waiting for.
            ("linger.ms", "0".to_string()),
            // The same partitions as Java's clients.
            ("partitioner", "murmur2_random".to_string()),
            // A coordinator that is still busy with the last transaction is asked again after this.
            ("retry.backoff.ms", "1".to_string()),
            // A broker that comes back is found soon.
            ("reconnect.backoff.ms", "50".to_string()),
            ("reconnect.backoff.max.ms", "1000".to_string()),
            ("message.timeout.ms", ms(message_timeout)),
        ];
        let mut client = self.config.client();
        for (key, value) in defaults {
            if !self.config.is_set(key) {
                client.set(key, value);
            }
        }
        client.set("enable.idempotence", "true");
        if self.options.delivery == Delivery::ExactlyOnce {
            client.set("transactional.id", self.id());
            if !self.config.is_set("transaction.timeout.ms") {
                client.set("transaction.timeout.ms", ms(self.options.transaction_timeout));
            }
        }
        client
    }

    /// The settings of the consumer that reads the group's offset. It ignores those that are only producers'.
    pub fn consumer(&self) -> ClientConfig {
        let mut client = self.config.client();
        client.set("group.id", self.id()).set("enable.auto.commit", "false");
        client
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let brokers = self.config.brokers();
        match self.name == self.topic {
            true => write!(f, "topic {} of Kafka at {brokers}", self.topic),
            false => write!(f, "topic {} of Kafka at {brokers}, sink {}", self.topic, self.name),
        }
    }
}
