//! The one error type: what happened to what, and what to do about it.

use std::fmt;
use std::sync::Arc;

use datafusion_common::DataFusionError;

/// What the reader of an error can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The fault lies outside and may pass: try again.
    Retry,
    /// The program or its arguments are wrong: change them.
    Usage,
    /// The data, or a file on disk, is wrong: mend or skip it.
    Data,
    /// Tidemill is wrong: report it.
    Internal,
}

/// An error of Tidemill. Cheap to clone: one failed task may be told to many.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The program or its arguments are wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// The data is wrong.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, message)
    }

    /// The fault lies outside and may pass.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Retry, message)
    }

    /// An invariant of Tidemill is broken.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Keeps the error that lies beneath.
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Says where it happened, in front of what happened; kind and source stay.
    pub fn context(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What happened, without the errors beneath.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as &(dyn std::error::Error + 'static))
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

impl From<DataFusionError> for Error {
    /// Finds our own error again beneath what DataFusion wrapped around it.
    fn from(error: DataFusionError) -> Self {
        let mut layer: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(inner) = layer {
            if let Some(ours) = inner.downcast_ref::<Error>() {
                return ours.clone();
            }
            layer = inner.source();
        }
        Error::internal("the batch engine failed").with_source(error)
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::internal("an Arrow operation failed").with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_error_survives_the_wrapping_of_datafusion() {
        let wrapped = DataFusionError::Shared(Arc::new(Error::usage("bad argument").into()));
        let back = Error::from(wrapped.context("somewhere"));
        assert_eq!((back.kind(), back.message()), (ErrorKind::Usage, "bad argument"));
    }
}
