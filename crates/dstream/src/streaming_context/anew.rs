//! Checkpoints by PySpark's rules: only who asks for the last run goes on from it.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use tidemill_engine::error::Result;
use tidemill_engine::recovery::set_contents_aside;

use super::StreamingContext;

impl StreamingContext {
    /// [`StreamingContext::checkpoint`] for a run that begins anew: the start sets aside what an earlier run has left in the folder, to where
    /// [`StreamingContext::checkpoint_set_aside`] says.
    ///
    /// # Errors
    /// As that. At the start, if the folder is in an object store and has a checkpoint.
    pub fn checkpoint_anew(&self, folder: impl Into<PathBuf>) -> Result<()> {
        self.checkpoint(folder)?;
        self.0.begins_anew.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Where the start has put the checkpoint of an earlier run, if there was one.
    pub fn checkpoint_set_aside(&self) -> Option<PathBuf> {
        self.0.set_aside.get().cloned()
    }

    /// Sets aside what a run that begins anew must not find.
    pub(super) fn make_room(&self) -> Result<()> {
        let Some(folder) = self.checkpoint_dir().filter(|_| self.0.begins_anew.load(Ordering::Relaxed)) else {
            return Ok(());
        };
        if let Some(aside) = set_contents_aside(&folder)? {
            tracing::warn!(aside = %aside.display(), "the checkpoint of an earlier run is set aside; a new one begins");
            self.0.set_aside.get_or_init(|| aside);
        }
        Ok(())
    }
}
