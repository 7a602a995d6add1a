//! When batches happen.

use std::time::Duration;

use crate::time::Time;

/// When the next batch is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// At every multiple of an interval since the epoch: the clock of a DStream. A late batch queues; none is left out.
    Interval(Duration),
}

impl Trigger {
    /// The first batch time after `now`.
    pub fn first_after(self, now: Time) -> Time {
        let Trigger::Interval(interval) = self;
        now.floor(interval) + interval
    }

    /// The batch time after `time`.
    pub fn next(self, time: Time) -> Time {
        let Trigger::Interval(interval) = self;
        time + interval
    }

    /// The time between batches.
    pub fn interval(self) -> Duration {
        let Trigger::Interval(interval) = self;
        interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_fall_on_multiples_of_the_interval() {
        let trigger = Trigger::Interval(Duration::from_millis(100));
        for (now, first) in [(0, 100), (1, 100), (99, 100), (100, 200), (1234, 1300)] {
            assert_eq!(trigger.first_after(Time::from_millis(now)), Time::from_millis(first));
        }
        assert_eq!(trigger.next(Time::from_millis(100)), Time::from_millis(200));
    }
}
