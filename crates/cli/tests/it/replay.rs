//! `tidemill wordcount` on files with a checkpoint, stopped and started again, and batches of it run once more.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::process::{Counts, Tidemill, tidemill};

/// The options of the program that is run, and run again.
fn options(files: &str, checkpoint: &str) -> Vec<String> {
    let options = ["--files", files, "--checkpoint", checkpoint, "--total", "--batch-ms", "100", "--format", "json"];
    options.map(String::from).to_vec()
}

fn counts(pairs: &[(&str, u64)]) -> Counts {
    pairs.iter().map(|(word, count)| (word.to_string(), *count)).collect()
}

/// Moves a file with this text into a folder.
fn add(folder: &Path, name: &str, text: &str) {
    let aside = folder.join(format!(".{name}"));
    fs::write(&aside, text).unwrap();
    fs::rename(aside, folder.join(name)).unwrap();
}

/// Reads batches until one has these counts; before, there is nothing but `before`.
fn read_until(program: &Tidemill, before: &Counts, counts: &Counts) {
    loop {
        let batch = program.batch();
        if batch.result == *counts {
            return;
        }
        assert_eq!(batch.result, *before);
    }
}

/// The number of the batch that has changed the totals last.
fn last_change(checkpoint: &str) -> u64 {
    let listed: Value =
        serde_json::from_str(&tidemill(&["state", "ls", "--format", "json", checkpoint]).stdout).unwrap();
    assert_eq!((&listed["operator"], &listed["kind"]), (&json!("total"), &json!("update_state_by_key")));
    listed["batch"].as_u64().unwrap()
}

#[test]
fn a_word_count_goes_on_where_it_was_and_its_batches_run_again_alike() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [files, checkpoint] = folders.each_ref().map(|folder| folder.path().to_str().unwrap());
    let options = options(files, checkpoint);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let start = || Tidemill::start(&[&["wordcount"][..], &options].concat());

    let mut totals: BTreeMap<u64, Counts> = BTreeMap::new();
    let (mut before, all) = (
        Counts::new(),
        [
            ("1", "a b a", counts(&[("a", 2), ("b", 1)])),
            ("2", "b c", counts(&[("a", 2), ("b", 2), ("c", 1)])),
            ("3", "a", counts(&[("a", 3), ("b", 2), ("c", 1)])),
        ],
    );
    let mut program = start();
    // The stream has begun: files from here on are new.
    assert_eq!(program.batch().result, before);
    for (name, text, after) in all {
        add(Path::new(files), name, text);
        read_until(&program, &before, &after);
        // The second time the driver runs on.
        if name != "2" {
            program.interrupt();
            totals.insert(last_change(checkpoint), after.clone());
            program = start();
        } else {
            totals.insert(last_change(checkpoint), after.clone());
        }
        before = after;
    }
    read_until(&program, &before, &before);

    for (batch, expected) in &totals {
        let replay = tidemill(&[&["replay", "--batch", &batch.to_string()][..], &options].concat());
        assert!(replay.success, "{}", replay.stderr);
        let line: Value = serde_json::from_str(&replay.stdout).unwrap();
        assert_eq!((&line["batch"], &line["output"]), (&json!(batch), &json!("foreach_rdd")));
        let rows: Counts =
            serde_json::from_value::<Vec<(String, u64)>>(line["rows"].clone()).unwrap().into_iter().collect();
        assert_eq!(rows, *expected, "batch {batch}");
    }
    program.interrupt();

    let (first, last) = (*totals.keys().next().unwrap(), *totals.keys().last().unwrap());
    let text: Vec<&str> = options.iter().copied().filter(|option| !["--format", "json"].contains(option)).collect();
    let before: Vec<_> = fs::read_dir(checkpoint).unwrap().map(|entry| entry.unwrap().path()).collect();
    let replay =
        |batch: u64, options: &[&str]| tidemill(&[&["replay", "--batch", &batch.to_string()][..], options].concat());
    let shown = replay(first, &text);
    let mut lines: Vec<&str> = shown.stdout.lines().collect();
    lines[2..].sort_unstable();
    assert!(lines[0].starts_with(&format!("batch {first} of ")), "{}", shown.stdout);
    assert!(lines[1].starts_with("foreach_rdd at ") && lines[1].ends_with(", 2 rows:"), "{}", shown.stdout);
    assert_eq!(lines[2..], ["  [\"a\",2]", "  [\"b\",1]"]);
    assert_eq!(fs::read_dir(checkpoint).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>(), before);

    // What can't be replayed, and why.
    let says = |batch: u64, options: &[&str], parts: &[&str]| {
        let ended = replay(batch, options);
        assert!(!ended.success && ended.stdout.is_empty());
        parts.iter().for_each(|part| assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr));
    };
    says(last + 100_000, &options, &["can't be replayed: it is not in the log", "it has 0 to "]);
    says(first, &["--files", files], &["give it by --checkpoint FOLDER"]);
    says(first, &["--port", "9", "--checkpoint", checkpoint], &["can't be read again"]);
    says(
        first,
        &["--files", files, "--checkpoint", checkpoint, "--batch-ms", "100"],
        &["has a state \"total\"", "checkpoint.drop=total"],
    );
    says(first, &["--files", files, "--checkpoint", checkpoint, "--total"], &["batch duration of 100 ms"]);
    fs::remove_file(Path::new(files).join("1")).unwrap();
    says(first, &options, &[&format!("{files}/1")]);
}
