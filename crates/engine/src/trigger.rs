//! When batches happen.

use std::time::Duration;

use crate::time::{Time, millis};

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

    /// The batch time with which a restart at `now` goes on, and how many batch times it leaves out: all those since `last`, the
    /// last one that had a batch, get theirs, but the oldest where more than `most` were missed.
    pub fn first_after_restart(self, last: Time, now: Time, most: u64) -> (Time, u64) {
        let Trigger::Interval(interval) = self;
        let ms = millis(interval).max(1);
        let missed = u64::try_from(now.millis_since(last) / ms).unwrap_or(0);
        let skipped = missed.saturating_sub(most);
        // At most the time since the last batch, which is a number of milliseconds.
        let left_out = Duration::from_millis(skipped * ms.unsigned_abs());
        (last + left_out + interval, skipped)
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

    #[test]
    fn a_restart_makes_up_for_the_batches_that_were_missed() {
        let trigger = Trigger::Interval(Duration::from_millis(100));
        let cases = [
            (500, 500, u64::MAX, (600, 0)),
            (500, 599, u64::MAX, (600, 0)),
            (500, 700, u64::MAX, (600, 0)),
            (500, 799, 2, (600, 0)),
            (500, 800, 2, (700, 1)),
            (500, 800, 0, (900, 3)),
            // A clock that was put back: each batch still has a time of its own.
            (500, 100, 0, (600, 0)),
        ];
        for (last, now, most, (first, skipped)) in cases {
            let expected = (Time::from_millis(first), skipped);
            let got = trigger.first_after_restart(Time::from_millis(last), Time::from_millis(now), most);
            assert_eq!(got, expected, "{last} {now} {most}");
        }
    }
}
