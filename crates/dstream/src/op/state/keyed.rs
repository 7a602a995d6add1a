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
    /// Where it stands among the keys that may time out: at a time when it was touched, the last one or one before.
    listed: Time,
}

/// The states of a partition.
pub struct Keyed<K, S, U> {
    states: KeyMap<K, Kept<S>>,
    /// The keys by the time at which they are listed: each once, however often it is touched. Those that were removed stand there, too,
    /// until that time is looked at.
    listed: Option<BTreeMap<Time, Vec<K>>>,
    /// What the last batch put out.
    output: Vec<U>,
}

impl<K: Key, S: Data, U: Data> Keyed<K, S, U> {
    fn empty(timeout: Option<Duration>) -> Self {
        Self { states: key_map(), listed: timeout.map(|_| BTreeMap::new()), output: Vec::new() }
    }

    /// A key has this state now. What is new is listed.
    fn set(&mut self, key: K, state: S, touched: Time) {
        if let Some(kept) = self.states.get_mut(&key) {
            (kept.state, kept.touched) = (Some(state), touched);
            return;
        }
        if let Some(listed) = &mut self.listed {
            listed.entry(touched).or_default().push(key.clone());
        }
        self.states.insert(key, Kept { state: Some(state), touched, listed: touched });
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
                    self.set(key, state, touched);
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
            changed.insert(key.clone(), ());
            keyed.set(key, state, time);
        }
        for (key, value) in self.values.drain(..).flatten() {
            keyed.value(logic, time, key, value, &mut changed);
        }
        keyed.time_out(logic, time, &mut changed);
        let mut changes = ChangeWriter::default();
        for key in changed.keys() {
            match keyed.states.get(key) {
                Some(Kept { state: Some(state), touched, .. }) => changes.put(key, &(state, touched))?,
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
        match logic.value(time, &key, value, before, &mut self.output) {
            After::Untouched(state) => {
                if let Some(kept) = slot {
                    kept.state = state;
                }
            }
            After::Touched(state) => {
                match slot {
                    Some(kept) => (kept.state, kept.touched) = (Some(state), time),
                    None => self.set(key.clone(), state, time),
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
        let (Some(timeout), Some(listed)) = (logic.timeout(), &mut self.listed) else { return };
        let threshold = time - timeout;
        let due = listed.split_off(&threshold);
        for (then, keys) in std::mem::replace(listed, due) {
            for key in keys {
                let Some(kept) = self.states.get_mut(&key).filter(|kept| kept.listed == then) else {
                    // Removed since; what came after is listed on its own.
                    continue;
                };
                if kept.touched >= threshold {
                    kept.listed = kept.touched;
                    listed.entry(kept.touched).or_default().push(key);
                } else if let Some(Kept { state: Some(state), touched, .. }) = self.states.remove(&key) {
                    logic.silent(time, &key, state, touched, &mut self.output);
                    changed.insert(key, ());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::logic::{MapWithState, State};
    use super::*;

    type Counts = Keyed<String, u64, (String, u64)>;

    /// The value of a key is its number of batches; 0 removes it, and what has timed out goes out.
    #[expect(clippy::ptr_arg, reason = "the key type of the stream")]
    fn count(_: Time, key: &String, value: Option<u64>, state: &mut State<u64>) -> Option<(String, u64)> {
        match value {
            None => return Some((key.clone(), *state.get())),
            Some(0) if state.exists() => state.remove(),
            Some(n) => state.update(state.get_option().copied().unwrap_or(0) + n),
        }
        None
    }

    fn batch(keyed: &mut Counts, second: i64, values: &[(&str, u64)]) -> Vec<(String, u64)> {
        let logic = MapWithState::new(count, Some(Duration::from_secs(100)));
        let (time, mut changed) = (Time::from_millis(1000 * second), key_map());
        keyed.output.clear();
        for (key, value) in values {
            keyed.value(&logic, time, key.to_string(), *value, &mut changed);
        }
        keyed.time_out(&logic, time, &mut changed);
        std::mem::take(&mut keyed.output)
    }

    #[test]
    fn a_key_is_listed_once_however_often_it_is_touched() {
        let mut keyed = Counts::empty(Some(Duration::from_secs(100)));
        let listed = |keyed: &Counts| keyed.listed.iter().flatten().map(|(_, keys)| keys.len()).sum::<usize>();
        for second in 1..=1000 {
            // b comes and goes.
            let out = batch(&mut keyed, second, &[("a", 1), ("b", (second % 2).unsigned_abs()), ("a", 1)]);
            assert_eq!(out, [], "{second}");
            // What was removed is listed until its time has come.
            assert!(listed(&keyed) <= 2 + 51, "{} at {second}", listed(&keyed));
        }
        (1001..=1100).for_each(|second| assert_eq!(batch(&mut keyed, second, &[]), [], "{second}"));
        assert_eq!(batch(&mut keyed, 1101, &[]), [("a".to_string(), 2000)]);
        assert_eq!((listed(&keyed), keyed.rows()), (0, 0));
    }
}
