//! `NativeStreamingContext`: a `StreamingContext` in Python's hands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tidemill_connectors::kafka::BatchRanges;
use tidemill_dstream::input::RddQueue;
use tidemill_dstream::rdd::Rdd;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::streaming_context::{StreamingContext, StreamingContextState};
use tidemill_engine::batch::StreamId;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::listener::StreamingEvent;
use tidemill_engine::time::Time;

use crate::context::NativeContext;
use crate::detached::Detached;
use crate::error::raise;
use crate::interpreter::{PATIENCE, run_interruptibly, with_python};
use crate::kafka;
use crate::operator::{UserFunction, at, rows_to_pieces, text_to_pieces};
use crate::piece::Piece;
use crate::rdd::NativeRdd;
use crate::receiver::PythonReceiver;
use crate::state_value::Value;
use crate::stream::NativeDStream;

/// The streams of one program.
#[pyclass(frozen)]
pub struct NativeStreamingContext {
    pub ssc: Detached<StreamingContext>,
    /// The streams of queues: in Spark only inputs from outside tell listeners of their batches.
    queues: Arc<Mutex<BTreeSet<StreamId>>>,
}

impl NativeStreamingContext {
    /// A stream that the engine makes.
    fn make(&self, py: Python<'_>, make: impl FnOnce() -> Result<DStream<Piece>> + Send) -> PyResult<NativeDStream> {
        py.detach(make).map(NativeDStream::new).map_err(raise)
    }

    /// Stops the stream. Ctrl-C ends the wait for that, and makes a graceful stop one at once.
    fn end(&self, py: Python<'_>, stop: impl FnOnce(&StreamingContext) -> Result<()> + Send + 'static) -> PyResult<()> {
        let ssc = self.ssc.clone();
        match run_interruptibly(py, move || stop(&ssc)) {
            Ok(stopped) => stopped.map_err(raise),
            Err(interrupt) => {
                py.detach(|| self.ssc.hurry_stop());
                Err(interrupt)
            }
        }
    }

    fn text(&self, lines: DStream<String>) -> DStream<Piece> {
        lines.text().into_lines().then(text_to_pieces(self.ssc.spark_context(), true))
    }
}

#[pymethods]
impl NativeStreamingContext {
    #[new]
    fn new(py: Python<'_>, sc: Py<NativeContext>, batch_ms: u64) -> PyResult<Self> {
        let ssc = py.detach(|| StreamingContext::new(&sc.get().sc, Duration::from_millis(batch_ms))).map_err(raise)?;
        Ok(Self { ssc: Detached::new(ssc), queues: Arc::default() })
    }

    /// What `create` makes, with a checkpoint folder: a restart goes on where the last run ended.
    #[staticmethod]
    fn get_or_create(py: Python<'_>, path: String, create: Py<PyAny>) -> PyResult<Py<Self>> {
        let mut made = None;
        let outcome = py.detach(|| {
            StreamingContext::get_or_create(path, || {
                let context: PyResult<Py<Self>> =
                    with_python(|py| Ok(create.bind(py).call0()?.cast_into::<Self>()?.unbind()));
                match context {
                    Ok(context) => {
                        let ssc = context.get().ssc.clone();
                        made = Some(Ok(context));
                        Ok(ssc)
                    }
                    Err(raised) => {
                        made = Some(Err(raised));
                        Err(Error::usage("the function that makes the context failed"))
                    }
                }
            })
        });
        match (outcome, made) {
            (_, Some(Err(raised))) => Err(raised),
            (Err(error), _) => Err(raise(error)),
            (Ok(_), Some(Ok(context))) => Ok(context),
            (Ok(_), None) => Err(raise(Error::internal("no context was made"))),
        }
    }

    fn batch_ms(&self) -> u64 {
        self.ssc.batch_duration().as_millis() as u64
    }

    /// A folder for a run that begins anew: `get_or_create` makes it that of one that goes on.
    #[pyo3(signature = (path))]
    fn checkpoint(&self, py: Python<'_>, path: Option<String>) -> PyResult<()> {
        let set = || path.map_or_else(|| self.ssc.no_checkpoint(), |path| self.ssc.checkpoint_anew(path));
        py.detach(set).map_err(raise)
    }

    /// Where the start has put the checkpoint of an earlier run.
    fn checkpoint_set_aside(&self) -> Option<String> {
        self.ssc.checkpoint_set_aside().map(|aside| aside.display().to_string())
    }

    fn allow_states_in_memory(&self) {
        self.ssc.allow_states_in_memory();
    }

    fn remember(&self, py: Python<'_>, ms: u64) -> PyResult<()> {
        py.detach(|| self.ssc.remember(Duration::from_millis(ms))).map_err(raise)
    }

    fn socket_text_stream(&self, py: Python<'_>, host: &str, port: u16, level: &str) -> PyResult<NativeDStream> {
        // Received rows are kept in memory until their batch is over; the level is checked as Spark does.
        crate::rdd::storage_level(level)?;
        self.make(py, || Ok(self.text(self.ssc.socket_text_stream(host, port)?)))
    }

    fn text_file_stream(&self, py: Python<'_>, folder: &str) -> PyResult<NativeDStream> {
        self.make(py, || Ok(self.text(self.ssc.text_file_stream(folder)?)))
    }

    fn binary_records_stream(&self, py: Python<'_>, folder: &str, length: usize) -> PyResult<NativeDStream> {
        self.make(py, || {
            let records = self.ssc.binary_records_stream(folder, length)?;
            Ok(records.then(rows_to_pieces(self.ssc.spark_context(), |py, record: Vec<u8>| {
                Ok(PyBytes::new(py, &record).into_any())
            })))
        })
    }

    #[pyo3(signature = (rdds, one_at_a_time, default=None))]
    fn queue_stream(
        &self,
        py: Python<'_>,
        rdds: Vec<Py<NativeRdd>>,
        one_at_a_time: bool,
        default: Option<Py<NativeRdd>>,
    ) -> PyResult<NativeDStream> {
        let rdds: Vec<Rdd<Piece>> = rdds.iter().map(|rdd| rdd.get().rdd.clone()).collect();
        let default = default.map(|rdd| rdd.get().rdd.clone());
        self.queues.lock().insert(self.ssc.graph().next_stream());
        self.make(py, || self.ssc.queue_stream_or(&RddQueue::new(rdds), one_at_a_time, default.as_ref()))
    }

    #[pyo3(signature = (topics, params, from_offsets=None))]
    fn kafka_direct_stream(
        &self,
        py: Python<'_>,
        topics: Vec<String>,
        params: BTreeMap<String, String>,
        from_offsets: Option<BTreeMap<(String, i32), i64>>,
    ) -> PyResult<NativeDStream> {
        let options = kafka::options(topics, params, from_offsets)?;
        let records = py.detach(|| kafka::stream(&self.ssc, options)).map_err(raise)?;
        let stream = py.detach(|| records.then(kafka::records_to_pieces(self.ssc.spark_context())));
        Ok(NativeDStream::of_kafka(stream, records.batch_ranges()))
    }

    fn receiver_stream(&self, py: Python<'_>, receiver: Py<PyAny>, name: String) -> PyResult<NativeDStream> {
        self.make(py, || {
            let items = self.ssc.receiver_stream(PythonReceiver { receiver, name })?;
            Ok(items.then(rows_to_pieces(self.ssc.spark_context(), |py, item: Value| item.own(py))))
        })
    }

    fn union(&self, py: Python<'_>, streams: Vec<Py<NativeDStream>>) -> PyResult<NativeDStream> {
        let streams: Vec<DStream<Piece>> = streams.iter().map(|stream| stream.get().stream.clone()).collect();
        self.make(py, || self.ssc.union(&streams))
    }

    #[pyo3(signature = (streams, f, name="transform", call_site="the program"))]
    fn transform(
        &self,
        py: Python<'_>,
        streams: Vec<Py<NativeDStream>>,
        f: Py<PyAny>,
        name: &str,
        call_site: &str,
    ) -> PyResult<NativeDStream> {
        let function = UserFunction::new(f, name, call_site);
        let ranges: Vec<_> = streams.iter().map(|stream| stream.get().ranges()).collect();
        let streams: Vec<DStream<Piece>> = streams.iter().map(|stream| stream.get().stream.clone()).collect();
        let sc = self.ssc.spark_context().clone();
        let make = move |rdds: Vec<Rdd<Piece>>, time: Time| {
            let made = function.run(|py, f| {
                let of = |(rdd, ranges): (Rdd<Piece>, &Option<BatchRanges>)| {
                    Py::new(py, crate::stream::batch_of(rdd, ranges.as_ref(), time))
                };
                let rdds = rdds.into_iter().zip(&ranges).map(of).collect::<PyResult<Vec<_>>>()?;
                let rdd = f.call1((time.as_millis(), rdds))?;
                if rdd.is_none() {
                    return Ok(None);
                }
                Ok(Some(rdd.cast_into::<NativeRdd>()?.get().rdd.clone()))
            });
            made.unwrap_or_else(|error| Some(Rdd::from_dataset(&sc, tidemill_dstream::dataset::failed(&sc, error))))
        };
        self.make(py, || at(call_site, || self.ssc.transform_or_skip(&streams, make)))
    }

    fn add_listener(&self, py: Python<'_>, f: Py<PyAny>) {
        let queues = Arc::clone(&self.queues);
        let listener = move |event: &StreamingEvent| {
            with_python(|py| {
                // Not held while Python may run.
                let silent = queues.lock().clone();
                let told = crate::listener::told(py, event, &silent).and_then(|told| f.bind(py).call1(told));
                if let Err(error) = told {
                    error.write_unraisable(py, Some(f.bind(py)));
                }
            });
        };
        py.detach(|| self.ssc.add_streaming_listener(Arc::new(listener)));
    }

    #[pyo3(signature = (call_site="the program"))]
    fn start(&self, py: Python<'_>, call_site: &str) -> PyResult<()> {
        py.detach(|| at(call_site, || self.ssc.start())).map_err(raise)
    }

    #[pyo3(signature = (timeout_ms=None))]
    fn await_termination(&self, py: Python<'_>, timeout_ms: Option<u64>) -> PyResult<bool> {
        let deadline = timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        loop {
            let left = deadline.map_or(PATIENCE, |deadline| deadline.saturating_duration_since(Instant::now()));
            let stopped = py.detach(|| self.ssc.await_termination_or_timeout(left.min(PATIENCE))).map_err(raise)?;
            if stopped || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(stopped);
            }
            py.check_signals()?;
        }
    }

    /// As the program ends: gracefully, if the settings say so.
    fn stop_on_shutdown(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py, |ssc| ssc.stop_on_shutdown())
    }

    fn stop(&self, py: Python<'_>, stop_sc: bool, graceful: bool) -> PyResult<()> {
        self.end(py, move |ssc| ssc.stop_with(stop_sc, graceful))
    }

    fn state(&self) -> &'static str {
        match self.ssc.state() {
            StreamingContextState::Initialized => "INITIALIZED",
            StreamingContextState::Active => "ACTIVE",
            StreamingContextState::Stopped => "STOPPED",
        }
    }
}
