//! The words of text, counted without a call of Python: what `flatMap(lambda line: line.split(" ")).map(lambda word: (word, 1))` and a sum
//! or a list by key come to, where the functions are known and the lines are still Arrow text.

use arrow::array::StringArray;
use hashbrown::HashMap;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList, PyString, PyTuple};

use crate::piece::Items;

/// Words of lines with `constant` times their number: (word, sum). None if the items are not text that nobody has begun to read.
#[pyfunction]
#[pyo3(signature = (items, separator, constant))]
pub fn sum_words<'py>(
    items: &Bound<'py, PyAny>,
    separator: Option<String>,
    constant: &Bound<'py, PyInt>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = items.py();
    // Python's integers have no bound.
    let sum = |count: u64| constant.mul(count.into_pyobject(py)?);
    with_counts(items, separator.as_deref(), |words| {
        let dict = PyDict::new(py);
        for (word, count) in words {
            dict.set_item(PyString::new(py, word), sum(count)?)?;
        }
        Ok(dict.call_method0("items")?.try_iter()?.into_any())
    })
}

/// Words of lines with a list that has `constant` for each time they are there: (word, list). None as of [`sum_words`].
#[pyfunction]
#[pyo3(signature = (items, separator, constant))]
pub fn list_words<'py>(
    items: &Bound<'py, PyAny>,
    separator: Option<String>,
    constant: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = items.py();
    let one = PyList::new(py, [constant])?;
    with_counts(items, separator.as_deref(), |words| {
        let pair = |(word, count): (&str, u64)| {
            PyTuple::new(py, [PyString::new(py, word).into_any(), one.mul(count.into_pyobject(py)?)?])
        };
        let pairs = words.map(pair).collect::<PyResult<Vec<_>>>()?;
        Ok(PyList::new(py, pairs)?.try_iter()?.into_any())
    })
}

fn with_counts<'py>(
    items: &Bound<'py, PyAny>,
    separator: Option<&str>,
    make: impl FnOnce(&mut dyn Iterator<Item = (&str, u64)>) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if separator == Some("") {
        return Ok(None);
    }
    let Some(texts) = items.cast::<Items>().ok().and_then(|items| items.get().take_text()) else { return Ok(None) };
    // Other partitions may have the interpreter meanwhile.
    let mut counts = items.py().detach(|| count(&texts, separator)).into_iter();
    make(&mut counts).map(Some)
}

/// How often each word is there, in the order in which words were first seen.
fn count<'a>(texts: &'a [StringArray], separator: Option<&str>) -> Vec<(&'a str, u64)> {
    let mut places: HashMap<&'a str, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut counts: Vec<(&'a str, u64)> = Vec::new();
    let mut add = |word: &'a str| {
        let place = *places.entry(word).or_insert_with(|| {
            counts.push((word, 0));
            counts.len() - 1
        });
        counts[place].1 += 1;
    };
    for line in texts.iter().flat_map(|lines| lines.iter().flatten()) {
        match separator {
            // One character is found faster than a text.
            Some(separator) if separator.len() == 1 => {
                line.split(char::from(separator.as_bytes()[0])).for_each(&mut add)
            }
            Some(separator) => line.split(separator).for_each(&mut add),
            None => line.split(is_space).filter(|word| !word.is_empty()).for_each(&mut add),
        }
    }
    counts
}

/// What Python's `str.split()` takes for space: Unicode's white space, and the four separators of ASCII.
fn is_space(char: char) -> bool {
    char.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&char)
}
