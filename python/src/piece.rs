//! `Piece`: a batch of Python objects, which is what the rows of an RDD are here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, RecordBatch, StringArray};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};
use serde::de::{Error as _, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arrow_rows::rows_of;
use crate::codec;
use crate::interpreter::with_python;
use crate::parts::Parts;
use crate::state_value::is_unchanging;

/// Objects per piece, where we choose.
pub const PIECE_ROWS: usize = 1024;

/// Some objects, one after the other. Cheap to clone: then each who asks for the objects gets its own, if they can be changed.
pub struct Piece {
    content: Arc<Content>,
    shared: Arc<AtomicBool>,
}

impl Clone for Piece {
    fn clone(&self) -> Self {
        // Whoever has it already, too: it may not have looked yet.
        self.shared.store(true, Ordering::Relaxed);
        Self { content: Arc::clone(&self.content), shared: Arc::clone(&self.shared) }
    }
}

enum Content {
    /// They are there; so many.
    Objects(Py<PyList>, usize),
    /// A list, encoded.
    Encoded(Vec<u8>),
    /// Lines, and whether Python sees them as `str` or as `bytes`.
    Text(StringArray, bool),
    /// Rows of columns.
    Rows(RecordBatch),
}

const ENCODED: u8 = 0;
const ROWS: u8 = 1;

impl From<Content> for Piece {
    fn from(content: Content) -> Self {
        Self { content: Arc::new(content), shared: Arc::default() }
    }
}

impl Piece {
    /// Objects; the list must not be changed any more.
    pub fn of(list: Bound<'_, PyList>) -> Self {
        let rows = list.len();
        Content::Objects(list.unbind(), rows).into()
    }

    /// Lines, as `str` or as `bytes`.
    pub fn text(lines: StringArray, unicode: bool) -> Self {
        Content::Text(lines, unicode).into()
    }

    /// Rows of columns.
    pub fn rows(batch: RecordBatch) -> Self {
        Content::Rows(batch).into()
    }

    /// The objects.
    pub fn list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        match &*self.content {
            Content::Objects(list, _) => self.own(list.bind(py)),
            Content::Encoded(bytes) => Ok(codec::decode(py, bytes)?.cast_into::<PyList>()?),
            Content::Text(lines, true) => PyList::new(py, lines.iter().flatten().map(|line| PyString::new(py, line))),
            Content::Text(lines, false) => {
                PyList::new(py, lines.iter().flatten().map(|line| PyBytes::new(py, line.as_bytes())))
            }
            Content::Rows(batch) => rows_of(py, batch),
        }
    }

    /// The list, or one like it for a reader of several, where they could see what one of them does with the objects.
    fn own<'py>(&self, list: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyList>> {
        if !self.shared.load(Ordering::Relaxed) || list.iter().all(|object| is_unchanging(&object)) {
            return Ok(list.clone());
        }
        match codec::encode(list.as_any()) {
            Ok(bytes) => Ok(codec::decode(list.py(), &bytes)?.cast_into::<PyList>()?),
            // What can't be pickled is shared.
            Err(_) => Ok(list.clone()),
        }
    }

    /// The objects as Arrow columns: text as it is, rows as they are, others as Python's Arrow library turns them into a column.
    pub fn batch(&self, py: Python<'_>) -> PyResult<RecordBatch> {
        match &*self.content {
            Content::Rows(batch) => Ok(batch.clone()),
            Content::Text(lines, _) => crate::arrow_rows::batch_of_text(lines),
            _ => crate::arrow_rows::batch_of(&self.list(py)?),
        }
    }

    /// How many objects.
    pub fn count(&self) -> usize {
        match &*self.content {
            Content::Objects(_, rows) => *rows,
            Content::Encoded(list) => codec::list_length(list),
            Content::Text(lines, _) => lines.len() - lines.null_count(),
            Content::Rows(batch) => batch.num_rows(),
        }
    }

    /// The same objects, in a form whose bytes are made without the interpreter.
    pub fn encoded(&self, py: Python<'_>) -> PyResult<Self> {
        match &*self.content {
            Content::Objects(list, _) => {
                let mut bytes = Vec::new();
                codec::encode_piece(list.bind(py), &mut bytes)?;
                Ok(Content::Encoded(bytes).into())
            }
            _ => Ok(self.clone()),
        }
    }

    /// Bytes that `from_bytes` reads, also in another process.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        match &*self.content {
            // As it came.
            Content::Encoded(list) => Ok([&[ENCODED], list.as_slice()].concat()),
            Content::Rows(batch) => {
                let mut bytes = vec![ROWS];
                let written = StreamWriter::try_new(&mut bytes, &batch.schema()).and_then(|mut writer| {
                    writer.write(batch)?;
                    writer.finish()
                });
                written.map(|()| bytes).map_err(|error| error.to_string())
            }
            Content::Text(lines, unicode) => {
                let mut bytes = vec![ENCODED];
                codec::encode_lines(lines, *unicode, &mut bytes);
                Ok(bytes)
            }
            Content::Objects(..) => with_python(|py| {
                let mut bytes = vec![ENCODED];
                let list = self.list(py)?;
                codec::encode_piece(&list, &mut bytes)?;
                Ok(bytes)
            })
            .map_err(|error: PyErr| error.to_string()),
        }
    }

    /// The objects of bytes that `to_bytes` gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        match bytes.split_first() {
            Some((&ENCODED, list)) => Ok(Content::Encoded(list.to_vec()).into()),
            Some((&ROWS, stream)) => {
                let read = StreamReader::try_new(stream, None).and_then(|mut reader| reader.next().transpose());
                match read {
                    Ok(Some(batch)) => Ok(Self::rows(batch)),
                    Ok(None) => Err("a batch of rows is missing".into()),
                    Err(error) => Err(error.to_string()),
                }
            }
            _ => Err("a piece of an RDD is damaged".into()),
        }
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Piece")
    }
}

impl Serialize for Piece {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.to_bytes().map_err(S::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Piece {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Piece::from_bytes(&byte_buf(deserializer)?).map_err(D::Error::custom)
    }
}

/// Bytes, as `serialize_bytes` wrote them.
pub fn byte_buf<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    struct Bytes;
    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }
        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
        fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }
    deserializer.deserialize_byte_buf(Bytes)
}

/// Gives the lists of a partition's pieces, each when it is asked for.
#[pyclass(frozen)]
struct Lists {
    pieces: parking_lot::Mutex<std::vec::IntoIter<Piece>>,
}

#[pymethods]
impl Lists {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let next = self.pieces.lock().next();
        match next {
            Some(piece) => piece.list(py),
            None => Err(PyStopIteration::new_err(())),
        }
    }
}

/// The objects of a partition. `iter` of it is one of Python's own iterators, which are faster than `next` of this.
#[pyclass(frozen, module = "tidemill._native")]
pub struct Items {
    state: parking_lot::Mutex<Reading>,
}

enum Reading {
    /// Nothing was read.
    Whole(Vec<Piece>),
    /// Somebody reads from this.
    Begun(Py<PyAny>),
}

impl Items {
    /// All lines, if they are text that Python sees as `str`, and nobody has begun to read; they are gone then.
    pub fn take_text(&self) -> Option<Vec<StringArray>> {
        let mut state = self.state.lock();
        let Reading::Whole(pieces) = &mut *state else { return None };
        let text = |piece: &Piece| match &*piece.content {
            Content::Text(lines, true) => Some(lines.clone()),
            _ => None,
        };
        let lines = pieces.iter().map(text).collect::<Option<Vec<_>>>()?;
        pieces.clear();
        Some(lines)
    }
}

impl Items {
    /// All pieces, if nobody has begun to read; they are gone then.
    pub fn take_pieces(&self) -> Option<Vec<Piece>> {
        match &mut *self.state.lock() {
            Reading::Whole(pieces) => Some(std::mem::take(pieces)),
            Reading::Begun(_) => None,
        }
    }
}

#[pymethods]
impl Items {
    /// Whether they are lines of text that nobody has begun to read: the engine has them still to itself.
    fn is_text(&self) -> bool {
        match &*self.state.lock() {
            Reading::Whole(pieces) => pieces.iter().all(|piece| matches!(&*piece.content, Content::Text(_, true))),
            Reading::Begun(_) => false,
        }
    }

    /// The items as lists that are the caller's; None if somebody has begun to read.
    fn parts(&self) -> Option<Parts> {
        self.take_pieces().map(Parts::new)
    }

    fn __iter__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if let Reading::Begun(iterator) = &*self.state.lock() {
            return Ok(iterator.clone_ref(py));
        }
        // Not under the lock: whatever makes objects may run functions of the program's, by the collector, and give others the interpreter.
        let lists = Py::new(py, Lists { pieces: parking_lot::Mutex::default() })?;
        let chain = py.import("itertools")?.getattr("chain")?;
        let iterator = chain.call_method1("from_iterable", (lists.clone_ref(py),))?.unbind();
        let mut state = self.state.lock();
        match &mut *state {
            // Somebody was faster.
            Reading::Begun(theirs) => Ok(theirs.clone_ref(py)),
            Reading::Whole(pieces) => {
                *lists.get().pieces.lock() = std::mem::take(pieces).into_iter();
                *state = Reading::Begun(iterator.clone_ref(py));
                Ok(iterator)
            }
        }
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // Not under the lock: the function that is called may be anybody's.
        let iterator = self.__iter__(py)?;
        iterator.bind(py).try_iter()?.next().unwrap_or_else(|| Err(PyStopIteration::new_err(())))
    }
}

/// An iterator over the objects of a partition.
pub fn iterate(py: Python<'_>, pieces: Vec<Piece>) -> PyResult<Bound<'_, PyAny>> {
    let items = Items { state: parking_lot::Mutex::new(Reading::Whole(pieces)) };
    Ok(Bound::new(py, items)?.into_any())
}

/// The objects of an iterable, as pieces; `out` says whether it wants more.
pub fn gather<'py>(objects: &Bound<'py, PyAny>, mut out: impl FnMut(Piece) -> PyResult<bool>) -> PyResult<()> {
    let py = objects.py();
    let (islice, list) = (py.import("itertools")?.getattr("islice")?, py.get_type::<PyList>());
    let objects = objects.try_iter()?;
    loop {
        let next = list.call1((islice.call1((&objects, PIECE_ROWS))?,))?.cast_into::<PyList>()?;
        let length = next.len();
        if length > 0 && !out(Piece::of(next))? || length < PIECE_ROWS {
            return Ok(());
        }
    }
}
