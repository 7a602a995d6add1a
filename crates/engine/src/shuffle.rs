//! The form of rows between stages: `key` and `value`, and the partition they come `from`.
//!
//! DataFusion's `RepartitionExec` sends a row to the partition that its `key` hashes to. For a hash partitioner `key` is the
//! encoded key. For any other partitioner `key` is a [`route`]: bytes chosen to hash to the partition that was asked for.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, BinaryArray, BinaryBuilder, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::hash_utils::create_hashes;
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_plan::repartition::{REPARTITION_RANDOM_STATE, RepartitionExec};
use datafusion_physical_plan::{ExecutionPlan, Partitioning};
use parking_lot::Mutex;

use crate::error::{Error, Result};

/// `key: Binary`, `value: Binary`, `from: UInt32`.
///
/// Rows of several map partitions arrive interleaved; readers for whom order matters sort by `from`, so that the same
/// input gives the same output.
pub fn shuffle_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("key", DataType::Binary, false),
            Field::new("value", DataType::Binary, false),
            Field::new("from", DataType::UInt32, false),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// One batch of rows on their way, all from map partition `from`.
pub fn shuffle_batch(mut keys: BinaryBuilder, mut values: BinaryBuilder, from: usize) -> Result<RecordBatch> {
    let keys = keys.finish();
    let from = UInt32Array::from_value(u32::try_from(from).unwrap_or(u32::MAX), arrow::array::Array::len(&keys));
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(values.finish()), Arc::new(from)];
    Ok(RecordBatch::try_new(shuffle_schema(), columns)?)
}

/// The exchange: rows of `input` to `partitions` partitions by the hash of their key.
pub fn exchange(input: Arc<dyn ExecutionPlan>, partitions: usize) -> Result<Arc<dyn ExecutionPlan>> {
    let key = Partitioning::Hash(vec![Arc::new(Column::new("key", 0))], partitions);
    Ok(Arc::new(RepartitionExec::try_new(input, key)?))
}

/// The partition, of `partitions`, that the exchange sends each key to.
pub fn partitions_of(keys: BinaryArray, partitions: usize) -> Result<Vec<usize>> {
    let mut hashes = vec![0; arrow::array::Array::len(&keys)];
    create_hashes([&(Arc::new(keys) as ArrayRef)], REPARTITION_RANDOM_STATE.random_state(), &mut hashes)?;
    Ok(hashes.into_iter().map(|hash| (hash % partitions.max(1) as u64) as usize).collect())
}

/// A number that tells this exchange's hash from any other: states that were placed by another one can't be gone on with.
pub fn hash_fingerprint() -> u32 {
    let probes = (0..64u32).map(|n| n.to_le_bytes().repeat(n as usize % 5));
    let placed = partitions_of(BinaryArray::from_iter_values(probes), 1 << 20).unwrap_or_default();
    let bytes: Vec<u8> = placed.into_iter().flat_map(|partition| (partition as u32).to_le_bytes()).collect();
    crc32fast::hash(&bytes)
}

/// For each of `partitions` partitions, key bytes that the exchange sends there.
pub fn routes(partitions: usize) -> Result<Arc<Vec<[u8; 4]>>> {
    static ROUTES: LazyLock<Mutex<HashMap<usize, Arc<Vec<[u8; 4]>>>>> = LazyLock::new(Mutex::default);
    if let Some(found) = ROUTES.lock().get(&partitions) {
        return Ok(Arc::clone(found));
    }
    let mut routes: Vec<Option<[u8; 4]>> = vec![None; partitions];
    let mut missing = partitions;
    let mut next = 0u32;
    // Each block of candidates misses a given partition with probability below e^-8.
    while missing > 0 {
        let block = (partitions as u32).saturating_mul(8).clamp(64, 1 << 20);
        let end = next
            .checked_add(block)
            .ok_or_else(|| Error::usage(format!("{partitions} partitions are too many for a shuffle")))?;
        let candidates: Vec<[u8; 4]> = (next..end).map(u32::to_le_bytes).collect();
        let targets = partitions_of(BinaryArray::from_iter_values(&candidates), partitions)?;
        for (candidate, target) in candidates.into_iter().zip(targets) {
            if routes[target].is_none() {
                routes[target] = Some(candidate);
                missing -= 1;
            }
        }
        next = end;
    }
    let routes = Arc::new(routes.into_iter().flatten().collect::<Vec<_>>());
    ROUTES.lock().insert(partitions, Arc::clone(&routes));
    Ok(routes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_lead_where_they_should() {
        for partitions in [1, 2, 3, 7, 64, 1000] {
            let routes = routes(partitions).unwrap();
            let targets = partitions_of(BinaryArray::from_iter_values(routes.iter()), partitions).unwrap();
            assert_eq!(targets, (0..partitions).collect::<Vec<_>>());
        }
    }
}
