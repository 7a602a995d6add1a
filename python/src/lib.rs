//! `tidemill._native`: the engine for the Python package, which has the API of PySpark.
//!
//! An RDD here is a data set of *pieces*, each a batch of Python objects ([`piece`]); a Python function works on a whole partition of them
//! ([`operator`]). [`codec`] is the form of objects between stages and in states, [`key_codec`] that of keys. [`rdd`] and [`stream`] are what Python holds in its
//! hands; [`state`] has the operators that keep something between batches, [`state_value`] what they keep; [`workers`] are other processes that run functions.

mod arrow_rows;
mod codec;
mod combine;
mod context;
mod cost;
mod detached;
mod ending;
mod error;
mod function;
mod interpreter;
mod kafka;
mod key_codec;
mod listener;
mod operator;
mod parts;
mod piece;
mod portable_hash;
mod rdd;
mod receiver;
mod relief;
mod shuffle;
mod state;
mod state_handle;
mod state_value;
mod stream;
mod streaming_context;
mod travel;
mod user_function;
mod words;
mod worker;
mod workers;

use pyo3::pymodule;

/// The native part of the package.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::codec::{dumps, loads};
    #[pymodule_export]
    use super::combine::{combine_values, group_values};
    #[pymodule_export]
    use super::context::NativeContext;
    #[pymodule_export]
    use super::ending::leave_interpreter;
    #[pymodule_export]
    use super::error::{PythonException, TidemillError};
    #[pymodule_export]
    use super::function::{known_pairing, known_split, known_sum};
    #[pymodule_export]
    use super::piece::Items;
    #[pymodule_export]
    use super::portable_hash::portable_hash;
    #[pymodule_export]
    use super::rdd::NativeRdd;
    #[pymodule_export]
    use super::receiver::NativeStore;
    #[pymodule_export]
    use super::state_handle::NativeState;
    #[pymodule_export]
    use super::stream::NativeDStream;
    #[pymodule_export]
    use super::streaming_context::NativeStreamingContext;
    #[pymodule_export]
    use super::travel::{forget_broadcast, piece_bytes, piece_objects};
    #[pymodule_export]
    use super::words::{list_words, sum_words};
}
