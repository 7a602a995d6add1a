//! Batch time: milliseconds since the Unix epoch, and Spark's arithmetic on it.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The time of a batch, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Time(i64);

/// A duration in whole milliseconds: the resolution of batch times.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Whether `duration` is a whole multiple of `unit`, in milliseconds.
pub fn is_multiple(duration: Duration, unit: Duration) -> bool {
    millis(unit) != 0 && millis(duration) % millis(unit) == 0
}

/// A duration as Spark prints it: `1000 ms`.
pub fn pretty(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

impl Time {
    /// The time `ms` milliseconds after the Unix epoch.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The last multiple of `unit` (counted from the epoch) that is not after this time.
    pub fn floor(self, unit: Duration) -> Time {
        self.floor_from(unit, Time(0))
    }

    /// The last multiple of `unit`, counted from `zero`, that is not after this time.
    pub fn floor_from(self, unit: Duration, zero: Time) -> Time {
        let unit = millis(unit).max(1);
        Time((self.0 - zero.0).div_euclid(unit) * unit + zero.0)
    }

    /// Whether this time is a whole multiple of `unit` since the epoch.
    pub fn is_multiple_of(self, unit: Duration) -> bool {
        millis(unit) != 0 && self.0 % millis(unit) == 0
    }

    /// The times from this one to `end`, exclusive, in steps of `step`.
    pub fn until(self, end: Time, step: Duration) -> impl Iterator<Item = Time> {
        (self.0..end.0).step_by(step_size(step)).map(Time)
    }

    /// The times from this one to `end`, inclusive, in steps of `step`.
    pub fn to(self, end: Time, step: Duration) -> impl Iterator<Item = Time> {
        (self.0..=end.0).step_by(step_size(step)).map(Time)
    }

    /// Milliseconds from `earlier` to this time; negative where `earlier` is later.
    pub fn millis_since(self, earlier: Time) -> i64 {
        self.0 - earlier.0
    }
}

fn step_size(step: Duration) -> usize {
    usize::try_from(millis(step)).unwrap_or(usize::MAX).max(1)
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(millis(duration)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, duration: Duration) -> Time {
        Time(self.0.saturating_sub(millis(duration)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn floor_multiples_and_ranges() {
        let cases = [(1350, 200, 0, 1200), (1200, 200, 0, 1200), (1350, 200, 50, 1250), (-1, 200, 0, -200)];
        for (time, unit, zero, floor) in cases {
            assert_eq!(Time(time).floor_from(ms(unit), Time(zero)), Time(floor), "{time} {unit} {zero}");
        }
        assert!(Time(1000).is_multiple_of(ms(5)) && !Time(1000).is_multiple_of(ms(6)));
        assert!(is_multiple(ms(10), ms(5)) && !is_multiple(ms(10), ms(4)) && !is_multiple(ms(10), ms(0)));
        let times = |it: &mut dyn Iterator<Item = Time>| it.map(Time::as_millis).collect::<Vec<_>>();
        assert_eq!(times(&mut Time(1000).until(Time(1300), ms(100))), [1000, 1100, 1200]);
        assert_eq!(times(&mut Time(1000).to(Time(1300), ms(100))), [1000, 1100, 1200, 1300]);
        assert_eq!(times(&mut Time(1000).until(Time(1000), ms(100))), [0i64; 0]);
        assert_eq!(
            (Time(1000) + ms(5), Time(1000) - ms(5), Time(7).millis_since(Time(9))),
            (Time(1005), Time(995), -2)
        );
        assert_eq!((Time(1000).to_string(), pretty(ms(1000))), ("1000 ms".into(), "1000 ms".into()));
    }
}
