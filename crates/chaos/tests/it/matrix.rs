//! The crash matrix: a real process is killed at every step of the protocol, restarted, and killed again while it recovers; what
//! it has written in the end is compared with its input.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use tidemill_chaos::sink::SinkKind;

use crate::lives::{finish_exact, killed_at, trial};

/// Steps that every life of the program passes, a passage in the middle of its work, and into what it writes.
const EVERY_LIFE: &[(&str, u32, SinkKind)] = &[
    ("batch-planned", 7, SinkKind::Text),
    ("commit-logged", 7, SinkKind::Text),
    ("commits-purged", 2, SinkKind::Text),
    ("file-put", 5, SinkKind::Text),
    ("file-renamed", 5, SinkKind::Text),
    ("file-written", 5, SinkKind::Text),
    ("files-found", 6, SinkKind::Text),
    ("files-logged", 6, SinkKind::Text),
    ("jobs-done", 7, SinkKind::Text),
    ("log-append", 20, SinkKind::Text),
    ("log-appended", 20, SinkKind::Text),
    ("log-written", 20, SinkKind::Text),
    ("offsets-logged", 7, SinkKind::Text),
    ("offsets-planned", 7, SinkKind::Text),
    ("offsets-purged", 2, SinkKind::Text),
    ("segment-begun", 3, SinkKind::Text),
    ("snapshot-listed", 4, SinkKind::Text),
    ("snapshot-named", 4, SinkKind::Text),
    ("snapshot-put", 4, SinkKind::Text),
    ("sources-told", 7, SinkKind::Text),
    ("state-append", 9, SinkKind::Text),
    ("state-appended", 9, SinkKind::Text),
    ("text-files-aside", 11, SinkKind::Text),
    ("text-files-moved", 11, SinkKind::Text),
    ("text-files-staged", 11, SinkKind::Text),
    ("text-files-written", 25, SinkKind::Text),
    ("file-sink-entry-written", 11, SinkKind::Files),
    ("file-sink-file-written", 25, SinkKind::Files),
    ("file-sink-files-written", 11, SinkKind::Files),
    ("file-sink-manifest-appended", 11, SinkKind::Files),
];

/// Steps that are passed only by a restart after a kill at another step.
const AFTER_A_KILL: &[(&str, &str)] =
    &[("log-begins", "commit-logged:8"), ("log-cut", "state-appended:4"), ("segment-removed", "segment-begun:3")];

/// Steps that this program does not pass, and the tests that kill there.
const ELSEWHERE: &[(&str, &str)] = &[
    ("block-logged", "crates/dstream/tests/it/source_kill.rs"),
    ("block-logging", "crates/dstream/tests/it/source_kill.rs"),
    ("compaction-appended", "crates/dstream/tests/it/sink_kill.rs"),
    ("compaction-file-deleted", "crates/dstream/tests/it/sink_kill.rs"),
    ("compaction-file-written", "crates/dstream/tests/it/sink_kill.rs"),
    ("file-sink-checkpoint-written", "crates/dstream/tests/it/sink_kill.rs"),
    ("kafka-offsets-sent", "crates/connectors/tests/it/kafka_sink_kill.rs"),
    ("kafka-rows-sent", "crates/connectors/tests/it/kafka_sink_kill.rs"),
    ("kafka-transaction-begun", "crates/connectors/tests/it/kafka_sink_kill.rs"),
    ("kafka-transaction-committed", "crates/connectors/tests/it/kafka_sink_kill.rs"),
    ("postgres-rows-written", "crates/connectors/tests/it/sql_kill.rs"),
    ("sql-committed", "crates/connectors/tests/it/sql_kill.rs"),
    ("sql-staged", "crates/connectors/tests/it/sql_kill.rs"),
    ("sqlite-rows-written", "crates/connectors/tests/it/sql_kill.rs"),
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
    side_by_side(EVERY_LIFE, |(point, _, sink)| {
        let (_folder, trial) = trial(|program| program.sink = *sink);
        killed_at(&trial, &format!("{point}:1"));
        killed_at(&trial, &format!("{point}:1"));
        finish_exact(trial, point);
    });
}

#[test]
fn a_kill_in_the_middle_of_the_work_loses_and_doubles_nothing() {
    side_by_side(EVERY_LIFE, |(point, passage, sink)| {
        let (_folder, trial) = trial(|program| program.sink = *sink);
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
    let tables = EVERY_LIFE.iter().map(|(name, _, _)| name);
    let tables = tables.chain(AFTER_A_KILL.iter().chain(ELSEWHERE).map(|(name, _)| name));
    for (name, test) in ELSEWHERE {
        let text = std::fs::read_to_string(crates.join("..").join(test)).unwrap();
        assert!(
            text.contains(&format!("{name}\"")) || text.contains(&format!("{name}:")),
            "{test} does not kill at {name}"
        );
    }
    let in_matrix: BTreeSet<String> = tables.map(|name| name.to_string()).collect();
    assert_eq!(in_matrix, in_source, "left: the matrix; right: the source");
}
