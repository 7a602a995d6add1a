//! `NativeContext`: a `SparkContext` in Python's hands.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::PyList;
use tidemill_connectors::kafka::OffsetRange;
use tidemill_dstream::conf::SparkConf;
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::rdd::{Rdd, text_beneath};
use tidemill_engine::error::Result;

use crate::error::raise;
use crate::kafka;
use crate::operator::text_to_pieces;
use crate::piece::Piece;
use crate::rdd::NativeRdd;
use crate::workers::{self, Place};

/// The engine, for one program.
#[pyclass(frozen)]
pub struct NativeContext {
    pub sc: SparkContext,
}

#[pymethods]
impl NativeContext {
    #[new]
    fn new(py: Python<'_>, master: &str, app_name: &str, conf: BTreeMap<String, String>) -> PyResult<Self> {
        let all = conf.into_iter().fold(SparkConf::new(), |all, (key, value)| all.set(key, value));
        let all = all.set_master(master).set_app_name(app_name);
        let sc = py.detach(|| SparkContext::from_conf(all)).map_err(raise)?;
        Ok(Self { sc })
    }

    fn default_parallelism(&self) -> usize {
        self.sc.default_parallelism()
    }

    /// Has functions run in this place: `auto`, `driver` or `workers`; `command` starts a worker.
    fn run_functions(&self, py: Python<'_>, place: &str, command: Vec<String>) -> PyResult<()> {
        let place = match place {
            "auto" => Place::Auto,
            "driver" => Place::Driver,
            "workers" => Place::Workers,
            other => {
                let text = format!("tidemill.python.functions is '{other}': it can be auto, driver or workers");
                return Err(pyo3::exceptions::PyValueError::new_err(text));
            }
        };
        py.detach(|| {
            let tasks = self.sc.conf().task_threads()?;
            workers::configure(place, tasks, command);
            Ok(())
        })
        .map_err(raise)
    }

    fn parallelize(&self, py: Python<'_>, partitions: Vec<Py<PyList>>) -> NativeRdd {
        let pieces: Vec<Piece> = partitions.into_iter().map(|list| Piece::of(list.into_bound(py))).collect();
        let rdd = py.detach(|| match pieces.len() {
            0 => self.sc.empty_rdd(),
            // A piece for each partition.
            count => self.sc.parallelize_in(pieces, count),
        });
        NativeRdd::new(rdd)
    }

    fn text_file(&self, py: Python<'_>, path: &str, min_partitions: usize, use_unicode: bool) -> PyResult<NativeRdd> {
        let read = || -> Result<Rdd<Piece>> {
            let lines = self.sc.text_file(path, min_partitions);
            let text = text_beneath(&self.sc, lines.dataset())?;
            let text = Rdd::<String>::from_dataset(&self.sc, text);
            Ok(text.then(&text_to_pieces(&self.sc, use_unicode)))
        };
        py.detach(read).map(NativeRdd::new).map_err(raise)
    }

    fn empty(&self, py: Python<'_>) -> NativeRdd {
        NativeRdd::new(py.detach(|| self.sc.empty_rdd()))
    }

    fn union(&self, py: Python<'_>, rdds: Vec<Py<NativeRdd>>) -> NativeRdd {
        let rdds: Vec<Rdd<Piece>> = rdds.iter().map(|rdd| rdd.get().rdd.clone()).collect();
        NativeRdd::new(py.detach(|| self.sc.union(&rdds)))
    }

    fn kafka_rdd(
        &self,
        py: Python<'_>,
        params: BTreeMap<String, String>,
        ranges: Vec<(String, i32, i64, i64)>,
    ) -> PyResult<NativeRdd> {
        let ranges: Vec<OffsetRange> =
            ranges.into_iter().map(|(t, p, from, until)| OffsetRange::new(t, p, from, until)).collect();
        let config = kafka::config(params)?;
        let rdd = py.detach(|| kafka::rdd(&self.sc, config, ranges.clone())).map_err(raise)?;
        Ok(NativeRdd::of_ranges(rdd, ranges))
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| {
            self.sc.stop();
            workers::stop();
        });
    }
}
