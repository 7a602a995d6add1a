//! How fast a source may go: limits, and the estimate of what the batches can bear.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock::Waker;
use crate::error::{Error, Result};
use crate::time::Time;

/// Estimates the rate, in records per second, that batches can bear.
pub trait RateEstimator: Send {
    /// A batch ended at `time`, of `records` records, after this much processing and waiting. The new rate, if there is one.
    fn compute(&mut self, time: Time, records: u64, processing_ms: f64, scheduling_ms: f64) -> Option<f64>;
}

/// A proportional-integral-derivative controller, as Spark's `PIDRateEstimator`.
///
/// The error is the last rate minus the processing rate; its integral is taken from the scheduling delay, as the records that
/// waited: delay x processing rate / batch interval.
#[derive(Debug, Clone)]
pub struct PidRateEstimator {
    interval_ms: f64,
    proportional: f64,
    integral: f64,
    derivative: f64,
    min_rate: f64,
    latest: Option<(Time, f64, f64)>,
}

impl PidRateEstimator {
    /// Spark's defaults are 1.0, 0.2, 0.0 and 100 records per second.
    ///
    /// # Errors
    /// If a factor is negative, or the interval or `min_rate` not positive.
    pub fn new(interval: Duration, proportional: f64, integral: f64, derivative: f64, min_rate: f64) -> Result<Self> {
        let interval_ms = interval.as_secs_f64() * 1e3;
        let checks = [
            (interval_ms > 0.0, "Specified batch interval", interval_ms),
            (proportional >= 0.0, "Proportional term", proportional),
            (integral >= 0.0, "Integral term", integral),
            (derivative >= 0.0, "Derivative term", derivative),
            (min_rate > 0.0, "Minimum rate", min_rate),
        ];
        for (valid, what, value) in checks {
            if !valid {
                return Err(Error::usage(format!("{what} {value} in PIDRateEstimator is invalid")));
            }
        }
        Ok(Self { interval_ms, proportional, integral, derivative, min_rate, latest: None })
    }
}

impl RateEstimator for PidRateEstimator {
    fn compute(&mut self, time: Time, records: u64, processing_ms: f64, scheduling_ms: f64) -> Option<f64> {
        let newer = self.latest.is_none_or(|(latest, ..)| time > latest);
        if !newer || records == 0 || processing_ms <= 0.0 {
            return None;
        }
        let processing_rate = records as f64 / processing_ms * 1e3;
        let Some((latest_time, latest_rate, latest_error)) = self.latest else {
            self.latest = Some((time, processing_rate, 0.0));
            return None;
        };
        let delay_s = time.millis_since(latest_time) as f64 / 1e3;
        let error = latest_rate - processing_rate;
        let historical = scheduling_ms * processing_rate / self.interval_ms;
        let change = (error - latest_error) / delay_s;
        let rate = latest_rate - self.proportional * error - self.integral * historical - self.derivative * change;
        let rate = rate.max(self.min_rate);
        self.latest = Some((time, rate, error));
        Some(rate)
    }
}

/// How long those who wait for a rate sleep before they look whether it has changed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Lets so many records pass per second; up to one second's worth at once after a pause.
///
/// What passes at once and is more than that is a debt, which the next ones wait for.
pub struct RateLimiter(Mutex<Buckets>);

struct Buckets {
    /// Never changes its rate.
    max: Bucket,
    adapted: Bucket,
}

struct Bucket {
    rate: f64,
    permits: f64,
    updated: Instant,
}

impl RateLimiter {
    /// At first `initial_rate` records per second, never more than `max_rate`; infinity is no limit.
    pub fn new(initial_rate: f64, max_rate: f64) -> Self {
        Self(Mutex::new(Buckets { max: Bucket::new(max_rate), adapted: Bucket::new(initial_rate.min(max_rate)) }))
    }

    /// The rate now, in records per second.
    pub fn rate(&self) -> f64 {
        self.0.lock().adapted.rate
    }

    /// Sets the rate, within the maximum; a rate that is not positive changes nothing.
    pub fn set_rate(&self, rate: f64) {
        if rate > 0.0 {
            let mut buckets = self.0.lock();
            let rate = rate.min(buckets.max.rate);
            buckets.adapted.refill();
            buckets.adapted.rate = rate;
            buckets.adapted.permits = buckets.adapted.permits.min(rate);
        }
    }

    /// Forgives the debt, as far as the maximum allows: the batches have caught up, and nobody has to wait for them.
    pub fn forgive(&self) {
        let mut buckets = self.0.lock();
        buckets.adapted.permits = buckets.adapted.permits.max(0.0);
    }

    /// Waits until `records` may pass; false if woken before.
    pub fn acquire(&self, records: usize, waker: &Waker) -> bool {
        // Debt is allowed, so that a block larger than a second's worth passes, and is paid by the next one.
        self.take(|_| records, waker).is_some()
    }

    /// Waits until records may pass, and lets those pass that may at once: at least one, at most `most`. None if woken before.
    pub fn acquire_some(&self, most: usize, waker: &Waker) -> Option<usize> {
        self.take(|permits| (permits as usize).clamp(1, most.max(1)), waker)
    }

    fn take(&self, records: impl Fn(f64) -> usize, waker: &Waker) -> Option<usize> {
        loop {
            let wait = {
                let Buckets { max, adapted } = &mut *self.0.lock();
                let wait = max.refill().max(adapted.refill());
                if wait.is_zero() {
                    let records = records(max.permits.min(adapted.permits));
                    max.permits -= records as f64;
                    adapted.permits -= records as f64;
                    return Some(records);
                }
                wait
            };
            // Backpressure may change the rate meanwhile.
            if waker.sleep(wait.min(LOOK_AGAIN)) {
                return None;
            }
        }
    }
}

impl Bucket {
    fn new(rate: f64) -> Self {
        Self { rate, permits: if rate.is_infinite() { rate } else { rate.min(1.0) }, updated: Instant::now() }
    }

    /// Counts what was earned since the last time; how long the debt takes that is left.
    fn refill(&mut self) -> Duration {
        if self.rate.is_finite() {
            let now = Instant::now();
            let earned = now.duration_since(self.updated).as_secs_f64() * self.rate;
            self.permits = (self.permits + earned).min(self.rate.max(1.0));
            self.updated = now;
        }
        if self.permits >= 0.0 {
            return Duration::ZERO;
        }
        // At least a moment, lest a debt too small for a duration counts as none.
        Duration::try_from_secs_f64(-self.permits / self.rate).unwrap_or(Duration::MAX).max(Duration::from_nanos(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimator(p: f64, i: f64, d: f64, min_rate: f64) -> PidRateEstimator {
        PidRateEstimator::new(Duration::from_millis(20), p, i, d, min_rate).unwrap()
    }

    fn rates(mut pid: PidRateEstimator, input: &[(i64, u64, u64, u64)]) -> Vec<Option<f64>> {
        let compute = |(time, records, processing, waiting): &(i64, u64, u64, u64)| {
            pid.compute(Time::from_millis(*time), *records, *processing as f64, *waiting as f64)
        };
        input.iter().map(compute).collect()
    }

    #[test]
    fn bad_parameters_are_refused() {
        let new = |ms, p, i, d, min| PidRateEstimator::new(Duration::from_millis(ms), p, i, d, min).is_ok();
        assert!(new(20, 0.0, 0.0, 0.0, 1.0));
        let bad = [new(0, 1.0, 0.0, 0.0, 1.0), new(20, -1.0, 0.0, 0.0, 1.0), new(20, 0.0, -1.0, 0.0, 1.0)];
        assert_eq!(bad, [false; 3]);
        assert_eq!(
            [new(20, 0.0, 0.0, -1.0, 1.0), new(20, 0.0, 0.0, 0.0, 0.0), new(20, 0.0, 0.0, 0.0, -1.0)],
            [false; 3]
        );
    }

    #[test]
    fn nothing_is_said_of_the_first_and_of_useless_batches() {
        let pid = estimator(1.0, 0.0, 0.0, 10.0);
        let input = [(0, 0, 1, 0), (1, 10, 0, 0), (2, 10, 10, 0), (2, 10, 10, 0), (1, 10, 10, 0), (3, 0, 5, 0)];
        assert_eq!(rates(pid, &input), [None; 6]);
    }

    #[test]
    fn the_rate_follows_what_the_batches_can_bear() {
        // Processing at 1000 per second throughout: the proportional term alone goes there at once.
        assert_eq!(rates(estimator(1.0, 0.0, 0.0, 10.0), &[(0, 20, 20, 0), (20, 20, 20, 0)]), [None, Some(1000.0)]);
        // Twice as slow: to 500, without integral or derivative.
        assert_eq!(rates(estimator(1.0, 0.0, 0.0, 10.0), &[(0, 20, 20, 0), (20, 20, 40, 0)]), [None, Some(500.0)]);
        // 20 ms of waiting at 1000 per second, of which a fifth counts: 1000 - 0.2 * 1000.
        assert_eq!(rates(estimator(1.0, 0.2, 0.0, 10.0), &[(0, 20, 20, 0), (20, 20, 20, 20)]), [None, Some(800.0)]);
        // The derivative: the error of 500 came in 20 ms, that is 25000 per second.
        let derived = rates(estimator(1.0, 0.0, 0.01, 10.0), &[(0, 20, 20, 0), (20, 20, 40, 0)]);
        assert_eq!(derived, [None, Some(250.0)]);
        // Never below the least rate.
        assert_eq!(rates(estimator(1.0, 1.0, 0.0, 100.0), &[(0, 20, 20, 0), (20, 1, 1000, 9999)]), [None, Some(100.0)]);
    }

    /// Numbers below `end`, the same each time.
    fn some_numbers(end: u64) -> impl Iterator<Item = u64> {
        let step =
            |seed: &u64| Some(seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        std::iter::successors(step(&7), step).map(move |seed| (seed >> 33) % end)
    }

    #[test]
    fn without_waiting_the_rate_is_that_of_the_last_batch_also_when_the_least_was_reached() {
        let steady: Vec<_> = (0..50).map(|n| (n * 20, 100, 20, 0)).collect();
        let mut expected = vec![Some(5000.0); 50];
        expected[0] = None;
        assert_eq!(rates(estimator(1.0, 1.0, 0.0, 10.0), &steady), expected);
        let uneven: Vec<_> = (0..50).zip(some_numbers(1000)).map(|(n, records)| (n * 20, records + 1, 20, 0)).collect();
        let speeds = uneven.iter().map(|batch| Some((batch.1 as f64 * 50.0).max(100.0)));
        let expected: Vec<_> = [None].into_iter().chain(speeds.skip(1)).collect();
        let rounded = rates(estimator(1.0, 1.0, 0.0, 100.0), &uneven).into_iter().map(|rate| rate.map(f64::round));
        assert_eq!(rounded.collect::<Vec<_>>(), expected);
        // One record in a fraction of a millisecond is enough to leave the least rate.
        let mut pid = estimator(1.0, 0.2, 0.0, 100.0);
        let mut next = |time, records, ms, waiting| pid.compute(Time::from_millis(time), records, ms, waiting);
        assert_eq!([next(0, 1, 1000.0, 0.0), next(20, 1, 1000.0, 9999.0)], [None, Some(100.0)]);
        assert_eq!(next(40, 1, 0.125, 0.0), Some(8000.0));
    }

    #[test]
    fn with_waiting_the_rate_stays_below_that_of_the_batches() {
        let waits = some_numbers(19).map(|wait| wait + 1);
        let batches: Vec<_> =
            (0..50).zip(some_numbers(1000)).zip(waits).map(|((n, r), wait)| (n * 20, r + 1, 20, wait)).collect();
        let rates = rates(estimator(1.0, 0.01, 0.0, 10.0), &batches);
        for (batch, rate) in batches.iter().zip(rates).skip(1) {
            let speed = batch.1 as f64 * 50.0;
            assert!(rate.is_some_and(|rate| rate < speed && rate >= 10.0), "{batch:?} {rate:?}");
        }
    }

    #[test]
    fn a_debt_is_forgiven_as_far_as_the_maximum_allows() {
        let (waker, done) = (Waker::default(), Waker::default());
        done.wake();
        let adapted = RateLimiter::new(f64::INFINITY, f64::INFINITY);
        adapted.set_rate(1e-6);
        // At an infinite rate nothing was owed.
        assert!(adapted.acquire(1000, &waker));
        assert!(!adapted.acquire(1, &done));
        adapted.forgive();
        assert!(adapted.acquire(1, &waker));
        let limited = RateLimiter::new(f64::INFINITY, 1e-6);
        assert!(limited.acquire(1000, &waker));
        limited.forgive();
        assert!(!limited.acquire(1, &done));
    }

    #[test]
    fn a_limiter_without_limit_never_waits_and_a_woken_one_gives_up() {
        let waker = Waker::default();
        assert!(RateLimiter::new(f64::INFINITY, f64::INFINITY).acquire(1 << 30, &waker));
        let slow = RateLimiter::new(1e-6, 10.0);
        assert_eq!(slow.rate(), 1e-6);
        assert!(slow.acquire(5, &waker));
        waker.wake();
        assert!(!slow.acquire(1, &waker));
        slow.set_rate(1e9);
        assert_eq!(slow.rate(), 10.0);
        slow.set_rate(0.0);
        assert_eq!(slow.rate(), 10.0);
    }

    #[test]
    fn who_waits_at_a_low_rate_goes_on_when_the_rate_rises() {
        let (limiter, waker) = (RateLimiter::new(1e-9, f64::INFINITY), Waker::default());
        assert_eq!(limiter.acquire_some(100, &waker), Some(1));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| limiter.acquire(1000, &waker));
            limiter.set_rate(1e9);
            assert!(waiting.join().unwrap());
        });
        assert!(limiter.acquire_some(7, &waker).is_some_and(|n| (1..=7).contains(&n)));
    }
}
