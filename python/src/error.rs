//! Errors of the engine as exceptions, and exceptions of the user's functions as errors of the engine.

use std::error::Error as StdError;
use std::fmt;

use pyo3::create_exception;
use pyo3::exceptions::{PyBaseException, PyRuntimeError};
use pyo3::prelude::*;
use tidemill_engine::error::Error;

use crate::codec;
use crate::interpreter::with_python;

create_exception!(
    tidemill,
    TidemillError,
    PyRuntimeError,
    "What the engine says: what happened to what, and what to do."
);
create_exception!(
    tidemill,
    PythonException,
    TidemillError,
    "A function of the program failed in a task: the text has its traceback, the operator, and where that was defined."
);

/// So many causes are looked through: exceptions may be causes of each other.
const MOST_CAUSES: usize = 32;

/// The exception that a function of the user's raised.
#[derive(Debug)]
struct Raised(PyErr);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Raised {}

/// The exception as an error of the engine: it names the operator and the place that defined it, and has the traceback.
pub fn failed(py: Python<'_>, whose: &str, raised: PyErr) -> Error {
    // Where the stable interface keeps it beside the exception, it would be lost with the next step.
    if let Some(place) = raised.traceback(py) {
        raised.set_traceback(py, Some(place));
    }
    let traceback = traceback(py, &raised);
    Error::usage(format!("the function of {whose} failed:\n{traceback}")).with_source(Raised(raised))
}

/// The exception that a worker has sent: its traceback, and its pickle, if it has one.
pub fn raised_elsewhere(whose: &str, sent: &[u8]) -> Error {
    with_python(|py| {
        let read = || -> PyResult<(String, Option<PyErr>)> {
            let (traceback, pickle): (String, Option<Vec<u8>>) = codec::decode(py, sent)?.extract()?;
            let read = pickle.and_then(|pickle| py.import("pickle").ok()?.call_method1("loads", (pickle,)).ok());
            let exception = read.filter(|read| read.is_instance_of::<PyBaseException>()).map(PyErr::from_value);
            Ok((traceback, exception))
        };
        match read() {
            Ok((traceback, exception)) => {
                let error = Error::usage(format!("the function of {whose} failed:\n{traceback}"));
                match exception {
                    Some(exception) => error.with_source(Raised(exception)),
                    None => error,
                }
            }
            Err(raised) => Error::internal(format!("the function of {whose} failed in a worker: {raised}")),
        }
    })
}

/// What Python would print.
fn traceback(py: Python<'_>, raised: &PyErr) -> String {
    let format = || -> PyResult<String> {
        let parts = (raised.get_type(py), raised.value(py), raised.traceback(py));
        let lines = py.import("traceback")?.call_method1("format_exception", parts)?;
        lines.extract::<Vec<String>>().map(|lines| lines.concat().trim_end().to_string())
    };
    format().unwrap_or_else(|_| raised.to_string())
}

/// An error of the engine as the exception that Python sees.
pub fn raise(error: Error) -> PyErr {
    let mut layer: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(inner) = layer {
        if let Some(Raised(raised)) = inner.downcast_ref::<Raised>() {
            return Python::attach(|py| {
                let exception = PythonException::new_err(error.message().to_string());
                // Of a job within a job: what the user's function raised.
                let mut cause = raised.clone_ref(py);
                for _ in 0..MOST_CAUSES {
                    match cause.cause(py).filter(|_| cause.is_instance_of::<PythonException>(py)) {
                        Some(beneath) => cause = beneath,
                        None => break,
                    }
                }
                exception.set_cause(py, Some(cause));
                exception
            });
        }
        layer = inner.source();
    }
    let text = error.to_string();
    if text.contains("Traceback (most recent call last)") {
        PythonException::new_err(text)
    } else {
        TidemillError::new_err(text)
    }
}
