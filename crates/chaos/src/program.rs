//! The program that is killed: it counts words by every operator that keeps state, and writes what each batch came to.
//!
//! It ends, gracefully, when its standard input does: so it never outlives whoever has started it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use tidemill_connectors::kafka::{ConsumerStrategy, KafkaConfig, KafkaOptions, KafkaUtils, StartingOffsets};
use tidemill_dstream::conf::SparkConf;
use tidemill_dstream::op::state::logic::State;
use tidemill_dstream::state_spec::function;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_engine::clock::Waker;
use tidemill_engine::error::Result;

use crate::input::{SourceKind, parse};
use crate::kafka;
use crate::sink::{END, Opened, Output, Plant, SinkKind};

/// Batches from one window to the next.
pub const SLIDE: u32 = 2;
/// Batches of the plain window.
pub const WINDOW: u32 = 4;
/// Batches of the window that is brought forward by an inverse function.
pub const INVERSE_WINDOW: u32 = 10;
/// A word falls silent when it has not come for longer than this many batch intervals.
pub const TIMEOUT: u32 = 3;

/// What the program is told.
#[derive(Debug, Clone, Args)]
pub struct Program {
    /// Where `input`, `checkpoint` and `out` lie.
    #[arg(long)]
    pub folder: PathBuf,
    /// The time between batches.
    #[arg(long, default_value_t = 10)]
    pub interval_ms: u64,
    /// From where it reads.
    #[arg(long, value_enum, default_value_t)]
    pub source: SourceKind,
    /// Where it writes.
    #[arg(long, value_enum, default_value_t)]
    pub sink: SinkKind,
    /// A fault that it has.
    #[arg(long, value_enum, default_value_t)]
    pub plant: Plant,
    /// After how many changes of a partition's state a snapshot is made.
    #[arg(long, default_value_t = 100)]
    pub snapshot_deltas: usize,
    /// How many batches that are done the checkpoint keeps.
    #[arg(long, default_value_t = 10)]
    pub retained_batches: u64,
    /// How many of the batches that were missed a restart makes up for.
    #[arg(long, default_value_t = 1_000_000)]
    pub missed_batches: u64,
}

impl Program {
    /// A program in a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let (sink, plant) = (SinkKind::default(), Plant::default());
        Self {
            folder: folder.into(),
            interval_ms: 10,
            source: SourceKind::default(),
            sink,
            plant,
            snapshot_deltas: 100,
            retained_batches: 10,
            missed_batches: 1_000_000,
        }
    }

    /// The command line of `chaos` that runs it.
    pub fn arguments(&self) -> Vec<String> {
        let name = |value: &dyn ToString| value.to_string();
        let value =
            |value: Option<clap::builder::PossibleValue>| value.map_or(String::new(), |v| v.get_name().to_string());
        let pairs = [
            ("--folder", name(&self.folder.display())),
            ("--interval-ms", name(&self.interval_ms)),
            ("--source", value(clap::ValueEnum::to_possible_value(&self.source))),
            ("--sink", value(clap::ValueEnum::to_possible_value(&self.sink))),
            ("--plant", value(clap::ValueEnum::to_possible_value(&self.plant))),
            ("--snapshot-deltas", name(&self.snapshot_deltas)),
            ("--retained-batches", name(&self.retained_batches)),
            ("--missed-batches", name(&self.missed_batches)),
        ];
        std::iter::once("program".to_string())
            .chain(pairs.into_iter().flat_map(|(key, value)| [key.to_string(), value]))
            .collect()
    }

    /// Runs it until the standard input ends.
    ///
    /// # Errors
    /// The first error of a batch ends it, too.
    pub fn run(&self) -> Result<()> {
        let interval = Duration::from_millis(self.interval_ms);
        let checkpoint = self.folder.join("checkpoint");
        let conf = SparkConf::new()
            .set_master("local[2]")
            .set_app_name("chaos")
            .set("spark.tidemill.state.snapshotDeltas", self.snapshot_deltas)
            .set("spark.tidemill.checkpoint.retainedBatches", self.retained_batches)
            .set("spark.tidemill.recovery.maxMissedBatches", self.missed_batches);
        let mut sinks = Vec::new();
        let ssc = StreamingContext::get_or_create(checkpoint, || {
            let ssc = StreamingContext::from_conf(conf, interval)?;
            sinks = self.build(&ssc)?;
            Ok(ssc)
        })?;
        run_until_input_ends(&ssc)?;
        sinks.iter().try_for_each(Opened::close)
    }

    fn build(&self, ssc: &StreamingContext) -> Result<Vec<Opened>> {
        let batch = ssc.batch_duration();
        let lines = self.lines(ssc)?.named("input");
        let records = lines.flat_map(|line| parse(&line));
        let ones = records.map(|(_, word)| (word, 1u64));

        let restored = AtomicBool::new(self.plant == Plant::State);
        let counts = ones.update_state_by_key(move |new, count: Option<u64>| {
            let before = count.map_or(0, |count| count + u64::from(restored.swap(false, Ordering::Relaxed)));
            Some(before + new.len() as u64)
        });
        let seen = |word: &String, new: Option<u64>, count: &mut State<u64>| match new {
            Some(new) => {
                let count_now = count.get_option().map_or(0, |count| *count) + new;
                count.update(count_now);
                format!("seen {word} {count_now}")
            }
            None => format!("silent {word} {}", count.get()),
        };
        let seen = ones.map_with_state(function(seen).timeout(batch * TIMEOUT)).named("seen");
        let counts = counts.named("counts").map(|(word, count)| format!("count {word} {count}"));
        let states = counts.union(&seen)?;

        let pairs = records.map(|(record, word)| (word, (1u64, record)));
        let add = |a: (u64, u64), b: (u64, u64)| (a.0 + b.0, a.1 + b.1);
        let subtract = |a: (u64, u64), b: (u64, u64)| (a.0 - b.0, a.1 - b.1);
        let (slide, parallelism) = (batch * SLIDE, ssc.spark_context().default_parallelism());
        let some = Some(|(_, (count, _)): &(String, (u64, u64))| *count > 0);
        let brought_forward = pairs
            .reduce_by_key_and_window_inverse_with(add, subtract, batch * INVERSE_WINDOW, slide, parallelism, some)?
            .named("inverse");
        let plain = pairs.reduce_by_key_and_window(add, batch * WINDOW, slide)?.named("window");
        let line = |kind: &'static str| {
            move |(word, (count, sum)): (String, (u64, u64))| format!("{kind} {word} {count} {sum}")
        };
        let windows = brought_forward.map(line("inverse")).union(&plain.map(line("window")))?;

        let numbers = records.map(|(record, _)| record.to_string());
        [(Output::Records, numbers), (Output::States, states), (Output::Windows, windows)]
            .into_iter()
            .map(|(output, stream)| self.write(output, &stream))
            .collect()
    }

    fn lines(&self, ssc: &StreamingContext) -> Result<DStream<String>> {
        match self.source {
            SourceKind::Files => ssc.file_stream(&self.folder.join("input").display().to_string(), |_| true, false),
            SourceKind::Kafka => {
                let config = KafkaConfig::new(kafka::brokers(&self.folder)?);
                let options = KafkaOptions::new(config, ConsumerStrategy::subscribe([kafka::INPUT]))
                    .starting(StartingOffsets::Earliest)
                    .start_timeout(Duration::from_secs(60));
                Ok(KafkaUtils::create_text_stream(ssc, options)?.named("input"))
            }
        }
    }

    fn write(&self, output: Output, stream: &DStream<String>) -> Result<Opened> {
        let opened = self.sink.open(&self.folder, output, self.plant)?;
        let rows = stream.transform_with_time(|rdd, time| {
            let time = time.as_millis();
            let end = rdd.context().parallelize_in([format!("{time} {END}")], 1);
            rdd.map(move |line| format!("{time} {line}")).union(&end)
        });
        rows.write_to(std::sync::Arc::clone(&opened.sink))?;
        Ok(opened)
    }
}

/// Starts a stream, and stops it gracefully when the standard input of this process ends.
///
/// # Errors
/// The first error of a batch.
pub fn run_until_input_ends(ssc: &StreamingContext) -> Result<()> {
    let ended = Waker::default();
    let end = ended.clone();
    // Not waited for: it reads until the process ends.
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        end.wake();
    });
    ssc.start()?;
    while !ended.sleep(Duration::from_millis(5)) {
        if ssc.await_termination_or_timeout(Duration::ZERO)? {
            return Ok(());
        }
    }
    ssc.stop_with(true, true)?;
    ssc.await_termination()
}

/// The checkpoint folder of a program.
pub fn checkpoint(folder: &Path) -> PathBuf {
    folder.join("checkpoint")
}
