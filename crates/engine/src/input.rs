//! An input stream of the loop: a source, and what adapts its rate.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::batch::StreamId;
use crate::listener::BatchInfo;
use crate::rate::RateEstimator;
use crate::source::Source;

/// An input stream of the loop.
pub struct Input {
    /// Its name, by which a restart finds it again: no two of a program are the same.
    pub name: String,
    /// Where the data comes from.
    pub source: Arc<dyn Source>,
    /// Adapts the source's rate to what the batches can bear, with backpressure on.
    pub estimator: Option<Mutex<Box<dyn RateEstimator>>>,
    /// The time between batches.
    pub interval: Duration,
}

impl Input {
    /// A batch is over: the source may go faster, or must go slower.
    pub fn adapt_rate(&self, stream: StreamId, batch: &BatchInfo) {
        if let (Some(estimator), Some(limiter), Some(read)) =
            (&self.estimator, self.source.rate_limiter(), batch.inputs.get(&stream))
            && let (Some(end), Some(processing), Some(waiting)) =
                (batch.processing_end_time, batch.processing_delay, batch.scheduling_delay)
        {
            if read.records == 0 && waiting < self.interval {
                // Nothing more is learned until something is stored, so nobody must wait long for a rate of busier times.
                limiter.forgive();
            }
            // In fractions: a batch of few records takes less than a millisecond, and must be able to raise the rate again.
            let (processing, waiting) = (processing.as_secs_f64() * 1e3, waiting.as_secs_f64() * 1e3);
            if let Some(rate) = estimator.lock().compute(end, read.records, processing, waiting) {
                limiter.set_rate(rate);
            }
        }
    }
}
