//! `reduce_by_key_and_window` with an inverse: what enters the window is added, what leaves it is taken away again.
//!
//! A partition keeps the totals of the last window and the reduced values of each batch in it. In the changelog these are rows of
//! three kinds, see [`Row`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use tidemill_engine::batch::BatchStamp;
use tidemill_engine::chunk::{Chunk, Data, decode_row};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{Emit, Flow, Operator, OperatorTask, TaskInfo};
use tidemill_engine::state::cell::{HotState, StateCell};
use tidemill_engine::state::change::ChangeWriter;
use tidemill_engine::time::Time;

use super::{Slots, batch_of, each_change};
use crate::op::narrow::ChunkWriter;
use crate::op::pair::{KeyMap, key_map};
use crate::op::partition::Key;

/// The keys of the changelog.
#[derive(Clone, Serialize, Deserialize)]
pub enum Row<K> {
    /// The total of a key.
    Total(K),
    /// The reduced pairs of a batch.
    Batch(Time),
    /// The end of the window that the totals are of.
    Covered,
}

/// The state of a partition.
pub struct WindowTotals<K, V> {
    totals: Slots<K, V>,
    batches: VecDeque<(Time, Vec<(K, V)>)>,
    covered: Option<Time>,
}

impl<K: Key, V: Data> WindowTotals<K, V> {
    fn empty() -> Self {
        Self { totals: key_map(), batches: VecDeque::new(), covered: None }
    }

    /// Emits the totals of the window that ends at `time`.
    pub fn emit(&self, time: Time, out: &mut Emit<'_>) -> Result<()> {
        if self.covered != Some(time) {
            return Err(Error::usage(format!("the totals of the window that ends at {time} are gone")));
        }
        let mut writer = ChunkWriter::new(out);
        writer.extend(self.totals.iter().filter_map(|(key, total)| Some((key.clone(), total.clone()?))))?;
        writer.flush().map(drop)
    }
}

impl<K: Key, V: Data> HotState for WindowTotals<K, V> {
    fn apply(&mut self, rows: &RecordBatch) -> Result<()> {
        each_change(rows, |key, value| {
            match (decode_row::<Row<K>>(key)?, value) {
                (Row::Total(key), Some(value)) => drop(self.totals.insert(key, Some(decode_row(value)?))),
                (Row::Total(key), None) => drop(self.totals.remove(&key)),
                (Row::Covered, value) => self.covered = value.map(decode_row).transpose()?,
                (Row::Batch(time), value) => {
                    self.batches.retain(|(other, _)| *other != time);
                    if let Some(value) = value {
                        // Rows of a snapshot come in any order.
                        let at = self.batches.partition_point(|(other, _)| *other < time);
                        self.batches.insert(at, (time, decode_row(value)?));
                    }
                }
            }
            Ok(())
        })
    }

    fn rows(&self) -> usize {
        self.totals.len() + self.batches.iter().map(|(_, pairs)| pairs.len()).sum::<usize>()
    }
}

/// How a window is brought forward.
pub struct Inverse<K, V> {
    /// Adds.
    pub reduce: Arc<dyn Fn(V, V) -> V + Send + Sync>,
    /// Takes away.
    pub inverse: Arc<dyn Fn(V, V) -> V + Send + Sync>,
    /// Which totals stay.
    pub filter: Option<Arc<dyn Fn(&(K, V)) -> bool + Send + Sync>>,
    /// The length of the window.
    pub window: Duration,
    /// Values that leave are left out where their key has no total, rather than an error.
    pub lenient: bool,
}

/// The operator of the state step: input 0 are the reduced pairs of the batch. The stream's zero time tells whether a window ends.
pub struct InverseStep<K, V> {
    cell: Arc<StateCell>,
    inverse: Arc<Inverse<K, V>>,
    ends_window: bool,
}

impl<K, V> InverseStep<K, V> {
    /// The operator, for batches with which a window ends, or for those between.
    pub fn new(cell: &Arc<StateCell>, inverse: &Arc<Inverse<K, V>>, ends_window: bool) -> Self {
        Self { cell: Arc::clone(cell), inverse: Arc::clone(inverse), ends_window }
    }
}

struct InverseTask<K, V> {
    cell: Arc<StateCell>,
    inverse: Arc<Inverse<K, V>>,
    ends_window: bool,
    batch: BatchStamp,
    partition: usize,
    pairs: Vec<(K, V)>,
}

impl<K: Key, V: Data> Operator for InverseStep<K, V> {
    fn open(&self, task: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        let (cell, inverse) = (Arc::clone(&self.cell), Arc::clone(&self.inverse));
        let (batch, partition) = (batch_of(task)?, task.partition);
        Ok(Box::new(InverseTask { cell, inverse, ends_window: self.ends_window, batch, partition, pairs: Vec::new() }))
    }
}

impl<K: Key, V: Data> OperatorTask for InverseTask<K, V> {
    fn push(&mut self, _: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        self.pairs.extend(chunk.take::<Vec<(K, V)>>()?);
        Ok(Flow::More)
    }

    fn finish(&mut self, _: &mut Emit<'_>) -> Result<()> {
        let Some(mut work) = self.cell.begin(self.partition, self.batch, WindowTotals::<K, V>::empty)? else {
            return Ok(());
        };
        let time = self.batch.time;
        let mut changes = ChangeWriter::default();
        if !self.pairs.is_empty() {
            let pairs = std::mem::take(&mut self.pairs);
            changes.put(&Row::<K>::Batch(time), &pairs)?;
            work.state.batches.push_back((time, pairs));
        }
        if self.ends_window {
            work.state.slide(&self.inverse, time, &mut changes)?;
        }
        work.finish(changes.finish()?)
    }
}

/// What enters and what leaves the window, of one key.
struct Move<V> {
    leaves: Option<V>,
    enters: Option<V>,
}

impl<K: Key, V: Data> WindowTotals<K, V> {
    /// Brings the totals to the window that ends at `time`.
    fn slide(&mut self, by: &Inverse<K, V>, time: Time, changes: &mut ChangeWriter) -> Result<()> {
        let begin = time - by.window;
        let add = |slot: &mut Option<V>, value: V| {
            *slot = Some(match slot.take() {
                Some(so_far) => (by.reduce)(so_far, value),
                None => value,
            });
        };
        let mut moves: KeyMap<K, Move<V>> = key_map();
        moves.reserve(self.batches.back().map_or(0, |(_, pairs)| pairs.len()));
        while self.batches.front().is_some_and(|(then, _)| *then <= begin) {
            let Some((then, pairs)) = self.batches.pop_front() else { break };
            changes.remove(&Row::<K>::Batch(then))?;
            // A batch between two windows was never added.
            if self.covered.is_some_and(|covered| then <= covered) {
                for (key, value) in pairs {
                    add(&mut moves.entry(key).or_insert(Move { leaves: None, enters: None }).leaves, value);
                }
            }
        }
        for (_, pairs) in self.batches.iter().filter(|(then, _)| self.covered.is_none_or(|covered| *then > covered)) {
            for (key, value) in pairs.iter().cloned() {
                add(&mut moves.entry(key).or_insert(Move { leaves: None, enters: None }).enters, value);
            }
        }
        for (key, Move { leaves, enters }) in moves {
            let total = match (self.totals.get_mut(&key).and_then(Option::take), leaves, enters) {
                (Some(total), leaves, enters) => {
                    let rest = match leaves {
                        Some(leaves) => (by.inverse)(total, leaves),
                        None => total,
                    };
                    match enters {
                        Some(enters) => (by.reduce)(rest, enters),
                        None => rest,
                    }
                }
                (None, _, Some(enters)) => enters,
                (None, _, None) if by.lenient => continue,
                (None, _, None) => {
                    return Err(Error::usage(
                        "Neither previous window has value for key, nor new values found. Are you sure your key class hashes \
                         consistently?",
                    ));
                }
            };
            let pair = (key, total);
            let stays = by.filter.as_ref().is_none_or(|filter| filter(&pair));
            let (key, total) = pair;
            if stays {
                changes.put(&Row::Total(&key), &total)?;
                self.totals.insert(key, Some(total));
            } else {
                changes.remove(&Row::Total(&key))?;
                self.totals.remove(&key);
            }
        }
        self.covered = Some(time);
        changes.put(&Row::<K>::Covered, &time)
    }
}
