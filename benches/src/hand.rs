//! What one would write by hand for one batch: threads, a map in each, and a merge.

use std::hash::Hash;
use std::thread;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// The map of the hand-written loops: the same hash as Tidemill's own.
pub type Map<K, V> = HashMap<K, V, FixedState>;

/// Runs `f` on each part on a thread of its own.
fn on_threads<T: Sync, R: Send>(parts: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let handles: Vec<_> = parts.iter().map(|part| scope.spawn(|| f(part))).collect();
        handles.into_iter().map(|handle| handle.join().expect("the loops do not panic")).collect()
    })
}

fn merge<K: Hash + Eq>(maps: Vec<Map<K, i64>>) -> Map<K, i64> {
    let mut maps = maps.into_iter();
    let mut total = maps.next().unwrap_or_default();
    for (key, count) in maps.flatten() {
        *total.entry(key).or_insert(0) += count;
    }
    total
}

/// Word count with a `String` for every word.
pub fn count_strings(parts: &[&[String]]) -> Map<String, i64> {
    merge(on_threads(parts, |lines| {
        let mut counts: Map<String, i64> = Map::default();
        for line in *lines {
            for word in line.split_ascii_whitespace() {
                *counts.entry(word.to_string()).or_insert(0) += 1;
            }
        }
        counts
    }))
}

/// Word count over slices, with a key for every distinct word.
pub fn count_slices(parts: &[&[String]]) -> Map<Box<str>, i64> {
    merge(on_threads(parts, |lines| {
        let mut counts: Map<Box<str>, i64> = Map::default();
        for line in *lines {
            for word in line.split_ascii_whitespace() {
                match counts.get_mut(word) {
                    Some(count) => *count += 1,
                    None => drop(counts.insert(word.into(), 1)),
                }
            }
        }
        counts
    }))
}

/// Lines that contain a pattern.
pub fn grep(parts: &[&[String]], pattern: &str) -> usize {
    on_threads(parts, |lines| lines.iter().filter(|line| line.contains(pattern)).count()).into_iter().sum()
}

/// Sums by key.
pub fn reduce(parts: &[&[(i64, i64)]]) -> Map<i64, i64> {
    merge(on_threads(parts, |pairs| {
        let mut sums: Map<i64, i64> = Map::default();
        for (key, value) in *pairs {
            *sums.entry(*key).or_insert(0) += value;
        }
        sums
    }))
}

/// The number of joined rows; each thread takes the keys of its share.
pub fn join(left: &[(i64, i64)], right: &[(i64, i64)], threads: i64) -> usize {
    let shares: Vec<i64> = (0..threads).collect();
    let counts = on_threads(&shares, |share| {
        let mut table: Map<i64, Vec<i64>> = Map::default();
        for (key, value) in left.iter().filter(|(key, _)| key % threads == *share) {
            table.entry(*key).or_default().push(*value);
        }
        let mut joined = Vec::new();
        for (key, value) in right.iter().filter(|(key, _)| key % threads == *share) {
            joined.extend(table.get(key).into_iter().flatten().map(|other| (*key, *other, *value)));
        }
        joined.len()
    });
    counts.into_iter().sum()
}
