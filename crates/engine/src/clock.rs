//! Time comes in through here only, so that tests run on a manual clock, in no real time.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};

use crate::time::Time;

/// Bytes that differ from one call to the next, and from one process to the next: for names, not for secrets.
pub fn random_bytes() -> [u8; 16] {
    // Its keys are random in each process, and differ from one to the next.
    let half = |n: u8| RandomState::new().hash_one(n).to_le_bytes();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&half(0));
    bytes[8..].copy_from_slice(&half(1));
    bytes
}

/// Tells the time and waits for it.
pub trait Clock: Send + Sync {
    /// The current time, in milliseconds since the Unix epoch.
    fn now(&self) -> Time;

    /// A monotonic point for measuring durations. On a manual clock it stands still with the clock.
    fn monotonic(&self) -> Duration;

    /// Waits until `target` or until `waker` is woken; true when the target was reached.
    fn wait_until(&self, target: Time, waker: &Waker) -> bool;

    /// Whether somebody's hand moves this clock, so that waiting on it may never end by itself.
    fn is_manual(&self) -> bool {
        false
    }
}

/// Wakes whoever waits on a clock, for good: a woken waker stays awake.
#[derive(Clone, Default)]
pub struct Waker(Arc<(Mutex<bool>, Condvar)>);

impl Waker {
    /// Ends every present and future wait with this waker.
    pub fn wake(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    /// Whether it was woken.
    pub fn is_awake(&self) -> bool {
        *self.0.0.lock()
    }

    /// Waits until woken.
    pub fn wait(&self) {
        let mut awake = self.0.0.lock();
        while !*awake {
            self.0.1.wait(&mut awake);
        }
    }

    /// Sleeps for `timeout` of real time or until woken; true when woken.
    pub fn sleep(&self, timeout: Duration) -> bool {
        let Some(deadline) = Instant::now().checked_add(timeout) else {
            self.wait();
            return true;
        };
        let mut awake = self.0.0.lock();
        while !*awake && !self.0.1.wait_until(&mut awake, deadline).timed_out() {}
        *awake
    }
}

/// The machine's clock.
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time::from_millis(crate::time::millis(since))
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wait_until(&self, target: Time, waker: &Waker) -> bool {
        loop {
            // Nanosecond arithmetic: a wait rounded to whole milliseconds would fire late at small intervals.
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let target = Duration::from_millis(u64::try_from(target.as_millis()).unwrap_or(0));
            let Some(left) = target.checked_sub(now).filter(|left| !left.is_zero()) else {
                return !waker.is_awake();
            };
            if waker.sleep(left.min(Duration::from_secs(10))) {
                return false;
            }
        }
    }
}

/// A clock that stands still until it is moved: for tests.
#[derive(Clone, Default)]
pub struct ManualClock(Arc<(Mutex<Time>, Condvar)>);

impl ManualClock {
    /// A clock that shows `time`.
    pub fn at(time: Time) -> Self {
        Self(Arc::new((Mutex::new(time), Condvar::new())))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.0.lock();
        *now = *now + by;
        self.0.1.notify_all();
    }

    /// Sets the clock to `time`, if that is not in its past.
    pub fn advance_to(&self, time: Time) {
        let mut now = self.0.0.lock();
        *now = (*now).max(time);
        self.0.1.notify_all();
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        *self.0.0.lock()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.now().as_millis()).unwrap_or(0))
    }

    fn wait_until(&self, target: Time, waker: &Waker) -> bool {
        let mut now = self.0.0.lock();
        while *now < target {
            if waker.is_awake() {
                return false;
            }
            // The waker has a condition variable of its own; look at it now and then.
            self.0.1.wait_for(&mut now, Duration::from_millis(2));
        }
        !waker.is_awake()
    }

    fn is_manual(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_waits_for_its_hand_and_for_the_waker() {
        let (clock, waker) = (ManualClock::at(Time::from_millis(5)), Waker::default());
        assert!(clock.wait_until(Time::from_millis(5), &waker));
        let waiting = std::thread::spawn({
            let (clock, waker) = (clock.clone(), waker.clone());
            move || (clock.wait_until(Time::from_millis(10), &waker), clock.wait_until(Time::from_millis(99), &waker))
        });
        clock.advance(Duration::from_millis(5));
        waker.wake();
        // The first wait may see the hand or the waker first; the second one can only be woken.
        assert!(!waiting.join().unwrap().1);
        assert_eq!(clock.now(), Time::from_millis(10));
    }

    #[test]
    fn a_system_clock_reaches_its_target_unless_woken() {
        let (clock, waker) = (SystemClock::default(), Waker::default());
        assert!(clock.wait_until(clock.now() + Duration::from_millis(2), &waker));
        waker.wake();
        assert!(!clock.wait_until(clock.now() + Duration::from_secs(3600), &waker));
    }
}
