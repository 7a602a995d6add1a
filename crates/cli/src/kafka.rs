//! The options of commands that read Kafka's topics, and write to them.

use std::sync::Arc;

use tidemill::connectors::kafka::{
    ConsumerStrategy, KafkaConfig, KafkaOptions, KafkaSink, KafkaSinkOptions, KafkaUtils, StartingOffsets,
};
use tidemill::prelude::*;

/// Which topics are read, and how brokers are reached.
#[derive(clap::Args)]
pub struct KafkaArguments {
    /// Kafka's brokers, as HOST:PORT with commas between: count the values of its topics, in place of a server's text.
    #[arg(long, value_name = "BROKERS", requires = "topics")]
    kafka_brokers: Option<String>,
    /// A topic to read; may be given more than once, or as a list with commas.
    #[arg(long = "topic", value_name = "TOPIC", value_delimiter = ',', requires = "kafka_brokers")]
    topics: Vec<String>,
    /// Begin with the oldest records, not with what comes from now on, where no checkpoint and no group says otherwise.
    #[arg(long, requires = "kafka_brokers")]
    from_beginning: bool,
    /// Begin where this group has committed, and commit what was counted.
    #[arg(long, requires = "kafka_brokers")]
    group: Option<String>,
    /// A setting of Kafka's client: `security.protocol=ssl`. May be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::count::setting, requires = "kafka_brokers")]
    kafka_conf: Vec<(String, String)>,
    /// Write counts to this topic as well, words as keys: each batch once with a checkpoint, else at least once.
    #[arg(long, value_name = "TOPIC", requires = "kafka_brokers")]
    to_topic: Option<String>,
}

impl KafkaArguments {
    /// The values of the topics, if there are any to read.
    pub fn lines(&self, ssc: &StreamingContext) -> Result<Option<DStream<String>>> {
        let Some(brokers) = &self.kafka_brokers else { return Ok(None) };
        let config = self.config(brokers);
        let config = self.group.iter().fold(config, |config, group| config.set("group.id", group));
        let start = if self.from_beginning { StartingOffsets::Earliest } else { StartingOffsets::Latest };
        let start = if self.group.is_some() { StartingOffsets::Group(Box::new(start)) } else { start };
        let options = KafkaOptions::new(config, ConsumerStrategy::subscribe(self.topics.clone()))
            .starting(start)
            .commit_to_group(self.group.is_some());
        Ok(Some((*KafkaUtils::create_text_stream(ssc, options)?).clone()))
    }

    /// Writes counts to the topic for them, if there is one.
    pub fn write(&self, counts: &DStream<(String, u64)>, has_checkpoint: bool) -> Result<()> {
        let (Some(brokers), Some(topic)) = (&self.kafka_brokers, &self.to_topic) else { return Ok(()) };
        let options = if has_checkpoint { KafkaSinkOptions::exactly_once() } else { KafkaSinkOptions::at_least_once() };
        let sink = KafkaSink::connect(self.config(brokers), topic, options)?;
        let rows = counts.map(|(word, count)| (word, count.to_string()));
        rows.write_rows_to(Arc::new(sink), schema_named::<(String, String)>(&["key", "value"])?)
    }

    fn config(&self, brokers: &str) -> KafkaConfig {
        self.kafka_conf.iter().fold(KafkaConfig::new(brokers), |config, (key, value)| config.set(key, value))
    }
}
