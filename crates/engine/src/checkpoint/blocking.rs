//! Calls of an asynchronous store from threads that wait for them, be those part of another runtime or not.

use std::future::Future;
use std::sync::mpsc::sync_channel;

use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, Result};

/// A small runtime of its own.
pub struct Blocking(Option<Runtime>);

impl Blocking {
    /// Two threads: the loop's own writes must not wait for those of snapshots.
    pub fn new() -> Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(2).thread_name("tidemill-storage").enable_all().build();
        let runtime = runtime.map_err(|e| Error::retry("the threads of a store can't be started").with_source(e))?;
        Ok(Self(Some(runtime)))
    }

    /// Waits for `work`; its error is made by `failed`.
    pub fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let gone = || Error::internal("a call of a store has ended without a result");
        let runtime = self.0.as_ref().ok_or_else(gone)?;
        // Handed over, for a thread that belongs to another runtime must not drive this one.
        let (sender, result) = sync_channel(1);
        runtime.spawn(async move {
            // The receiver waits below.
            let _ = sender.send(work.await);
        });
        result.recv().map_err(|_| gone())
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        // Not waited for, which a thread of another runtime must not do: nobody waits for a result any more.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
