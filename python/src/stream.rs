//! `NativeDStream`: a stream of pieces in Python's hands.

use std::time::Duration;

use pyo3::prelude::*;
use tidemill_connectors::kafka::BatchRanges;
use tidemill_dstream::rdd::Rdd;
use tidemill_dstream::stream::DStream;
use tidemill_engine::error::Result;
use tidemill_engine::lineage::Deps;
use tidemill_engine::time::Time;

use crate::detached::Detached;
use crate::error::raise;
use crate::operator::{UserFunction, at, map_arrow, map_partitions, two_partitions};
use crate::piece::Piece;
use crate::rdd::{NativeRdd, storage_level, target};
use crate::shuffle::{Target, shuffle};
use crate::state;

/// A stream.
#[pyclass(frozen)]
pub struct NativeDStream {
    pub stream: Detached<DStream<Piece>>,
    /// What the batches of a direct stream of Kafka's hold.
    ranges: Option<BatchRanges>,
}

/// The RDD of a batch of a stream.
pub fn batch_of(rdd: Rdd<Piece>, ranges: Option<&BatchRanges>, time: Time) -> NativeRdd {
    match ranges {
        Some(ranges) => NativeRdd::of_ranges(rdd, ranges.of(time)),
        None => NativeRdd::new(rdd),
    }
}

impl NativeDStream {
    /// A stream.
    pub fn new(stream: DStream<Piece>) -> Self {
        Self { stream: Detached::new(stream), ranges: None }
    }

    /// The records of a direct stream of Kafka's.
    pub fn of_kafka(stream: DStream<Piece>, ranges: BatchRanges) -> Self {
        Self { stream: Detached::new(stream), ranges: Some(ranges) }
    }

    /// What its batches hold, if it is a direct stream of Kafka's.
    pub fn ranges(&self) -> Option<BatchRanges> {
        self.ranges.clone()
    }

    fn make(&self, py: Python<'_>, call_site: &str, make: impl FnOnce() -> DStream<Piece> + Send) -> Self {
        Self::new(py.detach(|| at(call_site, make)))
    }
}

#[pymethods]
impl NativeDStream {
    fn slide_ms(&self) -> u64 {
        self.stream.slide_duration().as_millis() as u64
    }

    fn map_partitions(&self, py: Python<'_>, f: Py<PyAny>, name: &str, call_site: &str) -> Self {
        let function = UserFunction::new(f, name, call_site);
        let make = || self.stream.then(map_partitions(self.stream.context().spark_context(), function));
        // Each partition is still that of a range.
        Self { ranges: self.ranges.clone(), ..self.make(py, call_site, make) }
    }

    fn map_arrow(&self, py: Python<'_>, f: Py<PyAny>, name: &str, call_site: &str) -> Self {
        let function = UserFunction::new(f, name, call_site);
        self.make(py, call_site, || self.stream.then(map_arrow(self.stream.context().spark_context(), function)))
    }

    fn shuffle(&self, py: Python<'_>, n: usize, f: Option<Py<PyAny>>, name: &str, call_site: &str) -> Self {
        let target = target(py, f, name, call_site);
        self.make(py, call_site, || self.stream.then(shuffle(self.stream.context().spark_context(), n, target)))
    }

    fn repartition(&self, py: Python<'_>, n: usize) -> Self {
        let target = Target::RoundRobin(UserFunction::new(py.None(), "repartition", "the program"));
        let make = || self.stream.then(shuffle(self.stream.context().spark_context(), n, target));
        self.make(py, "repartition", make)
    }

    fn zip_partitions(&self, py: Python<'_>, other: Py<Self>, f: Py<PyAny>, name: &str, call_site: &str) -> Self {
        let function = UserFunction::new(f, name, call_site);
        let other = std::sync::Arc::clone(other.get().stream.node());
        let make = || {
            let both = two_partitions(self.stream.context().spark_context(), function, Deps::Aligned);
            self.stream.then_with(&[other], both)
        };
        self.make(py, call_site, make)
    }

    fn every(&self, py: Python<'_>, slide_ms: u64) -> Self {
        let stream = py.detach(|| self.stream.every(Duration::from_millis(slide_ms)));
        // The records of a batch are the same at whichever times it is asked for.
        Self { stream: Detached::new(stream), ranges: self.ranges.clone() }
    }

    #[pyo3(signature = (window_ms, slide_ms=None))]
    fn window(&self, py: Python<'_>, window_ms: u64, slide_ms: Option<u64>) -> PyResult<Self> {
        let slide = slide_ms.map_or(self.stream.slide_duration(), Duration::from_millis);
        py.detach(|| self.stream.window(Duration::from_millis(window_ms), slide)).map(Self::new).map_err(raise)
    }

    fn foreach_rdd(&self, py: Python<'_>, f: Py<PyAny>, name: &str, call_site: &str) -> PyResult<()> {
        let (function, ranges) = (UserFunction::new(f, name, call_site), self.ranges.clone());
        let body = move |rdd: Rdd<Piece>, time: Time| -> Result<()> {
            let rdd = batch_of(rdd, ranges.as_ref(), time);
            function.run(|_, f| f.call1((time.as_millis(), rdd)).map(drop))
        };
        py.detach(|| at(call_site, || self.stream.foreach_rdd_with_time(body))).map_err(raise)
    }

    fn persist(&self, py: Python<'_>, level: &str) -> PyResult<()> {
        let level = storage_level(level)?;
        py.detach(|| self.stream.persist(level).map(drop)).map_err(raise)
    }

    fn checkpoint(&self, py: Python<'_>, ms: u64) -> PyResult<()> {
        py.detach(|| self.stream.checkpoint(Duration::from_millis(ms)).map(drop)).map_err(raise)
    }

    fn slice(&self, py: Python<'_>, begin_ms: i64, end_ms: i64) -> PyResult<Vec<NativeRdd>> {
        let (begin, end) = (Time::from_millis(begin_ms), Time::from_millis(end_ms));
        let rdds = py.detach(|| self.stream.slice(begin, end)).map_err(raise)?;
        Ok(rdds.into_iter().map(NativeRdd::new).collect())
    }

    #[pyo3(signature = (f, n, initial, call_site, listed=false))]
    fn update_state(
        &self,
        py: Python<'_>,
        f: Py<PyAny>,
        n: usize,
        initial: Option<Py<NativeRdd>>,
        call_site: &str,
        listed: bool,
    ) -> Self {
        let function = UserFunction::new(f, "updateStateByKey", call_site);
        let initial = initial.map(|rdd| rdd.get().rdd.clone());
        self.make(py, call_site, || state::update_state(&self.stream, function, n, initial.as_ref(), listed))
    }

    #[pyo3(signature = (reduce, inverse, window_ms, slide_ms, n, filter, call_site))]
    #[expect(clippy::too_many_arguments, reason = "as many as Spark's")]
    fn inverse_window(
        &self,
        py: Python<'_>,
        reduce: Py<PyAny>,
        inverse: Py<PyAny>,
        window_ms: u64,
        slide_ms: u64,
        n: usize,
        filter: Option<Py<PyAny>>,
        call_site: &str,
    ) -> PyResult<Self> {
        let function = |f| UserFunction::new(f, "reduceByKeyAndWindow", call_site);
        let (functions, filter) = ([function(reduce), function(inverse)], filter.map(function));
        let (window, slide) = (Duration::from_millis(window_ms), Duration::from_millis(slide_ms));
        let make = || at(call_site, || state::inverse_window(&self.stream, functions, filter, window, slide, n));
        py.detach(make).map(Self::new).map_err(raise)
    }

    #[pyo3(signature = (f, n, timeout_ms, initial, call_site))]
    fn map_with_state(
        &self,
        py: Python<'_>,
        f: Py<PyAny>,
        n: usize,
        timeout_ms: Option<u64>,
        initial: Option<Py<NativeRdd>>,
        call_site: &str,
    ) -> (Self, Self) {
        let function = UserFunction::new(f, "mapWithState", call_site);
        let (timeout, initial) = (timeout_ms.map(Duration::from_millis), initial.map(|rdd| rdd.get().rdd.clone()));
        let make = || state::map_with_state(&self.stream, function, n, timeout, initial.as_ref());
        let [mapped, snapshots] = py.detach(|| at(call_site, make));
        (Self::new(mapped), Self::new(snapshots))
    }

    #[pyo3(signature = (gap_ms, call_site="the program"))]
    fn session_window(&self, py: Python<'_>, gap_ms: u64, call_site: &str) -> Self {
        let whose = UserFunction::new(py.None(), "sessionWindow", call_site);
        let make = || state::session_window(&self.stream, &whose, Duration::from_millis(gap_ms));
        self.make(py, call_site, make)
    }

    #[pyo3(signature = (size, slide, call_site="the program"))]
    fn count_window(&self, py: Python<'_>, size: usize, slide: usize, call_site: &str) -> Self {
        let whose = UserFunction::new(py.None(), "countWindow", call_site);
        self.make(py, call_site, || state::count_window(&self.stream, &whose, size, slide))
    }
}
