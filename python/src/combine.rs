//! Values of a key, combined in one pass over the pairs of a partition.
//!
//! These loops run once for every pair of a program, so they call the interpreter's C functions themselves: a reference is taken where one is
//! kept, and nothing else is made.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList, PyTuple};

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

/// What the values of a key have come to.
enum Slot<'py> {
    /// A sum of plain integers.
    Sum(i64),
    Object(Bound<'py, PyAny>),
}

impl<'py> Slot<'py> {
    fn object(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Slot::Sum(sum) => Ok(sum.into_pyobject(py)?.into_any()),
            Slot::Object(object) => Ok(object),
        }
    }
}

/// The number that a plain integer of 64 bits is.
fn number(value: &Bound<'_, PyAny>) -> Option<i64> {
    let int = value.cast_exact::<PyInt>().ok()?;
    let mut overflow = 0;
    // SAFETY: it is an integer, so nothing can be raised.
    let number = unsafe { ffi::PyLong_AsLongLongAndOverflow(int.as_ptr(), &mut overflow) };
    (overflow == 0).then_some(number)
}

/// [`combine_values`], as a dict.
pub fn combine<'py>(
    pairs: &Bound<'py, PyAny>,
    create: Option<&Bound<'py, PyAny>>,
    merge: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let py = pairs.py();
    let adds = merge_of(merge)? == Merge::Add;
    // The dict says where a key's slot is: so it is changed once for each key, and not for each pair.
    let (places, mut slots) = (PyDict::new(py), Vec::<Slot<'py>>::new());
    each_pair(pairs, |key, value| {
        let Some(place) = get(&places, key)? else {
            let first = match create {
                None => value.clone(),
                Some(create) => create.call1((value,))?,
            };
            places.set_item(key, slots.len())?;
            slots.push(match number(&first).filter(|_| adds) {
                Some(sum) => Slot::Sum(sum),
                None => Slot::Object(first),
            });
            return Ok(());
        };
        let place = number(&place).unwrap_or_default() as usize;
        let slot = &mut slots[place];
        if let Slot::Sum(sum) = slot
            && let Some(next) = number(value).and_then(|value| sum.checked_add(value))
        {
            *sum = next;
            return Ok(());
        }
        let so_far = std::mem::replace(slot, Slot::Sum(0)).object(py)?;
        let merged = if adds { add(&so_far, value)? } else { merge.call1((so_far, value))? };
        // The function may have run pairs of its own, but not on these slots.
        slots[place] = Slot::Object(merged);
        Ok(())
    })?;
    let combined = PyDict::new(py);
    for (key, slot) in places.keys().iter().zip(slots) {
        combined.set_item(key, slot.object(py)?)?;
    }
    Ok(combined)
}

/// [`group_values`], as a dict.
pub fn group<'py>(pairs: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let groups = PyDict::new(pairs.py());
    each_pair(pairs, |key, value| match get(&groups, key)? {
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
    mut f: impl FnMut(&Bound<'py, PyAny>, &Bound<'py, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    let py = pairs.py();
    let pairs = pairs.try_iter()?;
    loop {
        // SAFETY: it is an iterator; what it gives is a new reference, or null at the end and for an exception.
        let Some(pair) = (unsafe { Bound::from_owned_ptr_or_opt(py, ffi::PyIter_Next(pairs.as_ptr())) }) else {
            return PyErr::take(py).map_or(Ok(()), Err);
        };
        // SAFETY: the halves of a tuple of two, which is held here, live as long as it.
        unsafe {
            if ffi::PyTuple_CheckExact(pair.as_ptr()) != 0 && ffi::PyTuple_Size(pair.as_ptr()) == 2 {
                let key = Bound::from_borrowed_ptr(py, ffi::PyTuple_GetItem(pair.as_ptr(), 0));
                let value = Bound::from_borrowed_ptr(py, ffi::PyTuple_GetItem(pair.as_ptr(), 1));
                f(&key, &value)?;
                continue;
            }
        }
        let (key, value) = halves(&pair)?;
        f(&key, &value)?;
    }
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
