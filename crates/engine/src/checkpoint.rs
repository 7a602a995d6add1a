//! Where a checkpoint lies: logs that are appended to, and files that are put whole.

use bytes::Bytes;

use crate::error::Result;

/// The storage under a checkpoint: a folder of a local disk, or a prefix in an object store.
///
/// Names are relative paths with `/`. What a call has returned from is durable: it outlives a crash of the process and of the
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

    /// The names of all files below a folder, sorted.
    fn list(&self, folder: &str) -> Result<Vec<String>>;

    /// Removes a file; it is no error if there is none.
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
