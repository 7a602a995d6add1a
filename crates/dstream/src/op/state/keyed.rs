//! Operators that see each key only when it has a value, or has fallen silent: `map_with_state`, count windows, sessions. The work of
//! a batch grows with the keys that it touches, not with all keys.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use tidemill_engine::batch::BatchStamp;
use tidemill_engine::chunk::{CHUNK_ROWS, Chunk, Data, decode_row};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{Emit, Flow, Operator, OperatorTask, TaskInfo};
use tidemill_engine::state::cell::{HotState, StateCell};
use tidemill_engine::state::change::ChangeWriter;
use tidemill_engine::time::Time;

use super::logic::{After, KeyedLogic};
use super::{batch_of, each_change};
use crate::op::narrow::ChunkWriter;
use crate::op::pair::{KeyMap, key_map};
use crate::op::partition::Key;

/// A key's state, and when it was last touched.
struct Kept<S> {
    /// Taken out while a function of the user's owns it.
    state: Option<S>,
    touched: Time,
}

/// The states of a partition.
pub struct Keyed<K, S, U> {
    states: KeyMap<K, Kept<S>>,
    /// The keys that were touched at a time; those that were touched again later stand there, too.
    touched: Option<BTreeMap<Time, Vec<K>>>,
    /// What the last batch put out.
    output: Vec<U>,
}

impl<K: Key, S: Data, U: Data> Keyed<K, S, U> {
    fn empty(timeout: Option<Duration>) -> Self {
        Self { states: key_map(), touched: timeout.map(|_| BTreeMap::new()), output: Vec::new() }
    }

    fn touch(&mut self, key: &K, time: Time) {
        if let Some(touched) = &mut self.touched {
            touched.entry(time).or_default().push(key.clone());
        }
    }

    /// Emits what the last batch put out.
    pub fn emit_output(&self, out: &mut Emit<'_>) -> Result<()> {
        for rows in self.output.chunks(CHUNK_ROWS) {
            if out(Chunk::of(rows.to_vec()))? == Flow::Enough {
                break;
            }
        }
        Ok(())
    }

    /// Emits every key with its state.
    pub fn emit_states(&self, out: &mut Emit<'_>) -> Result<()> {
        let mut writer = ChunkWriter::new(out);
        let states = self.states.iter().filter_map(|(key, kept)| Some((key.clone(), kept.state.clone()?)));
        writer.extend(states)?;
        writer.flush().map(drop)
    }
}

impl<K: Key, S: Data, U: Data> HotState for Keyed<K, S, U> {
    fn apply(&mut self, rows: &RecordBatch) -> Result<()> {
        each_change(rows, |key, value| {
            let key = decode_row::<K>(key)?;
            match value {
                Some(value) => {
                    let (state, touched): (S, Time) = decode_row(value)?;
                    self.touch(&key, touched);
                    self.states.insert(key, Kept { state: Some(state), touched });
                }
                None => drop(self.states.remove(&key)),
            }
            Ok(())
        })
    }

    fn rows(&self) -> usize {
        self.states.len()
    }
}

/// The operator of the state step. Input 0 are pairs, input 1 the initial state, in the first batch.
pub struct KeyedStep<K, V, L> {
    cell: Arc<StateCell>,
    logic: Arc<L>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V, L> KeyedStep<K, V, L> {
    /// The operator over this state.
    pub fn new(cell: &Arc<StateCell>, logic: &Arc<L>) -> Self {
        Self { cell: Arc::clone(cell), logic: Arc::clone(logic), types: PhantomData }
    }
}

struct KeyedTask<K, V, L: KeyedLogic<K, V>> {
    cell: Arc<StateCell>,
    logic: Arc<L>,
    batch: BatchStamp,
    partition: usize,
    values: Vec<Vec<(K, V)>>,
    initial: Vec<Vec<(K, L::State)>>,
}

impl<K: Key, V: Data, L: KeyedLogic<K, V>> Operator for KeyedStep<K, V, L> {
    fn open(&self, task: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        Ok(Box::new(KeyedTask::<K, V, L> {
            cell: Arc::clone(&self.cell),
            logic: Arc::clone(&self.logic),
            batch: batch_of(task)?,
            partition: task.partition,
            values: Vec::new(),
            initial: Vec::new(),
        }))
    }
}

impl<K: Key, V: Data, L: KeyedLogic<K, V>> OperatorTask for KeyedTask<K, V, L> {
    fn push(&mut self, input: usize, chunk: Chunk, _: &mut Emit<'_>) -> Result<Flow> {
        match input {
            0 => self.values.push(chunk.take()?),
            1 => self.initial.push(chunk.take()?),
            other => return Err(Error::internal(format!("a state step got input {other}"))),
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, _: &mut Emit<'_>) -> Result<()> {
        let (logic, time) = (self.logic.as_ref(), self.batch.time);
        let empty = || Keyed::<K, L::State, L::Out>::empty(logic.timeout());
        let Some(mut work) = self.cell.begin(self.partition, self.batch, empty)? else { return Ok(()) };
        let keyed = &mut work.state;
        keyed.output.clear();
        // The keys that change, each once.
        let mut changed: KeyMap<K, ()> = key_map();
        for (key, state) in self.initial.drain(..).flatten() {
            keyed.touch(&key, time);
            changed.insert(key.clone(), ());
            keyed.states.insert(key, Kept { state: Some(state), touched: time });
        }
        for (key, value) in self.values.drain(..).flatten() {
            keyed.value(logic, time, key, value, &mut changed);
        }
        keyed.time_out(logic, time, &mut changed);
        let mut changes = ChangeWriter::default();
        for key in changed.keys() {
            match keyed.states.get(key) {
                Some(Kept { state: Some(state), touched }) => changes.put(key, &(state, touched))?,
                _ => changes.remove(key)?,
            }
        }
        work.finish(changes.finish()?)
    }
}

impl<K: Key, S: Data, U: Data> Keyed<K, S, U> {
    fn value<V, L>(&mut self, logic: &L, time: Time, key: K, value: V, changed: &mut KeyMap<K, ()>)
    where
        L: KeyedLogic<K, V, State = S, Out = U>,
    {
        let mut slot = self.states.get_mut(&key);
        let before = slot.as_mut().and_then(|kept| Some((kept.state.take()?, kept.touched)));
        let touched_before = before.as_ref().map(|(_, touched)| *touched);
        match logic.value(time, &key, value, before, &mut self.output) {
            After::Untouched(state) => {
                if let Some(kept) = slot {
                    kept.state = state;
                }
            }
            After::Touched(state) => {
                match slot {
                    Some(kept) => (kept.state, kept.touched) = (Some(state), time),
                    None => drop(self.states.insert(key.clone(), Kept { state: Some(state), touched: time })),
                }
                if touched_before != Some(time) {
                    self.touch(&key, time);
                }
                changed.entry(key).or_default();
            }
            After::Removed => {
                if self.states.remove(&key).is_some() {
                    changed.entry(key).or_default();
                }
            }
        }
    }

    /// Ends the keys that were not touched for longer than the timeout: in the first batch of which that is true.
    fn time_out<V, L>(&mut self, logic: &L, time: Time, changed: &mut KeyMap<K, ()>)
    where
        L: KeyedLogic<K, V, State = S, Out = U>,
    {
        let (Some(timeout), Some(touched)) = (logic.timeout(), &mut self.touched) else { return };
        let due = touched.split_off(&(time - timeout));
        for (then, keys) in std::mem::replace(touched, due) {
            for key in keys {
                // Touched again, or removed, since.
                if self.states.get(&key).is_none_or(|kept| kept.touched != then) {
                    continue;
                }
                if let Some(Kept { state: Some(state), touched }) = self.states.remove(&key) {
                    logic.silent(time, &key, state, touched, &mut self.output);
                    changed.insert(key, ());
                }
            }
        }
    }
}
