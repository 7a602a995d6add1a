//! Contexts that are active already, or go on from a checkpoint.

use std::path::{Path, PathBuf};

use tidemill_engine::error::{Error, ErrorKind, Result};
use tidemill_engine::recovery::{has_checkpoint, set_aside};

use super::{ACTIVE, StreamingContext, StreamingContextState};

impl StreamingContext {
    /// The active context of this process, if there is one.
    pub fn get_active() -> Option<StreamingContext> {
        let inner = ACTIVE.lock().as_ref()?.0.upgrade()?;
        let active = *inner.state.lock() == StreamingContextState::Active;
        active.then_some(Self(inner))
    }

    /// The active context of this process, or what `create` makes.
    pub fn get_active_or_create(create: impl FnOnce() -> Result<StreamingContext>) -> Result<StreamingContext> {
        Self::get_active().map_or_else(create, Ok)
    }

    /// The active context of this process, or what [`StreamingContext::get_or_create_with`] gives.
    pub fn get_active_or_create_with(
        folder: impl Into<PathBuf>,
        create_on_error: bool,
        create: impl FnOnce() -> Result<StreamingContext>,
    ) -> Result<StreamingContext> {
        Self::get_active().map_or_else(|| Self::get_or_create_with(folder, create_on_error, create), Ok)
    }

    /// What `create` makes, with `folder` as its checkpoint folder: a restart goes on where the last run ended. As closures
    /// stay with their program, `create` builds the graph each time.
    ///
    /// # Errors
    /// If there is a checkpoint that can't be read, or another driver runs on it.
    pub fn get_or_create(
        folder: impl Into<PathBuf>,
        create: impl FnOnce() -> Result<StreamingContext>,
    ) -> Result<StreamingContext> {
        Self::get_or_create_with(folder, false, create)
    }

    /// [`StreamingContext::get_or_create`]; with `create_on_error`, a checkpoint that is damaged is set aside, as
    /// `FOLDER.unreadable`, and a new one begun.
    ///
    /// # Errors
    /// As that; what is not damaged is never set aside.
    pub fn get_or_create_with(
        folder: impl Into<PathBuf>,
        create_on_error: bool,
        create: impl FnOnce() -> Result<StreamingContext>,
    ) -> Result<StreamingContext> {
        let folder = folder.into();
        check_readable(&folder, create_on_error)?;
        let context = create()?;
        context.checkpoint(folder)?;
        Ok(context)
    }
}

fn check_readable(folder: &Path, create_on_error: bool) -> Result<()> {
    match has_checkpoint(folder) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::Usage => Err(error),
        Err(error) if create_on_error && error.kind() == ErrorKind::Data => {
            let aside = set_aside(folder)?;
            tracing::warn!(%error, aside = %aside.display(), "a checkpoint that can't be read is set aside; a new one begins");
            Ok(())
        }
        Err(error) => {
            let message = format!("Failed to read checkpoint from directory {}", folder.display());
            Err(Error::new(error.kind(), message).with_source(error))
        }
    }
}
