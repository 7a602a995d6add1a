//! An input stream of the loop: a source, and what adapts its rate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::batch::StreamId;
use crate::error::Result;
use crate::listener::BatchInfo;
use crate::rate::RateEstimator;
use crate::source::{Offset, Source};
use crate::time::Time;
use crate::waiter::Waiter;

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

/// Has all sources begin where `ends` says, at the time `now`. If one of them can't, those that have begun are stopped.
pub fn start_all(inputs: &BTreeMap<StreamId, Input>, ends: &BTreeMap<StreamId, Offset>, now: Time) -> Result<()> {
    for (stream, Input { source, .. }) in inputs {
        if let Err(error) = source.start(&ends[stream], now) {
            stop_all(inputs);
            // Of several errors the first is told: the others follow from it.
            inputs.values().for_each(|input| drop(input.source.end()));
            return Err(error.context(format!("starting {}", source.name())));
        }
    }
    Ok(())
}

/// Tells all sources to stop receiving.
pub fn stop_all(inputs: &BTreeMap<StreamId, Input>) {
    inputs.values().for_each(|input| input.source.stop());
}

/// Tells all sources that the stream is over.
///
/// # Errors
/// If one of them has lost something: the last of those errors. `waiter` hears of all.
pub fn end_all(inputs: &BTreeMap<StreamId, Input>, waiter: &Waiter) -> Result<()> {
    let end = |result: Result<()>, input: &Input| {
        let Err(error) = input.source.end() else { return result };
        tracing::error!(stream = input.name, %error, "the end of a stream has lost what it received");
        waiter.fail(error.clone());
        Err(error)
    };
    inputs.values().fold(Ok(()), end)
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
