//! Checkpoints by PySpark's rules: only who asks for the last run goes on from it.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use tidemill_engine::error::Result;
use tidemill_engine::recovery::{remove_oldest_aside, set_contents_aside};

use super::StreamingContext;

impl StreamingContext {
    /// [`StreamingContext::checkpoint`] for a run that begins anew: the start sets aside what an earlier run has left in the folder, to where
    /// [`StreamingContext::checkpoint_set_aside`] says. The last three of them stay.
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
            remove_oldest(folder);
        }
        Ok(())
    }
}

/// Removes what was set aside long ago, in the background: the states of a program may be many files.
fn remove_oldest(folder: PathBuf) {
    let remove = move || {
        if let Err(error) = remove_oldest_aside(&folder) {
            tracing::warn!(%error, "old checkpoints stay where they are");
        }
    };
    // Where no thread can be had, the next start tries again.
    drop(std::thread::Builder::new().name("tidemill-aside".into()).spawn(remove));
}
