//! Tests of the changelog on a real folder, with files that are cut, flipped and lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::change::ChangeWriter;
use super::changelog::{ChangelogStore, SnapshotPolicy};
use super::{StateId, StateStore, StateVersion};
use crate::batch::BatchId;
use crate::checkpoint::local::LocalStorage;
use crate::chunk::{binary_column, decode_row};
use crate::error::Result;

const NEVER: SnapshotPolicy = SnapshotPolicy { deltas: usize::MAX, bytes: u64::MAX };

fn id(partition: u32) -> StateId {
    StateId { operator: "sums/é".into(), partition }
}

fn open(folder: &Path, committed: Option<u64>, logged: Option<u64>, policy: SnapshotPolicy) -> Result<ChangelogStore> {
    let storage = Arc::new(LocalStorage::open(folder)?);
    ChangelogStore::open(storage, committed.map(BatchId), logged, policy)
}

/// Batch n sets key n % 5 to n, and removes key (n + 1) % 5 where n is a multiple of 3; partition 1 sees even batches only.
fn stage(store: &ChangelogStore, n: u64) -> Result<()> {
    for partition in 0..=1 {
        if partition == 0 || n.is_multiple_of(2) {
            let mut changes = ChangeWriter::default();
            changes.put(&(n % 5), &n)?;
            if n.is_multiple_of(3) {
                changes.remove(&((n + 1) % 5))?;
            }
            store.stage(&id(partition), StateVersion(n + 1), changes.finish()?)?;
        }
    }
    Ok(())
}

fn write(store: &ChangelogStore, mut batches: std::ops::Range<u64>) -> Result<Option<u64>> {
    batches.try_fold(None, |_, n| {
        stage(store, n)?;
        store.commit(BatchId(n))
    })
}

fn expected(partition: u32, at: u64) -> BTreeMap<u64, u64> {
    let mut rows = BTreeMap::new();
    for n in (0..at).filter(|n| partition == 0 || n % 2 == 0) {
        rows.insert(n % 5, n);
        if n % 3 == 0 {
            rows.remove(&((n + 1) % 5));
        }
    }
    rows
}

fn restored(store: &dyn StateStore, partition: u32, at: u64) -> Result<BTreeMap<u64, u64>> {
    use arrow::array::Array;
    let mut rows = BTreeMap::new();
    store.restore(&id(partition), StateVersion(at), &mut |batch| {
        let (keys, values) = (binary_column(batch, 0)?, binary_column(batch, 1)?);
        for row in 0..keys.len() {
            let key: u64 = decode_row(keys.value(row))?;
            match values.is_valid(row) {
                true => drop(rows.insert(key, decode_row(values.value(row))?)),
                false => drop(rows.remove(&key)),
            }
        }
        Ok(())
    })?;
    Ok(rows)
}

fn check(store: &ChangelogStore, versions: std::ops::RangeInclusive<u64>) {
    for at in versions {
        for partition in 0..=1 {
            assert_eq!(
                restored(store, partition, at).unwrap(),
                expected(partition, at),
                "partition {partition} at {at}"
            );
        }
    }
}

fn files(folder: &Path, part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_str().unwrap().contains(part) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_version_comes_back_from_changes_and_snapshots() {
    for deltas in [usize::MAX, 7, 1] {
        let folder = tempfile::tempdir().unwrap();
        let policy = SnapshotPolicy { deltas, bytes: u64::MAX };
        let store = open(folder.path(), None, None, policy).unwrap();
        assert_eq!(store.latest(&id(0), StateVersion(100)), None);
        write(&store, 0..20).unwrap();
        check(&store, 0..=20);
        drop(store);
        let store = open(folder.path(), Some(19), Some(20), policy).unwrap();
        check(&store, 0..=20);
        // Entries and snapshots go on where they were.
        write(&store, 20..40).unwrap();
        store.snapshot_all().unwrap();
        drop(store);
        let store = open(folder.path(), Some(39), Some(40), policy).unwrap();
        check(&store, 35..=40);
        let taken = files(folder.path(), ".snapshot").len();
        assert!(taken >= 2, "{taken}");
    }
}

#[test]
fn changes_are_appended_while_jobs_run_and_count_from_the_commit_on() {
    for committed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        // Snapshots are due at once, but none goes further than what is committed.
        let policy = SnapshotPolicy { deltas: 1, bytes: u64::MAX };
        let store = open(folder.path(), None, None, policy).unwrap();
        write(&store, 0..4).unwrap();
        stage(&store, 4).unwrap();
        store.states_ready(BatchId(4));
        while !store.versions(&id(0)).contains(&StateVersion(5)) {
            std::thread::yield_now();
        }
        check(&store, 4..=5);
        store.snapshot_all().unwrap();
        if committed {
            assert_eq!(store.commit(BatchId(4)).unwrap(), Some(5));
        }
        drop(store);
        let last = if committed { 4 } else { 3 };
        let store = open(folder.path(), Some(last), Some(last + 1), policy).unwrap();
        assert_eq!(store.latest(&id(0), StateVersion(9)), Some(StateVersion(last + 1)));
        check(&store, last..=last + 1);
        write(&store, last + 1..10).unwrap();
        check(&store, 10..=10);
    }
}

#[test]
fn snapshots_do_not_grow_with_the_batches_behind_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), None, None, NEVER).unwrap();
    let mut sizes = Vec::new();
    for round in 0..40 {
        write(&store, 30 * round..30 * (round + 1)).unwrap();
        store.snapshot_all().unwrap();
        sizes.extend(files(folder.path(), ".snapshot").iter().map(|file| file.metadata().unwrap().len()));
    }
    check(&store, 1199..=1200);
    let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
    assert!(most < &(2 * least), "{least} to {most} bytes");
}

#[test]
fn what_lies_behind_the_last_committed_batch_did_not_happen() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), None, None, NEVER).unwrap();
    write(&store, 0..10).unwrap();
    store.snapshot_all().unwrap();
    drop(store);
    // The state of batch 9 was written, and the batch not committed: it runs again, and does something else.
    let store = open(folder.path(), Some(8), Some(9), NEVER).unwrap();
    check(&store, 0..=9);
    assert_eq!(store.latest(&id(0), StateVersion(100)), Some(StateVersion(9)));
    let mut changes = ChangeWriter::default();
    changes.put(&77u64, &1u64).unwrap();
    store.stage(&id(0), StateVersion(10), changes.finish().unwrap()).unwrap();
    store.commit(BatchId(9)).unwrap();
    let mut other = expected(0, 9);
    other.insert(77, 1);
    assert_eq!(restored(&store, 0, 10).unwrap(), other);
    drop(store);
    let store = open(folder.path(), Some(9), Some(10), NEVER).unwrap();
    assert_eq!(restored(&store, 0, 10).unwrap(), other);
    // A batch that runs again though later ones are done changes nothing.
    let mut changes = ChangeWriter::default();
    changes.put(&78u64, &1u64).unwrap();
    store.stage(&id(0), StateVersion(4), changes.finish().unwrap()).unwrap();
    store.commit(BatchId(10)).unwrap();
    assert_eq!(restored(&store, 0, 10).unwrap(), other);
}

#[test]
fn old_versions_go_and_new_ones_stay() {
    let folder = tempfile::tempdir().unwrap();
    let policy = SnapshotPolicy { deltas: 50, bytes: u64::MAX };
    let mut store = open(folder.path(), None, None, policy).unwrap();
    let mut kept = Vec::new();
    for round in 0..15u64 {
        write(&store, round * 200..(round + 1) * 200).unwrap();
        let end = (round + 1) * 200;
        store.retain_from(StateVersion(end - 10)).unwrap();
        check(&store, end - 10..=end);
        if round % 5 == 4 {
            drop(store);
            store = open(folder.path(), Some(end - 1), Some(end), policy).unwrap();
            check(&store, end - 10..=end);
            kept.push((files(folder.path(), ".log").len(), files(folder.path(), ".snapshot").len()));
        }
    }
    let (logs, snapshots) = kept[2];
    assert!(logs <= 5 && snapshots <= 12, "{kept:?}");
}

#[test]
fn a_damaged_or_lost_snapshot_is_made_up_for_by_an_older_one() {
    type Harm = fn(&Path);
    let harms: [Harm; 4] = [
        |path| std::fs::remove_file(path).unwrap(),
        |path| {
            let mut bytes = std::fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(path, bytes).unwrap();
        },
        |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        },
        |path| std::fs::write(path, []).unwrap(),
    ];
    for harm in harms {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), None, None, NEVER).unwrap();
        write(&store, 0..10).unwrap();
        store.snapshot_all().unwrap();
        write(&store, 10..20).unwrap();
        store.snapshot_all().unwrap();
        write(&store, 20..25).unwrap();
        drop(store);
        let newest: Vec<PathBuf> = files(folder.path(), "/00000-").into_iter().rev().collect();
        harm(&newest[0]);
        check(&open(folder.path(), Some(24), Some(25), NEVER).unwrap(), 20..=25);
        harm(&newest[1]);
        // The log still has everything.
        check(&open(folder.path(), Some(24), Some(25), NEVER).unwrap(), 20..=25);
    }
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in files(from, "") {
        let copy = to.path().join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(&file, copy).unwrap();
    }
    to
}

#[test]
fn what_nothing_can_make_up_for_is_an_error_that_names_the_file() {
    let (folder, end) = (tempfile::tempdir().unwrap(), 3100);
    let store = open(folder.path(), None, None, NEVER).unwrap();
    write(&store, 0..2900).unwrap();
    drop(store);
    let without = copy(folder.path());
    let store = open(folder.path(), Some(2899), Some(2900), NEVER).unwrap();
    write(&store, 2900..2901).unwrap();
    store.snapshot_all().unwrap();
    write(&store, 2901..3050).unwrap();
    store.snapshot_all().unwrap();
    write(&store, 3050..end).unwrap();
    store.retain_from(StateVersion(end - 10)).unwrap();
    drop(store);
    assert_eq!((files(without.path(), ".log").len(), files(folder.path(), ".log").len()), (3, 1));
    type Harm = fn(&Path) -> String;
    let log_only: [Harm; 3] = [
        |folder| {
            // The last segment is lost: the commit log knows better.
            std::fs::remove_file(files(folder, ".log").pop().unwrap()).unwrap();
            "entry 2900 of the state log".into()
        },
        |folder| {
            let segments = files(folder, ".log");
            std::fs::remove_file(&segments[1]).unwrap();
            segments[2].display().to_string()
        },
        |folder| {
            let segment = files(folder, ".log").remove(0);
            let mut bytes = std::fs::read(&segment).unwrap();
            let at = bytes.len() / 3;
            bytes[at] ^= 4;
            std::fs::write(&segment, bytes).unwrap();
            segment.display().to_string()
        },
    ];
    let snapshots: [Harm; 4] = [
        |folder| {
            let snapshots = files(folder, "/00000-");
            snapshots.iter().for_each(|path| std::fs::write(path, "not a snapshot").unwrap());
            snapshots.last().unwrap().display().to_string()
        },
        |folder| {
            let snapshots = files(folder, "/00000-");
            snapshots.iter().for_each(|path| std::fs::remove_file(path).unwrap());
            snapshots.last().unwrap().display().to_string()
        },
        |folder| {
            std::fs::write(folder.join("state/snapshots"), "{").unwrap();
            folder.join("state/snapshots").display().to_string()
        },
        |folder| {
            std::fs::remove_file(folder.join("state/snapshots")).unwrap();
            folder.join("state/snapshots").display().to_string()
        },
    ];
    let cases =
        log_only.iter().map(|harm| (harm, &without, 2900)).chain(snapshots.iter().map(|harm| (harm, &folder, end)));
    for (n, (harm, from, reached)) in cases.enumerate() {
        let folder = copy(from.path());
        let store = open(folder.path(), Some(reached - 1), Some(reached), NEVER);
        assert_eq!(restored(&store.unwrap(), 0, reached).unwrap(), expected(0, reached));
        let part = harm(folder.path());
        let store = open(folder.path(), Some(reached - 1), Some(reached), NEVER);
        let error = store.and_then(|store| restored(&store, 0, reached)).unwrap_err().to_string();
        assert!(error.contains(&part), "case {n}: {part:?} is not in: {error}");
    }
}
