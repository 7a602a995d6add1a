//! Files and folders on the disk, with errors that name them.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// A path could not be written.
pub(super) fn unwritable(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |error| {
        Error::retry(format!("can't write {}; is there space and permission?", path.display())).with_source(error)
    }
}

/// A path could not be read.
pub(super) fn unreadable(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |error| {
        Error::retry(format!("can't read {}; is it there, with permission?", path.display())).with_source(error)
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|open| open.sync_all()).map_err(unwritable(folder))
}

/// Removes a file; it is no error if there is none.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(unwritable(path)(error)),
        _ => Ok(()),
    }
}

/// The names in a folder; none where there is no folder.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder)(error)),
    };
    let name = |entry: io::Result<fs::DirEntry>| match entry {
        // A name that is no UTF-8 is none of ours.
        Ok(entry) => entry.file_name().into_string().ok().map(Ok),
        Err(error) => Some(Err(unreadable(folder)(error))),
    };
    entries.filter_map(name).collect()
}

/// A file that keeps the error of a failed write, which writers of formats turn into a text of theirs.
pub(super) struct Watched<'a> {
    file: &'a File,
    failed: Option<io::Error>,
}

impl<'a> Watched<'a> {
    /// A file to write to.
    pub fn new(file: &'a File) -> Self {
        Self { file, failed: None }
    }

    /// Why a write to it failed, if one did.
    pub fn failure(self) -> Option<io::Error> {
        self.failed
    }

    fn watch<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let told = io::Error::new(error.kind(), error.to_string());
            self.failed.get_or_insert(error);
            told
        })
    }
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        self.watch(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.file.flush();
        self.watch(flushed)
    }
}
