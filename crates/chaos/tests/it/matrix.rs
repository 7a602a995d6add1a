//! The crash matrix: a real process is killed at every step of the protocol, restarted, and killed again while it recovers; what
//! it has written in the end is compared with its input.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::lives::{finish_exact, killed_at, trial};

/// Steps that every life of the program passes, and a passage in the middle of its work.
const EVERY_LIFE: &[(&str, u32)] = &[
    ("batch-planned", 7),
    ("commit-logged", 7),
    ("commits-purged", 2),
    ("jobs-done", 7),
    ("log-append", 20),
    ("log-appended", 20),
    ("log-written", 20),
    ("offsets-logged", 7),
    ("offsets-planned", 7),
    ("offsets-purged", 2),
    ("sources-told", 7),
    ("file-put", 5),
    ("file-put", 5),
    ("file-renamed", 5),
    ("file-written", 5),
    ("files-found", 6),
    ("files-logged", 6),
    ("log-append", 17),
    ("log-appended", 17),
    ("log-written", 17),
    ("segment-begun", 3),
    ("snapshot-listed", 4),
    ("snapshot-named", 4),
    ("snapshot-put", 4),
    ("state-append", 9),
    ("state-appended", 9),
    ("text-files-aside", 11),
    ("text-files-moved", 11),
    ("text-files-staged", 11),
    ("text-files-written", 25),
];

/// Steps that are passed only by a restart after a kill at another step.
const AFTER_A_KILL: &[(&str, &str)] =
    &[("log-begins", "commit-logged:8"), ("log-cut", "state-appended:4"), ("segment-removed", "segment-begun:3")];

/// Steps that this program does not pass, and the tests that kill there.
const ELSEWHERE: &[(&str, &str)] = &[
    ("compaction-appended", "dstream sink_kill"),
    ("compaction-file-deleted", "dstream sink_kill"),
    ("compaction-file-written", "dstream sink_kill"),
    ("file-sink-checkpoint-written", "dstream sink_kill"),
    ("file-sink-entry-written", "dstream sink_kill"),
    ("file-sink-file-written", "dstream sink_kill"),
    ("file-sink-files-written", "dstream sink_kill"),
    ("file-sink-manifest-appended", "dstream sink_kill"),
    ("postgres-rows-written", "connectors sql_kill"),
    ("sql-committed", "connectors sql_kill"),
    ("sql-staged", "connectors sql_kill"),
    ("sqlite-rows-written", "connectors sql_kill"),
];

/// Runs cases beside each other: they mostly wait.
fn side_by_side<T: Sync>(cases: &[T], run: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(case);
                }
            });
        }
    });
}

#[test]
fn a_kill_at_the_first_passage_and_again_at_the_first_of_the_restart_loses_and_doubles_nothing() {
    side_by_side(EVERY_LIFE, |(point, _)| {
        let (_folder, trial) = trial(|_| {});
        killed_at(&trial, &format!("{point}:1"));
        killed_at(&trial, &format!("{point}:1"));
        finish_exact(trial, point);
    });
}

#[test]
fn a_kill_in_the_middle_of_the_work_loses_and_doubles_nothing() {
    side_by_side(EVERY_LIFE, |(point, passage)| {
        let (_folder, trial) = trial(|_| {});
        let point = format!("{point}:{passage}");
        killed_at(&trial, &point);
        finish_exact(trial, &point);
    });
}

#[test]
fn a_kill_while_a_restart_mends_what_a_kill_left_loses_and_doubles_nothing() {
    side_by_side(AFTER_A_KILL, |(point, first)| {
        let (_folder, trial) = trial(|_| {});
        killed_at(&trial, first);
        killed_at(&trial, &format!("{point}:1"));
        finish_exact(trial, &format!("{first}, {point}"));
    });
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_step_of_the_protocol_is_in_the_matrix() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for krate in std::fs::read_dir(crates).unwrap() {
        let source = krate.unwrap().path().join("src");
        if source.is_dir() {
            sources(&source, &mut files);
        }
    }
    let mut in_source = BTreeSet::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        for call in text.split("failpoint::hit(").skip(1) {
            let name = call.strip_prefix('"').and_then(|rest| rest.split('"').next());
            let name = name.unwrap_or_else(|| panic!("{}: the name of a step is to be a literal", path.display()));
            assert!(in_source.insert(name.to_string()), "{}: two steps are named {name}", path.display());
        }
    }
    let tables = EVERY_LIFE.iter().map(|(name, _)| name);
    let tables = tables.chain(AFTER_A_KILL.iter().chain(ELSEWHERE).map(|(name, _)| name));
    let in_matrix: BTreeSet<String> = tables.map(|name| name.to_string()).collect();
    assert_eq!(in_matrix, in_source, "left: the matrix; right: the source");
}
