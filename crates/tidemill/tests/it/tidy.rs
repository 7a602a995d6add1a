//! The rules of the house that the compiler doesn't check.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which crates of ours a crate may depend on.
const EDGES: &[(&str, &[&str])] = &[
    ("tidemill-engine", &[]),
    ("tidemill-dstream", &["tidemill-engine"]),
    ("tidemill-connectors", &["tidemill-engine", "tidemill-dstream"]),
    ("tidemill", &["tidemill-engine", "tidemill-dstream", "tidemill-connectors"]),
    ("tidemill-cli", &["tidemill"]),
    ("tidemill-benches", &["tidemill", "tidemill-servers"]),
    ("tidemill-servers", &["tidemill-engine"]),
    ("tidemill-python", &["tidemill-engine", "tidemill-dstream", "tidemill-connectors"]),
    ("tidemill-chaos", &["tidemill-engine", "tidemill-dstream", "tidemill-connectors", "tidemill-servers"]),
];

/// What the engine never sees: servers, Python, client libraries.
const NOT_IN_ENGINE: &[&str] = &["tonic", "axum", "hyper", "pyo3", "rdkafka", "clap", "datafusion"];

/// Names that say nothing about what is in a module.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "manager", "mod"];

const MAX_LINES: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies two folders deep").to_path_buf()
}

fn packages() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_string();
    let normal = |dependency: &&Value| dependency["kind"].is_null();
    let list = |value: &Value| value.as_array().expect("an array").clone();
    list(&metadata["packages"])
        .iter()
        .map(|package| (name(package), list(&package["dependencies"]).iter().filter(normal).map(name).collect()))
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    sources(&root(), &mut found);
    assert!(found.len() > 50, "the walk finds the sources");
    found
}

#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    for (package, dependencies) in &packages {
        let allowed = EDGES.iter().find(|(name, _)| name == package).map(|(_, allowed)| *allowed);
        let allowed = allowed.unwrap_or_else(|| panic!("{package} has no line in EDGES: say what it may depend on"));
        for dependency in dependencies.iter().filter(|name| packages.contains_key(*name)) {
            assert!(allowed.contains(&dependency.as_str()), "{package} must not depend on {dependency}");
        }
    }
    for dependency in &packages["tidemill-engine"] {
        assert!(!NOT_IN_ENGINE.contains(&dependency.as_str()), "the engine must not depend on {dependency}");
    }
}

#[test]
fn files_are_short_named_by_what_they_hold_and_say_so() {
    for path in rust_files() {
        let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
        let place = path.display();
        assert!(text.lines().count() <= MAX_LINES, "{place} has more than {MAX_LINES} lines: split it by noun");
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        assert!(!EMPTY_NAMES.contains(&stem), "{place}: name the module by what it holds");
        assert!(text.starts_with("//!"), "{place} must begin with a //! line that says what it holds");
    }
}

#[test]
fn nothing_is_left_undone() {
    // Put together here, so that this file does not find itself.
    let marks = [["to", "do!("].concat(), ["unimple", "mented!("].concat(), ["#[ig", "nore"].concat()];
    for path in rust_files() {
        let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{} has a {mark}", path.display());
        }
    }
}

#[test]
fn the_loop_can_be_read_at_a_sitting() {
    let text = std::fs::read_to_string(root().join("crates/engine/src/micro_batch.rs")).expect("the loop is there");
    assert!(text.lines().count() <= 400, "micro_batch.rs is the protocol: at most 400 lines");
}
