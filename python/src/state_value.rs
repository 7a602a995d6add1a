//! Keys and values of states: encoded objects, so that a checkpoint can hold them.

use std::sync::{Arc, OnceLock};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString, PyTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec;
use crate::interpreter::with_python;
use crate::piece::byte_buf;

/// A key: the bytes of an object. Objects of other types are other keys, also where Python finds them equal (1, 1.0 and True).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(Vec<u8>);

/// A value: an object, its bytes, or both. Cheap to clone; nobody changes the object.
#[derive(Clone)]
pub struct Value(Arc<Forms>);

#[derive(Default)]
struct Forms {
    object: OnceLock<Py<PyAny>>,
    bytes: OnceLock<Vec<u8>>,
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        byte_buf(deserializer).map(Key)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let bytes = match self.0.bytes.get() {
            Some(bytes) => bytes,
            None => {
                let encoded = with_python(|py| codec::encode_lasting(self.object(py)?.as_any()));
                let encoded = encoded
                    .map_err(|raised| serde::ser::Error::custom(format!("a value can't be encoded: {raised}")))?;
                self.0.bytes.get_or_init(|| encoded)
            }
        };
        serializer.serialize_bytes(bytes)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let forms = Forms { object: OnceLock::new(), bytes: OnceLock::from(byte_buf(deserializer)?) };
        Ok(Self(Arc::new(forms)))
    }
}

impl Key {
    /// The key that an object is.
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        codec::encode_key(object).map(Self)
    }

    /// The object.
    pub fn object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        codec::decode(py, &self.0)
    }
}

impl Value {
    /// An object, which must not be changed any more.
    pub fn of(object: Py<PyAny>) -> Self {
        Self(Arc::new(Forms { object: OnceLock::from(object), bytes: OnceLock::new() }))
    }

    /// An object as it is now, whatever the program does with it later.
    pub fn kept(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let forms = Forms { object: OnceLock::new(), bytes: OnceLock::from(codec::encode_lasting(object)?) };
        if is_unchanging(object) {
            let _ = forms.object.set(object.clone().unbind());
        }
        Ok(Self(Arc::new(forms)))
    }

    /// The object, or one like it, where the program may change what it gets.
    pub fn own<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match (self.0.object.get(), self.0.bytes.get()) {
            (Some(object), _) if is_unchanging(object.bind(py)) => Ok(object.bind(py).clone()),
            (_, Some(bytes)) => {
                let object = codec::decode(py, bytes)?;
                if is_unchanging(&object) {
                    let _ = self.0.object.set(object.clone().unbind());
                }
                Ok(object)
            }
            (Some(object), None) => codec::decode(py, &codec::encode_lasting(object.bind(py))?),
            (None, None) => Err(damaged()),
        }
    }

    /// The object.
    pub fn object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(object) = self.0.object.get() {
            return Ok(object.bind(py).clone());
        }
        let object = codec::decode(py, self.0.bytes.get().ok_or_else(damaged)?)?;
        Ok(self.0.object.get_or_init(|| object.unbind()).bind(py).clone())
    }
}

fn damaged() -> PyErr {
    PyRuntimeError::new_err("a value of a state has neither an object nor bytes")
}

/// Whether nobody can change an object: numbers, text, and tuples of those.
fn is_unchanging(object: &Bound<'_, PyAny>) -> bool {
    let is_plain = |object: &Bound<'_, PyAny>| {
        object.is_none()
            || object.is_exact_instance_of::<PyInt>()
            || object.is_exact_instance_of::<PyString>()
            || object.is_exact_instance_of::<PyFloat>()
            || object.is_exact_instance_of::<PyBool>()
            || object.is_exact_instance_of::<PyBytes>()
    };
    is_plain(object) || object.cast_exact::<PyTuple>().is_ok_and(|tuple| tuple.iter().all(|item| is_plain(&item)))
}
