//! How RDDs begin: collections, ranges and files.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use tidemill_engine::chunk::{Chunk, Data, Rows, binary_column, column};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{Emit, Operator, PerChunk};
use tidemill_engine::lineage::Lineage;
use tidemill_engine::operator::text_scan::{FileForm, FileSplit, TextScanExec, is_compressed};

use super::Rdd;
use crate::context::SparkContext;
use crate::dataset::{Dataset, failed};
use crate::op::narrow::{Collection, records_to_bytes, text_to_strings};
use crate::op::partition::union;

impl SparkContext {
    /// A collection of the driver's, in the default number of partitions.
    pub fn parallelize<T: Data>(&self, rows: impl IntoIterator<Item = T>) -> Rdd<T> {
        self.parallelize_in(rows, self.default_parallelism())
    }

    /// A collection of the driver's, in `partitions` partitions.
    pub fn parallelize_in<T: Data>(&self, rows: impl IntoIterator<Item = T>, partitions: usize) -> Rdd<T> {
        let values = Collection::slice(self.functions(), rows.into_iter().collect(), partitions);
        Rdd::from_dataset(self, Dataset::new(Lineage::values(Arc::new(values))))
    }

    /// No rows, in no partition.
    pub fn empty_rdd<T: Data>(&self) -> Rdd<T> {
        let values = Collection::<T>::from_parts(self.functions(), Vec::new());
        Rdd::from_dataset(self, Dataset::new(Lineage::values(Arc::new(values))))
    }

    /// The numbers from `start` to `end`, exclusive, in steps of `step`; they are made where they are needed.
    #[track_caller]
    pub fn range(&self, start: i64, end: i64, step: i64, partitions: usize) -> Rdd<i64> {
        let partitions = partitions.max(1) as i128;
        let (start, end, step) = (i128::from(start), i128::from(end), i128::from(step));
        let total = if step == 0 { 0 } else { ((end - start + step - step.signum()) / step).max(0) };
        let numbers = self.parallelize_in(0..partitions as i64, partitions as usize).map_partitions(move |part| {
            part.flat_map(move |part| {
                let part = i128::from(part);
                // Within i64 by construction: every number lies between start and end.
                (part * total / partitions..(part + 1) * total / partitions).map(move |n| (start + n * step) as i64)
            })
        });
        if step == 0 {
            return Rdd::from_dataset(self, failed(self, Error::usage("step cannot be 0")));
        }
        numbers
    }

    /// The rows of all RDDs, one after the other.
    #[track_caller]
    pub fn union<T: Data>(&self, rdds: &[Rdd<T>]) -> Rdd<T> {
        match rdds.split_first() {
            None => self.empty_rdd(),
            Some((first, rest)) => {
                let rest: Vec<Dataset> = rest.iter().map(|rdd| rdd.dataset().clone()).collect();
                first.with_all(&rest, &union(self))
            }
        }
    }

    /// The lines of text files: a file, a directory, a glob, or several of these with commas between them. Files whose
    /// names start with `.` or `_` are read only if they are named in full. Files that end in `.gz`, `.bz2`, `.zst` or `.deflate` are decompressed; others are cut into at least `min_partitions` parts.
    ///
    /// Bytes that aren't UTF-8 become U+FFFD, and are counted and logged. Lines of more than 16 MiB are skipped, counted and logged.
    pub fn text_file(&self, path: &str, min_partitions: usize) -> Rdd<String> {
        let data = text_dataset(self, path, min_partitions);
        Rdd::from_dataset(self, data.unwrap_or_else(|error| failed(self, error)))
    }

    /// The files that `path` names, each as its name and its content.
    #[track_caller]
    pub fn whole_text_files(&self, path: &str) -> Rdd<(String, String)> {
        self.binary_files(path).map(|(path, content)| (path, String::from_utf8_lossy(&content).into_owned()))
    }

    /// The files that `path` names, each as its name and its bytes.
    pub fn binary_files(&self, path: &str) -> Rdd<(String, Vec<u8>)> {
        let operator = || {
            Arc::new(PerChunk(|chunk: Chunk, out: &mut Emit<'_>| {
                let batch = chunk.take::<RecordBatch>()?;
                let (paths, contents) = (column::<StringArray>(&batch, 0)?, binary_column(&batch, 1)?);
                let rows =
                    (0..batch.num_rows()).map(|row| (paths.value(row).to_string(), contents.value(row).to_vec()));
                out(Chunk::of(rows.collect::<Vec<(String, Vec<u8>)>>()))
            })) as Arc<dyn Operator>
        };
        let decode = self.functions().builtin("whole_files", "", Rows::<(String, Vec<u8>)>::ELEMENT, operator);
        let data = find_files(path).map(|files| scan(whole_splits(files), FileForm::Whole).op(&decode));
        Rdd::from_dataset(self, data.unwrap_or_else(|error| failed(self, error)))
    }

    /// The records of `length` bytes each of the files that `path` names.
    pub fn binary_records(&self, path: &str, length: usize) -> Rdd<Vec<u8>> {
        let data = find_files(path).and_then(|files| {
            if length == 0 {
                return Err(Error::usage("the record length must be greater than 0"));
            }
            Ok(scan(whole_splits(files), FileForm::Records(length)).op(&records_to_bytes(self.functions())))
        });
        Rdd::from_dataset(self, data.unwrap_or_else(|error| failed(self, error)))
    }
}

fn scan(splits: Vec<Vec<FileSplit>>, form: FileForm) -> Dataset {
    Dataset::new(Lineage::scan(Arc::new(TextScanExec::new(splits, form)), usize::MAX))
}

fn text_dataset(sc: &SparkContext, path: &str, min_partitions: usize) -> Result<Dataset> {
    let files = find_files(path)?;
    let total: u64 = files.iter().map(|file| file.end).sum();
    // As Hadoop cuts files: no part larger than the total over the number asked for, nor than 32 MiB.
    let goal = (total / min_partitions.max(1) as u64).clamp(1, 32 << 20);
    let mut splits = Vec::new();
    for file in files {
        let (mut start, end) = (0, file.end);
        let goal = if is_compressed(&file.path) { end.max(1) } else { goal };
        // A rest of up to a tenth goes with the part before it.
        while end - start > goal + goal / 10 {
            splits.push(vec![FileSplit { path: file.path.clone(), start, end: start + goal }]);
            start += goal;
        }
        splits.push(vec![FileSplit { path: file.path, start, end }]);
    }
    Ok(lines_dataset(sc, splits))
}

/// The lines of file splits, a list of them for each partition, as strings.
pub(crate) fn lines_dataset(sc: &SparkContext, splits: Vec<Vec<FileSplit>>) -> Dataset {
    scan(splits, FileForm::Lines).op(&text_to_strings(sc.functions()))
}

fn whole_splits(files: Vec<FileSplit>) -> Vec<Vec<FileSplit>> {
    files.into_iter().map(|file| vec![file]).collect()
}

/// The files that a path names, by name; hidden ones (`.x`, `_x`) inside directories are left out.
fn find_files(paths: &str) -> Result<Vec<FileSplit>> {
    let mut files = Vec::new();
    for pattern in split_patterns(paths) {
        let pattern = pattern.trim();
        let pattern = local_path(pattern)?;
        let bad =
            |error: glob::PatternError| Error::usage(format!("{pattern} is not a valid pattern")).with_source(error);
        let before = files.len();
        let mut matched = false;
        // A name that exists is that file, whatever characters it has.
        let found: Vec<_> = if Path::new(pattern).exists() {
            vec![Path::new(pattern).to_path_buf()]
        } else {
            let mut found = Vec::new();
            for pattern in expand_braces(pattern) {
                let entries = glob::glob(&pattern).map_err(bad)?;
                for entry in entries {
                    // What can't be looked at may hold what was asked for: that is an error, not a file less.
                    let path = entry.map_err(|error| {
                        let place = error.path().to_path_buf();
                        unreadable(&place, error.into())
                    })?;
                    if !is_hidden(&path) {
                        found.push(path);
                    }
                }
            }
            found
        };
        for path in found {
            matched = true;
            if path.is_dir() {
                let entries = fs::read_dir(&path).map_err(|error| unreadable(&path, error))?;
                for entry in entries {
                    let entry = entry.map_err(|error| unreadable(&path, error))?.path();
                    if entry.is_file() && !is_hidden(&entry) {
                        files.push(whole(&entry)?);
                    }
                }
            } else {
                files.push(whole(&path)?);
            }
        }
        if !matched {
            return Err(Error::usage(format!("Input path does not exist: {pattern}")));
        }
        files[before..].sort_by(|a, b| a.path.cmp(&b.path));
    }
    Ok(files)
}

/// The path that a name or a `file:` URI gives.
pub(crate) fn local_path(name: &str) -> Result<&str> {
    let path = name.strip_prefix("file://").or_else(|| name.strip_prefix("file:")).unwrap_or(name);
    if path.contains("://") {
        return Err(Error::usage(format!("{path} is not a local file: no other file systems are known here")));
    }
    Ok(path)
}

/// The parts between commas, of which those inside `{}` are none.
fn split_patterns(paths: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0usize);
    for (at, character) in paths.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&paths[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&paths[start..]);
    parts
}

/// `a{b,c}d` as `abd` and `acd`, which is what Hadoop's globs have beyond those of the shell.
fn expand_braces(pattern: &str) -> Vec<String> {
    let Some(open) = pattern.find('{') else { return vec![pattern.to_string()] };
    let mut depth = 0usize;
    let close = pattern[open..].char_indices().find_map(|(at, character)| {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(open + at)
    });
    let Some(close) = close else { return vec![pattern.to_string()] };
    let (head, inside, tail) = (&pattern[..open], &pattern[open + 1..close], &pattern[close + 1..]);
    let alternatives = split_patterns(inside).into_iter();
    alternatives.flat_map(|middle| expand_braces(&format!("{head}{middle}{tail}"))).collect()
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(['.', '_']))
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::data(format!("can't read {}", path.display())).with_source(error)
}

fn whole(path: &Path) -> Result<FileSplit> {
    let end = fs::metadata(path).map_err(|error| unreadable(path, error))?.len();
    let name = path.to_str().ok_or_else(|| Error::usage(format!("{} is not a UTF-8 file name", path.display())))?;
    Ok(FileSplit { path: name.to_string(), start: 0, end })
}
