//! `StateSpec`: what `map_with_state` does with a key, and for how long.

use std::marker::PhantomData;
use std::time::Duration;

use tidemill_engine::chunk::Data;
use tidemill_engine::time::Time;

use crate::op::partition::{Key, Partitioning};
use crate::op::state::logic::State;
use crate::rdd::Rdd;

/// The function of [`map_with_state`](crate::stream::DStream::map_with_state), and its settings.
pub struct StateSpec<K, V, S, U, F> {
    pub(crate) f: F,
    pub(crate) timeout: Option<Duration>,
    pub(crate) initial: Option<Rdd<(K, S)>>,
    pub(crate) partitioning: Option<Partitioning<K>>,
    types: PhantomData<fn(V) -> U>,
}

/// Any function of (key, value, state) that gives a row, as one of (time, key, value, state) that may give one.
pub trait Timed<K, V, S, U>: Fn(Time, &K, Option<V>, &mut State<S>) -> Option<U> + Send + Sync + 'static {}
impl<K, V, S, U, F> Timed<K, V, S, U> for F where
    F: Fn(Time, &K, Option<V>, &mut State<S>) -> Option<U> + Send + Sync + 'static
{
}

/// A row for every value: `f` gets the key, the value, and the state of the key. Without a value: the key has timed out.
pub fn function<K: Key, V: Data, S: Data, U: Data>(
    f: impl Fn(&K, Option<V>, &mut State<S>) -> U + Send + Sync + 'static,
) -> StateSpec<K, V, S, U, impl Timed<K, V, S, U>> {
    function_with_time(move |_, key: &K, value, state: &mut State<S>| Some(f(key, value, state)))
}

/// A row or none for every value: `f` gets the batch time, too.
pub fn function_with_time<K: Key, V: Data, S: Data, U: Data, F: Timed<K, V, S, U>>(f: F) -> StateSpec<K, V, S, U, F> {
    StateSpec { f, timeout: None, initial: None, partitioning: None, types: PhantomData }
}

impl<K: Key, V: Data, S: Data, U: Data, F: Timed<K, V, S, U>> StateSpec<K, V, S, U, F> {
    /// Begins with these states, which count as touched in the first batch.
    pub fn initial_state(mut self, states: Rdd<(K, S)>) -> Self {
        self.initial = Some(states);
        self
    }

    /// A key without a value for longer than this is given to the function a last time, and its state ends.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// By hash of the key, in this many partitions.
    pub fn num_partitions(self, partitions: usize) -> Self {
        self.partitioner(partitions)
    }

    /// As a partitioner says.
    pub fn partitioner(mut self, partitioning: impl Into<Partitioning<K>>) -> Self {
        self.partitioning = Some(partitioning.into());
        self
    }
}
