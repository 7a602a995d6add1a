//! Between Arrow and Python: columns shared by the Arrow C data interface, and rows of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow_pyarrow::{FromPyArrow, ToPyArrow};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use tidemill_engine::chunk::text_schema;

/// The one column of text, and of objects.
const VALUE: &str = "value";

/// The rows as Python objects: values, if there is but the column `value`, else dicts.
pub fn rows_of<'py>(py: Python<'py>, batch: &RecordBatch) -> PyResult<Bound<'py, PyList>> {
    let shared = batch.to_pyarrow(py)?;
    let rows = match batch.schema().fields().iter().as_slice() {
        [only] if only.name() == VALUE => shared.call_method1("column", (0,))?.call_method0("to_pylist")?,
        _ => shared.call_method0("to_pylist")?,
    };
    Ok(rows.cast_into::<PyList>()?)
}

/// Lines as a batch with the column `value`.
pub fn batch_of_text(lines: &StringArray) -> PyResult<RecordBatch> {
    RecordBatch::try_new(text_schema(), vec![Arc::new(lines.clone()) as ArrayRef])
        .map_err(|error| PyTypeError::new_err(error.to_string()))
}

/// Objects as a batch: dicts by their keys, others as the column `value`.
pub fn batch_of(list: &Bound<'_, PyList>) -> PyResult<RecordBatch> {
    let pyarrow = list.py().import("pyarrow")?;
    let dicts = list.get_item(0).is_ok_and(|first| first.is_instance_of::<pyo3::types::PyDict>());
    let class = pyarrow.getattr("RecordBatch")?;
    let batch = if dicts {
        class.call_method1("from_pylist", (list,))?
    } else {
        let array = pyarrow.call_method1("array", (list,))?;
        class.call_method1("from_arrays", ([array], [VALUE]))?
    };
    RecordBatch::from_pyarrow_bound(&batch)
}

/// What a function of batches makes of one.
pub fn map_batch(py: Python<'_>, function: &Py<PyAny>, batch: &RecordBatch) -> PyResult<RecordBatch> {
    let result = function.bind(py).call1((batch.to_pyarrow(py)?,))?;
    RecordBatch::from_pyarrow_bound(&result).map_err(|error| {
        PyTypeError::new_err(format!("mapArrow needs a pyarrow.RecordBatch from its function: {error}"))
    })
}
