//! The objects of a partition as short lists, which whoever hands them on can take back.

use parking_lot::Mutex;
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::piece::{PIECE_ROWS, Piece};

/// Gives lists of at most `PIECE_ROWS` objects, which nobody else has.
#[pyclass(frozen)]
pub struct Parts {
    left: Mutex<Left>,
}

#[derive(Default)]
struct Left {
    pieces: std::vec::IntoIter<Piece>,
    /// The list of a piece, and how much of it was given.
    begun: Option<(Py<PyList>, usize)>,
}

impl Parts {
    /// Those of these pieces.
    pub fn new(pieces: Vec<Piece>) -> Self {
        Self { left: Mutex::new(Left { pieces: pieces.into_iter(), begun: None }) }
    }
}

#[pymethods]
impl Parts {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        // Not under the lock: to make objects may run code of the program's.
        let mut left = std::mem::take(&mut *self.left.lock());
        loop {
            let (list, from) = match left.begun.take() {
                Some(begun) => begun,
                None => match left.pieces.next() {
                    Some(piece) => (piece.list(py)?.unbind(), 0),
                    None => return Err(PyStopIteration::new_err(())),
                },
            };
            let until = list.bind(py).len().min(from + PIECE_ROWS);
            if from < until {
                let part = list.bind(py).get_slice(from, until);
                left.begun = Some((list, until));
                *self.left.lock() = left;
                return Ok(part);
            }
        }
    }
}
