//! How many records a batch may take of each partition.

use std::sync::Arc;
use std::time::Duration;

use tidemill_engine::rate::RateLimiter;

/// The limits of a stream: Spark's `maxRatePerPartition` and `minRatePerPartition`, and what backpressure says.
#[derive(Clone)]
pub(super) struct RateLimits {
    /// The time between batches.
    pub interval: Duration,
    /// Records per second of one partition; infinity is no limit.
    pub max_rate_per_partition: f64,
    /// Records of one partition that a batch may take whatever the rates are.
    pub least_per_partition: u64,
    /// Records per second of all partitions, with backpressure.
    pub limiter: Option<Arc<RateLimiter>>,
}

impl RateLimits {
    /// How many records the next batch may take of partitions of which so many wait; none is no limit.
    ///
    /// As Spark's `DirectKafkaInputDStream.maxMessagesPerPartition`: the rate of all is split by what waits.
    pub fn split(&self, waiting: &[u64]) -> Vec<Option<u64>> {
        let rate = self.limiter.as_ref().map_or(f64::INFINITY, |limiter| limiter.rate());
        let total = waiting.iter().sum::<u64>() as f64;
        let limit = |waiting: &u64| {
            let share = if rate.is_infinite() || total == 0.0 { rate } else { *waiting as f64 / total * rate };
            let rate = share.min(self.max_rate_per_partition);
            // A product beyond the range of integers is the largest of them.
            (!rate.is_infinite()).then(|| ((self.interval.as_secs_f64() * rate) as u64).max(self.least_per_partition))
        };
        waiting.iter().map(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_split_by_what_waits() {
        const NO: f64 = f64::INFINITY;
        // (interval in ms, most per partition, least, rate of all, what waits, limits)
        type Case = (u64, f64, u64, f64, &'static [u64], &'static [Option<u64>]);
        let cases: [Case; 10] = [
            (1000, NO, 1, NO, &[5, 7], &[None, None]),
            (1000, 100.0, 1, NO, &[5, 7], &[Some(100), Some(100)]),
            (200, 100.0, 1, NO, &[5], &[Some(20)]),
            // Too small a share still moves.
            (5, 100.0, 1, NO, &[5], &[Some(1)]),
            (5, 100.0, 3, NO, &[5], &[Some(3)]),
            // By lag: 900 and 100 of 1000 per second.
            (1000, NO, 1, 1000.0, &[9000, 1000], &[Some(900), Some(100)]),
            (100, NO, 1, 1000.0, &[9000, 1000, 0], &[Some(90), Some(10), Some(1)]),
            // Neither beyond what one partition may.
            (1000, 500.0, 1, 1000.0, &[9000, 1000], &[Some(500), Some(100)]),
            (1000, NO, 1, 1000.0, &[0, 0], &[Some(1000), Some(1000)]),
            (1000, NO, 1, 1000.0, &[], &[]),
        ];
        for (ms, max_rate_per_partition, least_per_partition, rate, waiting, expected) in cases {
            let interval = Duration::from_millis(ms);
            let limiter = rate.is_finite().then(|| Arc::new(RateLimiter::new(rate, NO)));
            let limits = RateLimits { interval, max_rate_per_partition, least_per_partition, limiter };
            assert_eq!(limits.split(waiting), expected, "{ms} {max_rate_per_partition} {rate} {waiting:?}");
        }
    }
}
