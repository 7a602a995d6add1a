//! The hash by which pairs are placed: the same in every process, whatever `PYTHONHASHSEED` is.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

/// A hash that does not depend on the process: 0 for None, Python's own for numbers, the old one of CPython for tuples, FNV-1a for text and
/// bytes. Of other objects, and of those whose class has a hash of its own, it is `hash(obj)`.
#[pyfunction]
pub fn portable_hash(obj: &Bound<'_, PyAny>) -> PyResult<isize> {
    if has_own_hash(obj)? {
        return obj.hash();
    }
    if let Ok(text) = obj.cast::<PyString>() {
        return text.to_str().map_or_else(|_| obj.hash(), |text| Ok(fnv(text.as_bytes())));
    }
    if obj.is_none() {
        return Ok(0);
    }
    if let Ok(tuple) = obj.cast::<PyTuple>() {
        return tuple_hash(tuple);
    }
    match obj.cast::<PyBytes>() {
        Ok(bytes) => Ok(fnv(bytes.as_bytes())),
        Err(_) => obj.hash(),
    }
}

/// Whether it is text, bytes or a tuple of a class that hashes them in another way, for it compares them in another way.
fn has_own_hash(obj: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = obj.py();
    let base = if obj.is_exact_instance_of::<PyString>() || obj.is_exact_instance_of::<PyTuple>() {
        return Ok(false);
    } else if obj.is_instance_of::<PyString>() {
        py.get_type::<PyString>()
    } else if obj.is_instance_of::<PyTuple>() {
        py.get_type::<PyTuple>()
    } else if obj.is_instance_of::<PyBytes>() {
        py.get_type::<PyBytes>()
    } else {
        return Ok(false);
    };
    Ok(!obj.get_type().getattr("__hash__")?.is(&base.getattr("__hash__")?))
}

/// <http://www.isthe.com/chongo/tech/comp/fnv/>, of 64 bits, folded to be positive.
fn fnv(bytes: &[u8]) -> isize {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    ((hash >> 32 ^ hash) & 0x7fff_ffff) as isize
}

/// That of CPython 2 to 3.7, cut to positive numbers after every element.
fn tuple_hash(tuple: &Bound<'_, PyTuple>) -> PyResult<isize> {
    let mut hash: isize = 0x34_5678;
    for item in tuple.iter() {
        hash = (hash ^ portable_hash(&item)?).wrapping_mul(1_000_003) & isize::MAX;
    }
    hash ^= tuple.len() as isize;
    Ok(if hash == -1 { -2 } else { hash })
}
