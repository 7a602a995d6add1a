//! Events as Python sees them: the name of the listener's method, and a dict of what its accessors give.

use std::collections::BTreeSet;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidemill_engine::batch::StreamId;
use tidemill_engine::listener::{BatchInfo, OutputOperationInfo, ReceiverInfo, StreamingEvent};
use tidemill_engine::time::Time;

/// The method's name and the information; of the `silent` streams batches say nothing.
pub fn told<'py>(
    py: Python<'py>,
    event: &StreamingEvent,
    silent: &BTreeSet<StreamId>,
) -> PyResult<(&'static str, Bound<'py, PyDict>)> {
    Ok(match event {
        StreamingEvent::StreamingStarted(time) => {
            let info = PyDict::new(py);
            info.set_item("time", time.as_millis())?;
            ("onStreamingStarted", info)
        }
        StreamingEvent::ReceiverStarted(info) => ("onReceiverStarted", receiver(py, info)?),
        StreamingEvent::ReceiverError(info) => ("onReceiverError", receiver(py, info)?),
        StreamingEvent::ReceiverStopped(info) => ("onReceiverStopped", receiver(py, info)?),
        StreamingEvent::BatchSubmitted(info) => ("onBatchSubmitted", batch(py, info, silent)?),
        StreamingEvent::BatchStarted(info) => ("onBatchStarted", batch(py, info, silent)?),
        StreamingEvent::BatchCompleted(info) => ("onBatchCompleted", batch(py, info, silent)?),
        StreamingEvent::OutputOperationStarted(info) => ("onOutputOperationStarted", operation(py, info)?),
        StreamingEvent::OutputOperationCompleted(info) => ("onOutputOperationCompleted", operation(py, info)?),
    })
}

/// A moment, or -1.
fn moment(time: Option<Time>) -> i64 {
    time.map_or(-1, Time::as_millis)
}

fn batch<'py>(py: Python<'py>, info: &BatchInfo, silent: &BTreeSet<StreamId>) -> PyResult<Bound<'py, PyDict>> {
    let (all, inputs, operations) = (PyDict::new(py), PyDict::new(py), PyDict::new(py));
    for (stream, input) in info.inputs.iter().filter(|(stream, _)| !silent.contains(stream)) {
        let one = PyDict::new(py);
        one.set_item("inputStreamId", stream.0)?;
        one.set_item("numRecords", input.records)?;
        one.set_item("metadataDescription", input.description.as_deref())?;
        inputs.set_item(stream.0, one)?;
    }
    for (id, info) in &info.output_operations {
        operations.set_item(id, operation(py, info)?)?;
    }
    all.set_item("batchTime", info.batch_time.as_millis())?;
    all.set_item("streamIdToInputInfo", inputs)?;
    all.set_item("outputOperationInfos", operations)?;
    all.set_item("submissionTime", info.submission_time.as_millis())?;
    all.set_item("processingStartTime", moment(info.processing_start_time))?;
    all.set_item("processingEndTime", moment(info.processing_end_time))?;
    let delays = [
        ("schedulingDelay", info.scheduling_delay),
        ("processingDelay", info.processing_delay),
        ("totalDelay", info.total_delay()),
    ];
    for (name, delay) in delays {
        // Whole milliseconds, as in Spark; and the microseconds, for those who measure.
        all.set_item(name, delay.map_or(-1, |delay| delay.as_millis() as i64))?;
        all.set_item(format!("{name}Micros"), delay.map_or(-1, |delay| delay.as_micros() as i64))?;
    }
    all.set_item("numRecords", info.records())?;
    Ok(all)
}

fn operation<'py>(py: Python<'py>, info: &OutputOperationInfo) -> PyResult<Bound<'py, PyDict>> {
    let one = PyDict::new(py);
    one.set_item("batchTime", info.batch_time.as_millis())?;
    one.set_item("id", info.id)?;
    // Under the name that it has in Python.
    one.set_item("name", info.name.replacen("foreach_rdd", "foreachRDD", 1))?;
    one.set_item("description", &info.description)?;
    one.set_item("startTime", moment(info.start_time))?;
    one.set_item("endTime", moment(info.end_time))?;
    one.set_item("failureReason", info.failure_reason.as_deref())?;
    Ok(one)
}

fn receiver<'py>(py: Python<'py>, info: &ReceiverInfo) -> PyResult<Bound<'py, PyDict>> {
    let one = PyDict::new(py);
    one.set_item("streamId", info.stream.0)?;
    one.set_item("name", &info.name)?;
    one.set_item("active", info.active)?;
    one.set_item("location", &info.location)?;
    one.set_item("executorId", "driver")?;
    one.set_item("lastErrorMessage", info.last_error_message.as_deref())?;
    one.set_item("lastError", info.last_error.as_deref())?;
    one.set_item("lastErrorTime", moment(info.last_error_time))?;
    Ok(one)
}
