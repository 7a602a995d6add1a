//! `UserFunction`: a function of the program's, and where it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use pyo3::prelude::*;
use tidemill_engine::error::Result;

use crate::cost::Cost;
use crate::error::failed;
use crate::interpreter::with_python;
use crate::travel::Travelling;
use crate::workers::{self, Here, Lent, Place};

/// A function of the user's: what it is part of, and where that was defined.
pub struct UserFunction {
    /// The function.
    pub f: Py<PyAny>,
    /// `reduceByKey at count.py:12`
    pub whose: String,
    /// What it has cost so far.
    pub cost: Arc<Cost>,
    travelling: OnceLock<Option<Travelling>>,
}

impl UserFunction {
    /// A function of an operation with this name at this place.
    pub fn new(f: Py<PyAny>, name: &str, call_site: &str) -> Arc<Self> {
        let whose = format!("{name} at {call_site}");
        // Functions are made anew for each job, and in each batch: what is known of one is known of all that were made there.
        static COSTS: parking_lot::Mutex<BTreeMap<String, Arc<Cost>>> = parking_lot::Mutex::new(BTreeMap::new());
        let cost = Arc::clone(COSTS.lock().entry(whose.clone()).or_default());
        Arc::new(Self { f, whose, cost, travelling: OnceLock::new() })
    }

    /// The form in which it goes to workers; None of one that stays in this process.
    fn travelling(&self) -> Result<Option<&Travelling>> {
        if self.travelling.get().is_none() {
            // Not within `get_or_init`: who waits there would hold the interpreter's lock.
            let travelling = self.run(|_, f| Travelling::of(f))?;
            drop(self.travelling.set(travelling));
        }
        Ok(self.travelling.get().and_then(Option::as_ref))
    }

    /// Where it goes over so many rows.
    pub fn place(&self, rows: usize) -> Result<Run<'_>> {
        let Some(workers) = workers::current() else { return Ok(Run::Here(None)) };
        let wanted = match workers.place {
            Place::Driver => false,
            Place::Workers => true,
            Place::Auto => self.cost.is_worth_it(rows),
        };
        if !wanted {
            return Ok(Run::Here(None));
        }
        let travelling = self.travelling()?.filter(|travelling| !travelling.is_unreadable());
        let Some(travelling) = travelling else { return Ok(Run::Here(None)) };
        if workers.place == Place::Workers {
            return Ok(Run::Worker(workers.wait()?, travelling));
        }
        // Here while nobody else is; then to an idle worker; then here all the same.
        let here = workers.here();
        if here.is_none()
            && let Some(lent) = workers.idle()
        {
            return Ok(Run::Worker(lent, travelling));
        }
        Ok(Run::Here(here))
    }

    /// Runs `body` with the interpreter; an exception is an error that says whose it was.
    pub fn run<R>(&self, body: impl FnOnce(Python<'_>, &Bound<'_, PyAny>) -> PyResult<R>) -> Result<R> {
        with_python(|py| body(py, self.f.bind(py)).map_err(|raised| failed(py, &self.whose, raised)))
    }
}

/// Where a function runs.
pub enum Run<'a> {
    /// In this process, by this right if workers count on it.
    Here(Option<Here>),
    /// In this worker, which reads it in this form.
    Worker(Lent, &'a Travelling),
}
