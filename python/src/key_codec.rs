//! The form of objects that are keys of states: those that Python finds equal have one form, as far as their types are known.
//!
//! A truth value, and a float without a fraction, have the form of the integer; an integer beyond 64 bits that of the float, if one is equal to
//! it. Tuples and frozen sets have the form of what is in them. `tidemill/state_keys.py` says what objects of other types are equal to; what it
//! does not know is pickled, so that two such objects are one key if their parts are the same.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyFrozenSet, PyInt, PyString, PyTuple};

use crate::codec::{FROZENSET, PICKLE, TUPLE, encode_to, put_bytes, put_float, put_int, put_varint};

/// From here on a float is no integer of 64 bits; below its negative neither.
const BEYOND_INT: f64 = 9_223_372_036_854_775_808.0;

/// The bytes of an object that is a key, and whether they are those of another object that is equal to it.
pub fn encode_key(obj: &Bound<'_, PyAny>) -> PyResult<(Vec<u8>, bool)> {
    let mut out = Vec::new();
    let stands_in = put_key(obj, &mut out)?;
    Ok((out, stands_in))
}

fn put_key(obj: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<bool> {
    if let Some(stands_in) = put_plain(obj, out)? {
        return Ok(stands_in);
    }
    let py = obj.py();
    let equal = py.import("tidemill.state_keys")?.call_method1("plain", (obj,))?;
    if !equal.is(obj) && put_plain(&equal, out)?.is_some() {
        return Ok(true);
    }
    let bytes = py.import("tidemill.pickles")?.call_method1("dumps_key", (&equal,))?;
    put_bytes(PICKLE, bytes.cast::<PyBytes>()?.as_bytes(), out);
    Ok(!equal.is(obj))
}

/// Appends an object of Python's own types and says whether another one stands in for it; `None` if it is of another type.
fn put_plain(obj: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<Option<bool>> {
    let same = obj.is_none() || obj.is_exact_instance_of::<PyString>() || obj.is_exact_instance_of::<PyBytes>();
    Ok(if same {
        encode_to(obj, out)?;
        Some(false)
    } else if let Ok(int) = obj.cast_exact::<PyInt>() {
        put_integer(int, out)?
    } else if let Ok(tuple) = obj.cast_exact::<PyTuple>() {
        out.push(TUPLE);
        put_varint(tuple.len() as u64, out);
        let mut stands_in = false;
        for item in tuple.iter() {
            stands_in |= put_key(&item, out)?;
        }
        Some(stands_in)
    } else if let Ok(float) = obj.cast_exact::<PyFloat>() {
        let value = float.value();
        let is_int = value.fract() == 0.0 && (-BEYOND_INT..BEYOND_INT).contains(&value);
        if is_int {
            put_int(value as i64, out);
        } else {
            put_float(value, out);
        }
        Some(is_int)
    } else if let Ok(truth) = obj.cast_exact::<PyBool>() {
        put_int(truth.is_true().into(), out);
        Some(true)
    } else if let Ok(set) = obj.cast_exact::<PyFrozenSet>() {
        let items = set.iter().map(|item| encode_key(&item)).collect::<PyResult<Vec<_>>>()?;
        let stands_in = items.iter().any(|(_, stands_in)| *stands_in);
        let mut items: Vec<Vec<u8>> = items.into_iter().map(|(bytes, _)| bytes).collect();
        items.sort_unstable();
        out.push(FROZENSET);
        put_varint(items.len() as u64, out);
        items.iter().for_each(|item| out.extend(item));
        Some(stands_in)
    } else {
        None
    })
}

fn put_integer(int: &Bound<'_, PyInt>, out: &mut Vec<u8>) -> PyResult<Option<bool>> {
    if let Ok(int) = int.extract::<i64>() {
        put_int(int, out);
        return Ok(Some(false));
    }
    match int.extract::<f64>() {
        Ok(float) if int.as_any().eq(float)? => {
            put_float(float, out);
            Ok(Some(true))
        }
        // Too large for a float, or none is as exact.
        _ => Ok(None),
    }
}
