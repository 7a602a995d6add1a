//! Broadcast variables: read-only values that closures share.

use std::sync::Arc;

use parking_lot::RwLock;
use tidemill_engine::error::{Error, Result};

use crate::context::SparkContext;

/// A read-only value that closures share instead of each having a copy.
pub struct Broadcast<T>(Arc<RwLock<Option<Arc<T>>>>);

impl<T> Clone for Broadcast<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl SparkContext {
    /// A value for closures to share.
    pub fn broadcast<T: Send + Sync + 'static>(&self, value: T) -> Broadcast<T> {
        Broadcast(Arc::new(RwLock::new(Some(Arc::new(value)))))
    }
}

impl<T> Broadcast<T> {
    /// The value.
    ///
    /// # Errors
    /// If it was destroyed.
    pub fn value(&self) -> Result<Arc<T>> {
        self.0.read().clone().ok_or_else(|| Error::usage("Attempted to use a Broadcast after it was destroyed"))
    }

    /// Drops the copies that tasks hold. In one process there are none besides the driver's, which stays.
    pub fn unpersist(&self) {}

    /// Frees the value; it can't be used after.
    pub fn destroy(&self) {
        *self.0.write() = None;
    }
}
