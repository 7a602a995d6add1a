//! Keys and values of states: encoded objects, so that a checkpoint can hold them.

use std::sync::{Arc, OnceLock};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString, PyTuple};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec;
use crate::interpreter::with_python;
use crate::key_codec::encode_key;
use crate::piece::byte_buf;

/// A key: the bytes that all objects have that are equal to it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(Vec<u8>);

/// A value: an object, its bytes, or both. Cheap to clone; nobody changes the object.
///
/// It also knows which object its key was, where the key's bytes are those of an equal one: partitions and changelogs compare the bytes of keys,
/// and users see the first of the equal objects.
#[derive(Clone)]
pub struct Value {
    forms: Arc<Forms>,
    key: Option<Arc<[u8]>>,
}

#[derive(Default)]
struct Forms {
    object: OnceLock<Py<PyAny>>,
    bytes: OnceLock<Vec<u8>>,
}

/// Before the bytes of a value that knows its key: then come the length of the key's, 4 bytes, little-endian, and the key's. No encoded object
/// begins so.
const KEYED: u8 = 0xff;

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
        let bytes = match self.forms.bytes.get() {
            Some(bytes) => bytes,
            None => {
                let encoded = with_python(|py| codec::encode_lasting(self.object(py)?.as_any()));
                let encoded =
                    encoded.map_err(|raised| S::Error::custom(format!("a value can't be encoded: {raised}")))?;
                self.forms.bytes.get_or_init(|| encoded)
            }
        };
        let Some(key) = &self.key else { return serializer.serialize_bytes(bytes) };
        let length = u32::try_from(key.len()).map_err(|_| S::Error::custom("a key of a state is too long"))?;
        serializer.serialize_bytes(&[&[KEYED], &length.to_le_bytes()[..], key, bytes].concat())
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut bytes = byte_buf(deserializer)?;
        let mut key = None;
        if bytes.first() == Some(&KEYED) {
            let (known, own) = split_key(&bytes).ok_or_else(|| D::Error::custom("a value of a state is damaged"))?;
            key = Some(known.into());
            bytes = own.to_vec();
        }
        Ok(Self { forms: Arc::new(Forms { object: OnceLock::new(), bytes: OnceLock::from(bytes) }), key })
    }
}

/// The bytes of the key that a value knows, and its own.
fn split_key(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.get(1..)?.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

impl Key {
    /// The key that an object is, with a value that knows the object.
    pub fn with(object: &Bound<'_, PyAny>, value: Value) -> PyResult<(Self, Value)> {
        let (bytes, stands_in) = encode_key(object)?;
        let key = if stands_in { Some(codec::encode_lasting(object)?.into()) } else { None };
        Ok((Self(bytes), Value { key, ..value }))
    }

    /// The object that the key was when a value first came.
    pub fn object<'py>(&self, py: Python<'py>, value: Option<&Value>) -> PyResult<Bound<'py, PyAny>> {
        codec::decode(py, value.and_then(|value| value.key.as_deref()).unwrap_or(&self.0))
    }
}

impl Value {
    /// An object, which must not be changed any more.
    pub fn of(object: Py<PyAny>) -> Self {
        Self { forms: Arc::new(Forms { object: OnceLock::from(object), bytes: OnceLock::new() }), key: None }
    }

    /// An object, which must not be changed any more, with its bytes.
    pub fn encoded(object: Bound<'_, PyAny>) -> PyResult<Self> {
        let bytes = OnceLock::from(codec::encode_lasting(&object)?);
        let forms = Forms { object: OnceLock::from(object.unbind()), bytes };
        Ok(Self { forms: Arc::new(forms), key: None })
    }

    /// An object as it is now, whatever the program does with it later.
    pub fn kept(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let forms = Forms { object: OnceLock::new(), bytes: OnceLock::from(codec::encode_lasting(object)?) };
        if is_unchanging(object) {
            let _ = forms.object.set(object.clone().unbind());
        }
        Ok(Self { forms: Arc::new(forms), key: None })
    }

    /// This value under the key of another one.
    pub fn under_key_of(self, other: Option<&Value>) -> Self {
        Self { key: other.and_then(|other| other.key.clone()), ..self }
    }

    /// The object, or one like it, where the program may change what it gets.
    pub fn own<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match (self.forms.object.get(), self.forms.bytes.get()) {
            (Some(object), _) if is_unchanging(object.bind(py)) => Ok(object.bind(py).clone()),
            (_, Some(bytes)) => {
                let object = codec::decode(py, bytes)?;
                if is_unchanging(&object) {
                    let _ = self.forms.object.set(object.clone().unbind());
                }
                Ok(object)
            }
            (Some(object), None) => codec::decode(py, &codec::encode_lasting(object.bind(py))?),
            (None, None) => Err(damaged()),
        }
    }

    /// The object.
    pub fn object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(object) = self.forms.object.get() {
            return Ok(object.bind(py).clone());
        }
        let object = codec::decode(py, self.forms.bytes.get().ok_or_else(damaged)?)?;
        Ok(self.forms.object.get_or_init(|| object.unbind()).bind(py).clone())
    }
}

fn damaged() -> PyErr {
    PyRuntimeError::new_err("a value of a state has neither an object nor bytes")
}

/// Whether nobody can change an object: numbers, text, and tuples of those, not nested deeply.
pub fn is_unchanging(object: &Bound<'_, PyAny>) -> bool {
    is_unchanging_within(object, 3)
}

fn is_unchanging_within(object: &Bound<'_, PyAny>, depth: u8) -> bool {
    object.is_none()
        || object.is_exact_instance_of::<PyString>()
        || object.is_exact_instance_of::<PyInt>()
        || object.is_exact_instance_of::<PyFloat>()
        || object.is_exact_instance_of::<PyBool>()
        || object.is_exact_instance_of::<PyBytes>()
        || (depth > 0
            && object
                .cast_exact::<PyTuple>()
                .is_ok_and(|tuple| tuple.iter().all(|item| is_unchanging_within(&item, depth - 1))))
}
