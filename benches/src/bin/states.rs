//! What state costs: by the keys that a batch touches, by the keys that there are, in memory, and in durable writes.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use tidemill::prelude::*;
use tidemill_benches::job::{self, Outcome, Run};
use tidemill_benches::stats::peak_rss_mb;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    what: What,
    #[arg(long, default_value_t = 2, global = true)]
    cores: usize,
}

#[derive(Subcommand)]
enum What {
    /// The time of a `map_with_state` batch, by all keys and by keys touched.
    Growth {
        #[arg(long, value_delimiter = ',', default_value = "10000,100000,1000000")]
        keys: Vec<u64>,
        #[arg(long, value_delimiter = ',', default_value = "100,1000,10000,100000")]
        touched: Vec<u64>,
    },
    /// The peak memory of a state of many keys, long to long.
    Memory {
        #[arg(long, default_value_t = 10_000_000)]
        keys: u64,
        #[arg(long, default_value_t = 500_000)]
        per_batch: u64,
    },
    /// The time of a batch of 1,000 rows with windows by count: without a checkpoint, and with one in each of the folders.
    Durable {
        folders: Vec<std::path::PathBuf>,
        #[arg(long, default_value_t = 500)]
        batches: usize,
    },
}

/// Pairs by key: the first batches touch all keys below `keys`, `per_batch` each; those after touch `touched` of them, spread over all.
fn pairs(ssc: &StreamingContext, cores: u64, keys: u64, per_batch: u64, touched: u64) -> Result<DStream<(u64, u64)>> {
    let parts = ssc.spark_context().parallelize_in(0..cores, cores as usize);
    let numbers = Mutex::new(std::collections::BTreeMap::new());
    let step = (keys / touched.max(1)).max(1);
    Ok(ssc.constant_stream(&parts)?.transform_with_time(move |parts, time| {
        let batch = {
            let mut numbers = numbers.lock().expect("no panic while counting");
            let next = numbers.len() as u64;
            *numbers.entry(time).or_insert(next)
        };
        parts.flat_map(move |part| -> Box<dyn Iterator<Item = (u64, u64)>> {
            let mine = move |key: &u64| key % cores == part;
            let first = batch * per_batch;
            match first < keys {
                true => Box::new((first..keys.min(first + per_batch)).filter(mine).map(|key| (key, 1))),
                false => {
                    Box::new((0..touched).map(move |n| (n * step + batch) % keys).filter(mine).map(|key| (key, 1)))
                }
            }
        })
    }))
}

fn map_with_state(
    cores: usize,
    checkpoint: &Path,
    keys: u64,
    per_batch: u64,
    touched: u64,
    batches: usize,
) -> Result<Run> {
    let sc = SparkContext::new(&format!("local[{cores}]"), "states")?;
    job::run(&sc, Duration::from_millis(20), batches, |ssc, outcome| {
        ssc.checkpoint(checkpoint)?;
        let sum = |_: &u64, value: Option<u64>, state: &mut State<u64>| {
            let sum = state.get_option().copied().unwrap_or(0) + value.unwrap_or(0);
            state.update(sum);
            sum
        };
        let sums = pairs(ssc, cores as u64, keys, per_batch, touched)?.map_with_state(state_spec::function(sum));
        count(&sums, outcome)
    })
}

fn count<T: tidemill::engine::chunk::Data>(stream: &DStream<T>, outcome: Arc<Mutex<Outcome>>) -> Result<()> {
    stream.foreach_rdd(move |rdd| {
        *outcome.lock().expect("no panic in the jobs") = (rdd.count()?, 0);
        Ok(())
    })
}

fn folder() -> Result<tempfile::TempDir> {
    tempfile::tempdir().map_err(|error| Error::retry("can't make a temporary folder").with_source(error))
}

fn main() -> Result<()> {
    let options = Options::parse();
    match options.what {
        What::Growth { keys, touched } => {
            println!("map_with_state, batch ms (median), durable");
            println!("{:>12} {:>12} {:>12}", "all keys", "touched", "ms");
            for keys in keys {
                for touched in touched.iter().copied().filter(|touched| *touched <= keys) {
                    let (folder, per_batch) = (folder()?, 100_000);
                    let fill = keys.div_ceil(per_batch) as usize + 5;
                    let run = map_with_state(options.cores, folder.path(), keys, per_batch, touched, fill + 40)?;
                    println!("{keys:>12} {touched:>12} {:>12.2}", run.processing(fill).median());
                }
            }
        }
        What::Memory { keys, per_batch } => {
            let (folder, began) = (folder()?, Instant::now());
            let batches = keys.div_ceil(per_batch) as usize + 20;
            let run = map_with_state(options.cores, folder.path(), keys, per_batch, 1_000, batches)?;
            println!(
                "{keys} keys: peak {:.0} MB, filled and 20 batches of 1,000 keys in {:.1} s, the last of them {:.2} ms",
                peak_rss_mb(),
                began.elapsed().as_secs_f64(),
                run.processing(batches - 15).median()
            );
        }
        What::Durable { folders, batches } => {
            let one = |checkpoint: Option<&Path>| -> Result<f64> {
                let sc = SparkContext::new(&format!("local[{}]", options.cores), "states")?;
                let run = job::run(&sc, Duration::from_millis(10), batches + 100, |ssc, outcome| {
                    if let Some(checkpoint) = checkpoint {
                        ssc.checkpoint(checkpoint)?;
                    }
                    let pairs = pairs(ssc, options.cores as u64, 1_000, 1_000, 1_000)?;
                    count(&pairs.sliding_count_window_by_key(3, 1), outcome)
                })?;
                Ok(run.processing(100).median())
            };
            let without = one(None)?;
            println!("without a checkpoint: {without:.3} ms");
            for place in folders {
                let failed = |error| Error::retry("can't make a checkpoint folder").with_source(error);
                let folder = tempfile::tempdir_in(&place).map_err(failed)?;
                let with = one(Some(folder.path()))?;
                println!("under {}: {with:.3} ms, {:.3} ms more", place.display(), with - without);
            }
        }
    }
    Ok(())
}
