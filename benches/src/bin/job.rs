//! One job in a process of its own, with Spark's side of the comparison as its model: the same options, the same JSON line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::{Array, RecordBatch, StringBuilder};
use clap::{Parser, ValueEnum};
use tidemill::engine::chunk::text_schema;
use tidemill::prelude::*;
use tidemill_benches::job::{self, Outcome, Words};
use tidemill_benches::stats::peak_rss_mb;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Kind {
    Wordcount,
    WordcountBorrowed,
    Grep,
    ReduceByKey,
    Join,
    TinyWordcount,
    UpdateState,
    UpdateStateBorrowed,
    InverseWindow,
    InverseWindowBorrowed,
    TinyUpdateState,
    TinyInverseWindow,
}

impl Kind {
    fn is_tiny(self) -> bool {
        matches!(self, Kind::TinyWordcount | Kind::TinyUpdateState | Kind::TinyInverseWindow)
    }
}

#[derive(Parser)]
struct Options {
    job: Kind,
    #[arg(long)]
    input: PathBuf,
    #[arg(long)]
    input2: Option<PathBuf>,
    #[arg(long, default_value = "ERROR")]
    pattern: String,
    #[arg(long, default_value_t = 20)]
    batches: usize,
    #[arg(long, default_value_t = 5)]
    warmup: usize,
    #[arg(long, default_value_t = 2)]
    cores: usize,
    #[arg(long)]
    lines_per_batch: Option<usize>,
    #[arg(long, default_value_t = 100)]
    interval_ms: u64,
}

/// The first `limit` lines, as Arrow text, in batches of at most 8192 lines; as many batches as keep all cores busy.
fn text(path: &PathBuf, limit: usize) -> Result<Vec<RecordBatch>> {
    let failed = |error: std::io::Error| Error::usage(format!("can't read {}", path.display())).with_source(error);
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
    let (mut batches, mut left) = (Vec::new(), limit);
    let rows = if limit < 16_384 { limit.div_ceil(2).max(1) } else { 8_192 };
    let mut line = String::new();
    while left > 0 {
        let mut builder = StringBuilder::new();
        for _ in 0..rows.min(left) {
            line.clear();
            if reader.read_line(&mut line).map_err(failed)? == 0 {
                left = 0;
                break;
            }
            builder.append_value(line.trim_end_matches('\n'));
            left -= 1;
        }
        // Only what the lines need: the builder has grown by doubling.
        let mut lines = builder.finish();
        lines.shrink_to_fit();
        batches.push(RecordBatch::try_new(text_schema(), vec![Arc::new(lines)])?);
    }
    Ok(batches)
}

fn pairs(path: &PathBuf, limit: usize) -> Result<Vec<(i64, i64)>> {
    let bad = |line: &str| Error::data(format!("{} has a line that is no pair of numbers: {line}", path.display()));
    let parse = |line: &str| {
        let (key, value) = line.split_once(' ').ok_or_else(|| bad(line))?;
        Ok((key.parse().map_err(|_| bad(line))?, value.parse().map_err(|_| bad(line))?))
    };
    let failed = |error: std::io::Error| Error::usage(format!("can't read {}", path.display())).with_source(error);
    let file = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
    file.lines().take(limit).map(|line| parse(&line.map_err(failed)?)).collect()
}

fn main() -> Result<()> {
    let began = Instant::now();
    let options = Options::parse();
    let sc = SparkContext::new(&format!("local[{}]", options.cores), "bench")?;
    let default = if options.job.is_tiny() { 1_000 } else { usize::MAX };
    let failed = |error| Error::retry("can't make a temporary folder").with_source(error);
    let folder = tempfile::tempdir().map_err(failed)?;
    let checkpoint = folder.path().to_path_buf();
    let limit = options.lines_per_batch.unwrap_or(default);
    let mut lines = 0;
    let build: Box<dyn FnOnce(&StreamingContext, Arc<Mutex<Outcome>>) -> Result<()>> = match options.job {
        Kind::ReduceByKey => {
            let rows = pairs(&options.input, limit)?;
            lines += rows.len();
            let rdd = sc.parallelize_in(rows, options.cores);
            Box::new(move |ssc, outcome| job::reduce_by_key(ssc, &rdd, outcome))
        }
        Kind::Join => {
            let second = options.input2.as_ref().ok_or_else(|| Error::usage("a join needs --input2"))?;
            let (left, right) = (pairs(&options.input, limit)?, pairs(second, limit)?);
            lines += left.len() + right.len();
            let (left, right) = (sc.parallelize_in(left, options.cores), sc.parallelize_in(right, options.cores));
            Box::new(move |ssc, outcome| job::join(ssc, &left, &right, outcome))
        }
        kind => {
            let batches = text(&options.input, limit)?;
            lines += batches.iter().map(|batch| batch.num_rows()).sum::<usize>();
            let per_core = batches.len().div_ceil(options.cores).max(1);
            let mut parts: Vec<_> = batches.chunks(per_core).map(<[_]>::to_vec).collect();
            parts.resize(options.cores, Vec::new());
            let rdd = sc.text_batches(parts)?;
            let pattern = options.pattern.clone();
            Box::new(move |ssc, outcome| match kind {
                Kind::Grep => job::grep(ssc, &rdd, pattern, outcome),
                Kind::WordcountBorrowed => job::word_count(ssc, &rdd, Words::Borrowed, outcome),
                Kind::UpdateState | Kind::TinyUpdateState => {
                    job::update_state(ssc, &checkpoint, &rdd, Words::Strings, outcome)
                }
                Kind::UpdateStateBorrowed => job::update_state(ssc, &checkpoint, &rdd, Words::Borrowed, outcome),
                Kind::InverseWindow | Kind::TinyInverseWindow => {
                    job::inverse_window(ssc, &checkpoint, &rdd, Words::Strings, outcome)
                }
                Kind::InverseWindowBorrowed => job::inverse_window(ssc, &checkpoint, &rdd, Words::Borrowed, outcome),
                _ => job::word_count(ssc, &rdd, Words::Strings, outcome),
            })
        }
    };
    let load = began.elapsed();
    let run = job::run(&sc, Duration::from_millis(options.interval_ms), options.warmup + options.batches, build)?;
    let times = run.processing(options.warmup);
    let name = options.job.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default();
    let line = serde_json::json!({
        "engine": "tidemill",
        "version": env!("CARGO_PKG_VERSION"),
        "job": name,
        "cores": options.cores,
        "interval_ms": options.interval_ms,
        "warmup": options.warmup,
        "batches": options.batches,
        "lines_per_batch": lines,
        "median_ms": times.median(),
        "min_ms": times.quantile(0.0),
        "max_ms": times.quantile(1.0),
        "lines_per_s": lines as f64 / times.median() * 1e3,
        "peak_rss_mb": peak_rss_mb(),
        "load_ms": load.as_secs_f64() * 1e3,
        "start_to_first_batch_ms": run.first.duration_since(began).as_secs_f64() * 1e3,
        "result": { "count": run.outcome.0, "total": run.outcome.1 },
    });
    println!("{line}");
    Ok(())
}
