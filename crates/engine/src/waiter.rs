//! Where the program waits for its stream to end, and hears why it did.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, Result};

/// Ends once: by a stop, or by the first error.
#[derive(Default)]
pub struct Waiter {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    error: Option<Error>,
}

impl Waiter {
    /// The stream has failed; of several errors the first counts.
    pub fn fail(&self, error: Error) {
        self.state.lock().error.get_or_insert(error);
        self.changed.notify_all();
    }

    /// The stream has stopped.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Waits for the end, or for `timeout`: true if the stream has stopped, the first error if it has failed.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.state.lock();
        loop {
            if let Some(error) = &state.error {
                return Err(error.clone());
            }
            if state.stopped {
                return Ok(true);
            }
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) => {
                    if self.changed.wait_until(&mut state, deadline).timed_out() {
                        return state.error.clone().map_or(Ok(state.stopped), Err);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_goes_before_a_stop() {
        let waiter = Waiter::default();
        assert!(!waiter.wait(Some(Duration::ZERO)).unwrap());
        waiter.stop();
        assert!(waiter.wait(None).unwrap());
        waiter.fail(Error::usage("first"));
        waiter.fail(Error::usage("second"));
        assert_eq!(waiter.wait(None).unwrap_err().message(), "first");
    }
}
