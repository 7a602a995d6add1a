//! `NativeState`: the state of a key in the hands of the function of `mapWithState`.

use parking_lot::Mutex;
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;

/// The state of one key, during one call.
#[pyclass(frozen)]
pub struct NativeState {
    inner: Mutex<Inner>,
    timing_out: bool,
}

struct Inner {
    value: Option<Py<PyAny>>,
    updated: bool,
    removed: bool,
}

impl NativeState {
    /// A state as it is before the call.
    pub fn new(value: Option<Py<PyAny>>, timing_out: bool) -> Self {
        Self { inner: Mutex::new(Inner { value, updated: false, removed: false }), timing_out }
    }

    /// Whether the call removed it.
    pub fn is_removed(&self) -> bool {
        self.inner.lock().removed
    }

    /// What the call set it to.
    pub fn updated(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let inner = self.inner.lock();
        inner.value.as_ref().filter(|_| inner.updated).map(|value| value.clone_ref(py))
    }
}

#[pymethods]
impl NativeState {
    /// Whether there is a state.
    fn exists(&self) -> bool {
        self.inner.lock().value.is_some()
    }

    /// The state.
    fn get(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let inner = self.inner.lock();
        inner.value.as_ref().map(|value| value.clone_ref(py)).ok_or_else(|| PyKeyError::new_err("State is not set"))
    }

    /// The state, or None.
    #[pyo3(name = "getOption")]
    fn get_option(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.lock().value.as_ref().map(|value| value.clone_ref(py))
    }

    /// Sets the state.
    fn update(&self, value: Py<PyAny>) -> PyResult<()> {
        let mut inner = self.inner.lock();
        if inner.removed {
            return Err(PyValueError::new_err("Cannot update the state after it has been removed"));
        }
        if self.timing_out {
            return Err(PyValueError::new_err("Cannot update the state that is timing out"));
        }
        (inner.value, inner.updated) = (Some(value), true);
        Ok(())
    }

    /// Removes the state.
    fn remove(&self) -> PyResult<()> {
        let mut inner = self.inner.lock();
        if self.timing_out {
            return Err(PyValueError::new_err("Cannot remove the state that is timing out"));
        }
        if inner.removed {
            return Err(PyValueError::new_err("Cannot remove the state that has already been removed"));
        }
        *inner = Inner { value: None, updated: false, removed: true };
        Ok(())
    }

    /// Whether the key was silent for longer than the timeout: this is its last call.
    #[pyo3(name = "isTimingOut")]
    fn is_timing_out(&self) -> bool {
        self.timing_out
    }
}
