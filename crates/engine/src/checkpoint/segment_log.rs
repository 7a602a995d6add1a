//! An append-only log of numbered entries on local disk.
//!
//! The log is a folder of segments, named after the first number in each: `00000000000000000042.log`. Integers are
//! little-endian. A segment begins with 20 bytes: the magic number `TMLOG`, two zeros, the version 1; the number of the entry
//! before the segment (u64, all ones if there is none); the CRC-32 of these. Then follow records: length of the body (u32),
//! number (u64), CRC-32 of these, CRC-32 of the body (u32), the body. `append` returns when the record is on disk (`fdatasync`; for a
//! new segment also the folder): an entry that was not acknowledged may be there after a crash or not, one that was is.
//!
//! The file `begins` says where the log begins: its first number (u64) and the CRC-32 of that; all ones, if nothing is left. It is written
//! after the first entry, and before old segments go. So segments that were lost are told from those that were forgotten, and from
//! a log that never had any.
//!
//! A record that the end of the last segment cuts short, or that is all zeros to the end of the file, was never acknowledged:
//! it is cut off when the log is opened. Any other damage is an error that names the file: when the log is opened, or, in the body of a record
//! in a segment above 4 MiB other than the last record, when it is read. A log that is opened for reading only is left as it
//! is: what would be cut off is not shown. Its writer may go on meanwhile.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::AppendLog;
use super::local::{make_folder, put_file, sync_folder, unreadable, unwritable};
use super::read_only::refused;
use crate::error::{Error, Result};
use crate::failpoint;

/// Entries per segment: old ones can go a segment at a time.
const SEGMENT_ENTRIES: usize = 1024;

/// Bytes after which a segment takes no more entries: 64 MiB.
const SEGMENT_BYTES: u64 = 64 << 20;

/// The largest body: 1 GiB - 1.
const MAX_BODY: usize = (1 << 30) - 1;

/// Segments up to this size are checked whole when they are opened: 4 MiB.
const CHECKED_BYTES: u64 = 4 << 20;

/// Bytes before the first record.
const SEGMENT_HEADER: usize = 20;

const MAGIC: [u8; 8] = *b"TMLOG\0\0\x01";

/// The file that says where the log begins.
const BEGINS: &str = "begins";

/// What it says when nothing of the log is needed any more.
const NOWHERE: u64 = u64::MAX;

/// Bytes before the body.
const HEADER: usize = 20;

/// A log in a folder.
pub struct SegmentLog {
    folder: PathBuf,
    segments: Vec<Segment>,
    /// The file of the last segment, if it takes more.
    open: Option<File>,
    last: Option<u64>,
    /// The entry before which segments were forgotten.
    begins: Option<u64>,
    /// A write has failed: what is on disk is not known.
    failed: bool,
    read_only: bool,
}

struct Segment {
    path: PathBuf,
    /// The number of the entry before it.
    previous: Option<u64>,
    entries: Vec<Place>,
    end: u64,
}

/// Where an entry's record begins.
#[derive(Clone, Copy)]
struct Place {
    number: u64,
    at: u64,
}

impl SegmentLog {
    /// Opens the log in `folder`, which is made if it is not there.
    pub fn open(folder: PathBuf) -> Result<Self> {
        make_folder(&folder).map_err(|error| unwritable(&folder, error))?;
        Self::scan(folder, false)
    }

    /// Opens the log in `folder` without touching it; one that is not there has no entries.
    pub fn open_read_only(folder: PathBuf) -> Result<Self> {
        match folder.is_dir() {
            true => Self::scan(folder, true),
            false => Ok(Self::empty(folder, true)),
        }
    }

    fn empty(folder: PathBuf, read_only: bool) -> Self {
        Self { folder, segments: Vec::new(), open: None, last: None, begins: None, failed: false, read_only }
    }

    fn scan(folder: PathBuf, read_only: bool) -> Result<Self> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(&folder).map_err(|error| unreadable(&folder, error))? {
            let path = entry.map_err(|error| unreadable(&folder, error))?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
            if let (Some(number), Some("log")) = (number, path.extension().and_then(|end| end.to_str())) {
                paths.push((number, path));
            }
        }
        paths.sort();
        let mut log = Self::empty(folder, read_only);
        log.begins = read_begins(&log.folder.join(BEGINS))?;
        let count = paths.len();
        for (n, (_, path)) in paths.into_iter().enumerate() {
            let segment = scan(path, n == 0, n + 1 == count, log.last, read_only)?;
            log.last = segment.entries.last().map(|place| place.number).or(log.last);
            log.segments.push(segment);
        }
        log.check_beginning()?;
        // A segment that was begun and holds nothing would be in the way of one with another beginning.
        if !read_only && log.segments.last().is_some_and(|segment| segment.entries.is_empty()) {
            log.remove_last_segment()?;
        }
        Ok(log)
    }

    /// An error if the log does not begin where it should.
    fn check_beginning(&self) -> Result<()> {
        let missing = |number: u64| {
            let (folder, begins) = (self.folder.display(), self.folder.join(BEGINS));
            let begins = begins.display();
            Err(Error::data(format!(
                "entry {number} of {folder} is missing, and {begins} does not say that it was forgotten; restore the folder from a \
                 copy"
            )))
        };
        let is_empty = self.segments.iter().all(|segment| segment.entries.is_empty());
        match (self.segments.first(), self.begins) {
            (_, Some(begins)) if is_empty && begins != NOWHERE => missing(begins),
            (Some(Segment { previous: Some(previous), .. }), begins) if begins.is_none_or(|b| *previous >= b) => {
                missing(*previous)
            }
            _ => Ok(()),
        }
    }

    fn begin_at(&mut self, number: u64) -> Result<()> {
        let mut body = number.to_le_bytes().to_vec();
        body.extend(crc32fast::hash(&body).to_le_bytes());
        put_file(&self.folder.join(BEGINS), &body)?;
        self.begins = Some(number);
        Ok(())
    }

    /// An error if it may not be written, or it is not known what is on disk.
    fn check_writable(&self) -> Result<()> {
        if self.read_only {
            return Err(refused(&self.folder.display().to_string()));
        }
        if self.failed {
            let folder = self.folder.display();
            return Err(Error::retry(format!("a write to {folder} has failed: it must be opened again, by a restart")));
        }
        Ok(())
    }

    fn remove_last_segment(&mut self) -> Result<()> {
        self.open = None;
        if let Some(segment) = self.segments.pop() {
            fs::remove_file(&segment.path)
                .and_then(|()| sync_folder(&self.folder))
                .map_err(|error| unwritable(&segment.path, error))?;
            failpoint::hit("segment-removed");
        }
        Ok(())
    }

    fn new_segment(&mut self, first: u64) -> Result<File> {
        let path = self.folder.join(format!("{first:020}.log"));
        let mut header = Vec::with_capacity(SEGMENT_HEADER);
        header.extend(MAGIC);
        header.extend(self.last.unwrap_or(u64::MAX).to_le_bytes());
        header.extend(crc32fast::hash(&header).to_le_bytes());
        let create = || {
            let mut file = File::create(&path)?;
            file.write_all(&header)?;
            sync_folder(&self.folder)?;
            Ok(file)
        };
        let file = create().map_err(|error| unwritable(&path, error))?;
        failpoint::hit("segment-begun");
        self.segments.push(Segment { path, previous: self.last, entries: Vec::new(), end: SEGMENT_HEADER as u64 });
        Ok(file)
    }

    /// The file to append to, the last segment's, and whether it is a new one.
    fn file(&mut self, number: u64) -> Result<File> {
        let full = |last: &Segment| last.entries.len() >= SEGMENT_ENTRIES || last.end >= SEGMENT_BYTES;
        match self.open.take() {
            Some(file) if !self.segments.last().is_none_or(full) => Ok(file),
            _ => self.new_segment(number),
        }
    }

    fn find(&self, number: u64) -> Option<(&Segment, Place)> {
        let after = |segment: &Segment| segment.entries.first().is_some_and(|first| first.number <= number);
        let segment = self.segments.get(self.segments.partition_point(after).checked_sub(1)?)?;
        let at = segment.entries.binary_search_by_key(&number, |place| place.number).ok()?;
        Some((segment, segment.entries[at]))
    }
}

impl AppendLog for SegmentLog {
    fn numbers(&self) -> Vec<u64> {
        self.segments.iter().flat_map(|segment| segment.entries.iter().map(|place| place.number)).collect()
    }

    fn read(&self, number: u64) -> Result<Bytes> {
        let missing = || Error::data(format!("{} has no entry {number}", self.folder.display()));
        let (segment, place) = self.find(number).ok_or_else(missing)?;
        let read = || {
            let mut file = File::open(&segment.path)?;
            file.seek(SeekFrom::Start(place.at))?;
            let mut header = [0; HEADER];
            file.read_exact(&mut header)?;
            let Some(head) = Head::parse(&header).filter(|head| head.number == number) else { return Ok(None) };
            let mut body = vec![0; head.length];
            file.read_exact(&mut body)?;
            Ok((crc32fast::hash(&body) == head.body_crc).then_some(body))
        };
        let body = read().map_err(|error| unreadable(&segment.path, error))?;
        let body = body.ok_or_else(|| damaged(&segment.path, place.at, "a checksum does not match"))?;
        Ok(body.into())
    }

    fn place(&self, number: u64) -> String {
        match self.find(number) {
            Some((segment, place)) => format!("{}, byte {}", segment.path.display(), place.at),
            None => format!("{}, entry {number}", self.folder.display()),
        }
    }

    fn append(&mut self, number: u64, body: &[u8]) -> Result<()> {
        self.check_writable()?;
        let folder = self.folder.display();
        // The highest number stands for none in the header of a segment.
        if self.last.is_some_and(|last| number <= last) || number == u64::MAX {
            return Err(Error::internal(format!("entry {number} does not follow the last one of {folder}")));
        }
        if body.len() > MAX_BODY {
            let (length, most) = (body.len(), MAX_BODY);
            return Err(Error::usage(format!("an entry of {length} bytes is too large for {folder}: at most {most}")));
        }
        let header = Head { length: body.len(), number, body_crc: crc32fast::hash(body) }.bytes();
        self.failed = true;
        let mut file = self.file(number)?;
        let Some(segment) = self.segments.last_mut() else {
            return Err(Error::internal(format!("{} has no segment to append to", self.folder.display())));
        };
        // In one write, but for bodies that would be slow to copy.
        let copied = body.len().min(64 << 10);
        let mut head = Vec::with_capacity(HEADER + copied);
        head.extend(header);
        head.extend(&body[..copied]);
        failpoint::hit("log-append");
        let mut write = || {
            file.write_all(&head)?;
            file.write_all(&body[copied..])?;
            failpoint::hit("log-written");
            file.sync_data()
        };
        write().map_err(|error| unwritable(&segment.path, error))?;
        failpoint::hit("log-appended");
        segment.entries.push(Place { number, at: segment.end });
        segment.end += (HEADER + body.len()) as u64;
        self.open = Some(file);
        self.last = Some(number);
        let first = self.segments.first().and_then(|segment| segment.entries.first()).map(|first| first.number);
        if let Some(first) = first.filter(|_| self.begins.is_none_or(|begins| begins == NOWHERE)) {
            self.begin_at(first)?;
        }
        self.failed = false;
        Ok(())
    }

    fn purge_before(&mut self, number: u64) -> Result<()> {
        if self.read_only {
            return Err(refused(&self.folder.display().to_string()));
        }
        // A segment ends where the next one begins; the last one stays.
        let begins = |segment: &Segment| segment.entries.first().map(|first| first.number);
        let next = self.segments.iter().skip(1).map_while(begins).take_while(|first| *first <= number);
        let Some(first) = next.last() else { return Ok(()) };
        self.begin_at(first)?;
        failpoint::hit("log-begins");
        while self.segments.first().and_then(begins).is_some_and(|begin| begin < first) {
            let path = self.segments.remove(0).path;
            fs::remove_file(&path).map_err(|error| unwritable(&path, error))?;
        }
        Ok(())
    }

    fn truncate_from(&mut self, number: u64) -> Result<()> {
        self.check_writable()?;
        let left = self.segments.first().and_then(|segment| segment.entries.first());
        if self.begins.is_some() && left.is_none_or(|first| first.number >= number) {
            self.begin_at(NOWHERE)?;
        }
        // From the end, so that a crash in between leaves a log without a gap.
        while let Some(last) = self.segments.last_mut() {
            let keep = last.entries.partition_point(|place| place.number < number);
            if keep == 0 {
                self.remove_last_segment()?;
                continue;
            }
            if let Some(cut) = last.entries.get(keep).copied() {
                self.open = None;
                cut_at(&last.path, cut.at)?;
                last.entries.truncate(keep);
                last.end = cut.at;
                failpoint::hit("log-cut");
            }
            break;
        }
        let last = self.segments.last().and_then(|segment| segment.entries.last());
        // Where nothing is left, numbers begin anew.
        self.last = last.map(|place| place.number);
        Ok(())
    }
}

/// The header of a record.
struct Head {
    length: usize,
    number: u64,
    body_crc: u32,
}

impl Head {
    /// `None` if its checksum does not match.
    fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let number = u64::from(word(4)) | u64::from(word(8)) << 32;
        let head = Self { length: word(0) as usize, number, body_crc: word(16) };
        (word(12) == crc32fast::hash(&bytes[..12]) && head.length <= MAX_BODY).then_some(head)
    }

    fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        // A body is at most 1 GiB.
        bytes[..4].copy_from_slice(&(self.length as u32).to_le_bytes());
        bytes[4..12].copy_from_slice(&self.number.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..12]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes[16..].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes
    }
}

/// Finds the records of a segment, and cuts off what was never acknowledged, unless it is only read.
fn scan(path: PathBuf, is_first: bool, is_last: bool, before: Option<u64>, read_only: bool) -> Result<Segment> {
    let unreadable = |error| unreadable(&path, error);
    let mut file = File::open(&path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let mut entries: Vec<Place> = Vec::new();
    let cut = |at: u64| {
        if read_only {
            return Ok(());
        }
        tracing::warn!(file = %path.display(), at, length, "cutting off a record that was never acknowledged");
        cut_at(&path, at)
    };
    let mut header = [0; SEGMENT_HEADER];
    let torn = length < SEGMENT_HEADER as u64 || is_zero_from(&mut file, 0).map_err(unreadable)?;
    if torn {
        if !is_last {
            return Err(damaged(&path, 0, "its beginning is cut short"));
        }
        cut(0)?;
        return Ok(Segment { path, previous: before, entries, end: 0 });
    }
    file.seek(SeekFrom::Start(0)).and_then(|_| file.read_exact(&mut header)).map_err(unreadable)?;
    let expected = crc32fast::hash(&header[..16]).to_le_bytes();
    if header[..8] != MAGIC || header[16..] != expected {
        return Err(damaged(&path, 0, "its beginning is not what this version writes"));
    }
    let mut previous = [0; 8];
    previous.copy_from_slice(&header[8..16]);
    let previous = Some(u64::from_le_bytes(previous)).filter(|number| *number != u64::MAX);
    if !is_first && previous != before {
        let name = |number: Option<u64>| number.map_or("none".to_string(), |number| number.to_string());
        let (before, previous) = (name(before), name(previous));
        let text = format!("it follows entry {previous}, but the last one is {before}: a segment is missing");
        return Err(damaged(&path, 0, &text));
    }
    let (mut at, mut last) = (SEGMENT_HEADER as u64, before);
    let check_all = length <= CHECKED_BYTES;
    while at < length {
        let mut header = [0; HEADER];
        let whole = length - at >= HEADER as u64;
        if whole {
            file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut header)).map_err(unreadable)?;
        }
        let zeros = (!whole || header == [0; HEADER]) && is_zero_from(&mut file, at).map_err(unreadable)?;
        let head = Head::parse(&header).filter(|_| whole && !zeros);
        if head.is_none() && whole && !zeros {
            return Err(damaged(&path, at, "the checksum of a header does not match"));
        }
        let next = |head: &Head| at + (HEADER + head.length) as u64;
        let Some(head) = head.filter(|head| next(head) <= length) else {
            if !is_last {
                return Err(damaged(&path, at, "a record is cut short"));
            }
            cut(at)?;
            return Ok(Segment { path, previous, entries, end: at });
        };
        if last.is_some_and(|last| head.number <= last) {
            return Err(damaged(&path, at, "entries are out of order"));
        }
        if check_all || is_last && next(&head) == length {
            let mut body = vec![0; head.length];
            file.seek(SeekFrom::Start(at + HEADER as u64))
                .and_then(|_| file.read_exact(&mut body))
                .map_err(unreadable)?;
            if crc32fast::hash(&body) != head.body_crc {
                return Err(damaged(&path, at, "a checksum does not match"));
            }
        }
        entries.push(Place { number: head.number, at });
        last = Some(head.number);
        at = next(&head);
    }
    Ok(Segment { path, previous, entries, end: at })
}

/// Where a log begins, if segments of it were forgotten.
fn read_begins(path: &Path) -> Result<Option<u64>> {
    let body = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        body => body.map_err(|error| unreadable(path, error))?,
    };
    let number = body.get(..8).filter(|number| body[8..] == crc32fast::hash(number).to_le_bytes());
    let number = number.and_then(|number| number.try_into().ok()).map(u64::from_le_bytes);
    number.map(Some).ok_or_else(|| damaged(path, 0, "its checksum does not match"))
}

fn is_zero_from(file: &mut File, at: u64) -> std::io::Result<bool> {
    file.seek(SeekFrom::Start(at))?;
    let mut buffer = [0; 8192];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(true),
            n if buffer[..n].iter().any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}

fn cut_at(path: &Path, at: u64) -> Result<()> {
    let cut = || {
        let file = File::options().write(true).open(path)?;
        file.set_len(at)?;
        file.sync_all()
    };
    cut().map_err(|error| unwritable(path, error))
}

fn damaged(path: &Path, at: u64, what: &str) -> Error {
    Error::data(format!("{} is damaged at byte {at}: {what}; restore it from a copy", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(folder: &Path, numbers: std::ops::Range<u64>) -> SegmentLog {
        let mut log = SegmentLog::open(folder.to_path_buf()).unwrap();
        numbers.for_each(|n| log.append(n, format!("entry {n}").as_bytes()).unwrap());
        log
    }

    fn numbers(folder: &Path) -> Result<Vec<u64>> {
        let log = SegmentLog::open(folder.to_path_buf())?;
        for number in log.numbers() {
            assert_eq!(log.read(number)?, format!("entry {number}"));
        }
        Ok(log.numbers())
    }

    fn segments(folder: &Path) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "log"));
        paths.sort();
        paths
    }

    fn last_segment(folder: &Path) -> PathBuf {
        segments(folder).pop().unwrap()
    }

    #[test]
    fn entries_survive_reopening_in_segments_that_can_be_purged() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 0..5);
        let mut log = filled(folder.path(), 5..1500);
        assert_eq!(log.read(1499).unwrap(), "entry 1499");
        assert_eq!(numbers(folder.path()).unwrap(), (0..1500).collect::<Vec<_>>());
        assert!(log.append(1499, b"").is_err() && log.append(u64::MAX, b"").is_err());
        assert!(log.read(1500).unwrap_err().message().contains("no entry 1500"));
        log.purge_before(4).unwrap();
        log.purge_before(1200).unwrap();
        assert_eq!(log.numbers(), (1029..1500).collect::<Vec<_>>());
        assert_eq!(numbers(folder.path()).unwrap(), (1029..1500).collect::<Vec<_>>());
    }

    #[test]
    fn a_log_that_has_lost_all_entries_is_not_a_new_one() {
        let harms: [fn(&Path); 3] = [
            |segment| fs::remove_file(segment).unwrap(),
            |segment| cut_at(segment, 0).unwrap(),
            |segment| cut_at(segment, SEGMENT_HEADER as u64 + 3).unwrap(),
        ];
        for harm in harms {
            let folder = tempfile::tempdir().unwrap();
            filled(folder.path(), 3..5);
            harm(&last_segment(folder.path()));
            let error = SegmentLog::open(folder.path().to_path_buf()).err().unwrap();
            assert!(
                error.message().starts_with(&format!("entry 3 of {} is missing", folder.path().display())),
                "{error}"
            );
        }
        // What was forgotten is not lost, and what comes then is known of again.
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 3..5).truncate_from(0).unwrap();
        assert_eq!(numbers(folder.path()).unwrap(), [0u64; 0]);
        filled(folder.path(), 1..3);
        assert_eq!(numbers(folder.path()).unwrap(), [1, 2]);
        fs::remove_file(last_segment(folder.path())).unwrap();
        assert!(SegmentLog::open(folder.path().to_path_buf()).err().unwrap().message().starts_with("entry 1 of"));
    }

    #[test]
    fn a_log_ends_where_it_is_cut_and_goes_on_from_there() {
        for (cut, left) in [(0, 0), (4, 4), (5, 5), (6, 6), (1029, 1029), (1400, 1400), (9999, 1500)] {
            let folder = tempfile::tempdir().unwrap();
            filled(folder.path(), 0..5);
            let mut log = filled(folder.path(), 5..1500);
            log.truncate_from(cut).unwrap();
            assert_eq!(log.numbers(), (0..left).collect::<Vec<_>>(), "cut {cut}");
            assert_eq!(numbers(folder.path()).unwrap(), (0..left).collect::<Vec<_>>(), "cut {cut}");
            (left..left + 3).for_each(|n| log.append(n, format!("entry {n}").as_bytes()).unwrap());
            assert_eq!(numbers(folder.path()).unwrap(), (0..left + 3).collect::<Vec<_>>(), "cut {cut}");
        }
    }

    #[test]
    fn a_log_that_could_not_be_written_is_opened_again_first() {
        let folder = tempfile::tempdir().unwrap();
        drop(filled(folder.path(), 0..3));
        let mut log = SegmentLog::open(folder.path().to_path_buf()).unwrap();
        let aside = folder.path().with_extension("aside");
        fs::rename(folder.path(), &aside).unwrap();
        assert!(log.append(3, b"").is_err());
        fs::rename(&aside, folder.path()).unwrap();
        assert!(log.append(3, b"").unwrap_err().message().contains("opened again"));
        assert!(log.truncate_from(0).unwrap_err().message().contains("opened again"));
        filled(folder.path(), 3..4);
        assert_eq!(numbers(folder.path()).unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn every_cut_of_the_last_segment_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 0..2);
        filled(folder.path(), 2..4);
        let path = last_segment(folder.path());
        let bytes = fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            for zeros in [0, 1, 50] {
                let mut torn = bytes[..cut].to_vec();
                torn.resize(cut + zeros, 0);
                fs::write(&path, torn).unwrap();
                // Zeros in the place of a header's last bytes: no longer a record that was cut short.
                let header = [SEGMENT_HEADER, SEGMENT_HEADER + HEADER + "entry 2".len()];
                let Ok(found) = numbers(folder.path()) else {
                    let within = header.iter().any(|at| (1..HEADER + 7).contains(&cut.wrapping_sub(*at)));
                    assert!(zeros > 0 && (within || cut < SEGMENT_HEADER), "cut {cut}, zeros {zeros}");
                    continue;
                };
                let whole = 2 + header.iter().filter(|at| cut >= **at + HEADER + 7).count() as u64;
                assert_eq!(found, (0..whole).collect::<Vec<_>>(), "cut {cut}, zeros {zeros}");
                filled(folder.path(), whole..whole + 1);
                assert_eq!(numbers(folder.path()).unwrap(), (0..=whole).collect::<Vec<_>>());
                segments(folder.path())[1..].iter().for_each(|path| fs::remove_file(path).unwrap());
            }
        }
    }

    #[test]
    fn a_torn_tail_is_not_shown_to_a_reader_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(SegmentLog::open_read_only(folder.path().join("none")).unwrap().numbers(), [0u64; 0]);
        filled(folder.path(), 0..2);
        filled(folder.path(), 2..4);
        let path = last_segment(folder.path());
        let bytes = fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let mut log = SegmentLog::open_read_only(folder.path().to_path_buf()).unwrap();
            let record = HEADER + "entry 2".len();
            let whole = 2 + (cut.saturating_sub(SEGMENT_HEADER) / record) as u64;
            assert_eq!(log.numbers(), (0..whole).collect::<Vec<_>>(), "cut {cut}");
            assert_eq!(log.read(1).unwrap(), "entry 1");
            for refused in [log.append(9, b""), log.truncate_from(0), log.purge_before(9)] {
                assert!(refused.unwrap_err().message().contains("for reading only"));
            }
            assert_eq!(fs::read(&path).unwrap(), bytes[..cut]);
        }
        fs::write(&path, &bytes).unwrap();
        let (reader, mut writer) =
            (SegmentLog::open_read_only(folder.path().to_path_buf()).unwrap(), filled(folder.path(), 4..5));
        writer.append(5, b"entry 5").unwrap();
        assert_eq!((reader.numbers().len(), reader.read(3).unwrap()), (4, "entry 3".into()));
    }

    #[test]
    fn every_flipped_byte_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 0..3);
        filled(folder.path(), 3..5);
        for path in segments(folder.path()) {
            let bytes = fs::read(&path).unwrap();
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x10;
                fs::write(&path, &flipped).unwrap();
                let error = numbers(folder.path()).unwrap_err();
                assert!(error.to_string().contains(path.to_str().unwrap()), "{at}: {error}");
            }
            fs::write(&path, bytes).unwrap();
        }
    }

    #[test]
    fn a_first_segment_that_was_lost_is_told_from_one_that_was_forgotten() {
        type Harm = fn(&Path);
        let lose_first: Harm = |folder| fs::remove_file(&segments(folder)[0]).unwrap();
        let lose_all: Harm = |folder| segments(folder).iter().for_each(|path| fs::remove_file(path).unwrap());
        let lose_begins: Harm = |folder| fs::remove_file(folder.join(BEGINS)).unwrap();
        let flip_begins: Harm = |folder| {
            let mut bytes = fs::read(folder.join(BEGINS)).unwrap();
            bytes[9] ^= 1;
            fs::write(folder.join(BEGINS), bytes).unwrap();
        };
        // (forgotten before this entry, harm, what the error says)
        let cases: [(u64, Harm, &str); 8] = [
            (0, |_| {}, ""),
            (0, lose_first, "entry 1 of"),
            (5, |_| {}, ""),
            (5, lose_first, "entry 5 of"),
            (5, lose_all, "entry 4 of"),
            (5, lose_begins, "entry 3 of"),
            (5, flip_begins, "checksum"),
            (1, lose_first, "entry 1 of"),
        ];
        for (forgotten, harm, error) in cases {
            let folder = tempfile::tempdir().unwrap();
            (0..4).for_each(|n| drop(filled(folder.path(), 2 * n..2 * n + 2)));
            SegmentLog::open(folder.path().to_path_buf()).unwrap().purge_before(forgotten).unwrap();
            harm(folder.path());
            match numbers(folder.path()) {
                Ok(found) => assert_eq!((error, found.last()), ("", Some(&7)), "{forgotten}"),
                Err(got) => {
                    assert!(!error.is_empty() && got.message().contains(error), "{forgotten}, {error}: {got}");
                    assert!(got.message().contains(folder.path().to_str().unwrap()), "{got}");
                }
            }
        }
    }

    #[test]
    fn a_log_that_was_cut_to_nothing_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        (0..3).for_each(|n| drop(filled(folder.path(), 2 * n..2 * n + 2)));
        let mut log = SegmentLog::open(folder.path().to_path_buf()).unwrap();
        log.purge_before(4).unwrap();
        log.truncate_from(1).unwrap();
        drop(log);
        assert!(numbers(folder.path()).unwrap().is_empty());
        filled(folder.path(), 9..11);
        filled(folder.path(), 11..12).purge_before(11).unwrap();
        assert_eq!(numbers(folder.path()).unwrap(), [11]);
    }

    #[test]
    fn a_missing_or_shortened_segment_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        (0..3).for_each(|n| drop(filled(folder.path(), 2 * n..2 * n + 2)));
        let middle = segments(folder.path())[1].clone();
        let bytes = fs::read(&middle).unwrap();
        for cut in 0..bytes.len() {
            fs::write(&middle, &bytes[..cut]).unwrap();
            let error = numbers(folder.path()).unwrap_err().to_string();
            assert!(error.contains("damaged"), "{cut}: {error}");
        }
        fs::remove_file(&middle).unwrap();
        let error = numbers(folder.path()).unwrap_err().to_string();
        assert!(error.contains("follows entry 3, but the last one is 1"), "{error}");
    }

    #[test]
    fn large_segments_are_checked_where_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = filled(folder.path(), 0..0);
        let body = vec![7u8; 3 << 20];
        (0..3).for_each(|n| log.append(n, &body).unwrap());
        assert_eq!(log.read(1).unwrap(), body);
        let path = last_segment(folder.path());
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.len();
        bytes[end / 2] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let log = SegmentLog::open(folder.path().to_path_buf()).unwrap();
        assert!(log.read(1).unwrap_err().message().contains(path.to_str().unwrap()));
        assert_eq!((log.read(0).unwrap().len(), log.read(2).unwrap().len()), (body.len(), body.len()));
        bytes[end - 1] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(SegmentLog::open(folder.path().to_path_buf()).is_err());
        let mut log = filled(&folder.path().join("rolled"), 0..0);
        (0..3).for_each(|n| log.append(n, &vec![7; (64 << 20) >> (10 * n)]).unwrap());
        assert_eq!(segments(&folder.path().join("rolled")).len(), 2);
        assert!(log.append(3, &vec![0; MAX_BODY + 1]).unwrap_err().message().contains("too large"));
    }
}
