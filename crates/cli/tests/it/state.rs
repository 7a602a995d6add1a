//! `tidemill state` on checkpoints of programs that have run here, that run, and that are damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill::input::MemoryStream;
use tidemill::prelude::State;
use tidemill::state_spec::function;
use tidemill::testing::{TestContext, test_conf};

use super::process::tidemill;

const SECOND: Duration = Duration::from_secs(1);

const BATCHES: &[&[(&str, u64)]] = &[&[("a", 1), ("b", 2)], &[("a", 10)], &[("c", 5), ("b", 99)]];

/// A program with a state of every form.
struct Program {
    context: TestContext,
    input: MemoryStream<(String, u64)>,
}

impl Program {
    fn start(folder: &Path) -> Self {
        let input = Mutex::new(None);
        let folder = folder.display();
        let conf = test_conf().set("spark.streaming.checkpoint.directory", folder).set("spark.default.parallelism", 1);
        let context = TestContext::start(conf, SECOND, false, |ssc| {
            let (memory, pairs) = ssc.memory_stream::<(String, u64)>()?;
            *input.lock().unwrap() = Some(memory);
            let add = |new: Vec<u64>, sum: Option<u64>| match sum.unwrap_or(0) + new.iter().sum::<u64>() {
                100.. => None,
                sum => Some(sum),
            };
            pairs.update_state_by_key_with(add, 2, None).named("sums").foreach_rdd(|_| Ok(()))?;
            let count = function(|_: &String, _: Option<u64>, count: &mut State<u64>| {
                count.update(count.get_option().copied().unwrap_or(0) + 1);
            });
            pairs.map_with_state(count).named("counts").foreach_rdd(|_| Ok(()))?;
            let window = 2 * SECOND;
            let recent = pairs.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, window, SECOND)?;
            recent.named("recent").foreach_rdd(|_| Ok(()))?;
            pairs.map(|(key, _)| key).window(window, SECOND)?.named("last").foreach_rdd(|_| Ok(()))
        });
        Self { context: context.unwrap(), input: input.into_inner().unwrap().unwrap() }
    }

    fn batch(&self, pairs: &[(&str, u64)]) {
        self.input.add(pairs.iter().map(|(key, value)| (key.to_string(), *value)));
        self.context.run_batch();
    }
}

/// The checkpoint of a program that has ended.
fn checkpoint() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path());
    BATCHES.iter().for_each(|batch| program.batch(batch));
    program.context.stop().unwrap();
    let path = folder.path().to_str().unwrap().to_string();
    (folder, path)
}

/// What a command prints, which must end well and say nothing else.
fn prints(arguments: &[&str]) -> String {
    let ended = tidemill(arguments);
    assert!(ended.success && ended.stderr.is_empty(), "{arguments:?}: {}", ended.stderr);
    ended.stdout
}

/// What a command complains of.
fn fails(arguments: &[&str]) -> String {
    let ended = tidemill(arguments);
    assert!(!ended.success && ended.stdout.is_empty(), "{arguments:?}: {}", ended.stdout);
    ended.stderr
}

/// The cells of a table, with `SIZE` for every size above nothing.
fn cells(table: &str) -> Vec<Vec<String>> {
    let masked = |cell: &str| match cell.rsplit_once(' ') {
        Some((size, "B" | "KiB")) if size.parse::<f64>().is_ok_and(|size| size > 0.0) => "SIZE".to_string(),
        _ => cell.to_string(),
    };
    let row = |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(masked).collect();
    table.lines().map(row).collect()
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), fs::read(path).unwrap())),
        }
    }
    found
}

#[test]
fn ls_names_operators_and_what_they_hold() {
    let (_folder, path) = checkpoint();
    let expected = [
        "the last committed batch is 2, of 3000 ms",
        "OPERATOR|KIND|PARTITIONS|KEY|VALUE|VERSION|BATCH|ROWS|SNAPSHOTS|CHANGES",
        "counts|map_with_state|1|String|u64|3|2|3|0 B|SIZE",
        "last|window|1|batch time|String|3|2|3|0 B|SIZE",
        "recent|reduce_by_key_and_window|1|String|u64|3|2|3|0 B|SIZE",
        "sums|update_state_by_key|2|String|u64|3|2|2|0 B|SIZE",
    ];
    let expected: Vec<Vec<String>> = expected.iter().map(|row| row.split('|').map(String::from).collect()).collect();
    assert_eq!(cells(&prints(&["state", "ls", &path])), expected);
    let partitions = prints(&["state", "ls", "-v", &path]);
    let rows = cells(&partitions);
    assert_eq!(rows[0].join("|"), "OPERATOR|PARTITION|VERSION|BATCH|ROWS|SNAPSHOTS|CHANGES|RESTORABLE");
    assert_eq!(rows[1].join("|"), "counts|0|3|2|3|0 B|SIZE|0-3");
    let of_sums = rows.iter().filter(|row| row[0] == "sums" && row[7] == "0-3");
    assert_eq!(of_sums.map(|row| row[1].as_str()).collect::<Vec<_>>(), ["0", "1"], "{partitions}");
    let json = prints(&["state", "ls", "--format", "json", &path]);
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = lines.iter().map(|line| line["operator"].as_str().unwrap()).collect();
    assert_eq!(names, ["counts", "last", "recent", "sums"]);
    assert_eq!((&lines[3]["value_type"], &lines[3]["batch"], &lines[3]["rows"]), (&json!("u64"), &json!(2), &json!(2)));
    assert_eq!(lines[0]["key_type"], "alloc::string::String");
    assert_eq!(lines[0]["partitions"][0]["restorable"], json!([[0, 3]]));
    assert!(lines[0]["change_bytes"].as_u64().unwrap() > 0, "{json}");
}

#[test]
fn show_has_the_rows_of_every_version() {
    let (_folder, path) = checkpoint();
    let cases: [(&[&str], &str); 13] = [
        (&["sums"], "KEY  VALUE\n\"a\"  11\n\"c\"  5\n2 rows at version 3\n"),
        (&["sums", "--version", "2"], "KEY  VALUE\n\"a\"  11\n\"b\"  2\n2 rows at version 2\n"),
        (&["sums", "--version", "1"], "KEY  VALUE\n\"a\"  1\n\"b\"  2\n2 rows at version 1\n"),
        (&["sums", "--version", "0"], "KEY  VALUE\n0 rows at version 0\n"),
        (&["sums", "--limit", "1"], "KEY  VALUE\n\"a\"  11\n2 rows at version 3; 1 are not shown, see --limit\n"),
        (&["sums", "--key", "c"], "KEY  VALUE\n\"c\"  5\n1 rows at version 3\n"),
        (&["sums", "--key", "\"c\""], "KEY  VALUE\n\"c\"  5\n1 rows at version 3\n"),
        (&["sums", "--key", "7"], "KEY  VALUE\n0 rows at version 3\n"),
        (
            &["counts"],
            "KEY  VALUE  TOUCHED_MS\n\"a\"  2      2000\n\"b\"  2      3000\n\"c\"  1      3000\n3 rows at version 3\n",
        ),
        (
            &["recent"],
            "KEY   VALUE        OF\n\"a\"   10           total\n\"b\"   99           total\n\"c\"   5            total\n\
             2000  {\"pairs\":1}  batch\n3000  {\"pairs\":2}  batch\nnull  3000         end\n6 rows at version 3\n",
        ),
        (
            &["recent", "--all", "--key", "2000"],
            "KEY   VALUE       OF\n2000  [[\"a\",10]]  batch\n1 rows at version 3\n",
        ),
        (&["last"], "TIME_MS  ROWS\n2000     1\n3000     2\n2 rows at version 3\n"),
        (
            &["last", "--all", "--version", "2"],
            "TIME_MS  ROWS  VALUES\n1000     2     [\"a\",\"b\"]\n2000     1     [\"a\"]\n2 rows at version 2\n",
        ),
    ];
    for (arguments, expected) in cases {
        let got = prints(&[&["state", "show", &path], arguments].concat());
        assert_eq!(got, expected, "{arguments:?}");
    }
    let lines = prints(&["state", "show", &path, "counts", "--format", "json", "--key", "c"]);
    assert_eq!(lines, "{\"key\":\"c\",\"partition\":0,\"touched_ms\":3000,\"value\":1}\n");
    let parts: Vec<String> =
        ["0", "1"].map(|p| prints(&["state", "show", &path, "sums", "--format", "json", "--partition", p])).to_vec();
    let mut keys: Vec<Value> =
        parts.concat().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].clone()).collect();
    keys.sort_by_key(Value::to_string);
    assert_eq!(keys, ["a", "c"]);
}

#[test]
fn diff_has_what_a_batch_has_changed() {
    let (_folder, path) = checkpoint();
    let cases: [(&[&str], &str); 5] = [
        (
            &["sums"],
            "KEY  CHANGE   BEFORE  AFTER\n\"b\"  removed  2       -\n\"c\"  added    -       5\n\
             2 changes from version 2 to 3, by batch 2\n",
        ),
        (
            &["sums", "--version", "1"],
            "KEY  CHANGE   BEFORE  AFTER\n\"a\"  changed  1       11\n1 changes from version 1 to 2, by batch 1\n",
        ),
        (
            &["sums", "--version", "0", "--key", "b"],
            "KEY  CHANGE  BEFORE  AFTER\n\"b\"  added   -       2\n1 changes from version 0 to 1, by batch 0\n",
        ),
        (
            &["counts", "--limit", "1"],
            "KEY  CHANGE   BEFORE                         AFTER\n\
             \"b\"  changed  {\"touched_ms\":1000,\"value\":1}  {\"touched_ms\":3000,\"value\":2}\n\
             2 changes from version 2 to 3, by batch 2; 1 are not shown, see --limit\n",
        ),
        (
            &["last"],
            "TIME_MS  CHANGE   BEFORE  AFTER\n1000     removed  2       -\n3000     added    -       2\n\
             2 changes from version 2 to 3, by batch 2\n",
        ),
    ];
    for (arguments, expected) in cases {
        let got = prints(&[&["state", "diff", &path], arguments].concat());
        assert_eq!(got, expected, "{arguments:?}");
    }
    let lines = prints(&["state", "diff", &path, "sums", "--format", "json", "--key", "c"]);
    let line: Value = serde_json::from_str(&lines).unwrap();
    assert_eq!((&line["change"], &line["before"], &line["after"]), (&json!("added"), &Value::Null, &json!(5)));
}

#[test]
fn a_running_driver_is_looked_at_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let program = Program::start(folder.path());
    assert!(prints(&["state", "ls", path]).starts_with("no batch is committed yet\n"));
    assert_eq!(prints(&["state", "show", path, "sums"]), "KEY  VALUE\n0 rows at version 0\n");
    for (n, batch) in BATCHES.iter().enumerate() {
        program.batch(batch);
        let before = files(folder.path());
        let listed = prints(&["state", "ls", path]);
        assert!(listed.starts_with(&format!("the last committed batch is {n}, of {}000 ms\n", n + 1)), "{listed}");
        let shown = prints(&["state", "show", path, "sums"]);
        assert!(shown.ends_with(&format!("2 rows at version {}\n", n + 1)), "{shown}");
        prints(&["state", "diff", path, "last"]);
        assert_eq!(files(folder.path()), before);
    }
    program.context.stop().unwrap();
}

#[test]
fn what_a_crash_has_torn_is_not_shown_and_stays() {
    let (folder, path) = checkpoint();
    let expected = prints(&["state", "show", &path, "sums"]);
    for log in ["state/log", "commits", "offsets"] {
        let segments = fs::read_dir(folder.path().join(log)).unwrap().map(|entry| entry.unwrap().path());
        let log = segments.filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap();
        let mut bytes = fs::read(&log).unwrap();
        bytes.extend([7; 11]);
        fs::write(&log, bytes).unwrap();
    }
    let torn = files(folder.path());
    assert_eq!(prints(&["state", "show", &path, "sums"]), expected);
    assert_eq!(files(folder.path()), torn);
}

#[test]
fn what_is_missing_or_damaged_is_named() {
    let (folder, path) = checkpoint();
    let path = path.as_str();
    let there = "\"counts\", \"last\", \"recent\", \"sums\"";
    let cases: [(&[&str], String); 6] = [
        (
            &["show", path, "sum"],
            format!("error: the checkpoint has no state of an operator \"sum\"; it has: {there}\n"),
        ),
        (
            &["show", path, "sums", "--version", "9"],
            "error: the state of \"sums\" can't be restored at version 9, but at 0 to 3\n".to_string(),
        ),
        (
            &["diff", path, "sums", "--version", "3"],
            "error: the state of \"sums\" can't be restored at version 4, but at 0 to 3\n".to_string(),
        ),
        (
            &["show", path, "sums", "--partition", "2"],
            "error: \"sums\" has no partition 2: it has 0 to 1\n".to_string(),
        ),
        (&["ls", "/dev/null/none"], "error: there is no folder /dev/null/none\n".to_string()),
        (
            &["ls", concat!(env!("CARGO_MANIFEST_DIR"), "/src")],
            concat!("error: ", env!("CARGO_MANIFEST_DIR"), "/src is not a checkpoint: it has no file metadata\n")
                .into(),
        ),
    ];
    for (arguments, expected) in cases {
        assert_eq!(fails(&[&["state"], arguments].concat()), expected, "{arguments:?}");
    }
    for (name, what) in [("state/log", "damaged"), ("commits", "damaged"), ("metadata", "damaged")] {
        let place = folder.path().join(name);
        let file = match place.is_dir() {
            true => fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()).max().unwrap(),
            false => place,
        };
        let bytes = fs::read(&file).unwrap();
        let mut damaged = bytes.clone();
        let middle = bytes.len() / 2;
        damaged[middle] ^= 0x10;
        fs::write(&file, damaged).unwrap();
        let said = fails(&["state", "show", path, "sums"]);
        assert!(said.contains(file.to_str().unwrap()) && said.contains(what), "{said}");
        fs::write(&file, bytes).unwrap();
    }
    let metadata = folder.path().join("metadata");
    fs::rename(&metadata, folder.path().join("aside")).unwrap();
    let said = fails(&["state", "ls", path]);
    assert!(said.contains(&format!("{} is missing, though batches were logged", metadata.display())), "{said}");
    fs::rename(folder.path().join("aside"), &metadata).unwrap();
    fs::remove_dir_all(folder.path().join("state/log")).unwrap();
    let said = fails(&["state", "ls", path]);
    assert!(said.contains("entry 3 of the state log") && said.contains("is missing"), "{said}");
}
