//! The input: records by number, in files that appear in a folder while the program runs, or does not; or in a topic.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use clap::ValueEnum;
use tidemill_engine::clock::{Clock, SystemClock, Waker};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::time::Time;
use tidemill_servers::kafka_client::Sender;

use crate::kafka;

/// From where the program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SourceKind {
    /// Files in a folder.
    #[default]
    Files,
    /// A topic of Kafka's.
    Kafka,
}

/// The number of different words.
pub const WORDS: u64 = 200;

/// The word of a record: the same in every process. Low ones are more frequent.
pub fn word(record: u64) -> String {
    // SplitMix64: Steele, Lea, Flood, Fast splittable pseudorandom number generators (2014).
    let mut mixed = record.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    format!("w{:03}", (mixed % WORDS).min((mixed >> 32) % WORDS))
}

/// The line of a record.
pub fn line(record: u64) -> String {
    format!("{record} {}", word(record))
}

/// The record of a line and its word; none of a line that is not whole.
pub fn parse(line: &str) -> Option<(u64, String)> {
    let (record, word) = line.split_once(' ')?;
    Some((record.parse().ok()?, word.to_string()))
}

/// How fast records come.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The time between two files.
    pub every: Duration,
    /// The records of a file.
    pub records: u64,
}

/// All that was fed.
#[derive(Debug, Clone, Copy)]
pub struct Fed {
    /// There are records 0, 1, 2 ... of this number.
    pub records: u64,
    /// The time at which the last of them was there.
    pub until: Time,
}

/// Writes files until it is stopped.
pub struct Feeder {
    stop: Waker,
    thread: JoinHandle<Result<Fed>>,
}

impl Feeder {
    /// Begins to feed `folder/input`, which is made, or the topic of the broker that the folder names.
    pub fn start(folder: &Path, source: SourceKind, pace: Pace) -> Result<Self> {
        if source == SourceKind::Kafka {
            let (sender, stop) = (kafka::client(folder)?.sender()?, Waker::default());
            let stopped = stop.clone();
            let thread = std::thread::spawn(move || feed_topic(&sender, pace, &stopped));
            return Ok(Self { stop, thread });
        }
        let (input, aside) = (folder.join("input"), folder.join("input-aside"));
        for made in [&input, &aside] {
            fs::create_dir_all(made).map_err(failed(made))?;
        }
        let stop = Waker::default();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || feed(&input, &aside, pace, &stopped));
        Ok(Self { stop, thread })
    }

    /// Ends the input.
    pub fn stop(self) -> Result<Fed> {
        self.stop.wake();
        self.thread.join().map_err(|_| Error::internal("the thread that writes the input has panicked"))?
    }
}

fn feed(input: &Path, aside: &Path, pace: Pace, stop: &Waker) -> Result<Fed> {
    let mut records = 0;
    for file in 0u64.. {
        let name = format!("{file:08}");
        let (begun, whole): (PathBuf, PathBuf) = (aside.join(&name), input.join(&name));
        let text: String = (records..records + pace.records).map(|record| line(record) + "\n").collect();
        fs::write(&begun, text).and_then(|()| fs::rename(&begun, &whole)).map_err(failed(&whole))?;
        records += pace.records;
        if stop.sleep(pace.every) {
            break;
        }
    }
    Ok(Fed { records, until: SystemClock::default().now() })
}

fn feed_topic(sender: &Sender, pace: Pace, stop: &Waker) -> Result<Fed> {
    let mut records = 0;
    loop {
        kafka::send_input(sender, (records..records + pace.records).map(|record| (record, line(record))))?;
        records += pace.records;
        if stop.sleep(pace.every) {
            sender.flush()?;
            return Ok(Fed { records, until: SystemClock::default().now() });
        }
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| {
        Error::retry(format!("can't write {}; is there space and permission?", path.display())).with_source(error)
    }
}
