//! A checkpoint in a folder of a local disk.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::read_only::refused;
use super::segment_log::SegmentLog;
use super::{AppendLog, CheckpointStorage, check_name};
use crate::error::{Error, Result};
use crate::failpoint;

/// The file by which a driver has a folder for itself. It stays.
pub const LOCK: &str = "lock";

/// What files end in while they are written.
const ASIDE: &str = ".tmp";

/// Tells apart the files that one process writes at once.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// A folder of a local disk. A file is written aside, synced and renamed; a log is a folder of segments.
pub struct LocalStorage {
    folder: PathBuf,
    read_only: bool,
}

/// A checkpoint folder is this process's alone until this is dropped; the operating system drops it for a process that dies.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl LocalStorage {
    /// The storage in `folder`, which is made if it is not there. Any number of processes may have it open; who must be alone
    /// takes the lock as well.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        make_folder(&folder).map_err(|error| {
            Error::retry(format!("can't use {} as checkpoint folder", folder.display())).with_source(error)
        })?;
        Ok(Self { folder, read_only: false })
    }

    /// The storage in `folder` as it is: nothing in it is made, changed or removed, so that a driver may run on it meanwhile.
    /// A log has the entries that are whole.
    ///
    /// # Errors
    /// If there is no such folder. Whatever would write is an error, too.
    pub fn open_read_only(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        if !folder.is_dir() {
            return Err(Error::usage(format!("there is no folder {}", folder.display())));
        }
        Ok(Self { folder, read_only: true })
    }

    fn check_writable(&self) -> Result<()> {
        if self.read_only { Err(refused(&self.folder.display().to_string())) } else { Ok(()) }
    }

    /// Takes the folder for this process alone, and removes what writes that never ended have left.
    ///
    /// # Errors
    /// If another driver has it.
    pub fn lock(&self) -> Result<FolderLock> {
        self.check_writable()?;
        let path = self.folder.join(LOCK);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| unwritable(&path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::usage(format!(
                    "another driver is running on the checkpoint folder {}; stop it first, or use another folder",
                    self.folder.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unwritable(&path, error)),
        }
        walk(&self.folder, &mut |path, name| {
            if is_aside(name) {
                // It may be gone: a file that nobody asks for.
                let _ = fs::remove_file(path);
            }
        })?;
        Ok(FolderLock { _file: file })
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        Ok(self.folder.join(name))
    }
}

impl CheckpointStorage for LocalStorage {
    fn place(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn open_log(&self, name: &str) -> Result<Box<dyn AppendLog>> {
        let path = self.path(name)?;
        let log = if self.read_only { SegmentLog::open_read_only(path) } else { SegmentLog::open(path) };
        Ok(Box::new(log?))
    }

    fn put(&self, name: &str, body: Bytes) -> Result<()> {
        self.check_writable()?;
        put_file(&self.path(name)?, &body)
    }

    fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let path = self.path(name)?;
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(unreadable(&path, error)),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let folder = if folder.is_empty() { self.folder.clone() } else { self.path(folder)? };
        let mut names = Vec::new();
        walk(&folder, &mut |path, name| {
            // `lock` and files that are being written are not names of the checkpoint.
            let own = check_name(name).is_ok() && path != self.folder.join(LOCK);
            if let Some(name) = path.strip_prefix(&self.folder).ok().and_then(Path::to_str).filter(|_| own) {
                names.push(name.to_string());
            }
        })?;
        names.sort();
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.check_writable()?;
        let path = self.path(name)?;
        match fs::remove_file(&path) {
            Err(error) if !is_absent(&error) => Err(unwritable(&path, error)),
            _ => Ok(()),
        }
    }
}

/// Writes a file whole, in place of the one that was there.
pub(super) fn put_file(path: &Path, body: &[u8]) -> Result<()> {
    let (Some(folder), Some(file)) = (path.parent(), path.file_name()) else {
        return Err(Error::internal(format!("{} is not a file's name", path.display())));
    };
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let aside = folder.join(format!(".{}.{}-{number}{ASIDE}", file.to_string_lossy(), std::process::id()));
    let write = || {
        make_folder(folder)?;
        let mut file = File::create(&aside)?;
        file.write_all(body)?;
        file.sync_all()?;
        failpoint::hit("file-written");
        fs::rename(&aside, path)?;
        failpoint::hit("file-renamed");
        sync_folder(folder)?;
        failpoint::hit("file-put");
        Ok(())
    };
    write().map_err(|error| {
        // It may not have come to be, or be renamed.
        let _ = fs::remove_file(&aside);
        unwritable(path, error)
    })
}

/// Makes a folder and those above it, as durable as what will lie in them.
pub(super) fn make_folder(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above {
        make_folder(above)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !folder.is_dir() => Err(error),
        _ => sync_folder(above.unwrap_or(Path::new("."))),
    }
}

/// Makes durable which files there are.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The error of a file that can't be read.
pub(super) fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::data(format!("can't read {}", path.display())).with_source(error)
}

/// The error of a file that can't be written.
pub(super) fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::retry(format!("can't write {}; is there space and permission?", path.display())).with_source(error)
}

fn is_aside(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(ASIDE)
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Tells `visit` of each file below `folder`: its path and its name.
fn walk(folder: &Path, visit: &mut dyn FnMut(&Path, &str)) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if is_absent(&error) => return Ok(()),
        entries => entries.map_err(|error| unreadable(folder, error))?,
    };
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        if path.is_dir() {
            walk(&path, visit)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            visit(&path, name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_whole_and_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(folder.path().join("a/b")).unwrap();
        assert_eq!((storage.get("x/y").unwrap(), storage.list("x").unwrap()), (None, vec![]));
        for (name, body) in [("x/y", "1"), ("x/z/1", "2"), ("x/y", "3"), ("w", "4")] {
            storage.put(name, body.into()).unwrap();
        }
        assert_eq!(storage.get("x/y").unwrap().unwrap(), "3");
        assert_eq!(storage.list("x").unwrap(), ["x/y", "x/z/1"]);
        assert_eq!(storage.list("").unwrap(), ["w", "x/y", "x/z/1"]);
        storage.delete("x/y").unwrap();
        storage.delete("x/y").unwrap();
        storage.delete("w/under-a-file").unwrap();
        assert_eq!(storage.list("x").unwrap(), ["x/z/1"]);
        for bad in ["../x", "/x", "x/../y", ""] {
            assert!(storage.put(bad, Bytes::new()).is_err() && storage.get(bad).is_err(), "{bad:?}");
        }
        assert!(storage.put("w/under-a-file", Bytes::new()).unwrap_err().message().contains("can't write"));
    }

    #[test]
    fn what_is_opened_for_reading_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a");
        assert!(LocalStorage::open_read_only(&place).err().unwrap().message().contains("there is no folder"));
        let writer = LocalStorage::open(&place).unwrap();
        writer.put("x", "1".into()).unwrap();
        let lock = writer.lock().unwrap();
        let reader = LocalStorage::open_read_only(&place).unwrap();
        assert_eq!(reader.get("x").unwrap().unwrap(), "1");
        assert_eq!(reader.open_log("log").unwrap().numbers(), [0u64; 0]);
        for refused in [reader.put("x", Bytes::new()), reader.delete("x"), reader.lock().map(drop)] {
            assert!(refused.unwrap_err().message().contains("for reading only"));
        }
        drop(lock);
        assert_eq!(writer.list("").unwrap(), ["x"]);
    }

    #[test]
    fn what_a_dead_writer_left_is_no_file_and_goes_with_the_next_lock() {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(folder.path()).unwrap();
        storage.put("x/y", "1".into()).unwrap();
        let left = folder.path().join("x/.y.1-0.tmp");
        fs::write(&left, "half").unwrap();
        assert_eq!(storage.list("x").unwrap(), ["x/y"]);
        let lock = storage.lock().unwrap();
        assert!(!left.exists());
        assert_eq!(storage.list("").unwrap(), ["x/y"]);
        let other = LocalStorage::open(folder.path()).unwrap();
        assert!(other.lock().unwrap_err().message().contains("another driver"));
        assert_eq!(other.get("x/y").unwrap().unwrap(), "1");
        drop(lock);
        other.lock().unwrap();
    }
}
