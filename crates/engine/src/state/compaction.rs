//! Snapshots: the newest one and the changes after it become the next one, in the background, without the operator.
//!
//! A file is `TMSNAP1\n`, the length of its header (u32, little-endian), the header in postcard, rows as an Arrow IPC stream, and the
//! CRC-32 of all that (u32, little-endian).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::change::change_schema;
use super::changelog::Shared;
use super::entry::from_ipc;
use super::index::{Index, Snapshot, Way};
use super::row_writer::RowWriter;
use super::{StateId, StateVersion};
use crate::checkpoint::{CheckpointStorage, checked_json};
use crate::chunk::binary_column;
use crate::error::{Error, Result};
use crate::failpoint;
use arrow::ipc::writer::StreamWriter;

const MAGIC: &[u8] = b"TMSNAP1\n";

/// Names the snapshots that must be there: JSON with a checksum.
const MANIFEST: &str = "state/snapshots";

#[derive(Serialize, Deserialize)]
struct Header {
    operator: String,
    partition: u32,
    version: StateVersion,
}

/// What `state/snapshots` holds: by operator and partition.
#[derive(Default, Serialize, Deserialize)]
pub struct SnapshotFiles(BTreeMap<String, BTreeMap<u32, Vec<Snapshot>>>);

impl SnapshotFiles {
    /// Reads which snapshots there are. `purged` is the last entry that the log has forgotten: only snapshots have what it said.
    pub fn read(storage: &dyn CheckpointStorage, purged: Option<u64>) -> Result<Self> {
        let place = || storage.place(MANIFEST);
        match storage.get(MANIFEST)? {
            Some(body) => {
                let damaged = || Error::data(format!("{} is damaged: restore it from a copy", place()));
                let json = checked_json::check(&body).ok_or_else(damaged)?;
                serde_json::from_str(json).map_err(|error| damaged().with_source(error))
            }
            None if purged.is_some() => {
                Err(Error::data(format!("{} is missing, the list of snapshots: restore it from a copy", place())))
            }
            None => Ok(Self::default()),
        }
    }

    /// Each partition with its snapshots.
    pub fn iter(&self) -> impl Iterator<Item = (StateId, &Vec<Snapshot>)> {
        self.0.iter().flat_map(|(operator, partitions)| {
            let id = |partition| StateId { operator: operator.as_str().into(), partition };
            partitions.iter().map(move |(partition, snapshots)| (id(*partition), snapshots))
        })
    }

    /// [`SnapshotFiles::read`], but for those behind version `reached`, and removes files that are none of them.
    pub fn open(
        storage: &dyn CheckpointStorage,
        reached: StateVersion,
        purged: Option<u64>,
        index: &mut Index,
    ) -> Result<Self> {
        let mut files = Self::read(storage, purged)?;
        let (mut named, mut ahead) = (Vec::new(), false);
        for (operator, partitions) in &mut files.0 {
            for (partition, snapshots) in partitions {
                // One of a batch that did not get into the commit log.
                ahead |= snapshots.iter().any(|snapshot| snapshot.version > reached);
                snapshots.retain(|snapshot| snapshot.version <= reached);
                let id = StateId { operator: operator.as_str().into(), partition: *partition };
                named.extend(snapshots.iter().map(|snapshot| file_name(&id, snapshot.version)));
                index.entry(id).or_default().snapshots.clone_from(snapshots);
            }
        }
        if ahead {
            // Before their files go: what is named must be there when this version is reached again.
            files.write(storage)?;
        }
        for file in storage.list("state")? {
            if file.ends_with(".snapshot") && !named.contains(&file) {
                storage.delete(&file)?;
            }
        }
        Ok(files)
    }

    /// Forgets the snapshots of all operators but these; gives the files that were.
    pub fn keep_operators(&mut self, names: &BTreeSet<&str>, storage: &dyn CheckpointStorage) -> Result<Vec<String>> {
        let (kept, gone) = std::mem::take(&mut self.0).into_iter().partition(|(name, _)| names.contains(name.as_str()));
        self.0 = kept;
        let gone: BTreeMap<String, BTreeMap<u32, Vec<Snapshot>>> = gone;
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        self.write(storage)?;
        let files = gone.iter().flat_map(|(operator, partitions)| {
            partitions.iter().flat_map(move |(partition, snapshots)| {
                let id = StateId { operator: operator.as_str().into(), partition: *partition };
                snapshots.iter().map(move |snapshot| file_name(&id, snapshot.version))
            })
        });
        Ok(files.collect())
    }

    fn set(&mut self, id: &StateId, snapshots: &[Snapshot]) {
        self.0.entry(id.operator.to_string()).or_default().insert(id.partition, snapshots.to_vec());
    }

    fn write(&self, storage: &dyn CheckpointStorage) -> Result<()> {
        let json = serde_json::to_string(self)
            .map_err(|error| Error::internal("the list of snapshots can't be encoded").with_source(error))?;
        storage.put(MANIFEST, checked_json::checked(&json))
    }
}

/// The file of a snapshot. Of the operator's name, what is not a letter, a digit, `.`, `_` or `-` stands as `%` and its number.
pub fn file_name(id: &StateId, version: StateVersion) -> String {
    let plain = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    let operator: String = id.operator.bytes().map(plain).collect();
    format!("state/snapshot/{operator}/{:05}-{:020}.snapshot", id.partition, version.0)
}

/// Makes the snapshots that are due, until nobody asks any more.
pub fn run(shared: &Shared, due: &Receiver<StateId>) {
    for id in due {
        if shared.closed.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = snapshot(shared, &id) {
            // The log still has everything; the next due snapshot tries again.
            tracing::warn!(%error, state = %id, "a snapshot could not be made");
        }
        if let Some(versions) = shared.inner.lock().index.get_mut(&id) {
            versions.queued = false;
        }
    }
}

/// Makes a snapshot of a partition, if it has changed since the last one.
pub fn snapshot(shared: &Shared, id: &StateId) -> Result<()> {
    let storage = &*shared.storage;
    let confirmed = shared.inner.lock().confirmed;
    let mut ways = shared.ways(id, confirmed).into_iter();
    let Some((way, base)) = ways.find_map(|way| read_base(storage, id, way.base).ok().map(|base| (way, base))) else {
        return Ok(());
    };
    let Some(version) = way.deltas.last().map(|delta| delta.version) else { return Ok(()) };
    let body = merge(shared, id, &way, base, version)?;
    failpoint::hit("snapshot-put");
    storage.put(&file_name(id, version), body.clone())?;
    failpoint::hit("snapshot-named");
    let retired = {
        let mut inner = shared.inner.lock();
        let inner = &mut *inner;
        let versions = inner.index.entry(id.clone()).or_default();
        versions.snapshots.push(Snapshot { version, bytes: body.len() as u64 });
        let retired = inner.retire_snapshots(id);
        let left = inner.index.get(id).map(|versions| versions.snapshots.clone()).unwrap_or_default();
        inner.snapshots.set(id, &left);
        inner.snapshots.write(storage)?;
        retired
    };
    failpoint::hit("snapshot-listed");
    retired.iter().try_for_each(|old| storage.delete(&file_name(id, old.version)))
}

/// The rows of the base, without those that changed after; then what they changed to.
fn merge(shared: &Shared, id: &StateId, way: &Way, base: Vec<RecordBatch>, version: StateVersion) -> Result<Bytes> {
    let mut changes = Vec::new();
    for delta in &way.deltas {
        changes.extend(shared.changes(delta)?);
    }
    let mut newest: HashMap<&[u8], (usize, usize)> = HashMap::new();
    for (n, batch) in changes.iter().enumerate() {
        let keys = binary_column(batch, 0)?;
        newest.extend((0..keys.len()).map(|row| (keys.value(row), (n, row))));
    }
    let mut bytes = Vec::new();
    bytes.extend(MAGIC);
    let header = Header { operator: id.operator.to_string(), partition: id.partition, version };
    let header = postcard::to_stdvec(&header)
        .map_err(|error| Error::internal("the header of a snapshot can't be encoded").with_source(error))?;
    bytes.extend((header.len() as u32).to_le_bytes());
    bytes.extend(header);
    let mut rows = RowWriter::new(StreamWriter::try_new(&mut bytes, &change_schema())?);
    for batch in base {
        let keys = binary_column(&batch, 0)?;
        let stays: BooleanArray = (0..keys.len()).map(|row| Some(!newest.contains_key(keys.value(row)))).collect();
        rows.push(filter_record_batch(&batch, &stays)?)?;
    }
    for (n, batch) in changes.iter().enumerate() {
        let (keys, values) = (binary_column(batch, 0)?, binary_column(batch, 1)?);
        let last = |row: usize| newest.get(keys.value(row)) == Some(&(n, row)) && values.is_valid(row);
        let stays: BooleanArray = (0..keys.len()).map(|row| Some(last(row))).collect();
        rows.push(filter_record_batch(batch, &stays)?)?;
    }
    rows.finish()?;
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_le_bytes());
    Ok(bytes.into())
}

/// The rows of a snapshot; none of no snapshot.
pub fn read_base(storage: &dyn CheckpointStorage, id: &StateId, base: Option<Snapshot>) -> Result<Vec<RecordBatch>> {
    let Some(Snapshot { version, .. }) = base else { return Ok(Vec::new()) };
    let name = file_name(id, version);
    let place = storage.place(&name);
    let damaged = |what: &str| Error::data(format!("the snapshot {place} {what}: restore it from a copy"));
    let body = storage.get(&name)?.ok_or_else(|| damaged("is missing"))?;
    let content =
        body.len().checked_sub(4).filter(|length| *length > MAGIC.len() + 4).ok_or_else(|| damaged("is cut short"))?;
    let crc = body[content..].try_into().map(u32::from_le_bytes).ok();
    if !body.starts_with(MAGIC) || crc != Some(crc32fast::hash(&body[..content])) {
        return Err(damaged("is damaged, its checksum does not match"));
    }
    let start = MAGIC.len() + 4;
    let length =
        body[MAGIC.len()..start].try_into().map(u32::from_le_bytes).map_err(|_| damaged("is cut short"))? as usize;
    let header = body.get(start..start + length).ok_or_else(|| damaged("is cut short"))?;
    let header: Header = postcard::from_bytes(header).map_err(|error| damaged("has no header").with_source(error))?;
    if *header.operator != *id.operator || header.partition != id.partition || header.version != version {
        return Err(damaged("is that of another state"));
    }
    from_ipc(&body.slice(start + length..content), &place)
}
