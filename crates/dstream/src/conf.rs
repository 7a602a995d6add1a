//! `SparkConf`: settings by name, as Spark names them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use tidemill_engine::error::{Error, Result};

/// Settings by name. `spark.streaming.*` keys are those of Spark Streaming.
#[derive(Debug, Clone, Default)]
pub struct SparkConf(BTreeMap<String, String>);

impl SparkConf {
    /// No settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn set(mut self, key: impl Into<String>, value: impl Display) -> Self {
        self.0.insert(key.into(), value.to_string());
        self
    }

    /// Sets a key that has no value yet.
    pub fn set_if_missing(mut self, key: impl Into<String>, value: impl Display) -> Self {
        self.0.entry(key.into()).or_insert_with(|| value.to_string());
        self
    }

    /// Where tasks run: `local`, `local[N]` or `local[*]`.
    pub fn set_master(self, master: impl Display) -> Self {
        self.set("spark.master", master)
    }

    /// The application's name, for people.
    pub fn set_app_name(self, name: impl Display) -> Self {
        self.set("spark.app.name", name)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether a key has a value.
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// All settings, by key.
    pub fn get_all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// One `key=value` a line; values of keys that look like secrets are not shown.
    pub fn to_debug_string(&self) -> String {
        let secret = |key: &str| {
            let key = key.to_ascii_lowercase();
            ["secret", "password", "token", "credential", "access.key", "accesskey"]
                .iter()
                .any(|part| key.contains(part))
        };
        let lines = self.get_all().map(|(key, value)| format!("{key}={}", if secret(key) { "*****" } else { value }));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The value of a key, parsed; `default` where it has none.
    pub fn get_parsed<T: std::str::FromStr>(&self, key: &str, default: T) -> Result<T> {
        match self.get(key) {
            None => Ok(default),
            Some(text) => text
                .trim()
                .parse()
                .map_err(|_| Error::usage(format!("{key}={text} is not a valid {}", std::any::type_name::<T>()))),
        }
    }

    /// The value of a key as a duration: `200ms`, `2s`, `1m`, `1h`; a bare number counts in `unit`.
    pub fn get_duration(&self, key: &str, unit: Duration, default: Duration) -> Result<Duration> {
        let Some(text) = self.get(key) else { return Ok(default) };
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let unit = match text[digits..].trim() {
            "" => Some(unit),
            "us" => Some(Duration::from_micros(1)),
            "ms" => Some(Duration::from_millis(1)),
            "s" => Some(Duration::from_secs(1)),
            "m" | "min" => Some(Duration::from_secs(60)),
            "h" => Some(Duration::from_secs(3600)),
            "d" => Some(Duration::from_secs(86_400)),
            _ => None,
        };
        let number = text[..digits].parse::<u32>().ok();
        unit.zip(number)
            .and_then(|(unit, number)| unit.checked_mul(number))
            .ok_or_else(|| Error::usage(format!("{key}={text} is not a duration like 200ms, 2s or 1m")))
    }

    /// The value of a key as a number of bytes: `64k`, `256m`, `1g`, counted in powers of 1024; a bare number is bytes.
    pub fn get_bytes(&self, key: &str, default: u64) -> Result<u64> {
        let Some(text) = self.get(key) else { return Ok(default) };
        let text = text.trim().to_ascii_lowercase();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let shift = match text[digits..].trim() {
            "" | "b" => Some(0),
            "k" | "kb" => Some(10),
            "m" | "mb" => Some(20),
            "g" | "gb" => Some(30),
            "t" | "tb" => Some(40),
            _ => None,
        };
        let number = text[..digits].parse::<u64>().ok();
        number
            .zip(shift)
            .and_then(|(number, shift)| number.checked_mul(1 << shift))
            .ok_or_else(|| Error::usage(format!("{key}={text} is not a number of bytes like 64k, 256m or 1g")))
    }

    /// How many bytes a receiver may have in memory, buffered and in blocks whose batches are not over: 256 MiB, or what
    /// `spark.tidemill.receiver.maxBufferedBytes` says.
    pub(crate) fn max_buffered_bytes(&self) -> Result<u64> {
        let key = "spark.tidemill.receiver.maxBufferedBytes";
        let bytes = self.get_bytes(key, 256 << 20)?;
        if bytes == 0 {
            return Err(Error::usage(format!("{key} should be a positive value: with 0, nothing could be received")));
        }
        Ok(bytes)
    }

    /// The number of task threads that `spark.master` asks for.
    pub fn task_threads(&self) -> Result<usize> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let master = self.get("spark.master").unwrap_or("local[*]");
        if master == "local" {
            return Ok(1);
        }
        let inside = master.strip_prefix("local[").and_then(|rest| rest.strip_suffix(']'));
        let threads = match inside {
            Some("*") => Some(cores()),
            // `local[N,F]`: F is the number of failures that a task may have, which is always 1 here.
            Some(text) => text.split(',').next().and_then(|n| n.trim().parse().ok()),
            None => None,
        };
        threads.filter(|threads| *threads > 0).ok_or_else(|| {
            Error::usage(format!("spark.master={master} can't be used here: use local, local[N] or local[*]"))
        })
    }
}

/// The keys of streaming that mean something here.
const STREAMING_KEYS: &[&str] = &[
    "backpressure.enabled",
    "backpressure.initialRate",
    "backpressure.pid.derived",
    "backpressure.pid.integral",
    "backpressure.pid.minRate",
    "backpressure.pid.proportional",
    "backpressure.rateEstimator",
    "blockInterval",
    "checkpoint.directory",
    "concurrentJobs",
    "fileStream.minRememberDuration",
    "gracefulStopTimeout",
    "kafka.consumer.poll.ms",
    "kafka.maxRatePerPartition",
    "kafka.minRatePerPartition",
    "maxLineBytes",
    "minRememberDuration",
    "receiver.maxRate",
    "receiver.writeAheadLog.enable",
    "receiverRestartDelay",
    "stopGracefullyOnShutdown",
    "stopSparkContextByDefault",
    "unpersist",
];

/// Keys of Spark Streaming whose work is done otherwise here: what they set is without effect, and why.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    (
        "blockQueueSize",
        "blocks don't wait for a store of blocks; how much a receiver may hold is spark.tidemill.receiver.maxBufferedBytes",
    ),
    ("kafka.allowNonConsecutiveOffsets", "gaps, which transactions and compaction leave, are always allowed"),
    ("kafka.consumer.cache.enabled", KAFKA_CACHE),
    ("kafka.consumer.cache.initialCapacity", KAFKA_CACHE),
    ("kafka.consumer.cache.loadFactor", KAFKA_CACHE),
    ("kafka.consumer.cache.maxCapacity", KAFKA_CACHE),
    ("receiver.blockStoreTimeout", "storing a block takes as long as the disk takes, or fails with the disk's error"),
    ("receiver.writeAheadLog.closeFileAfterWrite", "a block is durable when its write returns, as it is"),
    (
        "receiver.writeAheadLog.maxFailures",
        "the write of a block that a receiver stores is tried once, that of buffered rows until it succeeds",
    ),
    ("receiver.writeAheadLog.rollingIntervalSecs", "files of the log are cut by size"),
    ("driver.writeAheadLog.allowBatching", DRIVER_LOG),
    ("driver.writeAheadLog.batchingTimeout", DRIVER_LOG),
    ("driver.writeAheadLog.closeFileAfterWrite", DRIVER_LOG),
    ("driver.writeAheadLog.maxFailures", DRIVER_LOG),
    ("driver.writeAheadLog.rollingIntervalSecs", DRIVER_LOG),
];

const KAFKA_CACHE: &str = "one consumer reads all partitions ahead; only replays have consumers of their own";

const DRIVER_LOG: &str = "which blocks a batch has stands in the offset log, which each checkpoint has";

/// Keys that ask for what is not there, and that a program must not run without.
const REFUSED: &[&str] = &["driver.writeAheadLog.class", "receiver.writeAheadLog.class"];

/// The keys of `spark.tidemill.*`.
const TIDEMILL_KEYS: &[&str] = &[
    "checkpoint.drop",
    "checkpoint.retainedBatches",
    "kafka.maxBufferedBytes",
    "receiver.maxBufferedBytes",
    "recovery.maxMissedBatches",
    "state.snapshotDeltas",
];

/// Warns of `spark.streaming.*` and `spark.tidemill.*` keys that nobody reads here.
///
/// # Errors
/// If a write-ahead log of the user's own is asked for: it can't be loaded here.
pub(crate) fn check_keys(conf: &SparkConf) -> Result<()> {
    for name in REFUSED {
        let key = format!("spark.streaming.{name}");
        if let Some(class) = conf.get(&key) {
            return Err(Error::usage(format!(
                "{key}={class}: a log can't be loaded by the name of a class; leave it out for the one that lies in the checkpoint"
            )));
        }
    }
    for (key, _) in conf.get_all() {
        let unknown =
            |prefix: &str, known: &[&str]| key.strip_prefix(prefix).is_some_and(|name| !known.contains(&name));
        let streaming = key.strip_prefix("spark.streaming.");
        if let Some((_, reason)) = WITHOUT_EFFECT.iter().find(|(name, _)| streaming == Some(name)) {
            tracing::warn!(key, "this setting has no effect: {reason}");
        } else if unknown("spark.streaming.", STREAMING_KEYS) || unknown("spark.tidemill.", TIDEMILL_KEYS) {
            tracing::warn!(key, "this setting is not known here and has no effect");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_and_durations_are_parsed_or_refused() {
        let threads = |master: &str| SparkConf::new().set_master(master).task_threads().ok();
        assert_eq!([threads("local"), threads("local[3]"), threads("local[3,1]")], [Some(1), Some(3), Some(3)]);
        assert_eq!([threads("local[0]"), threads("yarn"), threads("local[x]")], [None, None, None]);
        let duration = |text: &str| {
            let conf = SparkConf::new().set("k", text);
            conf.get_duration("k", Duration::from_millis(1), Duration::ZERO).ok().map(|d| d.as_millis())
        };
        assert_eq!([duration("200"), duration("2s"), duration("1 m")], [Some(200), Some(2000), Some(60_000)]);
        assert_eq!([duration("x"), duration("2 parsecs"), duration("-1s")], [None, None, None]);
        let bytes = |text: &str| SparkConf::new().set("k", text).get_bytes("k", 0).ok();
        assert_eq!([bytes("7"), bytes("64k"), bytes("256 MB"), bytes("1g")], [7, 1 << 16, 1 << 28, 1 << 30].map(Some));
        assert_eq!([bytes("x"), bytes("-1"), bytes("2 parsecs"), bytes("99999999999t")], [None; 4]);
        let max =
            |text: &str| SparkConf::new().set("spark.tidemill.receiver.maxBufferedBytes", text).max_buffered_bytes();
        assert_eq!([max("1m").ok(), max("0").ok()], [Some(1 << 20), None]);
    }

    #[test]
    fn a_log_of_ones_own_is_refused_and_other_keys_are_not() {
        let checked = |key: &str| check_keys(&SparkConf::new().set(key, "x")).is_ok();
        let keys =
            ["receiver.writeAheadLog.class", "driver.writeAheadLog.class", "driver.writeAheadLog.maxFailures", "typo"];
        assert_eq!(keys.map(|key| checked(&format!("spark.streaming.{key}"))), [false, false, true, true]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let conf = SparkConf::new().set("my.password", "hunter2").set("a", 1);
        assert_eq!(conf.to_debug_string(), "a=1\nmy.password=*****");
    }
}
