//! Tidemill beside Spark: the same jobs on the same files, one process after the other, and a table of ratios.
//!
//! Spark is fetched by `benches/spark/setup.sh` from the package registry of Python; a JDK of version 17 or later is needed.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Parser;
use serde_json::Value;
use tidemill::prelude::*;
use tidemill_benches::input;

/// Runs every job on both engines and prints a table.
#[derive(Parser)]
struct Options {
    /// Lines of ten words in a large batch; half as many pairs.
    #[arg(long, default_value_t = 2_000_000)]
    lines: usize,
    /// Counted batches of a large job.
    #[arg(long, default_value_t = 20)]
    batches: usize,
    /// Batches before those, for the JVM's compiler.
    #[arg(long, default_value_t = 15)]
    warmup: usize,
    /// Counted batches of 1,000 lines.
    #[arg(long, default_value_t = 200)]
    tiny_batches: usize,
    /// Batches before those.
    #[arg(long, default_value_t = 200)]
    tiny_warmup: usize,
    /// Milliseconds between batches of 1,000 lines.
    #[arg(long, default_value_t = 100)]
    tiny_interval_ms: u64,
    /// Cores for either engine.
    #[arg(long, default_value_t = 2)]
    cores: usize,
    /// Only the jobs whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

struct Job {
    name: &'static str,
    ours: &'static str,
    spark: &'static str,
    inputs: &'static [&'static str],
    tiny: bool,
}

const JOBS: [Job; 12] = [
    Job { name: "word count, String", ours: "wordcount", spark: "wordcount", inputs: &["lines"], tiny: false },
    Job {
        name: "word count, borrowed",
        ours: "wordcount_borrowed",
        spark: "wordcount",
        inputs: &["lines"],
        tiny: false,
    },
    Job { name: "grep", ours: "grep", spark: "grep", inputs: &["lines"], tiny: false },
    Job { name: "reduce_by_key", ours: "reduce_by_key", spark: "reduce_by_key", inputs: &["left"], tiny: false },
    Job { name: "join", ours: "join", spark: "join", inputs: &["left", "right"], tiny: false },
    Job { name: "1,000 lines", ours: "tiny_wordcount", spark: "tiny_wordcount", inputs: &["lines"], tiny: true },
    Job { name: "state, String", ours: "update_state", spark: "update_state", inputs: &["lines"], tiny: false },
    Job {
        name: "state, borrowed",
        ours: "update_state_borrowed",
        spark: "update_state",
        inputs: &["lines"],
        tiny: false,
    },
    Job { name: "window, String", ours: "inverse_window", spark: "inverse_window", inputs: &["lines"], tiny: false },
    Job {
        name: "window, borrowed",
        ours: "inverse_window_borrowed",
        spark: "inverse_window",
        inputs: &["lines"],
        tiny: false,
    },
    Job {
        name: "state, 1,000 lines",
        ours: "tiny_update_state",
        spark: "tiny_update_state",
        inputs: &["lines"],
        tiny: true,
    },
    Job {
        name: "window, 1,000 lines",
        ours: "tiny_inverse_window",
        spark: "tiny_inverse_window",
        inputs: &["lines"],
        tiny: true,
    },
];

fn write_input(path: &Path, rows: impl Iterator<Item = String>) -> Result<()> {
    let failed = |error: std::io::Error| Error::retry(format!("can't write {}", path.display())).with_source(error);
    let mut file = BufWriter::new(fs::File::create(path).map_err(failed)?);
    for row in rows {
        writeln!(file, "{row}").map_err(failed)?;
    }
    file.flush().map_err(failed)
}

/// Runs a command and reads the JSON object in the last line of what it prints.
fn measure(command: &mut Command) -> Result<Value> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Error::retry(format!("can't run {program}")).with_source(error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().filter(|_| output.status.success());
    line.and_then(|line| serde_json::from_str(line).ok())
        .ok_or_else(|| Error::retry(format!("{program} gave no result; it ended with {}", output.status)))
}

fn number(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap_or(f64::NAN)
}

fn main() -> Result<()> {
    let options = Options::parse();
    let folder = std::env::temp_dir().join(format!("tidemill-compare-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| Error::retry("can't make a temporary folder").with_source(error))?;
    let result = compare(&options, &folder);
    let _ = fs::remove_dir_all(&folder);
    result
}

fn compare(options: &Options, folder: &Path) -> Result<()> {
    let path = |name: &str| folder.join(name);
    eprintln!("writing inputs ...");
    write_input(&path("lines"), input::zipf_lines(options.lines, 50_000).into_iter())?;
    for (name, seed) in [("left", 3), ("right", 4)] {
        let keys = (options.lines as i64 / 4).max(1);
        let rows = input::pairs(options.lines / 2, keys, seed);
        write_input(&path(name), rows.into_iter().map(|(key, value)| format!("{key} {value}")))?;
    }
    let spark: PathBuf = [env!("CARGO_MANIFEST_DIR"), "spark", "run.sh"].iter().collect();
    let ours = std::env::current_exe().ok().and_then(|exe| exe.parent().map(|folder| folder.join("job")));
    let ours = ours.ok_or_else(|| Error::internal("this program does not know where it is"))?;
    if !ours.exists() {
        return Err(Error::usage("build both programs first: cargo build --release -p tidemill-benches --bins"));
    }
    println!(
        "{:<22} {:>11} {:>11} {:>7} | {:>9} {:>9} {:>7} | {:>8} {:>8} {:>6} | {:>8} {:>8} {:>6}",
        "",
        "ours ln/s",
        "Spark ln/s",
        "ratio",
        "ours ms",
        "Spark ms",
        "ratio",
        "ours MB",
        "Spark MB",
        "ratio",
        "first ms",
        "Spark",
        "ratio"
    );
    for job in JOBS.iter().filter(|job| job.name.contains(&options.only)) {
        let (batches, warmup) =
            if job.tiny { (options.tiny_batches, options.tiny_warmup) } else { (options.batches, options.warmup) };
        let mut arguments = Vec::new();
        for (flag, name) in ["--input", "--input2"].iter().zip(job.inputs) {
            arguments.extend([flag.to_string(), path(name).display().to_string()]);
        }
        for (flag, value) in [("--batches", batches), ("--warmup", warmup), ("--cores", options.cores)] {
            arguments.extend([flag.to_string(), value.to_string()]);
        }
        if job.tiny {
            arguments.extend(["--interval-ms".to_string(), options.tiny_interval_ms.to_string()]);
        }
        arguments.extend(["--pattern".to_string(), "word00042".to_string()]);
        let a = measure(Command::new(&ours).arg(job.ours).args(&arguments))?;
        let b = measure(Command::new(&spark).arg(job.spark).args(&arguments))?;
        if a["result"]["count"] != b["result"]["count"] {
            return Err(Error::internal(format!("{}: results differ: {} and {}", job.name, a["result"], b["result"])));
        }
        let (rate, median) = (
            (number(&a, "lines_per_s"), number(&b, "lines_per_s")),
            (number(&a, "median_ms"), number(&b, "median_ms")),
        );
        let memory = (number(&a, "peak_rss_mb"), number(&b, "peak_rss_mb"));
        let first = (number(&a, "start_to_first_batch_ms"), number(&b, "start_to_first_batch_ms"));
        println!(
            "{:<22} {:>11.0} {:>11.0} {:>7.1} | {:>9.2} {:>9.1} {:>7.1} | {:>8.0} {:>8.0} {:>6.1} | {:>8.0} {:>8.0} {:>6.1}",
            job.name,
            rate.0,
            rate.1,
            rate.0 / rate.1,
            median.0,
            median.1,
            median.1 / median.0,
            memory.0,
            memory.1,
            memory.1 / memory.0,
            first.0,
            first.1,
            first.1 / first.0
        );
    }
    Ok(())
}
