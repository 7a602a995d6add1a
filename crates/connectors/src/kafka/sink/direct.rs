//! Batches without transactions: tasks send, the commit waits.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tidemill_engine::batch::BatchStamp;
use tidemill_engine::error::{Error, Result};

use super::columns::Columns;
use super::failure::{Failure, refused};
use super::outcome::{Outcome, Refused};
use super::producer::Producer;
use super::target::Target;

/// Sends rows at once.
pub(super) struct Direct(Mutex<Arc<Producer>>);

impl Direct {
    pub fn connect(target: &Target) -> Result<Self> {
        let producer = Producer::new(target).map_err(|failure| given_up(target, failure))?;
        let deadline = Instant::now() + target.options.delivery_timeout;
        producer.check_topic(&target.topic, deadline, target).map_err(|failure| given_up(target, failure))?;
        Ok(Self(Mutex::new(Arc::new(producer))))
    }

    /// Sends the rows of a partition.
    pub fn send(&self, target: &Target, rows: &[Columns]) -> Result<Arc<Outcome>> {
        let outcome = Arc::new(Outcome::default());
        let deadline = Instant::now() + target.options.delivery_timeout;
        let producer = self.producer(target).map_err(|failure| given_up(target, failure))?;
        producer.send(rows, &outcome, deadline, target).map_err(|failure| given_up(target, failure))?;
        Ok(outcome)
    }

    /// Waits until the brokers have all rows of a batch.
    pub fn wait(&self, target: &Target, batch: BatchStamp, outcomes: &[Arc<Outcome>]) -> Result<()> {
        let producer = Arc::clone(&self.0.lock());
        producer.waiting(|| delivered(target, batch, outcomes))
    }

    /// The producer; a new one after a failure that it can't survive.
    fn producer(&self, target: &Target) -> Result<Arc<Producer>, Failure> {
        let mut producer = self.0.lock();
        if producer.is_broken() {
            *producer = Arc::new(Producer::new(target)?);
        }
        Ok(Arc::clone(&producer))
    }
}

fn delivered(target: &Target, batch: BatchStamp, outcomes: &[Arc<Outcome>]) -> Result<()> {
    let deadline = Instant::now() + target.options.delivery_timeout;
    for outcome in outcomes {
        let failure = match outcome.wait(deadline) {
            Ok(true) => continue,
            Ok(false) => {
                let timed_out = rdkafka::error::RDKafkaErrorCode::MessageTimedOut;
                Failure::Passing(rdkafka::error::KafkaError::Flush(timed_out))
            }
            Err(row) => {
                // A row can be refused together with a larger one, of another partition.
                let largest = outcomes.iter().map(|outcome| outcome.largest()).max().unwrap_or_default();
                refused(&Refused { largest, ..row }, target)
            }
        };
        return Err(given_up(target, failure).context(format!("batch {}", batch.id)));
    }
    Ok(())
}

fn given_up(target: &Target, failure: Failure) -> Error {
    match failure {
        Failure::Final(error) => error,
        Failure::Passing(error) => {
            let seconds = target.options.delivery_timeout.as_secs_f32();
            Error::retry(format!(
                "{target}: rows could not be delivered within {seconds} s: look whether the brokers run and can be reached, then start \
                 again: the batch runs again, and rows that are there already come twice"
            ))
            .with_source(error)
        }
    }
}
