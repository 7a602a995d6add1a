//! Objects to the partition that a function names for each.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList};
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::dataset::Transform;
use tidemill_dstream::op::partition::route_rows;
use tidemill_engine::chunk::Chunk;
use tidemill_engine::function::Emit;

use crate::combine::halves;
use crate::operator::{UserFunction, whole_partition};
use crate::piece::Piece;
use crate::portable_hash::portable_hash;

/// Where an object goes.
#[derive(Clone)]
pub enum Target {
    /// By the portable hash of its first half.
    Key(Arc<UserFunction>),
    /// Where the function says.
    Function(Arc<UserFunction>),
    /// One partition after the other, beginning with the one of the input's number.
    RoundRobin(Arc<UserFunction>),
}

impl Target {
    fn function(&self) -> &UserFunction {
        match self {
            Target::Key(function) | Target::Function(function) | Target::RoundRobin(function) => function,
        }
    }

    fn of(&self, object: &Bound<'_, PyAny>, partitions: usize, n: usize) -> PyResult<u32> {
        let count = partitions as isize;
        let place = match self {
            Target::RoundRobin(_) => (n % partitions) as isize,
            Target::Key(_) => portable_hash(&halves(object)?.0)?.rem_euclid(count),
            Target::Function(function) => {
                let place = function.f.bind(object.py()).call1((object,))?;
                match place.extract::<isize>() {
                    Ok(place) => place.rem_euclid(count),
                    // An integer of any size has a remainder.
                    Err(_) if place.is_instance_of::<PyInt>() => place.rem(partitions)?.extract()?,
                    Err(_) => {
                        return Err(PyTypeError::new_err(format!(
                            "a partition function must give an integer, not {}",
                            place.repr()?
                        )));
                    }
                }
            }
        };
        Ok(place as u32)
    }
}

/// Moves objects to their partitions; within one they come by map partition, and in their order there.
pub fn shuffle(sc: &SparkContext, partitions: usize, target: Target) -> Transform<Piece> {
    let partitions = partitions.max(1);
    let write: Transform<(u32, Piece)> =
        whole_partition(sc, "shuffle", move |partition, pieces: Vec<Piece>, out: &mut Emit<'_>| {
            let placed: Vec<(u32, Piece)> = target.function().run(|py, _| {
                let mut lists: BTreeMap<u32, Bound<'_, PyList>> = BTreeMap::new();
                let mut n = partition;
                for piece in pieces {
                    for object in piece.list(py)?.iter() {
                        let place = if partitions == 1 { 0 } else { target.of(&object, partitions, n)? };
                        n += 1;
                        match lists.get(&place) {
                            Some(list) => list.append(object)?,
                            None => drop(lists.insert(place, PyList::new(py, [object])?)),
                        }
                    }
                }
                // Encoded here, and not where they are sent: what can't be is an error of this operation of the program's.
                let encoded = |(place, list)| Ok((place, Piece::of(list).encoded(py)?));
                lists.into_iter().map(encoded).collect()
            })?;
            if placed.is_empty() { Ok(()) } else { out(Chunk::of(placed)).map(drop) }
        });
    let moved = route_rows::<(u32, Piece)>(sc, "shuffle", partitions, |_, _, (place, _)| *place as usize);
    let read = whole_partition(sc, "shuffled", |_, rows: Vec<(u32, Piece)>, out: &mut Emit<'_>| {
        out(Chunk::of(rows.into_iter().map(|(_, piece)| piece).collect::<Vec<_>>())).map(drop)
    });
    write.then(moved).then(read)
}
