//! Where a checkpoint lies, as a path or a URI says it: `FOLDER`, `file:///FOLDER`, `s3://BUCKET/PREFIX`, `memory:NAME`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use object_store::memory::InMemory;
use parking_lot::Mutex;

use super::CheckpointStorage;
use super::local::{FolderLock, LocalStorage};
use super::object::ObjectStorage;
use crate::error::{Error, Result};

/// Where a checkpoint lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointPlace {
    /// A folder of the local disk.
    Local(PathBuf),
    /// The memory of this process, under a name: for tests, whose restarts stay in the process.
    Memory(String),
    /// A prefix of a bucket of S3, or of what speaks its protocol. Where it is, and who asks, comes from the environment:
    /// `AWS_REGION`, `AWS_ENDPOINT`, `AWS_ACCESS_KEY_ID` and so on.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix; empty for the whole bucket.
        prefix: String,
    },
}

/// Holds what keeps other drivers away for as long as it lives.
#[derive(Debug, Default)]
pub struct Claim {
    _lock: Option<FolderLock>,
}

impl CheckpointPlace {
    /// Understands a path or a URI.
    ///
    /// # Errors
    /// If it is a URI of another kind, or has credentials in it.
    pub fn parse(text: &Path) -> Result<Self> {
        let Some(uri) = text.to_str() else { return Ok(Self::Local(text.to_path_buf())) };
        if let Some(name) = uri.strip_prefix("memory:") {
            return Ok(Self::Memory(name.trim_matches('/').to_string()));
        }
        if let Some(rest) = uri.strip_prefix("s3://").or_else(|| uri.strip_prefix("s3a://")) {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.contains('@') {
                return Err(Error::usage(
                    "the URI of a checkpoint has credentials in it: give them in the environment, as AWS_ACCESS_KEY_ID and \
                     AWS_SECRET_ACCESS_KEY",
                ));
            }
            if bucket.is_empty() {
                return Err(Error::usage("the URI of a checkpoint names no bucket: s3://BUCKET/PREFIX"));
            }
            return Ok(Self::S3 { bucket: bucket.to_string(), prefix: prefix.trim_matches('/').to_string() });
        }
        let path = uri.strip_prefix("file://").or_else(|| uri.strip_prefix("file:")).unwrap_or(uri);
        match path.split_once("://") {
            Some((scheme, _)) => Err(Error::usage(format!(
                "a checkpoint can't lie at {scheme}://: use a folder, file:///FOLDER, s3://BUCKET/PREFIX or memory:NAME"
            ))),
            None => Ok(Self::Local(PathBuf::from(path))),
        }
    }

    /// Opens the storage, to look or to work on a part of it: drivers are not kept away.
    pub fn open(&self) -> Result<Arc<dyn CheckpointStorage>> {
        Ok(match self {
            Self::Local(folder) => Arc::new(LocalStorage::open(folder)?),
            other => Arc::new(other.open_objects()?),
        })
    }

    /// Opens the storage for a driver: no other one may write to it until the claim is dropped, or, in an object store, until another
    /// one opens it.
    ///
    /// # Errors
    /// If another driver has a local folder open.
    pub fn open_alone(&self) -> Result<(Arc<dyn CheckpointStorage>, Claim)> {
        match self {
            Self::Local(folder) => {
                let storage = LocalStorage::open(folder)?;
                let lock = storage.lock()?;
                Ok((Arc::new(storage), Claim { _lock: Some(lock) }))
            }
            other => {
                let storage = other.open_objects()?;
                storage.claim()?;
                Ok((Arc::new(storage), Claim::default()))
            }
        }
    }

    fn open_objects(&self) -> Result<ObjectStorage> {
        match self {
            Self::Memory(name) => {
                static NAMED: LazyLock<Mutex<BTreeMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);
                let store = Arc::clone(NAMED.lock().entry(name.clone()).or_default());
                ObjectStorage::new(store, "", &format!("memory:{name}"))
            }
            Self::S3 { bucket, prefix } => open_s3(bucket, prefix),
            Self::Local(folder) => Err(Error::internal(format!("{} is not an object store", folder.display()))),
        }
    }
}

#[cfg(feature = "s3")]
fn open_s3(bucket: &str, prefix: &str) -> Result<ObjectStorage> {
    use object_store::aws::AmazonS3Builder;
    let place = format!("s3://{bucket}/{prefix}");
    let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build().map_err(|error| {
        Error::usage(format!("{place} can't be used: see that AWS_REGION and the like are right")).with_source(error)
    })?;
    ObjectStorage::new(Arc::new(store), prefix, &place)
}

#[cfg(not(feature = "s3"))]
fn open_s3(bucket: &str, prefix: &str) -> Result<ObjectStorage> {
    Err(Error::usage(format!(
        "s3://{bucket}/{prefix} can't be used: this program was built without S3; build it with the Cargo feature `s3`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_paths_and_uris() {
        let s3 = |bucket: &str, prefix: &str| CheckpointPlace::S3 { bucket: bucket.into(), prefix: prefix.into() };
        let cases = [
            ("/a/b", Ok(CheckpointPlace::Local("/a/b".into()))),
            ("a", Ok(CheckpointPlace::Local("a".into()))),
            ("file:///a/b", Ok(CheckpointPlace::Local("/a/b".into()))),
            ("file:/a", Ok(CheckpointPlace::Local("/a".into()))),
            ("memory:a", Ok(CheckpointPlace::Memory("a".into()))),
            ("s3://bucket/a/b/", Ok(s3("bucket", "a/b"))),
            ("s3a://bucket", Ok(s3("bucket", ""))),
            ("s3://", Err("names no bucket")),
            ("s3://key:hunter2@bucket/a", Err("credentials")),
            ("hdfs://host/a", Err("can't lie at hdfs://")),
        ];
        for (text, expected) in cases {
            match (CheckpointPlace::parse(Path::new(text)), expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected),
                (Err(error), Err(part)) => {
                    let said = error.to_string();
                    assert!(said.contains(part) && !said.contains("hunter2"), "{said}");
                }
                (got, expected) => panic!("{text}: {got:?}, expected {expected:?}"),
            }
        }
    }
}
