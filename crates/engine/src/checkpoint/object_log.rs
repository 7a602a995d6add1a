//! An append-only log of numbered entries in an object store, each an object: `NAME/00000000000000000042`.
//!
//! Only one writer can create an object, so a number has one owner. An object is, little-endian: `TMENTRY` and the version 1;
//! 16 bytes that tell the writer; the number of the entry before it when it was written (u64, all ones if there was none); the CRC-32
//! of number, entry before, and body (u32); the body.

use std::sync::Arc;

use bytes::Bytes;

use super::AppendLog;
use super::object::Objects;
use crate::error::{Error, Result};

const MAGIC: [u8; 8] = *b"TMENTRY\x01";

/// Bytes before the body.
const HEADER: usize = 36;

/// The largest body: 1 GiB - 1.
const MAX_BODY: usize = (1 << 30) - 1;

/// A log below a prefix.
pub struct ObjectLog {
    objects: Arc<Objects>,
    name: String,
    numbers: Vec<u64>,
    last: Option<u64>,
    /// A write has failed: what the store has is not known.
    failed: bool,
}

impl ObjectLog {
    /// Finds the entries of a log.
    pub fn open(objects: Arc<Objects>, name: &str) -> Result<Self> {
        let numbers = objects.numbers(name)?;
        let last = numbers.last().copied();
        Ok(Self { objects, name: name.to_string(), numbers, last, failed: false })
    }

    fn object(&self, number: u64) -> String {
        format!("{}/{number:020}", self.name)
    }

    fn check_written(&self) -> Result<()> {
        if self.failed {
            let place = self.objects.place(&self.name);
            return Err(Error::retry(format!("a write to {place} has failed: it must be opened again, by a restart")));
        }
        Ok(())
    }

    fn remove(&mut self, numbers: impl Iterator<Item = u64>) -> Result<()> {
        let names = numbers.map(|number| self.object(number)).collect();
        self.objects.delete(names)
    }
}

fn checksum(number: u64, before: u64, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&number.to_le_bytes());
    crc.update(&before.to_le_bytes());
    crc.update(body);
    crc.finalize()
}

impl AppendLog for ObjectLog {
    fn numbers(&self) -> Vec<u64> {
        self.numbers.clone()
    }

    fn read(&self, number: u64) -> Result<Bytes> {
        let place = self.place(number);
        let at = self.numbers.binary_search(&number).ok();
        let at = at.ok_or_else(|| Error::data(format!("{} has no entry {number}", self.objects.place(&self.name))))?;
        let damaged = |what: &str| Error::data(format!("{place} is damaged: {what}; restore it from a copy"));
        let object = self.objects.get(&self.object(number))?;
        let object = object.ok_or_else(|| damaged("it is missing, though it was there"))?;
        let header = object.get(..HEADER).filter(|header| header[..8] == MAGIC);
        let header = header.ok_or_else(|| damaged("its beginning is not what this version writes"))?;
        let word = |at: usize| header[at..at + 8].iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        let (before, crc, body) = (word(24), (word(28) >> 32) as u32, object.slice(HEADER..));
        if crc != checksum(number, before, &body) {
            return Err(damaged("a checksum does not match"));
        }
        // What the first one follows was forgotten.
        if at > 0 && before != self.numbers[at - 1] {
            return Err(damaged(&format!("it follows entry {before}, which is missing")));
        }
        Ok(body)
    }

    fn place(&self, number: u64) -> String {
        self.objects.place(&self.object(number))
    }

    fn append(&mut self, number: u64, body: &[u8]) -> Result<()> {
        self.check_written()?;
        let log = self.objects.place(&self.name);
        // The highest number stands for none.
        if self.last.is_some_and(|last| number <= last) || number == u64::MAX {
            return Err(Error::internal(format!("entry {number} does not follow the last one of {log}")));
        }
        if body.len() > MAX_BODY {
            let (length, most) = (body.len(), MAX_BODY);
            return Err(Error::usage(format!("an entry of {length} bytes is too large for {log}: at most {most}")));
        }
        let before = self.last.unwrap_or(u64::MAX);
        let mut object = Vec::with_capacity(HEADER + body.len());
        object.extend(MAGIC);
        object.extend(self.objects.writer);
        object.extend(before.to_le_bytes());
        object.extend(checksum(number, before, body).to_le_bytes());
        object.extend(body);
        self.failed = true;
        if !self.objects.create(&self.object(number), object.into())? {
            return Err(Error::usage(format!(
                "another driver writes to this checkpoint: entry {number} of {log} is there already, and not from this one; stop one \
                 of them"
            )));
        }
        self.numbers.push(number);
        self.last = Some(number);
        self.failed = false;
        Ok(())
    }

    fn purge_before(&mut self, number: u64) -> Result<()> {
        let old = self.numbers.partition_point(|own| *own < number);
        let old: Vec<u64> = self.numbers.drain(..old).collect();
        // From the beginning, so that what is left has no gap.
        self.remove(old.into_iter())
    }

    fn truncate_from(&mut self, number: u64) -> Result<()> {
        self.check_written()?;
        let keep = self.numbers.partition_point(|own| *own < number);
        let cut = self.numbers.split_off(keep);
        self.last = self.numbers.last().copied();
        // From the end, for the same reason.
        self.remove(cut.into_iter().rev())
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt as _};

    use super::*;
    use crate::checkpoint::CheckpointStorage;
    use crate::checkpoint::object::ObjectStorage;

    fn open(store: &Arc<InMemory>) -> Box<dyn AppendLog> {
        let storage = ObjectStorage::new(Arc::clone(store) as Arc<dyn ObjectStore>, "p", "memory:p").unwrap();
        storage.open_log("log").unwrap()
    }

    fn filled(store: &Arc<InMemory>, numbers: std::ops::Range<u64>) -> Box<dyn AppendLog> {
        let mut log = open(store);
        numbers.for_each(|n| log.append(n, format!("entry {n}").as_bytes()).unwrap());
        log
    }

    fn read_all(store: &Arc<InMemory>) -> Result<Vec<u64>> {
        let log = open(store);
        for number in log.numbers() {
            assert_eq!(log.read(number)?, format!("entry {number}"));
        }
        Ok(log.numbers())
    }

    fn path(number: u64) -> Path {
        Path::from(format!("p/log/{number:020}"))
    }

    #[test]
    fn entries_survive_reopening_and_can_be_purged_and_cut() {
        let store = Arc::<InMemory>::default();
        filled(&store, 0..5);
        let mut log = filled(&store, 5..20);
        assert_eq!(read_all(&store).unwrap(), (0..20).collect::<Vec<_>>());
        assert!(log.append(19, b"").is_err() && log.append(u64::MAX, b"").is_err());
        assert!(log.read(20).unwrap_err().message().contains("memory:p/log has no entry 20"));
        log.purge_before(4).unwrap();
        log.truncate_from(10).unwrap();
        assert_eq!((log.numbers(), read_all(&store).unwrap()), ((4..10).collect(), (4..10).collect()));
        log.append(10, b"entry 10").unwrap();
        assert_eq!(read_all(&store).unwrap(), (4..11).collect::<Vec<_>>());
    }

    #[test]
    fn two_drivers_never_own_the_same_number() {
        let store = Arc::<InMemory>::default();
        let (mut first, mut second) = (filled(&store, 0..2), open(&store));
        first.append(2, b"entry 2").unwrap();
        // Though it says the same.
        let error = second.append(2, b"entry 2").unwrap_err();
        assert!(
            error.message().contains("another driver writes to this checkpoint: entry 2 of memory:p/log"),
            "{error}"
        );
        assert!(second.append(3, b"entry 3").unwrap_err().message().contains("opened again"));
        assert!(second.truncate_from(0).unwrap_err().message().contains("opened again"));
        first.append(3, b"entry 3").unwrap();
        assert_eq!(read_all(&store).unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn damage_and_gaps_are_errors_that_name_the_object() {
        let store = Arc::<InMemory>::default();
        filled(&store, 0..4);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(async { store.get(&path(2)).await.unwrap().bytes().await.unwrap() });
        let put = |body: Vec<u8>| drop(runtime.block_on(store.put(&path(2), body.into())).unwrap());
        let error = || read_all(&store).unwrap_err().to_string();
        for at in 0..bytes.len() {
            // Who has written it does not matter to a reader.
            if !(8..24).contains(&at) {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 0x10;
                put(flipped);
                assert!(error().contains("memory:p/log/00000000000000000002 is damaged"), "{at}: {}", error());
            }
            put(bytes[..at].to_vec());
            assert!(error().contains("00002 is damaged"), "cut {at}: {}", error());
        }
        let log = open(&store);
        runtime.block_on(store.delete(&path(2))).unwrap();
        assert!(error().contains("00003 is damaged: it follows entry 2, which is missing"), "{}", error());
        assert!(log.read(2).unwrap_err().message().contains("it is missing, though it was there"));
    }
}
