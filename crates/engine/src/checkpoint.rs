//! Where a checkpoint lies: logs that are appended to, and files that are put whole.

mod blocking;
pub(crate) mod checked_json;
pub mod local;
pub mod metadata;
pub mod object;
mod object_log;
mod object_versions;
pub mod place;
mod read_only;
mod segment_log;

use bytes::Bytes;

use crate::error::{Error, Result};

/// The longest part of a name, in bytes: what common file systems take, less what is put around it while a file is written.
const MAX_PART: usize = 200;

/// The storage under a checkpoint: a folder of a local disk, or a prefix in an object store.
///
/// Names are relative paths: parts with `/` between, each of ASCII letters, digits and `-_.=%`, not beginning with a dot
/// ([`name_part`] makes one of any text). What a call has returned from is durable: it outlives a crash of the process and of the
/// machine. What it has not returned from may be there or not, but whole: nobody ever reads half of it.
pub trait CheckpointStorage: Send + Sync + 'static {
    /// Where `name` lies, for errors and logs: a path, or a URI without secrets.
    fn place(&self, name: &str) -> String;

    /// Opens a log, which is made if it is not there.
    ///
    /// # Errors
    /// If an entry that was acknowledged is damaged or missing: the error names its file.
    fn open_log(&self, name: &str) -> Result<Box<dyn AppendLog>>;

    /// Writes a file whole, in place of the one that was there.
    fn put(&self, name: &str, body: Bytes) -> Result<()>;

    /// A file, as it was put; `None` if there is none.
    fn get(&self, name: &str) -> Result<Option<Bytes>>;

    /// The names of all files below a folder, as [`CheckpointStorage::get`] takes them, sorted. The files of logs are among
    /// them. A folder that is not there has none.
    fn list(&self, folder: &str) -> Result<Vec<String>>;

    /// Asked before what two drivers must not both write.
    ///
    /// # Errors
    /// If another driver has taken the checkpoint over.
    fn check_alone(&self) -> Result<()> {
        Ok(())
    }

    /// Removes a file; it is no error if there is none. After a crash of the machine the file may be there again.
    fn delete(&self, name: &str) -> Result<()>;
}

/// A log of numbered entries; numbers ascend.
pub trait AppendLog: Send {
    /// The numbers of its entries, in order.
    fn numbers(&self) -> Vec<u64>;

    /// The body of an entry.
    ///
    /// # Errors
    /// If its checksum does not match, or there is no such entry: the error names the file.
    fn read(&self, number: u64) -> Result<Bytes>;

    /// Where an entry lies, for errors.
    fn place(&self, number: u64) -> String;

    /// Adds an entry behind the others and returns when it is durable.
    ///
    /// After an error the entry may be there or not: the log takes no more until it is opened again.
    fn append(&mut self, number: u64, body: &[u8]) -> Result<()>;

    /// Forgets entries before `number`, as far as that is cheap.
    fn purge_before(&mut self, number: u64) -> Result<()>;

    /// Removes `number` and all entries behind it.
    fn truncate_from(&mut self, number: u64) -> Result<()>;
}

/// An error unless `name` can be the name of a file or a log.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let fits = |part: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=%".contains(&byte);
        !part.is_empty() && part.len() <= MAX_PART && !part.starts_with('.') && part.bytes().all(known)
    };
    if name.split('/').all(fits) {
        return Ok(());
    }
    Err(Error::internal(format!(
        "{name:?} can't be a name within a checkpoint: parts are 1 to {MAX_PART} letters, digits and -_.=%, without a dot in front"
    )))
}

/// A part of a name that stands for `text`, whatever that is; two texts have two parts.
pub fn name_part(text: &str) -> String {
    let mut part = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || b"-_=".contains(&byte) || byte == b'.' && at > 0 {
            part.push(char::from(byte));
        } else {
            part.push_str(&format!("%{byte:02X}"));
        }
    }
    if part.is_empty() {
        return "%".to_string();
    }
    if part.len() > MAX_PART {
        // All of it is ASCII. What is cut off stands in the checksum and the length.
        part.truncate(MAX_PART - 40);
        part.push_str(&format!("%%{:08x}%{}", crc32fast::hash(text.as_bytes()), text.len()));
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_the_checkpoint() {
        let long = "x".repeat(MAX_PART + 1);
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", ".a", "a/.b", "a b", "a\\b", "\u{e4}", "a\0", &long] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "a/b.c", "operators/word-count/0=3", &long[1..]] {
            check_name(good).unwrap();
        }
    }

    #[test]
    fn any_text_has_a_part_of_its_own() {
        let long = [format!("{}a", "/".repeat(300)), format!("{}b", "/".repeat(300))];
        let texts = ["", ".", "..", "a b", "a%20b", "socket localhost:9999", "\u{e4}", "a/b", &long[0], &long[1]];
        let parts: std::collections::BTreeSet<String> = texts.iter().map(|text| name_part(text)).collect();
        assert_eq!(parts.len(), texts.len());
        parts.iter().for_each(|part| check_name(part).unwrap());
        assert_eq!(name_part("socket localhost:9999"), "socket%20localhost%3A9999");
    }
}
