//! Functions of the user's that are known by their code, and need no call into Python.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

/// A merge of two values that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// `operator.add`, or a lambda that does the same.
    Add,
    /// A function that has to be called.
    Unknown,
}

/// The code of functions that stand for what is known.
struct Patterns {
    add: Py<PyAny>,
    pair: Py<PyAny>,
    split: Py<PyAny>,
    split_at: Py<PyAny>,
    operator_add: Py<PyAny>,
}

fn patterns(py: Python<'_>) -> PyResult<&Patterns> {
    static PATTERNS: PyOnceLock<Patterns> = PyOnceLock::new();
    PATTERNS.get_or_try_init(py, || {
        let code = |source: &std::ffi::CStr| -> PyResult<Py<PyAny>> {
            Ok(py.eval(source, None, None)?.getattr("__code__")?.unbind())
        };
        let operator_add = py.import("operator")?.getattr("add")?.unbind();
        Ok(Patterns {
            add: code(c"lambda a, b: a + b")?,
            pair: code(c"lambda x: (x, 1)")?,
            split: code(c"lambda x: x.split()")?,
            split_at: code(c"lambda x: x.split(' ')")?,
            operator_add,
        })
    })
}

/// What a function of two values does.
pub fn merge_of(function: &Bound<'_, PyAny>) -> PyResult<Merge> {
    let patterns = patterns(function.py())?;
    if function.is(&patterns.operator_add) {
        return Ok(Merge::Add);
    }
    let same = same_code(function, patterns.add.bind(function.py()))?;
    Ok(if same { Merge::Add } else { Merge::Unknown })
}

/// The constant `c` of a function that is `lambda x: (x, c)`, as a tuple of one; else none.
#[pyfunction]
pub fn known_pairing<'py>(function: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let py = function.py();
    if !same_code(function, patterns(py)?.pair.bind(py))? {
        return Ok(None);
    }
    // Where the constant stands in the code depends on the version of Python, and on whether there is a docstring.
    Ok(Some(PyTuple::new(py, [function.call1((py.None(),))?.get_item(1)?])?))
}

/// Whether a function of two values is known to add them.
#[pyfunction]
pub fn known_sum(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(merge_of(function)? == Merge::Add)
}

/// The separator of a function that is `lambda x: x.split(separator)`, as a tuple of one: None is white space. Else none.
#[pyfunction]
pub fn known_split<'py>(function: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let py = function.py();
    let patterns = patterns(py)?;
    if same_code(function, patterns.split.bind(py))? {
        return Ok(Some(PyTuple::new(py, [py.None()])?));
    }
    if !same_code(function, patterns.split_at.bind(py))? {
        return Ok(None);
    }
    let constants = function.getattr("__code__")?.getattr("co_consts")?.cast_into::<PyTuple>()?;
    let separator = constants.get_item(constants.len() - 1)?;
    // A surrogate on its own has no UTF-8, which text is in.
    let is_text = separator.cast_exact::<PyString>().is_ok_and(|separator| separator.to_str().is_ok());
    Ok(if is_text { Some(PyTuple::new(py, [separator])?) } else { None })
}

/// Whether a plain function runs the same instructions as a pattern, on arguments of any names. Constants may differ.
fn same_code(function: &Bound<'_, PyAny>, pattern: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = function.py();
    if !function.get_type().is(&py.import("types")?.getattr("FunctionType")?) {
        return Ok(false);
    }
    let code = function.getattr("__code__")?;
    let equal = |name: &str| -> PyResult<bool> { code.getattr(name)?.eq(pattern.getattr(name)?) };
    let bytes = |code: &Bound<'_, PyAny>| -> PyResult<Vec<u8>> {
        Ok(code.getattr("co_code")?.cast_into::<PyBytes>()?.as_bytes().to_vec())
    };
    let counts = ["co_argcount", "co_kwonlyargcount", "co_posonlyargcount", "co_flags", "co_nlocals"];
    for count in counts {
        // A lambda in a function's body has other flags, but for those that matter: generators, coroutines, more arguments.
        let same = match count {
            "co_flags" => {
                let kind = |code: &Bound<'_, PyAny>| -> PyResult<u32> {
                    Ok(code.getattr("co_flags")?.extract::<u32>()? & 0x3ac)
                };
                kind(&code)? == kind(pattern)?
            }
            _ => equal(count)?,
        };
        if !same {
            return Ok(false);
        }
    }
    let plain = |name: &str| -> PyResult<bool> { Ok(code.getattr(name)?.len()? == 0) };
    let constants = |code: &Bound<'_, PyAny>| -> PyResult<usize> { code.getattr("co_consts")?.len() };
    Ok(bytes(&code)? == bytes(pattern)?
        && plain("co_freevars")?
        && equal("co_names")?
        && constants(&code)? == constants(pattern)?
        && function.getattr("__dict__")?.cast_into::<PyDict>()?.is_empty())
}
