//! A checkpoint in an object store.
//!
//! A file is an object, and so is each entry of a log (`object_log`). Who drives the checkpoint claims an epoch, the object
//! `epochs/N`, which only one can create: the highest one counts. Before a driver writes what two must not write it looks
//! whether there is a higher one, and stops if there is. What slips through between the look and the write meets the numbers of the logs'
//! entries, each of which only one can create, too, and the versions of other objects, which are replaced only as they were last seen
//! (`object_versions`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, PutResult};

use super::blocking::Blocking;
use super::object_log::ObjectLog;
use super::object_versions::ObjectVersions;
use super::{AppendLog, CheckpointStorage, check_name};
use crate::error::{Error, Result};

/// How often a write is tried anew when somebody else has written the same object.
const TRIES: usize = 10;

/// A prefix in an object store.
pub struct ObjectStorage {
    pub(super) objects: Arc<Objects>,
    /// The epoch that this driver has claimed; 0 if it has not.
    epoch: AtomicU64,
}

/// The store, with what every call needs.
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    place: String,
    blocking: Blocking,
    versions: ObjectVersions,
    /// Tells what this process has written from what another one has.
    pub writer: [u8; 16],
}

impl ObjectStorage {
    /// What lies below `prefix` in `store`. `place` is how errors call it: a URI without secrets.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str, place: &str) -> Result<Self> {
        let (prefix, place) = (prefix.trim_matches('/').to_string(), place.trim_end_matches('/').to_string());
        let (blocking, writer) = (Blocking::new()?, crate::clock::random_bytes());
        Ok(Self {
            objects: Arc::new(Objects { store, prefix, place, blocking, versions: ObjectVersions::default(), writer }),
            epoch: AtomicU64::new(0),
        })
    }

    /// Takes the checkpoint over: a driver that has it stops before its next batch.
    pub fn claim(&self) -> Result<()> {
        loop {
            let taken = self.objects.numbers("epochs")?.last().copied().unwrap_or(0);
            let own = taken + 1;
            if self.objects.create(&epoch_name(own), Bytes::copy_from_slice(&self.objects.writer))? {
                self.epoch.store(own, Ordering::SeqCst);
                tracing::info!(checkpoint = self.objects.place, epoch = own, "this driver has taken the checkpoint");
                return Ok(());
            }
        }
    }
}

fn epoch_name(epoch: u64) -> String {
    format!("epochs/{epoch:020}")
}

impl CheckpointStorage for ObjectStorage {
    fn place(&self, name: &str) -> String {
        self.objects.place(name)
    }

    fn open_log(&self, name: &str) -> Result<Box<dyn AppendLog>> {
        check_name(name)?;
        Ok(Box::new(ObjectLog::open(Arc::clone(&self.objects), name)?))
    }

    fn put(&self, name: &str, body: Bytes) -> Result<()> {
        check_name(name)?;
        for _ in 0..TRIES {
            self.check_alone()?;
            if self.objects.put(name, body.clone())? {
                return Ok(());
            }
            // Whoever was before this driver has written it late.
            self.objects.get(name)?;
        }
        Err(Error::retry(format!(
            "{} changes whenever it is to be written: something else than drivers of this checkpoint writes there, or the store compares \
             versions of objects (If-Match) by other ones than it gives",
            self.place(name)
        )))
    }

    fn get(&self, name: &str) -> Result<Option<Bytes>> {
        check_name(name)?;
        self.objects.get(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        if !folder.is_empty() {
            check_name(folder)?;
        }
        self.objects.list(folder)
    }

    fn delete(&self, name: &str) -> Result<()> {
        check_name(name)?;
        self.objects.delete(vec![name.to_string()])
    }

    fn check_alone(&self) -> Result<()> {
        let own = self.epoch.load(Ordering::SeqCst);
        // Epochs are claimed one after the other and stay: the next one is there if a higher one is.
        if own == 0 || !self.objects.exists(&epoch_name(own + 1))? {
            return Ok(());
        }
        Err(Error::usage(format!(
            "another driver has taken over the checkpoint {}: this one has stopped writing; end it, or give it a checkpoint of \
             its own",
            self.objects.place
        )))
    }
}

impl Objects {
    pub fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.place)
    }

    fn path(&self, name: &str) -> Result<Path> {
        let full = [self.prefix.as_str(), name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
        Path::parse(full.join("/")).map_err(|error| {
            Error::usage(format!("{} is not a name of an object", self.place(name))).with_source(error)
        })
    }

    fn call<T, F>(&self, doing: &str, name: &str, work: F) -> Result<Result<T, StoreError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let result = self.blocking.wait(work)?;
        Ok(match result {
            Err(
                error @ (StoreError::NotFound { .. }
                | StoreError::AlreadyExists { .. }
                | StoreError::Precondition { .. }
                | StoreError::NotImplemented { .. }),
            ) => Err(error),
            Err(error) => {
                let failed = Error::retry(format!("can't {doing} {}", self.place(name)));
                return Err(failed.with_source(Scrubbed::of(&error)));
            }
            Ok(value) => Ok(value),
        })
    }

    /// Writes an object; false if it is not what it was when it was last seen.
    pub fn put(&self, name: &str, body: Bytes) -> Result<bool> {
        match self.put_as(name, body.clone(), self.versions.mode(name))? {
            Ok(result) => {
                self.versions.written(name, result);
                Ok(true)
            }
            // Perhaps because a request was sent twice.
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } | StoreError::NotFound { .. }) => {
                Ok(self.get(name)?.is_some_and(|there| there == body))
            }
            Err(StoreError::NotImplemented { .. }) => {
                let result = self.put_as(name, body, PutMode::Overwrite)?;
                result.map(|_| true).map_err(|error| self.unexpected(name, &error))
            }
            Err(error) => Err(self.unexpected(name, &error)),
        }
    }

    fn put_as(&self, name: &str, body: Bytes, mode: PutMode) -> Result<Result<PutResult, StoreError>> {
        let (store, path, payload) = (Arc::clone(&self.store), self.path(name)?, PutPayload::from(body));
        let options = PutOptions { mode, ..PutOptions::default() };
        self.call("write", name, async move { store.put_opts(&path, payload, options).await })
    }

    /// Creates an object; false if another writer has.
    pub fn create(&self, name: &str, body: Bytes) -> Result<bool> {
        match self.put_as(name, body.clone(), PutMode::Create)? {
            Ok(_) => Ok(true),
            // It is there, perhaps because a request was sent twice: what this writer writes is its own.
            Err(StoreError::AlreadyExists { .. }) => Ok(self.get(name)?.is_some_and(|there| there == body)),
            Err(error) => Err(self.unexpected(name, &error)),
        }
    }

    pub fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let (store, path) = (Arc::clone(&self.store), self.path(name)?);
        let work = async move {
            let found = store.get(&path).await?;
            let (e_tag, version) = (found.meta.e_tag.clone(), found.meta.version.clone());
            Ok((found.bytes().await?, e_tag, version))
        };
        match self.call("read", name, work)? {
            Ok((bytes, e_tag, version)) => {
                self.versions.read(name, e_tag, version);
                Ok(Some(bytes))
            }
            Err(StoreError::NotFound { .. }) => {
                self.versions.absent(name);
                Ok(None)
            }
            Err(error) => Err(self.unexpected(name, &error)),
        }
    }

    fn exists(&self, name: &str) -> Result<bool> {
        let (store, path) = (Arc::clone(&self.store), self.path(name)?);
        match self.call("read", name, async move { store.head(&path).await })? {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.unexpected(name, &error)),
        }
    }

    pub fn list(&self, folder: &str) -> Result<Vec<String>> {
        let (store, path) = (Arc::clone(&self.store), self.path(folder)?);
        let work =
            async move { store.list(Some(&path)).map_ok(|object| object.location).try_collect::<Vec<_>>().await };
        let found = self.call("list", folder, work)?.map_err(|error| self.unexpected(folder, &error))?;
        let own = |location: &Path| {
            let name = location.as_ref().strip_prefix(&self.prefix)?.trim_start_matches('/');
            check_name(name).is_ok().then(|| name.to_string())
        };
        let mut names: Vec<String> = found.iter().filter_map(own).collect();
        names.sort();
        Ok(names)
    }

    /// The numbers of the objects of a folder that are numbers of 20 digits, ascending.
    pub fn numbers(&self, folder: &str) -> Result<Vec<u64>> {
        let number = |name: &String| {
            let digits = name.strip_prefix(folder)?.strip_prefix('/').filter(|digits| digits.len() == 20)?;
            digits.parse::<u64>().ok()
        };
        Ok(self.list(folder)?.iter().filter_map(number).collect())
    }

    /// Removes objects, in this order; those that are not there are gone already.
    pub fn delete(&self, names: Vec<String>) -> Result<()> {
        for name in names {
            let (store, path) = (Arc::clone(&self.store), self.path(&name)?);
            match self.call("remove", &name, async move { store.delete(&path).await })? {
                Ok(()) | Err(StoreError::NotFound { .. }) => self.versions.forget(&name),
                Err(error) => return Err(self.unexpected(&name, &error)),
            }
        }
        Ok(())
    }

    fn unexpected(&self, name: &str, error: &StoreError) -> Error {
        let message = format!("the store gives an answer for {} that makes no sense", self.place(name));
        Error::retry(message).with_source(Scrubbed::of(error))
    }
}

/// What a store's error says, less what may be secret: an answer of S3 may repeat tokens and signatures.
#[derive(Debug)]
struct Scrubbed(String);

impl Scrubbed {
    fn of(error: &StoreError) -> Self {
        Self(scrub(&error.to_string()))
    }
}

/// Of an XML answer only the code and the message stay.
fn scrub(text: &str) -> String {
    let Some(at) = text.find("<?xml").or_else(|| text.find("<Error")) else { return text.to_string() };
    let (before, answer) = text.split_at(at);
    let tag = |name: &str| {
        let start = answer.split_once(&format!("<{name}>"))?.1;
        Some(start.split_once(&format!("</{name}>"))?.0)
    };
    let said: Vec<&str> = ["Code", "Message"].into_iter().filter_map(tag).collect();
    format!("{before}{}", said.join(": "))
}

impl std::fmt::Display for Scrubbed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Scrubbed {}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn storage(store: &Arc<InMemory>) -> ObjectStorage {
        ObjectStorage::new(Arc::clone(store) as Arc<dyn ObjectStore>, "my/prefix", "memory:x/").unwrap()
    }

    #[test]
    fn files_are_found_by_name_below_the_prefix() {
        let store = Arc::<InMemory>::default();
        let storage = storage(&store);
        assert_eq!((storage.get("x/y").unwrap(), storage.list("x").unwrap()), (None, vec![]));
        for (name, body) in [("x/y%20", "1"), ("x/z/1", "2"), ("x/y%20", "3"), ("w", "4"), ("xx/1", "5")] {
            storage.put(name, body.into()).unwrap();
        }
        assert_eq!(storage.get("x/y%20").unwrap().unwrap(), "3");
        assert_eq!(storage.list("x").unwrap(), ["x/y%20", "x/z/1"]);
        assert_eq!(storage.list("").unwrap(), ["w", "x/y%20", "x/z/1", "xx/1"]);
        storage.delete("x/y%20").unwrap();
        storage.delete("x/y%20").unwrap();
        assert_eq!(storage.list("x").unwrap(), ["x/z/1"]);
        assert_eq!(storage.place("w"), "memory:x/w");
        for bad in ["../x", "/x", "x/../y", ""] {
            assert!(storage.put(bad, Bytes::new()).is_err() && storage.get(bad).is_err(), "{bad:?}");
        }
        let root = ObjectStorage::new(store, "", "memory:x").unwrap();
        assert_eq!(root.list("my/prefix/x").unwrap(), ["my/prefix/x/z/1"]);
    }

    #[test]
    fn the_last_to_claim_a_checkpoint_has_it() {
        let store = Arc::<InMemory>::default();
        let (first, second, looker) = (storage(&store), storage(&store), storage(&store));
        first.claim().unwrap();
        first.check_alone().unwrap();
        second.claim().unwrap();
        // One that only looks has nothing to lose.
        [&second, &looker].into_iter().for_each(|storage| storage.check_alone().unwrap());
        for error in [first.check_alone(), first.put("x", Bytes::new())] {
            assert!(error.unwrap_err().message().contains("another driver has taken over the checkpoint memory:x"));
        }
        first.claim().unwrap();
        first.put("x", Bytes::new()).unwrap();
        assert!(second.put("x", Bytes::new()).is_err());
    }

    #[test]
    fn a_late_write_does_not_replace_what_another_driver_has_written() {
        let store = Arc::<InMemory>::default();
        let (first, second) = (storage(&store), storage(&store));
        first.claim().unwrap();
        // One has never been there, one is there and read, one was written.
        second.put("read", "0".into()).unwrap();
        assert_eq!((first.get("new").unwrap(), first.get("read").unwrap()), (None, Some("0".into())));
        first.put("written", "1".into()).unwrap();
        second.claim().unwrap();
        for name in ["new", "read", "written"] {
            // As if it had looked before the other one has claimed.
            let late = |body: &'static str| first.objects.put(name, body.into()).unwrap();
            second.get(name).unwrap();
            second.put(name, "2".into()).unwrap();
            assert!(!late("3"), "{name}");
            assert_eq!(second.get(name).unwrap().unwrap(), "2", "{name}");
            // It has seen now what is there. The one that has the checkpoint is not stopped by what comes late.
            assert!(late("4"), "{name}");
            second.put(name, "5".into()).unwrap();
            assert_eq!(second.get(name).unwrap().unwrap(), "5", "{name}");
            // The same once more is not somebody else's.
            assert!(!late("6") && late("5"), "{name}");
            second.put(name, "5".into()).unwrap();
            second.delete(name).unwrap();
            second.put(name, "7".into()).unwrap();
        }
    }

    #[test]
    fn calls_work_on_the_threads_of_another_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let storage = storage(&Arc::default());
            storage.put("x", "1".into()).unwrap();
            assert_eq!(storage.get("x").unwrap().unwrap(), "1");
        });
    }

    #[test]
    fn what_a_store_answers_is_told_without_its_secrets() {
        let answer = "Client error with status 400: <?xml version=\"1.0\"?><Error><Code>InvalidToken</Code>\
                      <Message>The token is bad.</Message><Token-0>hunter2</Token-0></Error>";
        assert_eq!(scrub(answer), "Client error with status 400: InvalidToken: The token is bad.");
        assert_eq!(scrub("no route"), "no route");
    }
}
