//! Accumulators: what tasks add to and the driver reads.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::context::SparkContext;

struct Inner<T> {
    value: Mutex<T>,
    add: Box<dyn Fn(&mut T, T) + Send + Sync>,
}

/// A value that tasks add to. A task that runs again adds again, as in Spark.
pub struct Accumulator<T>(Arc<Inner<T>>);

impl<T> Clone for Accumulator<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl SparkContext {
    /// An accumulator that starts at `zero` and adds by `+=`.
    pub fn accumulator<T: std::ops::AddAssign + Send + 'static>(&self, zero: T) -> Accumulator<T> {
        self.accumulator_by(zero, |value, term| *value += term)
    }

    /// An accumulator that starts at `zero` and adds as `add` says.
    pub fn accumulator_by<T: Send + 'static>(
        &self,
        zero: T,
        add: impl Fn(&mut T, T) + Send + Sync + 'static,
    ) -> Accumulator<T> {
        Accumulator(Arc::new(Inner { value: Mutex::new(zero), add: Box::new(add) }))
    }
}

impl<T> Accumulator<T> {
    /// Adds a term.
    pub fn add(&self, term: T) {
        (self.0.add)(&mut self.0.value.lock(), term);
    }

    /// The sum so far.
    pub fn value(&self) -> T
    where
        T: Clone,
    {
        self.0.value.lock().clone()
    }

    /// Starts again from `value`.
    pub fn set_value(&self, value: T) {
        *self.0.value.lock() = value;
    }
}
