//! Receivers that are written in Python.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use tidemill_dstream::input::receiver::{Receiver, ReceiverContext};

use crate::error::raise;
use crate::interpreter::with_python;
use crate::piece::Piece;

/// A receiver with the methods `on_start(store, is_stopped)` and `on_stop()`.
pub struct PythonReceiver {
    pub receiver: Py<PyAny>,
    pub name: String,
}

/// Where a receiver puts what it takes in: `store(item)`, `store.many(list)`.
#[pyclass(frozen)]
pub struct NativeStore {
    context: ReceiverContext<Piece>,
}

#[pymethods]
impl NativeStore {
    fn __call__<'py>(&self, py: Python<'py>, item: Bound<'py, PyAny>) -> PyResult<()> {
        let piece = Piece::of(PyList::new(py, [item])?.unbind());
        py.detach(|| self.context.store(piece)).map_err(raise)
    }

    fn many(&self, py: Python<'_>, items: Py<PyList>) -> PyResult<()> {
        // The list stays the receiver's.
        let copy = items.bind(py).get_slice(0, usize::MAX).unbind();
        py.detach(|| self.context.store_many(vec![Piece::of(copy)])).map_err(raise)
    }

    fn is_stopped(&self) -> bool {
        self.context.is_stopped()
    }

    /// Sleeps; true if the receiver was stopped meanwhile.
    fn sleep(&self, py: Python<'_>, ms: u64) -> bool {
        py.detach(|| self.context.sleep(std::time::Duration::from_millis(ms)))
    }

    #[pyo3(signature = (message, error=None))]
    fn report_error(&self, py: Python<'_>, message: &str, error: Option<String>) {
        let error = error.map(|error| raised(&error));
        py.detach(|| self.context.report_error(message, error.as_ref().map(|error| error as &dyn std::error::Error)));
    }

    #[pyo3(signature = (message, error=None))]
    fn restart(&self, py: Python<'_>, message: &str, error: Option<String>) {
        let error = error.map(|error| raised(&error));
        py.detach(|| self.context.restart(message, error.as_ref().map(|error| error as &dyn std::error::Error)));
    }

    fn stop(&self, py: Python<'_>, message: &str) {
        py.detach(|| self.context.stop(message));
    }
}

fn raised(text: &str) -> PyErr {
    PyRuntimeError::new_err(text.to_string())
}

impl Receiver<Piece> for PythonReceiver {
    fn on_start(&self, context: &ReceiverContext<Piece>) {
        let started = with_python(|py| {
            let store = Py::new(py, NativeStore { context: context.clone() })?;
            let is_stopped = store.bind(py).getattr("is_stopped")?;
            self.receiver.bind(py).call_method1("on_start", (store, is_stopped)).map(drop)
        });
        if let Err(error) = started {
            context.restart("the receiver failed", Some(&error));
        }
    }

    fn on_stop(&self) {
        // What fails here has nobody to tell but the program's own output.
        with_python(|py| {
            if let Err(error) = self.receiver.bind(py).call_method0("on_stop") {
                error.print(py);
            }
        });
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}
