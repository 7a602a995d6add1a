//! Files of a checkpoint that are lost, cut short or flipped: a restart says which, or is exact all the same.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidemill_chaos::trial::Trial;

use crate::lives::{killed_at, trial};

/// A program that was killed several times, and its folder as it was then.
struct History {
    folder: TempDir,
    trial: Trial,
}

impl History {
    /// Every log has several segments; old entries were forgotten.
    fn new() -> Self {
        let (folder, mut trial) = trial(|program| program.missed_batches = 3);
        (0..4).for_each(|_| killed_at(&trial, "commit-logged:7"));
        trial.stop_feeding().unwrap();
        for part in ["checkpoint", "out"] {
            copy(&folder.path().join(part), &folder.path().join("kept").join(part));
        }
        Self { folder, trial }
    }

    fn path(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    /// Files and folders of the checkpoint, relative to it.
    fn parts(&self) -> Vec<PathBuf> {
        let (kept, mut found) = (self.path("kept/checkpoint"), Vec::new());
        walk(&kept, &mut |path| found.push(path.strip_prefix(&kept).unwrap().to_path_buf()));
        found.retain(|path| path != Path::new("lock"));
        // Of the snapshots of an operator the last two, on which the others are no more needed than a copy of a copy.
        let is_snapshot = |path: &Path| path.extension().is_some_and(|end| end == "snapshot");
        let later = found.clone();
        found.retain(|path| {
            let after =
                later.iter().filter(|other| is_snapshot(other) && other.parent() == path.parent() && *other > path);
            !is_snapshot(path) || after.count() < 2
        });
        found
    }

    /// Whether it was exact after `harm` was done to a part; else the error named that.
    fn is_exact_after(&mut self, part: &Path, harm: &str, body: impl FnOnce(&Path)) -> bool {
        for part in ["checkpoint", "out"] {
            fs::remove_dir_all(self.path(part)).unwrap();
            copy(&self.path("kept").join(part), &self.path(part));
        }
        let harmed = self.path("checkpoint").join(part);
        body(&harmed);
        match self.trial.finish() {
            Ok(verdict) => {
                assert!(verdict.is_exact(), "{} was {harm}: {verdict}", part.display());
                true
            }
            Err(error) => {
                // The file, or of a lost one the folder that it is missing in.
                let error = error.to_string();
                let folder = harmed.parent().unwrap().to_str().unwrap();
                let named = error.contains(harmed.to_str().unwrap()) || harm == "lost" && error.contains(folder);
                assert!(named && !error.contains("panicked"), "{} was {harm}: {error}", part.display());
                false
            }
        }
    }
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        visit(&path);
        if path.is_dir() {
            walk(&path, visit);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(path, to).unwrap()),
        }
    }
}

#[test]
fn a_lost_file_or_folder_is_named_or_made_up_for() {
    let mut history = History::new();
    let mut exact = Vec::new();
    for part in history.parts() {
        let lose = |path: &Path| match path.is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        };
        if history.is_exact_after(&part, "lost", lose) {
            exact.push(part);
        }
    }
    // Snapshots have older ones and changes to stand in for them. The last batches may be planned and not begun: they are planned
    // again then, from the same files. Where a log begins that has forgotten nothing, it says itself.
    let made_up_for = |part: &PathBuf| {
        part.starts_with("state/snapshot")
            || part.starts_with("offsets")
            || *part == Path::new("sources/input/0/begins")
    };
    assert!(exact.iter().all(made_up_for), "{exact:?}");
}

#[test]
fn a_flipped_byte_is_named_or_made_up_for() {
    let mut history = History::new();
    let mut exact = Vec::new();
    for part in history.parts() {
        if history.path("kept/checkpoint").join(&part).is_dir() {
            continue;
        }
        for at in [10, 50] {
            let flip = |path: &Path| {
                let mut bytes = fs::read(path).unwrap();
                let at = bytes.len() * at / 100;
                bytes[at] ^= 1;
                fs::write(path, bytes).unwrap();
            };
            if history.is_exact_after(&part, "flipped", flip) {
                exact.push(part.clone());
            }
        }
    }
    assert!(exact.iter().all(|part| part.starts_with("state/snapshot")), "{exact:?}");
}
