//! What became of records that were sent.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Records that were sent together, and how many of them the brokers have. Every record carries a reference.
#[derive(Default)]
pub(super) struct Outcome {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Sent, and not heard of.
    pending: u64,
    /// The bytes of the largest one.
    largest: usize,
    refused: Option<Refused>,
}

/// The first record that was not taken.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub code: RDKafkaErrorCode,
    pub topic: String,
    pub partition: i32,
    /// The bytes of the largest one that was sent with it.
    pub largest: usize,
}

impl Outcome {
    /// A record of as many bytes is about to be sent.
    pub fn begin(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.pending += 1;
        state.largest = state.largest.max(bytes);
    }

    /// A record was delivered, or was not.
    pub fn end(&self, refused: Option<Refused>) {
        let mut state = self.state.lock();
        state.pending -= 1;
        let is_first = refused.is_some() && state.refused.is_none();
        if is_first {
            state.refused = refused;
        }
        if is_first || state.pending == 0 {
            self.changed.notify_all();
        }
    }

    /// The bytes of the largest record.
    pub fn largest(&self) -> usize {
        self.state.lock().largest
    }

    /// Waits until the brokers have all records; false if that takes longer.
    ///
    /// # Errors
    /// The first record that was refused, at once.
    pub fn wait(&self, until: Instant) -> Result<bool, Refused> {
        let mut state = self.state.lock();
        loop {
            match &state.refused {
                Some(refused) => return Err(Refused { largest: state.largest, ..refused.clone() }),
                None if state.pending == 0 => return Ok(true),
                None if Instant::now() >= until => return Ok(false),
                None => {
                    self.changed.wait_until(&mut state, until);
                }
            }
        }
    }
}

impl Refused {
    /// Of an error of a record's; how large others are is not known here.
    pub fn of(error: &KafkaError, topic: &str, partition: i32) -> Self {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        Self { code, topic: topic.to_string(), partition, largest: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_ends_with_the_last_record_or_the_first_refused_one() {
        let (outcome, soon) = (Outcome::default(), || Instant::now() + Duration::from_millis(1));
        assert!(outcome.wait(soon()).unwrap());
        (0..3).for_each(|_| outcome.begin(1));
        outcome.end(None);
        assert!(!outcome.wait(soon()).unwrap());
        outcome.end(None);
        outcome.end(None);
        assert!(outcome.wait(soon()).unwrap());
        outcome.begin(9);
        outcome.begin(2);
        let error = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        let refused = |partition| Some(Refused::of(&error, "t", partition));
        outcome.end(refused(1));
        outcome.end(refused(2));
        let refused = outcome.wait(soon()).unwrap_err();
        assert_eq!((refused.partition, refused.largest), (1, 9));
    }
}
