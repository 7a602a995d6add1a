//! What errors of Kafka's mean: whether they may pass, and what to do about those that do not.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tidemill_engine::error::{Error, ErrorKind};

use super::outcome::Refused;
use super::target::Target;

/// Why something failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It would fail again.
    Final(Error),
    /// Brokers are away or busy: to be tried again.
    Passing(KafkaError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

/// What an error means for a sink.
pub(super) fn failure(error: KafkaError, target: &Target) -> Failure {
    match final_error(&error, target) {
        Some(final_error) => Failure::Final(final_error),
        None => Failure::Passing(error),
    }
}

/// What it means that a record was not taken.
pub(super) fn refused(refused: &Refused, target: &Target) -> Failure {
    let Refused { code, topic, partition, largest } = refused;
    let error = match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
            too_large(topic, *largest, target)
        }
        Code::UnknownPartition => Error::data(format!("topic {topic} has no partition {partition}")),
        Code::UnknownTopic | Code::UnknownTopicOrPartition => no_topic(topic, target),
        Code::InvalidRecord | Code::InvalidTimestamp | Code::PolicyViolation | Code::UnsupportedForMessageFormat => {
            Error::data(format!("a row was refused by partition {partition} of topic {topic}: {code}"))
        }
        code => return failure(KafkaError::MessageProduction(*code), target),
    };
    Failure::Final(error.context(target))
}

/// A row over the limit.
fn too_large(topic: &str, bytes: usize, target: &Target) -> Error {
    let limit = target.config.get("message.max.bytes").unwrap_or("1000000");
    Error::data(format!(
        "rows for topic {topic} are over a limit, the largest one has {bytes} bytes: this client sends up to message.max.bytes \
         ({limit}), the brokers take up to max.message.bytes of the topic, or their message.max.bytes. Raise them, by \
         KafkaConfig::set and at the brokers, or write smaller rows; if no row is too large, but several together are, set \
         batch.size below the brokers' limit"
    ))
}

/// A topic that is not there.
pub(super) fn no_topic(topic: &str, target: &Target) -> Error {
    let brokers = target.config.brokers();
    Error::usage(format!("there is no topic {topic} at {brokers}: create it first, or look whether its name is right"))
}

/// The error of something that would fail again.
fn final_error(error: &KafkaError, target: &Target) -> Option<Error> {
    let what = match error.rdkafka_error_code() {
        Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL) => {
            "the brokers do not let us in: look at security.protocol and at user and password"
        }
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed,
        ) => {
            "the brokers do not allow it: the user must be allowed to write to the topic, to write with the transactional id \
             and to read with the group that are called tidemill- and the sink's name (and topic)"
        }
        Some(Code::InvalidTransactionTimeout) => {
            "the brokers allow no transactions as long as this sink's transaction_timeout: choose a shorter one, or raise their \
             transaction.max.timeout.ms"
        }
        Some(Code::UnsupportedFeature | Code::UnsupportedVersion) => "the brokers are too old for this",
        Some(Code::InvalidTopic) => "that is no name of a topic",
        Some(_) => return None,
        // Settings that are wrong have no code, and name themselves.
        None => {
            let text = redacted(error);
            return Some(Error::usage(format!("{target}: a setting is wrong: {text}")));
        }
    };
    Some(Error::new(ErrorKind::Usage, format!("{target}: {what}")).with_source(error.clone()))
}

/// An error's text; of a setting's the value is left out, which may be a secret.
fn redacted(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, what, key, _) => {
            format!("{key}: {}", what.split("value").next().unwrap_or_default())
        }
        error => error.to_string(),
    }
}
