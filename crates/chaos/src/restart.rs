//! How long it takes from a kill to the next committed batch, with more and more state.
//!
//! The program keeps a number for each key by `map_with_state`. Its first batch touches every key, each later one a thousand. It is
//! killed when a snapshot is there and some batches after that are committed, and started again at once. The next committed batch
//! is seen in the commit log. Where that lies the outputs of the batch lie, too: they come before.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tidemill_dstream::conf::SparkConf;
use tidemill_dstream::op::narrow::{Collection, decode_values};
use tidemill_dstream::op::state::logic::State;
use tidemill_dstream::state_spec::function;
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_engine::clock::Waker;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::FunctionRegistry;
use tidemill_engine::lineage::Lineage;
use tidemill_engine::source::{InputInfo, Offset, OffsetRange, Source, SourceBatch};
use tidemill_engine::time::Time;

use crate::life::{Life, command};
use crate::program::run_until_input_ends;

/// The rows of every batch but the first.
const TOUCHED: u64 = 1000;

/// Commits after which a program is at work.
const SETTLED: usize = 20;

/// How often it is looked whether a batch is committed.
const LOOK: Duration = Duration::from_micros(200);

/// Measure the time from a kill to the next committed batch.
#[derive(Debug, Clone, Args)]
pub struct Restarts {
    /// How many keys have state.
    #[arg(long, value_delimiter = ',', default_value = "10000,100000,1000000,10000000")]
    pub keys: Vec<u64>,
    /// How often each program is killed.
    #[arg(long, default_value_t = 5)]
    pub kills: usize,
    /// The time between batches.
    #[arg(long, default_value_t = 10)]
    pub interval_ms: u64,
    /// Where checkpoints lie, which go; by default the folder for temporary files.
    #[arg(long)]
    pub folder: Option<PathBuf>,
}

/// What was measured with one number of keys.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The number of keys.
    pub keys: u64,
    /// From each kill to the next committed batch, shortest first.
    pub times: Vec<Duration>,
    /// The bytes of the checkpoint.
    pub checkpoint_bytes: u64,
    /// The largest resident memory of a restarted process by the time it is killed again, in bytes.
    pub peak_bytes: u64,
}

impl Restarts {
    /// Runs it for one number of keys; `chaos` is the path of this program.
    pub fn run(&self, chaos: &Path, keys: u64) -> Result<Measured> {
        let above = self.folder.clone().unwrap_or_else(std::env::temp_dir);
        let folder =
            tempfile::tempdir_in(above).map_err(|error| Error::retry("can't make a folder").with_source(error))?;
        let program = Keyed { folder: folder.path().to_path_buf(), keys, interval_ms: self.interval_ms };
        let checkpoint = program.checkpoint();
        let start = || Life::start(&mut command(chaos, &program.arguments(), None));
        let mut life = start()?;
        while !checkpoint.join("state/snapshots").exists() {
            wait(&mut life)?;
        }
        let (mut times, mut peak_bytes) = (Vec::new(), 0);
        for _ in 0..self.kills {
            settle(&mut life, &checkpoint)?;
            let killed = Instant::now();
            life.kill()?;
            let before = last_commit(&checkpoint);
            life = start()?;
            while last_commit(&checkpoint) <= before {
                wait(&mut life)?;
            }
            times.push(killed.elapsed());
            settle(&mut life, &checkpoint)?;
            peak_bytes = peak_bytes.max(peak(life.id()));
        }
        life.kill()?;
        times.sort();
        Ok(Measured { keys, times, checkpoint_bytes: bytes_in(&checkpoint), peak_bytes })
    }
}

fn wait(life: &mut Life) -> Result<()> {
    if life.has_ended()? {
        return Err(Error::internal("the program has ended by itself; its error stands above"));
    }
    Waker::default().sleep(LOOK);
    Ok(())
}

/// Waits until some more batches are committed.
fn settle(life: &mut Life, checkpoint: &Path) -> Result<()> {
    let mut commits = 0;
    let mut last = last_commit(checkpoint);
    while commits < SETTLED {
        wait(life)?;
        let now = last_commit(checkpoint);
        commits += usize::from(now > last);
        last = now;
    }
    Ok(())
}

/// The last segment of the commit log and its length, if it has an entry: what grows with every commit.
fn last_commit(checkpoint: &Path) -> Option<(String, u64)> {
    const SEGMENT_HEADER: u64 = 20;
    let segments = fs::read_dir(checkpoint.join("commits")).ok()?.filter_map(|entry| {
        let entry = entry.ok()?;
        let length = entry.metadata().ok()?.len();
        (length > SEGMENT_HEADER).then_some((entry.file_name().into_string().ok()?, length))
    });
    segments.max()
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok());
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The largest resident memory of a process so far.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kb| kb << 10)
}

/// The program whose restarts are measured.
#[derive(Debug, Clone, Args)]
pub struct Keyed {
    /// Where `checkpoint` and `out` lie.
    #[arg(long)]
    pub folder: PathBuf,
    /// How many keys have state.
    #[arg(long)]
    pub keys: u64,
    /// The time between batches.
    #[arg(long, default_value_t = 10)]
    pub interval_ms: u64,
}

impl Keyed {
    fn checkpoint(&self) -> PathBuf {
        self.folder.join("checkpoint")
    }

    fn arguments(&self) -> Vec<String> {
        let folder = self.folder.display().to_string();
        let (keys, interval) = (self.keys.to_string(), self.interval_ms.to_string());
        ["keyed", "--folder", &folder, "--keys", &keys, "--interval-ms", &interval].map(String::from).to_vec()
    }

    /// Runs it until the standard input ends.
    pub fn run(&self) -> Result<()> {
        let conf = SparkConf::new().set_master("local[*]").set_app_name("keyed");
        let ssc = StreamingContext::from_conf(conf, Duration::from_millis(self.interval_ms))?;
        ssc.checkpoint(self.checkpoint())?;
        let sc = ssc.spark_context();
        let (functions, keys) = (Arc::clone(sc.functions()), self.keys);
        decode_values::<u64>(&functions);
        let source = Arc::new(Steps { keys, partitions: sc.default_parallelism(), functions });
        let rows = ssc.source_stream::<u64>("steps", source, |data| data)?;
        // A multiplier without a common factor with the number of keys would touch other ones in every batch: so does a prime.
        let pairs = rows.map(move |row| (row.wrapping_mul(2_654_435_761) % keys, 1u64));
        let count = |_: &u64, new: Option<u64>, count: &mut State<u64>| {
            let sum = count.get_option().map_or(0, |count| *count) + new.unwrap_or(0);
            count.update(sum);
            sum
        };
        pairs.map_with_state(function(count)).count().save_as_text_files(self.folder.join("out/touched"), "")?;
        run_until_input_ends(&ssc)
    }
}

/// Rows 0, 1, 2 ...: in the first batch as many as there are keys.
struct Steps {
    keys: u64,
    partitions: usize,
    functions: Arc<FunctionRegistry>,
}

impl Source for Steps {
    fn name(&self) -> String {
        "steps".into()
    }

    fn is_replayable(&self) -> bool {
        true
    }

    fn initial_offset(&self) -> Result<Offset> {
        Ok(Offset::count(0))
    }

    fn latest_offset(&self, start: &Offset, _: Time) -> Result<Offset> {
        Ok(Offset::count(match start.as_count() {
            0 => self.keys,
            start => start + TOUCHED,
        }))
    }

    fn read(&self, range: &OffsetRange, _: Time) -> Result<SourceBatch> {
        let (start, end) = (range.start.as_count(), range.end.as_count());
        let values = Collection::slice(&self.functions, (start..end).collect(), self.partitions);
        let info = InputInfo { name: self.name(), records: end - start, description: None };
        Ok(SourceBatch { lineage: Lineage::values(Arc::new(values)), info, lost: false })
    }
}
