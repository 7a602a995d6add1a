//! An append-only log of numbered entries on local disk.
//!
//! The log is a folder of segments, named after the first number in each: `00000000000000000042.log`. A segment is a run of
//! records: length of the body, CRC-32 of the length, CRC-32 of the body (u32, little-endian, each), the body. The body is JSON:
//! the number and the entry. `append` returns when the record is on disk (`fdatasync`; for a new segment also the folder): an entry that was
//! not acknowledged may be there after a crash or not, one that was is.
//!
//! A record that the end of the last segment cuts short, or that is all zeros to the end of the file, was never
//! acknowledged: it is cut off when the log is opened. Any other damage is an error that names the file.

use std::fs::{self, File};
use std::io::Write;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Entries per segment: old ones can go a segment at a time.
const SEGMENT_ENTRIES: usize = 1024;

/// Bytes before the body.
const HEADER: usize = 12;

/// The largest body, against a length that is damaged: 64 MiB.
const MAX_BODY: usize = 64 << 20;

/// A log of entries `T`.
pub struct MetadataLog<T> {
    folder: PathBuf,
    segments: Vec<(u64, PathBuf)>,
    open: Option<(File, usize)>,
    last: Option<u64>,
    /// A write has failed: what is on disk is not known.
    failed: bool,
    entries: PhantomData<fn(T)>,
}

impl<T: Serialize + DeserializeOwned> MetadataLog<T> {
    /// Opens the log in `folder`, which is made if it is not there, and gives the entries that it holds.
    pub fn open(folder: impl Into<PathBuf>) -> Result<(Self, Vec<(u64, T)>)> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, error))?;
        let mut segments = Vec::new();
        for entry in fs::read_dir(&folder).map_err(|error| unreadable(&folder, error))? {
            let path = entry.map_err(|error| unreadable(&folder, error))?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let (Some(number), Some("log")) = (number, path.extension().and_then(|end| end.to_str())) {
                segments.push((number, path));
            }
        }
        segments.sort();
        let mut entries: Vec<(u64, T)> = Vec::new();
        for (n, (_, path)) in segments.iter().enumerate() {
            read_segment(path, n + 1 == segments.len(), &mut entries)?;
        }
        let last = entries.last().map(|(number, _)| *number);
        Ok((Self { folder, segments, open: None, last, failed: false, entries: PhantomData }, entries))
    }

    /// Appends an entry and returns when it is on disk. Numbers ascend.
    ///
    /// After an error the entry may be there or not: the log takes no more until it is opened again.
    pub fn append(&mut self, number: u64, entry: &T) -> Result<()> {
        if self.last.is_some_and(|last| number <= last) {
            return Err(Error::internal(format!(
                "entry {number} does not follow the last one of {}",
                self.folder.display()
            )));
        }
        if self.failed {
            let folder = self.folder.display();
            return Err(Error::retry(format!("a write to {folder} has failed: it must be opened again, by a restart")));
        }
        let body = serde_json::to_vec(&(number, entry))
            .map_err(|error| Error::internal("a log entry can't be encoded").with_source(error))?;
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_BODY);
        let length = length.ok_or_else(|| Error::usage(format!("a log entry of {} bytes is too large", body.len())))?;
        let mut record = Vec::with_capacity(HEADER + body.len());
        record.extend(length.to_le_bytes());
        record.extend(crc32fast::hash(&length.to_le_bytes()).to_le_bytes());
        record.extend(crc32fast::hash(&body).to_le_bytes());
        record.extend(body);
        self.failed = true;
        let (mut file, count) = match self.open.take() {
            Some((file, count)) if count < SEGMENT_ENTRIES => (file, count),
            _ => (self.new_segment(number)?, 0),
        };
        let path = || self.segments.last().map_or(self.folder.as_path(), |(_, path)| path.as_path());
        file.write_all(&record).and_then(|()| file.sync_data()).map_err(|error| unwritable(path(), error))?;
        self.open = Some((file, count + 1));
        self.last = Some(number);
        self.failed = false;
        Ok(())
    }

    /// Removes segments whose entries all lie before `number`.
    pub fn purge_before(&mut self, number: u64) -> Result<()> {
        // A segment ends where the next one begins; the last one stays.
        while self.segments.len() > 1 && self.segments[1].0 <= number {
            let (_, path) = self.segments.remove(0);
            fs::remove_file(&path).map_err(|error| unwritable(&path, error))?;
        }
        Ok(())
    }

    fn new_segment(&mut self, first: u64) -> Result<File> {
        let path = self.folder.join(format!("{first:020}.log"));
        // A segment of this name holds no acknowledged entry, or `first` would not follow the last one.
        let file = File::create(&path).map_err(|error| unwritable(&path, error))?;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| unwritable(&self.folder, error))?;
        self.segments.retain(|(_, other)| *other != path);
        self.segments.push((first, path));
        Ok(file)
    }
}

fn read_segment<T: DeserializeOwned>(path: &Path, is_last: bool, entries: &mut Vec<(u64, T)>) -> Result<()> {
    let bytes = fs::read(path).map_err(|error| unreadable(path, error))?;
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let word = |from: usize| rest.get(from..from + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        let damaged = |what: &str| {
            Error::data(format!("{} is damaged at byte {at}: {what}; restore it from a copy", path.display()))
        };
        let zeros = rest.iter().all(|byte| *byte == 0);
        if !zeros && rest.len() >= HEADER && word(4) != Some(crc32fast::hash(&rest[..4])) {
            return Err(damaged("the checksum of a length does not match"));
        }
        let body = word(0).filter(|_| !zeros).and_then(|length| rest.get(HEADER..HEADER + length as usize));
        let Some(body) = body else {
            if !is_last {
                return Err(damaged("a record is cut short"));
            }
            tracing::warn!(file = %path.display(), at, "cutting off a record that was never acknowledged");
            let cut = || {
                let file = File::options().write(true).open(path)?;
                file.set_len(at as u64)?;
                file.sync_all()
            };
            return cut().map_err(|error| unwritable(path, error));
        };
        if word(8) != Some(crc32fast::hash(body)) {
            return Err(damaged("a checksum does not match"));
        }
        let (number, entry) = serde_json::from_slice::<(u64, T)>(body)
            .map_err(|error| damaged("an entry is not what this version writes").with_source(error))?;
        if entries.last().is_some_and(|(last, _)| number <= *last) {
            return Err(damaged("entries are out of order"));
        }
        entries.push((number, entry));
        at += HEADER + body.len();
    }
    Ok(())
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::data(format!("can't read {}", path.display())).with_source(error)
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::retry(format!("can't write {}; is there space and permission?", path.display())).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Log = MetadataLog<String>;

    fn filled(folder: &Path, numbers: std::ops::Range<u64>) {
        let (mut log, _) = Log::open(folder).unwrap();
        numbers.for_each(|n| log.append(n, &format!("entry {n}")).unwrap());
    }

    fn numbers(folder: &Path) -> Result<Vec<u64>> {
        Log::open(folder).map(|(_, entries)| entries.into_iter().map(|(number, _)| number).collect())
    }

    fn last_segment(folder: &Path) -> PathBuf {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).max().unwrap()
    }

    #[test]
    fn entries_survive_reopening_in_segments_that_can_be_purged() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 0..5);
        filled(folder.path(), 5..1500);
        assert_eq!(numbers(folder.path()).unwrap(), (0..1500).collect::<Vec<_>>());
        let (mut log, _) = Log::open(folder.path()).unwrap();
        assert!(log.append(1499, &String::new()).is_err());
        log.purge_before(4).unwrap();
        log.purge_before(1200).unwrap();
        assert_eq!(numbers(folder.path()).unwrap(), (1029..1500).collect::<Vec<_>>());
    }

    #[test]
    fn a_log_that_could_not_be_written_is_opened_again_first() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 0..3);
        let (mut log, _) = Log::open(folder.path()).unwrap();
        let aside = folder.path().with_extension("aside");
        fs::rename(folder.path(), &aside).unwrap();
        assert!(log.append(3, &String::new()).is_err());
        fs::rename(&aside, folder.path()).unwrap();
        assert!(log.append(3, &String::new()).unwrap_err().message().contains("opened again"));
        filled(folder.path(), 3..4);
        assert_eq!(numbers(folder.path()).unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn every_cut_of_the_last_record_is_survived() {
        for cut in 1..26 {
            let folder = tempfile::tempdir().unwrap();
            filled(folder.path(), 0..3);
            let path = last_segment(folder.path());
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
            assert_eq!(numbers(folder.path()).unwrap(), [0, 1], "cut {cut}");
            filled(folder.path(), 2..4);
            assert_eq!(numbers(folder.path()).unwrap(), [0, 1, 2, 3], "cut {cut}");
        }
    }

    #[test]
    fn every_flipped_byte_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 0..3);
        let path = last_segment(folder.path());
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            fs::write(&path, &flipped).unwrap();
            let error = numbers(folder.path()).unwrap_err();
            assert!(error.to_string().contains(path.to_str().unwrap()), "{at}: {error}");
        }
    }
}
