//! Where the program writes what its batches came to, and how a reader finds it.
//!
//! A row is a line of text: the time of its batch, a space, and what the batch has to say. One row of each batch says [`END`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use clap::ValueEnum;
use parking_lot::Mutex;
use tidemill_connectors::kafka::{KafkaConfig, KafkaSink, KafkaSinkOptions};
use tidemill_connectors::sql::{SqlOptions, SqlSink};
use tidemill_engine::batch::BatchStamp;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::sink::files::{Compaction, FileFormat, FileSink, FileTable, committed_files};
use tidemill_engine::sink::text_files::TextFilesSink;
use tidemill_engine::sink::{Receipt, Sink, lines};
use tidemill_engine::time::Time;

use crate::{database, kafka};

/// The kinds of sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SinkKind {
    /// A directory of text files for every batch.
    #[default]
    Text,
    /// A table of files with a manifest, small ones merged in the background.
    Files,
    /// Tables of an SQLite database.
    Sqlite,
    /// Tables of a PostgreSQL server.
    Postgres,
    /// Topics of a Kafka broker, read as committed.
    Kafka,
}

/// A fault that is built into the program, so that a harness that overlooks it is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Plant {
    /// None.
    #[default]
    None,
    /// The sink says that a batch is there before it is.
    Loss,
    /// The sink writes a batch that runs again beside what is there.
    Duplicate,
    /// A state that was restored counts one more.
    State,
    /// The sink writes to Kafka without transactions.
    AtLeastOnce,
}

/// The outputs of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// The numbers of the batch's records.
    Records,
    /// What the states by key came to.
    States,
    /// What the windows came to.
    Windows,
}

impl Output {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Records, Self::States, Self::Windows];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::States => "states",
            Self::Windows => "windows",
        }
    }
}

/// What every batch says once, whatever else it has to say.
pub const END: &str = "end";

/// Lines by the time of their batch, sorted.
pub type Written = BTreeMap<Time, Vec<String>>;

/// A sink, and what it holds back, if that is its fault.
pub struct Opened {
    /// The sink.
    pub sink: Arc<dyn Sink>,
    planted: Option<Arc<PlantedSink>>,
}

impl Opened {
    /// The program has ended well.
    pub fn close(&self) -> Result<()> {
        self.planted.as_ref().map_or(Ok(()), |planted| planted.write_held())
    }
}

impl SinkKind {
    /// The sink of an output.
    pub fn open(self, folder: &Path, output: Output, plant: Plant) -> Result<Opened> {
        let prefix = prefix(folder, output);
        if matches!(plant, Plant::Loss | Plant::Duplicate) {
            let paths = TextFilesSink::new(prefix, "");
            let planted = Arc::new(PlantedSink { paths, holds: plant == Plant::Loss, held: Mutex::default() });
            return Ok(Opened { sink: Arc::clone(&planted) as _, planted: Some(planted) });
        }
        let sink: Arc<dyn Sink> = match self {
            Self::Text => Arc::new(TextFilesSink::new(prefix, "")),
            Self::Files => {
                let compaction = Compaction { min_files: 8, grace: Duration::from_secs(1), ..Compaction::default() };
                Arc::new(FileSink::new(prefix, FileFormat::Text).compaction(compaction))
            }
            Self::Sqlite | Self::Postgres => {
                // A server that is killed is away for some seconds.
                let options = SqlOptions::append().attempts(30);
                Arc::new(SqlSink::connect(&database::url(folder)?, output.name(), options)?)
            }
            Self::Kafka => {
                let options = match plant {
                    Plant::AtLeastOnce => KafkaSinkOptions::at_least_once(),
                    _ => KafkaSinkOptions::exactly_once(),
                };
                Arc::new(KafkaSink::connect(KafkaConfig::new(kafka::brokers(folder)?), output.name(), options)?)
            }
        };
        Ok(Opened { sink, planted: None })
    }

    /// All that an output holds.
    pub fn read(self, folder: &Path, output: Output) -> Result<Written> {
        let rows = match self {
            Self::Text => {
                let batches = batches(folder, output)?;
                let rows = batches.values().map(|path| read_lines(path)).collect::<Result<Vec<_>>>()?;
                rows.concat()
            }
            Self::Files => match FileTable::open(prefix(folder, output)) {
                Ok(table) => lines(&table.read()?)?.into_iter().map(String::from).collect(),
                // Nothing was written yet.
                Err(_) => Vec::new(),
            },
            Self::Sqlite | Self::Postgres => database::texts(folder, &format!("SELECT value FROM {}", output.name()))?,
            Self::Kafka => kafka::values(folder, output.name())?,
        };
        by_batch(rows)
    }

    /// How many different rows an output holds, but for ends.
    pub fn rows(self, folder: &Path, output: Output) -> Result<u64> {
        let written = self.read(folder, output)?;
        let rows: BTreeSet<&String> = written.values().flatten().filter(|row| *row != END).collect();
        Ok(rows.len() as u64)
    }

    /// The time of the last batch that an output holds.
    pub fn last(self, folder: &Path, output: Output) -> Result<Option<Time>> {
        match self {
            Self::Text => Ok(batches(folder, output)?.last_key_value().map(|(time, _)| *time)),
            Self::Files => {
                let files = committed_files(prefix(folder, output)).unwrap_or_default();
                let text = files.last().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
                Ok(by_batch(text.lines().map(String::from).collect())?.last_key_value().map(|(time, _)| *time))
            }
            Self::Sqlite | Self::Postgres => {
                // Rows begin with times of the same length.
                let last = database::text(folder, &format!("SELECT max(value) FROM {}", output.name()))?;
                Ok(by_batch(last.into_iter().collect())?.last_key_value().map(|(time, _)| *time))
            }
            Self::Kafka => {
                let last = kafka::last_values(folder, output.name())?;
                Ok(by_batch(last)?.last_key_value().map(|(time, _)| *time))
            }
        }
    }
}

fn by_batch(rows: Vec<String>) -> Result<Written> {
    let mut written = Written::new();
    for row in rows {
        let (time, line) = row.split_once(' ').unwrap_or((&row, ""));
        let time = time.parse().map_err(|_| Error::data(format!("an output has a row that nobody wrote: {row}")))?;
        written.entry(Time::from_millis(time)).or_default().push(line.to_string());
    }
    written.values_mut().for_each(|lines| lines.sort_unstable());
    Ok(written)
}

fn prefix(folder: &Path, output: Output) -> PathBuf {
    folder.join("out").join(output.name())
}

/// The directories of an output's batches.
fn batches(folder: &Path, output: Output) -> Result<BTreeMap<Time, PathBuf>> {
    let mut found = BTreeMap::new();
    for path in list(&folder.join("out"))? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let time = name.strip_prefix(output.name()).and_then(|rest| rest.strip_prefix('-'));
        if let Some(time) = time.and_then(|time| time.parse().ok()) {
            found.insert(Time::from_millis(time), path);
        }
    }
    Ok(found)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(unreadable(folder)),
    }
}

fn read_lines(folder: &Path) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for path in list(folder)? {
        let text = fs::read_to_string(&path).map_err(unreadable(&path))?;
        all.extend(text.lines().map(String::from));
    }
    Ok(all)
}

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| Error::data(format!("can't read {}", path.display())).with_source(error)
}

/// A sink with a fault: it may hold a batch that has more than its end back until the next such comes, and adds to what is there.
struct PlantedSink {
    paths: TextFilesSink,
    holds: bool,
    held: Mutex<Option<(Time, String)>>,
}

impl PlantedSink {
    fn add(&self, time: Time, text: &str) -> Result<()> {
        let folder = self.paths.path(time);
        fs::create_dir_all(&folder).map_err(unreadable(&folder))?;
        let path = folder.join(format!("part-{:05}", list(&folder)?.len()));
        fs::write(&path, text).map_err(unreadable(&path))
    }

    fn write_held(&self) -> Result<()> {
        self.held.lock().take().map_or(Ok(()), |(time, text)| self.add(time, &text))
    }
}

impl Sink for PlantedSink {
    fn name(&self) -> String {
        "a sink with a fault".into()
    }

    fn is_idempotent(&self) -> bool {
        false
    }

    fn write(&self, _: BatchStamp, _: usize, rows: Vec<RecordBatch>) -> Result<Receipt> {
        Ok(Receipt(lines(&rows)?.iter().map(|line| format!("{line}\n")).collect()))
    }

    fn commit(&self, batch: BatchStamp, receipts: Vec<Receipt>) -> Result<()> {
        let text: String = receipts.into_iter().map(|receipt| receipt.0).collect();
        if !self.holds || text.lines().count() <= 1 {
            return self.add(batch.time, &text);
        }
        self.write_held()?;
        *self.held.lock() = Some((batch.time, text));
        Ok(())
    }
}
