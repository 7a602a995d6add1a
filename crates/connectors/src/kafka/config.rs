//! `KafkaConfig`: how the brokers are reached.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;

/// Settings by librdkafka's names, which are mostly those of Kafka's own clients; passed on as they are.
///
/// ```
/// use tidemill_connectors::kafka::KafkaConfig;
///
/// let config = KafkaConfig::new("localhost:9092").set("sasl.password", "hunter2");
/// assert!(!format!("{config:?}").contains("hunter2"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaConfig(BTreeMap<String, String>);

impl KafkaConfig {
    /// Brokers, as `host:port`, with commas between: any one of them leads to the others.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self(BTreeMap::from([("bootstrap.servers".to_string(), brokers.into())]))
    }

    /// A setting of the client: `security.protocol`, `sasl.username`, `group.id` ...
    pub fn set(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.0.insert(key.into(), value.to_string());
        self
    }

    /// The value of a setting.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether a setting has a value, under any of its names.
    pub(super) fn is_set(&self, key: &str) -> bool {
        let names: &[&str] = match key {
            "fetch.message.max.bytes" => &["fetch.message.max.bytes", "max.partition.fetch.bytes"],
            "linger.ms" => &["linger.ms", "queue.buffering.max.ms"],
            "message.timeout.ms" => &["message.timeout.ms", "delivery.timeout.ms"],
            key => &[key],
        };
        names.iter().any(|name| self.get(name).is_some())
    }

    /// The brokers, for people.
    pub fn brokers(&self) -> &str {
        self.get("bootstrap.servers").unwrap_or_default()
    }

    /// For a client of librdkafka's.
    pub(super) fn client(&self) -> ClientConfig {
        self.0.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// Without the values that are secrets.
impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |(key, value): &(&String, &String)| if is_secret(key) { "(redacted)".into() } else { (*value).clone() };
        f.debug_map().entries(self.0.iter().map(|entry| (entry.0, shown(&entry)))).finish()
    }
}

/// Whether what is set under this key must not be shown.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "secret", "passphrase", "token", "jaas", "pem", "oauthbearer.config"]
        .iter()
        .any(|part| key.contains(part))
}
