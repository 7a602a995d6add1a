//! The form of Python objects between stages and in states.
//!
//! One byte says what follows: none, true, false, an integer (zigzag varint), a float (8 bytes, little-endian), text or bytes (length, bytes),
//! a tuple, list or dict (length, elements), a list that has one object over and over (length, element); or a pickle (length, bytes), for all else. Integers above 63 bits, subclasses, deep nests and very
//! large ones are pickled. A list that is a piece of an RDD and has such in it is one pickle (length of the list, pickle). Keys of states have a form of their own: `key_codec.rs`.

use arrow::array::{Array, StringArray};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PyString, PyTuple};

const NONE: u8 = 0;
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const INT: u8 = 3;
const FLOAT: u8 = 4;
const TEXT: u8 = 5;
const BYTES: u8 = 6;
pub const TUPLE: u8 = 7;
const LIST: u8 = 8;
const DICT: u8 = 9;
pub const PICKLE: u8 = 10;
const REPEATED: u8 = 11;
pub const FROZENSET: u8 = 12;

const PICKLED_LIST: u8 = 13;

/// Lists that have one object over and over are written as that up to this length: as a few damaged bytes may say.
const MOST_REPEATED: usize = 1 << 20;

/// Objects of more tuples, lists and dicts than this are pickled.
const MOST_CONTAINERS: usize = 100_000;

/// Nests deeper than this are pickled: they may hold themselves.
const MAX_DEPTH: usize = 64;

/// Bytes of an object.
#[pyfunction]
pub fn dumps<'py>(py: Python<'py>, obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &encode(obj)?))
}

/// The object of bytes that `dumps` gave.
#[pyfunction]
pub fn loads<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    decode(py, bytes)
}

/// The bytes of an object, for a while: another process can read them, which has another main script.
pub fn encode(obj: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut out = Vec::new();
    encode_to(obj, &mut out)?;
    Ok(out)
}

/// The bytes of an object, to be kept: another run of the program can read them.
pub fn encode_lasting(obj: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut out = Vec::new();
    encode_with(obj, &mut out, pickle_lasting)?;
    Ok(out)
}

/// Appends the bytes of an object, as [`encode`].
pub fn encode_to(obj: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
    encode_with(obj, out, pickle)
}

/// Appends the bytes of the list of a piece. If anything in it has to be pickled, all of it is, once: a class of the main script goes into
/// each pickle of one of its objects.
pub fn encode_piece(list: &Bound<'_, PyList>, out: &mut Vec<u8>) -> PyResult<()> {
    let start = out.len();
    if put(list.as_any(), out, 0, &mut Pickling { pickle: None, left: MOST_CONTAINERS.saturating_mul(list.len() + 1) })?
    {
        return Ok(());
    }
    out.truncate(start);
    out.push(PICKLED_LIST);
    put_varint(list.len() as u64, out);
    pickle(list.as_any(), out)
}

/// How what is not plain is written.
struct Pickling {
    /// What appends the pickle of an object; nothing where all is pickled at once instead.
    pickle: Option<fn(&Bound<'_, PyAny>, &mut Vec<u8>) -> PyResult<()>>,
    /// How many tuples, lists and dicts may still be in it: parts that are there many times over are written each time, and in a pickle once.
    left: usize,
}

fn encode_with(
    obj: &Bound<'_, PyAny>,
    out: &mut Vec<u8>,
    pickle: fn(&Bound<'_, PyAny>, &mut Vec<u8>) -> PyResult<()>,
) -> PyResult<()> {
    let start = out.len();
    if put(obj, out, 0, &mut Pickling { pickle: Some(pickle), left: MOST_CONTAINERS })? {
        return Ok(());
    }
    out.truncate(start);
    pickle(obj, out)
}

/// Appends lines as the list that they are, of `str` or of `bytes`.
pub fn encode_lines(lines: &StringArray, unicode: bool, out: &mut Vec<u8>) {
    let tag = if unicode { TEXT } else { BYTES };
    out.reserve(lines.value_data().len() + 3 * lines.len());
    out.push(LIST);
    put_varint((lines.len() - lines.null_count()) as u64, out);
    lines.iter().flatten().for_each(|line| put_bytes(tag, line.as_bytes(), out));
}

/// How many objects an encoded list has; 0 of what is none.
pub fn list_length(bytes: &[u8]) -> usize {
    let mut length: u64 = 0;
    let (Some(&(LIST | REPEATED | PICKLED_LIST)), Some(rest)) = (bytes.first(), bytes.get(1..)) else { return 0 };
    for (byte, shift) in rest.iter().zip((0..64).step_by(7)) {
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(length).unwrap_or(0);
        }
    }
    0
}

/// Whether it went in; not if it is nested too deeply, or of too many parts, or has to be pickled with all that it is part of.
fn put(obj: &Bound<'_, PyAny>, out: &mut Vec<u8>, depth: usize, how: &mut Pickling) -> PyResult<bool> {
    if depth > MAX_DEPTH {
        return Ok(false);
    }
    let pickle = how.pickle;
    let pickled = |obj: &Bound<'_, PyAny>, out: &mut Vec<u8>| match pickle {
        Some(pickle) => pickle(obj, out).map(|()| true),
        None => Ok(false),
    };
    let is_container = obj.is_exact_instance_of::<PyTuple>()
        || obj.is_exact_instance_of::<PyList>()
        || obj.is_exact_instance_of::<PyDict>();
    if is_container {
        let Some(left) = how.left.checked_sub(1) else { return Ok(false) };
        how.left = left;
    }
    if let Ok(text) = obj.cast_exact::<PyString>() {
        match text.to_str() {
            Ok(text) => put_bytes(TEXT, text.as_bytes(), out),
            // Surrogates on their own have no UTF-8.
            Err(_) => return pickled(obj, out),
        }
    } else if let Ok(int) = obj.cast_exact::<PyInt>() {
        match int.extract::<i64>() {
            Ok(int) => put_int(int, out),
            Err(_) => return pickled(obj, out),
        }
    } else if let Ok(tuple) = obj.cast_exact::<PyTuple>() {
        out.push(TUPLE);
        put_varint(tuple.len() as u64, out);
        for item in tuple.iter() {
            if !put(&item, out, depth + 1, how)? {
                return Ok(false);
            }
        }
    } else if obj.is_none() {
        out.push(NONE);
    } else if let Ok(float) = obj.cast_exact::<PyFloat>() {
        put_float(float.value(), out);
    } else if let Ok(truth) = obj.cast_exact::<PyBool>() {
        out.push(if truth.is_true() { TRUE } else { FALSE });
    } else if let Ok(list) = obj.cast_exact::<PyList>() {
        if let Some(item) = repeated(list) {
            out.push(REPEATED);
            put_varint(list.len() as u64, out);
            return put(&item, out, depth + 1, how);
        }
        out.push(LIST);
        put_varint(list.len() as u64, out);
        for item in list.iter() {
            if !put(&item, out, depth + 1, how)? {
                return Ok(false);
            }
        }
    } else if let Ok(bytes) = obj.cast_exact::<PyBytes>() {
        put_bytes(BYTES, bytes.as_bytes(), out);
    } else if let Ok(dict) = obj.cast_exact::<PyDict>() {
        out.push(DICT);
        put_varint(dict.len() as u64, out);
        for (key, value) in dict.iter() {
            if !put(&key, out, depth + 1, how)? || !put(&value, out, depth + 1, how)? {
                return Ok(false);
            }
        }
    } else {
        return pickled(obj, out);
    }
    Ok(true)
}

/// The object that a list has over and over, if it is a number or a text.
fn repeated<'py>(list: &Bound<'py, PyList>) -> Option<Bound<'py, PyAny>> {
    let first = list.get_item(0).ok().filter(|_| (2..=MOST_REPEATED).contains(&list.len()))?;
    let plain = first.is_exact_instance_of::<PyInt>() || first.is_exact_instance_of::<PyString>();
    (plain && list.iter().all(|item| item.is(&first))).then_some(first)
}

fn pickle(obj: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
    let bytes = obj.py().import("tidemill.pickles")?.call_method1("dumps", (obj,))?;
    put_bytes(PICKLE, bytes.cast::<PyBytes>()?.as_bytes(), out);
    Ok(())
}

fn pickle_lasting(obj: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
    let bytes = obj.py().import("tidemill.pickles")?.call_method1("dumps_lasting", (obj,))?;
    put_bytes(PICKLE, bytes.cast::<PyBytes>()?.as_bytes(), out);
    Ok(())
}

/// Appends an integer.
pub fn put_int(int: i64, out: &mut Vec<u8>) {
    out.push(INT);
    put_varint(((int << 1) ^ (int >> 63)) as u64, out);
}

/// Appends a float.
pub fn put_float(float: f64, out: &mut Vec<u8>) {
    out.push(FLOAT);
    out.extend(float.to_le_bytes());
}

/// Appends a length and bytes.
pub fn put_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends a number, seven bits a byte.
pub fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The object of bytes.
pub fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let mut reader = Reader { py, rest: bytes };
    let obj = reader.object(0)?;
    if reader.rest.is_empty() { Ok(obj) } else { Err(damaged()) }
}

fn damaged() -> PyErr {
    PyValueError::new_err("these bytes are not an encoded object: they are damaged, or of another version")
}

struct Reader<'py, 'a> {
    py: Python<'py>,
    rest: &'a [u8],
}

impl<'py, 'a> Reader<'py, 'a> {
    fn take(&mut self, length: usize) -> PyResult<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or_else(damaged)?;
        self.rest = rest;
        Ok(head)
    }

    fn varint(&mut self) -> PyResult<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged())
    }

    fn bytes(&mut self) -> PyResult<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    /// A number of things that follow, each of a byte at least.
    fn length(&mut self) -> PyResult<usize> {
        usize::try_from(self.varint()?).ok().filter(|length| *length <= self.rest.len()).ok_or_else(damaged)
    }

    fn object(&mut self, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        if depth > MAX_DEPTH + 1 {
            return Err(damaged());
        }
        let py = self.py;
        Ok(match self.take(1)?[0] {
            NONE => py.None().into_bound(py),
            TRUE => PyBool::new(py, true).to_owned().into_any(),
            FALSE => PyBool::new(py, false).to_owned().into_any(),
            INT => {
                let zigzag = self.varint()?;
                ((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)).into_pyobject(py)?.into_any()
            }
            FLOAT => {
                let bytes = self.take(8)?.try_into().map_err(|_| damaged())?;
                PyFloat::new(py, f64::from_le_bytes(bytes)).into_any()
            }
            TEXT => {
                let text = std::str::from_utf8(self.bytes()?).map_err(|_| damaged())?;
                PyString::new(py, text).into_any()
            }
            BYTES => PyBytes::new(py, self.bytes()?).into_any(),
            TUPLE => PyTuple::new(py, self.objects(depth)?)?.into_any(),
            REPEATED => {
                let length = self.varint().ok().filter(|length| *length <= MOST_REPEATED as u64).ok_or_else(damaged)?;
                let item = self.object(depth + 1)?;
                PyList::new(py, [item])?.as_any().mul(length.into_pyobject(py)?)?
            }
            LIST => PyList::new(py, self.objects(depth)?)?.into_any(),
            PICKLED_LIST if depth == 0 => {
                self.varint()?;
                self.object(1)?
            }
            DICT => {
                let dict = PyDict::new(py);
                for _ in 0..self.length()? {
                    let (key, value) = (self.object(depth + 1)?, self.object(depth + 1)?);
                    dict.set_item(key, value)?;
                }
                dict.into_any()
            }
            FROZENSET => PyFrozenSet::new(py, self.objects(depth)?)?.into_any(),
            PICKLE => py.import("pickle")?.call_method1("loads", (PyBytes::new(py, self.bytes()?),))?,
            _ => return Err(damaged()),
        })
    }

    fn objects(&mut self, depth: usize) -> PyResult<Vec<Bound<'py, PyAny>>> {
        (0..self.length()?).map(|_| self.object(depth + 1)).collect()
    }
}
