//! `NativeRdd`: an RDD of pieces in Python's hands.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyList;
use tidemill_connectors::kafka::OffsetRange;
use tidemill_dstream::rdd::{Codec, Rdd};
use tidemill_engine::cache::StorageLevel;
use tidemill_engine::chunk::Chunk;
use tidemill_engine::error::Error;
use tidemill_engine::function::Emit;
use tidemill_engine::lineage::Deps;

use crate::error::raise;
use crate::interpreter::{run_job, run_job_unless};
use crate::operator::{UserFunction, at, map_arrow, map_partitions, two_partitions, whole_partition};
use crate::piece::Piece;
use crate::relief;
use crate::shuffle::{Target, shuffle};

/// An RDD.
#[pyclass(frozen)]
pub struct NativeRdd {
    pub rdd: Rdd<Piece>,
    /// What of Kafka's topics it holds, if it is a batch of a direct stream.
    ranges: Option<Vec<OffsetRange>>,
}

impl NativeRdd {
    /// An RDD.
    pub fn new(rdd: Rdd<Piece>) -> Self {
        Self { rdd, ranges: None }
    }

    /// An RDD of these ranges of Kafka's topics.
    pub fn of_ranges(rdd: Rdd<Piece>, ranges: Vec<OffsetRange>) -> Self {
        Self { rdd, ranges: Some(ranges) }
    }
}

/// A storage level by its name in Spark. Python's objects are kept as they are.
pub fn storage_level(name: &str) -> PyResult<StorageLevel> {
    Ok(match name.trim_end_matches("_2").trim_end_matches("_3") {
        "NONE" => StorageLevel::NONE,
        "MEMORY_ONLY" => StorageLevel::MEMORY_ONLY,
        "MEMORY_ONLY_SER" => StorageLevel::MEMORY_ONLY_SER,
        "MEMORY_AND_DISK" | "MEMORY_AND_DISK_DESER" | "OFF_HEAP" => StorageLevel::MEMORY_AND_DISK,
        "MEMORY_AND_DISK_SER" => StorageLevel::MEMORY_AND_DISK_SER,
        "DISK_ONLY" => StorageLevel::DISK_ONLY,
        other => return Err(pyo3::exceptions::PyValueError::new_err(format!("{other} is no storage level"))),
    })
}

#[pymethods]
impl NativeRdd {
    fn id(&self) -> u64 {
        self.rdd.id()
    }

    fn num_partitions(&self) -> usize {
        self.rdd.num_partitions()
    }

    fn map_partitions(&self, py: Python<'_>, f: Py<PyAny>, name: &str, call_site: &str) -> Self {
        let function = UserFunction::new(f, name, call_site);
        let mapped = || at(call_site, || self.rdd.then(&map_partitions(self.rdd.context(), function)));
        Self::new(py.detach(mapped))
    }

    fn map_arrow(&self, py: Python<'_>, f: Py<PyAny>, name: &str, call_site: &str) -> Self {
        let function = UserFunction::new(f, name, call_site);
        Self::new(py.detach(|| at(call_site, || self.rdd.then(&map_arrow(self.rdd.context(), function)))))
    }

    fn shuffle(&self, py: Python<'_>, n: usize, f: Option<Py<PyAny>>, name: &str, call_site: &str) -> Self {
        let target = target(py, f, name, call_site);
        Self::new(py.detach(|| at(call_site, || self.rdd.then(&shuffle(self.rdd.context(), n, target)))))
    }

    fn repartition(&self, py: Python<'_>, n: usize) -> Self {
        let target = Target::RoundRobin(UserFunction::new(py.None(), "repartition", "the program"));
        Self::new(py.detach(|| self.rdd.then(&shuffle(self.rdd.context(), n, target))))
    }

    fn coalesce(&self, py: Python<'_>, n: usize) -> Self {
        Self::new(py.detach(|| self.rdd.coalesce(n)))
    }

    fn zip_partitions(&self, py: Python<'_>, other: Py<Self>, f: Py<PyAny>, name: &str, call_site: &str) -> Self {
        let function = UserFunction::new(f, name, call_site);
        self.both(py, &other, function, Deps::Aligned, call_site)
    }

    fn cartesian(&self, py: Python<'_>, other: Py<Self>) -> PyResult<Self> {
        let product = py.import("itertools")?.getattr("product")?.unbind();
        let function = UserFunction::new(product, "cartesian", "the program");
        Ok(self.both(py, &other, function, Deps::Cartesian, "cartesian"))
    }

    #[pyo3(signature = (partitions=None, cancelled=None))]
    fn collect<'py>(
        &self,
        py: Python<'py>,
        partitions: Option<Vec<usize>>,
        cancelled: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let partitions = partitions.unwrap_or_else(|| (0..self.rdd.num_partitions()).collect());
        let rdd = self.rdd.clone();
        let context = rdd.context().clone();
        let job = move || rdd.context().run_job(&rdd, |pieces| pieces, &partitions);
        let results = run_job_unless(py, cancelled, job, || relief::relieve(&context))?;
        let all = PyList::empty(py);
        for pieces in results {
            let mut pieces = pieces.into_iter();
            let objects = PyList::empty(py);
            let extend = objects.getattr("extend")?;
            pieces.try_for_each(|piece| extend.call1((piece.list(py)?,)).map(drop))?;
            all.append(objects)?;
        }
        Ok(all)
    }

    fn persist(&self, py: Python<'_>, level: &str) -> PyResult<()> {
        let level = storage_level(level)?;
        py.detach(|| self.rdd.persist(level).map(drop)).map_err(raise)
    }

    fn unpersist(&self, py: Python<'_>) {
        py.detach(|| {
            self.rdd.unpersist();
        });
    }

    #[pyo3(signature = (path, codec=None))]
    fn save_as_text_file(&self, py: Python<'_>, path: &str, codec: Option<&str>) -> PyResult<()> {
        let codec = match codec.map(|codec| codec.rsplit('.').next().unwrap_or(codec)) {
            None => None,
            Some("GzipCodec" | "gzip") => Some(Codec::Gzip),
            Some("BZip2Codec" | "bzip2") => Some(Codec::Bzip2),
            Some("ZStandardCodec" | "ZstdCodec" | "zstd") => Some(Codec::Zstd),
            Some("DefaultCodec" | "DeflateCodec" | "deflate") => Some(Codec::Deflate),
            Some(other) => {
                let text = format!("{other} is no codec that is known here: gzip, bzip2, zstd and deflate are");
                return Err(pyo3::exceptions::PyValueError::new_err(text));
            }
        };
        let (rdd, path) = (self.rdd.clone(), path.to_string());
        run_job(py, move || {
            let lines = rdd.then(&pieces_to_strings(rdd.context()));
            match codec {
                None => lines.save_as_text_file(path),
                Some(codec) => lines.save_as_text_file_with(path, codec),
            }
        })
    }

    fn offset_ranges(&self) -> Option<Vec<(String, i32, i64, i64)>> {
        let plain = |range: &OffsetRange| (range.topic.clone(), range.partition, range.from_offset, range.until_offset);
        self.ranges.as_ref().map(|ranges| ranges.iter().map(plain).collect())
    }

    fn explain(&self, py: Python<'_>) -> String {
        py.detach(|| self.rdd.to_debug_string())
    }
}

impl NativeRdd {
    fn both(&self, py: Python<'_>, other: &Py<Self>, function: Arc<UserFunction>, deps: Deps, call_site: &str) -> Self {
        let other = other.get().rdd.dataset().clone();
        let both =
            || at(call_site, || self.rdd.with_all(&[other], &two_partitions(self.rdd.context(), function, deps)));
        Self::new(py.detach(both))
    }
}

/// Where objects go: by a function of the user's, or by their keys.
pub fn target(py: Python<'_>, f: Option<Py<PyAny>>, name: &str, call_site: &str) -> Target {
    match f {
        Some(f) => Target::Function(UserFunction::new(f, name, call_site)),
        None => Target::Key(UserFunction::new(py.None(), name, call_site)),
    }
}

/// Pieces of `str` to lines.
fn pieces_to_strings(sc: &tidemill_dstream::context::SparkContext) -> tidemill_dstream::dataset::Transform<String> {
    whole_partition(sc, "text", move |_, pieces: Vec<Piece>, out: &mut Emit<'_>| {
        for piece in pieces {
            let lines: Vec<String> = crate::interpreter::with_python(|py| piece.list(py)?.extract())
                .map_err(|raised: PyErr| Error::usage(format!("only str can be saved as text: {raised}")))?;
            out(Chunk::of(lines))?;
        }
        Ok(())
    })
}
