//! The job: counts by key in windows of 10 s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidemill::connectors::kafka::{
    ConsumerStrategy, KafkaConfig, KafkaOptions, KafkaSink, KafkaSinkOptions, KafkaUtils, StartingOffsets, decode,
};
use tidemill::prelude::*;

use crate::sustain::Batches;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    ExactlyOnce,
    AtLeastOnce,
}

impl Delivery {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "exactly once",
            Self::AtLeastOnce => "at least once",
        }
    }
}

/// The length of a window in milliseconds.
const WINDOW_MS: i64 = 10_000;

/// A job that runs.
pub struct Job {
    ssc: StreamingContext,
    _checkpoint: tempfile::TempDir,
}

impl Job {
    /// Starts it on records that come from now on.
    pub fn start(brokers: &str, delivery: Delivery, interval: Duration) -> Result<Self> {
        let options = match delivery {
            Delivery::ExactlyOnce => KafkaSinkOptions::exactly_once(),
            Delivery::AtLeastOnce => KafkaSinkOptions::at_least_once(),
        };
        let sink: Arc<dyn Sink> = Arc::new(KafkaSink::connect(KafkaConfig::new(brokers), "out", options)?);
        Self::start_with(brokers, StartingOffsets::Latest, interval, |counts| {
            counts.write_rows_to(sink, schema_named::<(String, String)>(&["key", "value"])?)
        })
    }

    fn start_with(
        brokers: &str,
        starting: StartingOffsets,
        interval: Duration,
        write: impl FnOnce(&DStream<(String, String)>) -> Result<()>,
    ) -> Result<Self> {
        let checkpoint = tempfile::tempdir().map_err(|e| Error::retry("can't make a folder").with_source(e))?;
        let sc = SparkContext::new("local[2]", "kafka")?;
        let ssc = StreamingContext::new(&sc, interval)?;
        ssc.checkpoint(checkpoint.path())?;
        let options = KafkaOptions::new(KafkaConfig::new(brokers), ConsumerStrategy::subscribe(["in"]));
        let no_value = |bytes: Option<&[u8]>| Ok(bytes.map_or(0, <[u8]>::len) as u64);
        let records = KafkaUtils::create_direct_stream(&ssc, options.starting(starting), decode::string, no_value)?;
        let counted = records.map(|record| (record.key, (1u64, record.timestamp_ms.unwrap_or(0))));
        let counted = counted.reduce_by_key(|a, b| (a.0 + b.0, a.1.max(b.1)));
        let count = |key: &String, new: Option<(u64, i64)>, state: &mut State<(i64, u64)>| {
            let (new, newest) = new.unwrap_or((0, 0));
            let window = newest / WINDOW_MS;
            let before = state.get_option().filter(|(of, _)| *of == window).map_or(0, |(_, count)| *count);
            state.update((window, before + new));
            (key.clone(), format!("{} {} {newest}", window * WINDOW_MS, before + new))
        };
        write(&counted.map_with_state(state_spec::function(count)))?;
        ssc.start()?;
        Ok(Self { ssc, _checkpoint: checkpoint })
    }

    /// What its batches tell from now on.
    pub fn batches(&self) -> Arc<Batches> {
        let batches = Arc::new(Batches::default());
        batches.listen(&self.ssc);
        batches
    }

    /// Ends it.
    pub fn stop(self) -> Result<()> {
        self.ssc.stop_with(true, true)?;
        self.ssc.await_termination()
    }
}

/// How long it takes from its start until this many records of the topic are counted.
pub fn count_all(brokers: &str, records: u64, interval: Duration) -> Result<Duration> {
    let counted = Arc::new(AtomicU64::new(0));
    let listener = Arc::clone(&counted);
    let began = Instant::now();
    let job = Job::start_with(brokers, StartingOffsets::Earliest, interval, |counts| {
        counts.foreach_rdd(|rdd| rdd.count().map(drop))
    })?;
    job.ssc.add_streaming_listener(Arc::new(move |event: &StreamingEvent| {
        if let StreamingEvent::BatchCompleted(info) = event {
            listener.fetch_add(info.inputs.values().map(|input| input.records).sum(), Ordering::Relaxed);
        }
    }));
    while counted.load(Ordering::Relaxed) < records {
        if job.ssc.await_termination_or_timeout(Duration::from_millis(1))? {
            return Err(Error::internal("the job ended by itself"));
        }
    }
    let took = began.elapsed();
    job.stop()?;
    Ok(took)
}
