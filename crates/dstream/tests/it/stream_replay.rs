//! `StreamingContext::replay`: every batch of a checkpoint comes out again as it did, and nothing else happens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::op::state::logic::State;
use tidemill_dstream::state_spec::function;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::streaming_context::{StreamingContext, StreamingContextState};
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::batch::BatchId;
use tidemill_engine::chunk::Data;
use tidemill_engine::error::Result;
use tidemill_engine::time::Time;

use crate::support::says;

const SECOND: Duration = Duration::from_secs(1);

/// What each output operation got, by batch time, in the order of the program.
type Outputs = Arc<Mutex<BTreeMap<Time, Vec<Vec<Value>>>>>;

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(Value::to_string);
    rows
}

fn collect<T: Data>(stream: &DStream<T>, outputs: &Outputs) -> Result<()> {
    let outputs = Arc::clone(outputs);
    stream.foreach_rdd_with_time(move |rdd, time| {
        let rows = rdd.collect()?.iter().map(|row| json!(row)).collect();
        outputs.lock().entry(time).or_default().push(sorted(rows));
        Ok(())
    })
}

/// States of all forms over numbers, and a sink.
fn build(ssc: &StreamingContext, written: &Path, outputs: &Outputs) -> Result<()> {
    let numbers = ssc.rate_stream(10)?;
    let pairs = numbers.map(|n| (n % 3, n));
    let add = |new: Vec<u64>, sum: Option<u64>| Some(sum.unwrap_or(0) + new.iter().sum::<u64>());
    collect(&pairs.update_state_by_key(add), outputs)?;
    let count = function(|key: &u64, value: Option<u64>, count: &mut State<u64>| {
        count.update(count.get_option().copied().unwrap_or(0) + 1);
        (*key, value, *count.get())
    });
    collect(&pairs.map_with_state(count), outputs)?;
    collect(&pairs.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, 2 * SECOND, SECOND)?, outputs)?;
    collect(&numbers.window(3 * SECOND, 2 * SECOND)?, outputs)?;
    collect(&pairs.count_window_by_key(4), outputs)?;
    numbers.write_text_files(written)
}

/// All files below a folder, with their sizes.
fn files(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            false => drop(found.insert(entry.path(), entry.metadata().unwrap().len())),
        }
    }
    found
}

fn context(checkpoint: &Path) -> StreamingContext {
    let conf = test_conf().set("spark.streaming.checkpoint.directory", checkpoint.display());
    StreamingContext::new(&SparkContext::from_conf(conf).unwrap(), SECOND).unwrap()
}

#[test]
fn every_batch_comes_out_again_beside_the_running_driver_and_nothing_is_written() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, written) = (folder.path().join("checkpoint"), folder.path().join("written"));
    let outputs = Outputs::default();
    let conf = test_conf().set("spark.streaming.checkpoint.directory", checkpoint.display());
    let driver = TestContext::start(conf, SECOND, false, |ssc| build(ssc, &written, &outputs))?;
    (0..6).for_each(|_| {
        driver.run_batch();
    });
    let (ran, before) = (outputs.lock().clone(), files(folder.path()));
    for (id, (time, expected)) in ran.iter().enumerate() {
        let ssc = context(&checkpoint);
        build(&ssc, &written, &outputs)?;
        let replay = ssc.replay(BatchId(id as u64))?;
        assert_eq!((replay.batch.0 as usize, replay.time), (id, *time));
        let (sink, others) = replay.outputs.split_last().unwrap();
        let got: Vec<_> = others.iter().map(|output| sorted(output.rows.clone())).collect();
        assert_eq!(got, *expected, "batch {id}");
        // The rows before they are written, not what writing them gives.
        assert_eq!((sink.name, sink.rows.len()), ("write_text_files", if id == 0 { 0 } else { 10 }));
        assert!(others[0].call_site.to_string().contains("stream_replay.rs:"));
        assert_eq!(ssc.state(), StreamingContextState::Stopped);
        says(&ssc.replay(BatchId(0)).unwrap_err(), &["replaying a batch after stopping"]);
    }
    assert_eq!((&*outputs.lock(), files(folder.path())), (&ran, before));
    // The driver goes on as if nobody had looked.
    driver.run_batch();
    driver.stop()?;
    assert_eq!(outputs.lock().len(), 7);
    Ok(())
}

#[test]
fn what_cannot_be_replayed_says_why() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let conf = test_conf().set("spark.streaming.checkpoint.directory", folder.path().display());
    let driver = TestContext::start(conf, SECOND, false, |ssc| ssc.rate_stream(10)?.foreach_rdd(|_| Ok(())))?;
    driver.run_batch();
    driver.stop()?;
    type Build = fn(&StreamingContext) -> Result<()>;
    let same: Build = |ssc| ssc.rate_stream(10)?.foreach_rdd(|_| Ok(()));
    let cases: [(Build, u64, &[&str]); 5] = [
        (same, 1, &["batch 1 can't be replayed", "it has 0 to 0"]),
        (|_| Ok(()), 0, &["No output operations"]),
        (|ssc| ssc.memory_stream::<u8>()?.1.foreach_rdd(|_| Ok(())), 0, &["\"memory\" can't be read again"]),
        (|ssc| ssc.rate_stream(10)?.named("other").foreach_rdd(|_| Ok(())), 0, &["has an input stream"]),
        (|ssc| ssc.rate_stream(10)?.map(|_| -> u8 { panic!("odd") }).foreach_rdd(|_| Ok(())), 0, &[]),
    ];
    for (build, batch, parts) in cases {
        let ssc = context(folder.path());
        build(&ssc)?;
        match ssc.replay(BatchId(batch)) {
            Err(error) => says(&error, parts),
            // The first batch has no numbers.
            Ok(replay) => assert!(parts.is_empty() && replay.outputs[0].rows.is_empty()),
        }
    }
    let ssc = StreamingContext::new(&SparkContext::from_conf(test_conf())?, SECOND)?;
    same(&ssc)?;
    says(&ssc.replay(BatchId(0)).unwrap_err(), &["StreamingContext.checkpoint()"]);
    // A context that could not replay may still be started.
    assert_eq!(ssc.state(), StreamingContextState::Initialized);
    Ok(())
}
