//! Who sends records.

use std::time::{Duration, Instant};

use tidemill::prelude::*;
use tidemill_servers::kafka::KafkaServer;

use crate::PARTITIONS;

/// Keys of all records.
const KEYS: u64 = 1000;

fn key(record: u64) -> String {
    // A prime step: neighbours have other keys.
    format!("k{:04}", record.wrapping_mul(7919) % KEYS)
}

fn partition(record: u64) -> i32 {
    (record % PARTITIONS as u64) as i32
}

/// The bytes of a record's value, where nobody asks for others.
pub const KILOBYTE: usize = 1024;

/// A text of this length, not the same for every record.
fn value(record: u64, bytes: usize) -> String {
    let mut text = format!("{record:016x}").repeat(bytes.div_ceil(16));
    text.truncate(bytes);
    text
}

/// Sends `rate` records a second for `time`, in steps of a millisecond, and waits until the broker has them; how many there are.
pub fn send_at_rate(server: &KafkaServer, rate: u64, time: Duration) -> Result<u64> {
    let sender = server.client().sender()?;
    let (began, mut sent) = (Instant::now(), 0);
    while began.elapsed() < time {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        while sent < due && began.elapsed() < time {
            sender.send("in", partition(sent), &key(sent), &value(sent, KILOBYTE), &[])?;
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    sender.flush().map(|()| sent)
}

/// Sends records with values of this length as fast as they go.
pub fn send_all(server: &KafkaServer, records: u64, bytes: usize) -> Result<()> {
    let sender = server.client().sender()?;
    (0..records)
        .try_for_each(|record| sender.send("in", partition(record), &key(record), &value(record, bytes), &[]))?;
    sender.flush()
}
