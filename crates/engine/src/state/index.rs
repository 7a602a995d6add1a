//! Which versions of a partition's state lie where, and from which of them another version can be restored.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use serde::{Deserialize, Serialize};

use super::{StateId, StateVersion};

/// A whole state, at one version, in a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The version.
    pub version: StateVersion,
    /// The size of the file.
    pub bytes: u64,
}

/// Changes in the state log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The version that they lead to, which is the number of the entry.
    pub version: StateVersion,
    /// Where in the entry they lie.
    pub range: Range<usize>,
}

/// When a snapshot is due.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotPolicy {
    /// After this many changes of a partition.
    pub deltas: usize,
    /// When the changes since the last snapshot hold more bytes than it, and more than this.
    pub bytes: u64,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self { deltas: 500, bytes: 1 << 20 }
    }
}

/// How many versions a snapshot before the newest one may hold up the log.
const FALLBACK_VERSIONS: u64 = 2000;

/// The versions of one partition.
#[derive(Debug, Clone, Default)]
pub struct Versions {
    /// Ascending.
    pub snapshots: Vec<Snapshot>,
    /// Ascending.
    pub deltas: Vec<Delta>,
    /// A snapshot is being made.
    pub queued: bool,
}

/// Versions from one to another, both inclusive.
pub type Span = RangeInclusive<StateVersion>;

/// The versions that lie in both of two ascending lists of spans.
pub fn in_both(left: &[Span], right: &[Span]) -> Vec<Span> {
    let both = |l: &Span, r: &Span| *l.start().max(r.start())..=*l.end().min(r.end());
    left.iter().flat_map(|l| right.iter().map(move |r| both(l, r))).filter(|span| !span.is_empty()).collect()
}

/// All versions.
pub type Index = BTreeMap<StateId, Versions>;

/// A way to a version: from a snapshot, or from nothing, over these changes.
pub struct Way {
    /// Where it begins.
    pub base: Option<Snapshot>,
    /// What follows.
    pub deltas: Vec<Delta>,
}

impl Versions {
    /// The newest version at or below `at`.
    pub fn latest(&self, at: StateVersion) -> Option<StateVersion> {
        let snapshot = self.snapshots.iter().rev().map(|s| s.version).find(|version| *version <= at);
        let delta = self.deltas.iter().rev().map(|d| d.version).find(|version| *version <= at);
        snapshot.max(delta)
    }

    /// The bytes on disk: of its snapshots, and of its changes.
    pub fn sizes(&self) -> (u64, u64) {
        let changes = self.deltas.iter().map(|delta| delta.range.len() as u64).sum();
        (self.snapshots.iter().map(|snapshot| snapshot.bytes).sum(), changes)
    }

    /// The ways to version `at`, the shortest first. `purged` is the last entry that the log has forgotten.
    pub fn ways(&self, at: StateVersion, purged: Option<u64>) -> Vec<Way> {
        let mut ways = Vec::new();
        let between = |from: Option<StateVersion>| {
            let after = |delta: &&Delta| delta.version <= at && from.is_none_or(|from| delta.version > from);
            self.deltas.iter().filter(after).cloned().collect::<Vec<_>>()
        };
        for base in self.snapshots.iter().rev().filter(|snapshot| snapshot.version <= at) {
            // The log keeps what follows the newest one; whether it has all that follows an older one shows its start.
            if ways.is_empty() || purged.is_none_or(|purged| base.version.0 >= purged) {
                ways.push(Way { base: Some(*base), deltas: between(Some(base.version)) });
            }
        }
        // The log keeps all changes of a partition that has no snapshot yet.
        if purged.is_none() || self.snapshots.is_empty() {
            ways.push(Way { base: None, deltas: between(None) });
        }
        ways
    }

    /// The versions that can be restored, whatever they are asked for: all from the newest snapshot on, and those from an older
    /// one to the next if the log has all changes between.
    pub fn restorable(&self, purged: Option<u64>) -> Vec<Span> {
        let all = || vec![StateVersion(0)..=StateVersion(u64::MAX)];
        let Some(purged) = purged.filter(|_| !self.snapshots.is_empty()) else { return all() };
        let mut spans: Vec<Span> = Vec::new();
        for (n, Snapshot { version, .. }) in self.snapshots.iter().enumerate() {
            let until = match self.snapshots.get(n + 1) {
                None => u64::MAX,
                Some(_) if version.0 < purged => version.0,
                Some(next) => next.version.0 - 1,
            };
            match spans.last_mut() {
                Some(last) if last.end().0 + 1 == version.0 => *last = *last.start()..=StateVersion(until),
                _ => spans.push(*version..=StateVersion(until)),
            }
        }
        spans
    }

    /// Whether another snapshot is due.
    pub fn is_due(&self, policy: SnapshotPolicy) -> bool {
        let base = self.snapshots.last();
        let since = self.deltas.iter().rev().take_while(|delta| base.is_none_or(|base| delta.version > base.version));
        let (count, bytes) = since.fold((0, 0), |(count, bytes), delta| (count + 1, bytes + delta.range.len() as u64));
        count >= policy.deltas || bytes > policy.bytes.max(base.map_or(0, |base| base.bytes))
    }

    /// Forgets the snapshots that no version from `oldest` on needs, nor a fallback.
    pub fn retire_snapshots(&mut self, oldest: StateVersion) -> Vec<Snapshot> {
        let base = self.snapshots.iter().rposition(|snapshot| snapshot.version <= oldest).unwrap_or(0);
        self.snapshots.drain(..base.saturating_sub(1)).collect()
    }

    /// The first entry of the log that is still needed; `None` if none is.
    pub fn needed_from(&self, oldest: StateVersion) -> Option<StateVersion> {
        let base = self.snapshots.iter().rposition(|snapshot| snapshot.version <= oldest);
        let fallback = base.and_then(|base| base.checked_sub(1)).map(|older| self.snapshots[older].version);
        let fallback = fallback.filter(|version| version.0 + FALLBACK_VERSIONS > oldest.0);
        // A first snapshot has the changes from the beginning as its fallback, for as long.
        let first = base == Some(0) && self.deltas.first().is_some_and(|d| d.version.0 + FALLBACK_VERSIONS > oldest.0);
        let from = if first { None } else { fallback.or(base.map(|base| self.snapshots[base].version)) };
        self.deltas.iter().map(|delta| delta.version).find(|version| from.is_none_or(|from| *version > from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(snapshots: &[u64], deltas: &[u64]) -> Versions {
        Versions {
            snapshots: snapshots.iter().map(|v| Snapshot { version: StateVersion(*v), bytes: 10 }).collect(),
            deltas: deltas.iter().map(|v| Delta { version: StateVersion(*v), range: 0..4 }).collect(),
            queued: false,
        }
    }

    #[test]
    fn every_version_has_its_ways() {
        type Case = (&'static [u64], &'static [u64], Option<u64>, u64, &'static [(u64, &'static [u64])]);
        let cases: [Case; 7] = [
            (&[], &[1, 2, 4], None, 3, &[(0, &[1, 2])]),
            (&[], &[8, 9], Some(5), 8, &[(0, &[8])]),
            (&[2], &[1, 2, 4], None, 4, &[(2, &[4]), (0, &[1, 2, 4])]),
            (&[2], &[4], Some(2), 4, &[(2, &[4])]),
            (&[2, 6], &[3, 5, 6, 8], Some(1), 9, &[(6, &[8]), (2, &[3, 5, 6, 8])]),
            (&[2, 6], &[5, 6, 8], Some(4), 9, &[(6, &[8])]),
            (&[2, 6], &[3, 5, 6, 8], Some(1), 5, &[(2, &[3, 5])]),
        ];
        for (snapshots, deltas, purged, at, expected) in cases {
            let ways = versions(snapshots, deltas).ways(StateVersion(at), purged);
            let got: Vec<(u64, Vec<u64>)> = ways
                .iter()
                .map(|way| (way.base.map_or(0, |b| b.version.0), way.deltas.iter().map(|d| d.version.0).collect()))
                .collect();
            let expected: Vec<(u64, Vec<u64>)> = expected.iter().map(|(b, d)| (*b, d.to_vec())).collect();
            assert_eq!(got, expected, "{snapshots:?} {deltas:?} {purged:?} {at}");
        }
    }

    #[test]
    fn only_versions_whose_changes_are_there_can_be_restored() {
        const MAX: u64 = u64::MAX;
        type Case = (&'static [u64], Option<u64>, &'static [(u64, u64)]);
        let cases: [Case; 6] = [
            (&[], None, &[(0, MAX)]),
            (&[], Some(5), &[(0, MAX)]),
            (&[2, 6], None, &[(0, MAX)]),
            (&[2, 6], Some(2), &[(2, MAX)]),
            (&[2, 6], Some(4), &[(2, 2), (6, MAX)]),
            (&[2, 6, 9], Some(8), &[(2, 2), (6, 6), (9, MAX)]),
        ];
        for (snapshots, purged, expected) in cases {
            let spans = versions(snapshots, &[]).restorable(purged);
            let got: Vec<_> = spans.iter().map(|span| (span.start().0, span.end().0)).collect();
            assert_eq!(got, expected, "{snapshots:?} {purged:?}");
        }
        let spans = |ends: &[(u64, u64)]| -> Vec<Span> {
            ends.iter().map(|(first, last)| StateVersion(*first)..=StateVersion(*last)).collect()
        };
        let both = in_both(&spans(&[(0, 3), (6, MAX)]), &spans(&[(2, 2), (3, 7), (9, 12)]));
        assert_eq!(both, spans(&[(2, 2), (3, 3), (6, 7), (9, 12)]));
    }

    #[test]
    fn what_a_version_or_a_fallback_needs_is_kept() {
        // (snapshots, deltas, oldest) -> (needed from, snapshots left)
        type Case = (&'static [u64], &'static [u64], u64, Option<u64>, &'static [u64]);
        let cases: [Case; 6] = [
            (&[], &[1, 2], 2, Some(1), &[]),
            (&[2], &[1, 2, 3], 3, Some(1), &[2]),
            (&[2, 5], &[1, 2, 3, 5, 6], 6, Some(3), &[2, 5]),
            (&[2, 5, 8], &[3, 5, 6, 8, 9], 9, Some(6), &[5, 8]),
            (&[2, 5, 8], &[3, 5, 6, 8, 9], 6, Some(3), &[2, 5, 8]),
            (&[2, 5], &[3, 5], 9000, None, &[2, 5]),
        ];
        for (snapshots, deltas, oldest, needed, left) in cases {
            let mut versions = versions(snapshots, deltas);
            let oldest = StateVersion(oldest);
            assert_eq!(versions.needed_from(oldest).map(|v| v.0), needed, "{snapshots:?} {deltas:?} {oldest}");
            versions.retire_snapshots(oldest);
            assert_eq!(
                versions.snapshots.iter().map(|s| s.version.0).collect::<Vec<_>>(),
                left,
                "{snapshots:?} {oldest}"
            );
        }
    }
}
