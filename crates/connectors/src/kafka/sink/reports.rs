//! `Reports`: what a producer's client tells: deliveries, refusals, and brokers that are silent.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use tidemill_engine::clock::Waker;

use super::outcome::{Outcome, Refused};
use super::target::Target;

/// After how long the log says that a batch waits.
const SILENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether one waits.
const LOOK: Duration = Duration::from_secs(1);

/// Hears of deliveries, and of what goes wrong meanwhile.
pub(super) struct Reports {
    target: String,
    /// For how long a batch is tried.
    patience: Duration,
    /// The brokers have refused our credentials, which the client would try again for ever.
    shut_out: Mutex<Option<KafkaError>>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// How many batches wait for the brokers.
    batches: u32,
    /// Since when, or since when none of them was taken.
    since: Option<Instant>,
    /// The log has it.
    is_told: bool,
    /// What the client complained of last, since a batch was taken.
    complaint: Option<String>,
}

impl Reports {
    pub fn new(target: &Target) -> Self {
        let patience = target.options.delivery_timeout;
        Self { target: target.to_string(), patience, shut_out: Mutex::default(), waiting: Mutex::default() }
    }

    /// The refusal of our credentials, if there was one.
    pub fn shut_out(&self) -> Option<KafkaError> {
        self.shut_out.lock().clone()
    }

    /// Waits until the brokers take a batch. Where that takes long, the log says so, once, and when it is over.
    pub fn waiting<T, E>(&self, wait: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        {
            let mut waiting = self.waiting.lock();
            waiting.batches += 1;
            waiting.since.get_or_insert_with(Instant::now);
        }
        let result = wait();
        let mut waiting = self.waiting.lock();
        waiting.batches -= 1;
        if waiting.batches == 0 {
            waiting.since = None;
        }
        if result.is_ok() {
            waiting.since = waiting.since.map(|_| Instant::now());
            waiting.complaint = None;
            if std::mem::take(&mut waiting.is_told) {
                tracing::info!(target = self.target, "Kafka takes batches again");
            }
        }
        result
    }

    fn look(&self) {
        let mut waiting = self.waiting.lock();
        let silence = waiting.since.map(|since| since.elapsed()).unwrap_or_default();
        if silence > SILENCE && !std::mem::replace(&mut waiting.is_told, true) {
            tracing::warn!(
                target = self.target,
                said = waiting.complaint,
                "Kafka has taken no batch for {} s: it waits, for up to {} s, and nothing is lost. Check that the brokers run, and that \
                 they can be reached from here",
                silence.as_secs(),
                self.patience.as_secs_f32()
            );
        }
    }
}

/// Looks whether a batch waits for long, for as long as the client is there.
pub(super) fn watch(reports: &Arc<Reports>) {
    let reports = Arc::downgrade(reports);
    let body = move || {
        let pause = Waker::default();
        while let Some(()) = Weak::upgrade(&reports).map(|reports| reports.look()) {
            pause.sleep(LOOK);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("tidemill-kafka-watch".into()).spawn(body) {
        tracing::warn!(%error, "a thread can't be started: the log will not say when Kafka is away");
    }
}

impl ClientContext for Reports {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka's client reports an error");
        self.waiting.lock().complaint = Some(reason.to_string());
        if let Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) = error.rdkafka_error_code() {
            *self.shut_out.lock() = Some(error);
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Outcome>;

    fn delivery(&self, result: &DeliveryResult<'_>, outcome: Arc<Outcome>) {
        let failed = |(error, message): &(KafkaError, BorrowedMessage<'_>)| {
            Refused::of(error, message.topic(), message.partition())
        };
        outcome.end(result.as_ref().err().map(failed));
    }
}
