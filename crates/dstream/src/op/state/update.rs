//! `update_state_by_key`: every key with a state or with new values is looked at in every batch.

use std::marker::PhantomData;
use std::sync::Arc;

use tidemill_engine::batch::BatchStamp;
use tidemill_engine::chunk::{Chunk, Data};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{Emit, Flow, Operator, OperatorTask, TaskInfo};
use tidemill_engine::state::cell::StateCell;
use tidemill_engine::state::change::{ChangeWriter, encode};
use tidemill_engine::time::Time;

use super::{ByKey, Slots, batch_of};
use crate::op::pair::{KeyMap, key_map, make_room};
use crate::op::partition::Key;

/// What becomes of all keys of a partition.
pub trait Update<K, V, S>: Send + Sync + 'static {
    /// Brings `states` to the next version; `values` are the new values by key. What changes goes to `changes`.
    fn run(
        &self,
        time: Time,
        values: KeyMap<K, Vec<V>>,
        states: &mut Slots<K, S>,
        changes: &mut ChangeWriter,
    ) -> Result<()>;
}

/// A function of each key.
pub struct EachKey<F>(pub F);

impl<K: Key, V: Data, S: Data, F> Update<K, V, S> for EachKey<F>
where
    F: Fn(Time, &K, Vec<V>, Option<S>) -> Option<S> + Send + Sync + 'static,
{
    fn run(
        &self,
        time: Time,
        mut values: KeyMap<K, Vec<V>>,
        states: &mut Slots<K, S>,
        changes: &mut ChangeWriter,
    ) -> Result<()> {
        let (mut before, mut after, mut failed) = (Vec::new(), Vec::new(), None);
        let mut update = |key: &K, state: &mut Option<S>| -> Result<bool> {
            let new = values.remove(key);
            let touched = new.is_some();
            if !touched {
                encode(state, &mut before)?;
            }
            // Should the function panic, the whole partition is restored.
            *state = (self.0)(time, key, new.unwrap_or_default(), state.take());
            match state {
                Some(next) => {
                    if touched || encode(&Some(&*next), &mut after)? != before {
                        changes.put(key, next)?;
                    }
                    Ok(true)
                }
                None => changes.remove(key).map(|()| false),
            }
        };
        states.retain(|key, state| {
            failed.is_some() || update(key, state).unwrap_or_else(|error| failed.replace(error).is_none())
        });
        if let Some(error) = failed {
            return Err(error);
        }
        for (key, new) in values {
            if let Some(state) = (self.0)(time, &key, new, None) {
                changes.put(&key, &state)?;
                states.insert(key, Some(state));
            }
        }
        Ok(())
    }
}

/// What the iterator form works on: every key with its new values and its state.
pub type Keys<K, V, S> = std::vec::IntoIter<(K, Vec<V>, Option<S>)>;

/// A function of all keys of a partition; what it gives is the whole new state.
pub struct AllKeys<F, I>(pub F, pub PhantomData<fn() -> I>);

impl<K: Key, V: Data, S: Data, F, I> Update<K, V, S> for AllKeys<F, I>
where
    F: Fn(Time, Keys<K, V, S>) -> I + Send + Sync + 'static,
    I: IntoIterator<Item = (K, S)> + 'static,
{
    fn run(
        &self,
        time: Time,
        mut values: KeyMap<K, Vec<V>>,
        states: &mut Slots<K, S>,
        changes: &mut ChangeWriter,
    ) -> Result<()> {
        let (mut old, mut scratch) = (key_map::<K, Vec<u8>>(), Vec::new());
        let mut keys = Vec::with_capacity(states.len() + values.len());
        for (key, state) in states.drain() {
            if let Some(state) = &state {
                old.insert(key.clone(), encode(state, &mut scratch)?.to_vec());
            }
            let new = values.remove(&key).unwrap_or_default();
            keys.push((key, new, state));
        }
        keys.extend(values.into_iter().map(|(key, values)| (key, values, None)));
        for (key, state) in (self.0)(time, keys.into_iter()) {
            let encoded = encode(&state, &mut scratch)?;
            if old.remove(&key).is_none_or(|old| old != encoded) {
                changes.put_encoded(&key, encoded)?;
            }
            states.insert(key, Some(state));
        }
        old.into_keys().filter(|key| !states.contains_key(key)).try_for_each(|key| changes.remove(&key))
    }
}

/// The operator of the state step. Input 0 are pairs, input 1 the initial state, in the first batch.
pub struct UpdateState<K, V, S, U> {
    cell: Arc<StateCell>,
    update: Arc<U>,
    types: PhantomData<fn() -> (K, V, S)>,
}

impl<K, V, S, U> UpdateState<K, V, S, U> {
    /// The operator over this state.
    pub fn new(cell: &Arc<StateCell>, update: U) -> Self {
        Self { cell: Arc::clone(cell), update: Arc::new(update), types: PhantomData }
    }
}

struct UpdateTask<K, V, S, U> {
    cell: Arc<StateCell>,
    update: Arc<U>,
    batch: BatchStamp,
    partition: usize,
    values: KeyMap<K, Vec<V>>,
    initial: KeyMap<K, S>,
}

impl<K: Key, V: Data, S: Data, U: Update<K, V, S>> Operator for UpdateState<K, V, S, U> {
    fn open(&self, task: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        Ok(Box::new(UpdateTask::<K, V, S, U> {
            cell: Arc::clone(&self.cell),
            update: Arc::clone(&self.update),
            batch: batch_of(task)?,
            partition: task.partition,
            values: key_map(),
            initial: key_map(),
        }))
    }
}

impl<K: Key, V: Data, S: Data, U: Update<K, V, S>> OperatorTask for UpdateTask<K, V, S, U> {
    fn push(&mut self, input: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        match input {
            0 => {
                let rows = chunk.take::<Vec<(K, V)>>()?;
                make_room(&mut self.values, rows.len());
                for (key, value) in rows {
                    self.values.entry(key).or_default().push(value);
                }
            }
            // Of several states of a key the first counts, as in Spark.
            1 => chunk.take::<Vec<(K, S)>>()?.into_iter().for_each(|(key, state)| {
                self.initial.entry(key).or_insert(state);
            }),
            other => return Err(Error::internal(format!("a state step got input {other}"))),
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, _: &mut Emit<'_>) -> Result<()> {
        let Some(mut work) = self.cell.begin(self.partition, self.batch, || ByKey::<K, S>(key_map()))? else {
            return Ok(());
        };
        let mut changes = ChangeWriter::default();
        for (key, state) in std::mem::replace(&mut self.initial, key_map()) {
            changes.put(&key, &state)?;
            work.state.0.insert(key, Some(state));
        }
        let values = std::mem::replace(&mut self.values, key_map());
        self.update.run(self.batch.time, values, &mut work.state.0, &mut changes)?;
        work.finish(changes.finish()?)
    }
}
