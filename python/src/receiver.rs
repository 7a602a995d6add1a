//! Receivers that are written in Python.

use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tidemill_dstream::input::receiver::{Receiver, ReceiverContext};

use crate::error::raise;
use crate::interpreter::with_python;
use crate::state_value::Value;

/// A receiver with the methods `on_start(store, is_stopped)` and `on_stop()`.
pub struct PythonReceiver {
    pub receiver: Py<PyAny>,
    pub name: String,
}

/// Where a receiver puts what it takes in: `store(item)`, `store.many(list)`.
#[pyclass(frozen)]
pub struct NativeStore {
    context: ReceiverContext<Value>,
}

#[pymethods]
impl NativeStore {
    fn __call__(&self, py: Python<'_>, item: Bound<'_, PyAny>) -> PyResult<()> {
        let item = Value::kept(&item)?;
        py.detach(|| self.context.store(item)).map_err(raise)
    }

    fn many(&self, py: Python<'_>, items: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        let items = items.iter().map(Value::kept).collect::<PyResult<_>>()?;
        py.detach(|| self.context.store_many(items)).map_err(raise)
    }

    fn is_stopped(&self) -> bool {
        self.context.is_stopped()
    }

    /// Sleeps; true if the receiver was stopped meanwhile.
    fn sleep(&self, py: Python<'_>, ms: u64) -> bool {
        py.detach(|| self.context.sleep(Duration::from_millis(ms)))
    }

    #[pyo3(signature = (message, error=None))]
    fn report_error(&self, py: Python<'_>, message: &str, error: Option<String>) {
        let error = error.map(|error| raised(&error));
        py.detach(|| self.context.report_error(message, error.as_ref().map(|error| error as &dyn std::error::Error)));
    }

    #[pyo3(signature = (message, delay_ms=None))]
    fn restart(&self, py: Python<'_>, message: &str, delay_ms: Option<u64>) {
        py.detach(|| match delay_ms {
            None => self.context.restart(message, None),
            Some(ms) => self.context.restart_after(message, None, Duration::from_millis(ms)),
        });
    }

    fn stop(&self, py: Python<'_>, message: &str) {
        py.detach(|| self.context.stop(message));
    }
}

fn raised(text: &str) -> PyErr {
    PyRuntimeError::new_err(text.to_string())
}

impl Receiver<Value> for PythonReceiver {
    fn on_start(&self, context: &ReceiverContext<Value>) {
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
        // What fails here has nobody to tell but the program's own output. It is not printed as an exception that ends the process: of
        // SystemExit that would be taken at its word.
        with_python(|py| {
            let receiver = self.receiver.bind(py);
            if let Err(error) = receiver.call_method0("on_stop") {
                error.write_unraisable(py, Some(receiver));
            }
        });
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}
