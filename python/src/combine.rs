//! Values of a key, combined in one pass over the pairs of a partition.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::function::{Merge, merge_of};

/// Combines the values of each key: the first one is what `create` makes of it, or itself, and `merge(combined, value)` takes in each
/// further one. Gives (key, combined), keys in the order in which they were first seen.
#[pyfunction]
pub fn combine_values<'py>(
    pairs: &Bound<'py, PyAny>,
    create: Option<&Bound<'py, PyAny>>,
    merge: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    items(combine(pairs, create, merge)?)
}

/// Lists of the values of each key, in order. Gives (key, list).
#[pyfunction]
pub fn group_values<'py>(pairs: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    items(group(pairs)?)
}

fn items(dict: Bound<'_, PyDict>) -> PyResult<Bound<'_, PyAny>> {
    Ok(dict.call_method0("items")?.try_iter()?.into_any())
}

/// [`combine_values`], as a dict.
pub fn combine<'py>(
    pairs: &Bound<'py, PyAny>,
    create: Option<&Bound<'py, PyAny>>,
    merge: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let py = pairs.py();
    let known = merge_of(merge)?;
    let combined = PyDict::new(py);
    each_pair(pairs, |key, value| {
        let merged = match get(&combined, &key)? {
            None => match create {
                None => value,
                Some(create) => create.call1((value,))?,
            },
            Some(so_far) if known == Merge::Add => add(&so_far, &value)?,
            Some(so_far) => merge.call1((so_far, value))?,
        };
        combined.set_item(key, merged)
    })?;
    Ok(combined)
}

/// [`group_values`], as a dict.
pub fn group<'py>(pairs: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let groups = PyDict::new(pairs.py());
    each_pair(pairs, |key, value| match get(&groups, &key)? {
        // SAFETY: only lists are put in, below.
        Some(list) => unsafe { list.cast_unchecked::<PyList>() }.append(value),
        None => groups.set_item(key, PyList::new(groups.py(), [value])?),
    })?;
    Ok(groups)
}

/// The value of a key, which may not be hashable: that is an error.
fn get<'py>(dict: &Bound<'py, PyDict>, key: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    // SAFETY: both are live objects; what is given is borrowed from the dict, and a reference is taken at once.
    unsafe {
        let found = ffi::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr());
        match Bound::from_borrowed_ptr_or_opt(dict.py(), found) {
            Some(value) => Ok(Some(value)),
            None => PyErr::take(dict.py()).map_or(Ok(None), Err),
        }
    }
}

fn add<'py>(left: &Bound<'py, PyAny>, right: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: both are live objects; the result is a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(left.py(), ffi::PyNumber_Add(left.as_ptr(), right.as_ptr())) }
}

/// Calls `f` with both halves of every pair.
fn each_pair<'py>(
    pairs: &Bound<'py, PyAny>,
    mut f: impl FnMut(Bound<'py, PyAny>, Bound<'py, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    for pair in pairs.try_iter()? {
        let (key, value) = halves(&pair?)?;
        f(key, value)?;
    }
    Ok(())
}

/// Key and value of a pair: a tuple of two, or another sequence of two.
pub fn halves<'py>(pair: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    if let Ok(tuple) = pair.cast_exact::<PyTuple>()
        && tuple.len() == 2
    {
        return Ok((tuple.get_item(0)?, tuple.get_item(1)?));
    }
    let mut iter = pair.try_iter()?;
    match (iter.next(), iter.next(), iter.next()) {
        (Some(key), Some(value), None) => Ok((key?, value?)),
        _ => Err(PyTypeError::new_err(format!("an operation by key needs pairs (key, value), not {}", pair.repr()?))),
    }
}
