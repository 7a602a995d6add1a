//! What an operator by key does with a value, and when a key falls silent: the part that differs from one to the next.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill_engine::chunk::Data;
use tidemill_engine::time::Time;

/// What is left of a key's state.
pub enum After<S> {
    /// What was there, and it does not count as touched.
    Untouched(Option<S>),
    /// This, touched now.
    Touched(S),
    /// Nothing.
    Removed,
}

/// An operator by key: one value after the other.
pub trait KeyedLogic<K, V>: Send + Sync + 'static {
    /// What a key keeps.
    type State: Data;
    /// What it puts out.
    type Out: Data;

    /// A key that was not touched for longer than this falls silent.
    fn timeout(&self) -> Option<Duration>;

    /// A value has come for a key that was last touched at the time beside its state.
    fn value(
        &self,
        time: Time,
        key: &K,
        value: V,
        state: Option<(Self::State, Time)>,
        out: &mut Vec<Self::Out>,
    ) -> After<Self::State>;

    /// A key has fallen silent; its state is gone after that.
    fn silent(&self, time: Time, key: &K, state: Self::State, touched: Time, out: &mut Vec<Self::Out>);
}

/// The state of one key, in the hands of the function of `map_with_state`.
///
/// # Panics
/// Its methods panic where Spark's throw; the panic becomes an error of the batch that names operator and place.
pub struct State<S> {
    value: Option<S>,
    updated: bool,
    removed: bool,
    timing_out: bool,
}

impl<S> State<S> {
    fn new(value: Option<S>, timing_out: bool) -> Self {
        Self { value, updated: false, removed: false, timing_out }
    }

    /// Whether the key has a state.
    pub fn exists(&self) -> bool {
        self.value.is_some()
    }

    /// The state.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self) -> &S {
        match &self.value {
            Some(value) => value,
            None => panic!("State is not set"),
        }
    }

    /// The state, if there is one.
    pub fn get_option(&self) -> Option<&S> {
        self.value.as_ref()
    }

    /// Whether the key has fallen silent: this is its last call.
    pub fn is_timing_out(&self) -> bool {
        self.timing_out
    }

    /// Sets the state.
    ///
    /// # Panics
    /// If it was removed in this call, or is timing out.
    pub fn update(&mut self, state: S) {
        assert!(!self.removed, "Cannot update the state after it has been removed");
        assert!(!self.timing_out, "Cannot update the state that is timing out");
        self.value = Some(state);
        self.updated = true;
    }

    /// Removes the state.
    ///
    /// # Panics
    /// If it was removed in this call already, or is timing out.
    pub fn remove(&mut self) {
        assert!(!self.timing_out, "Cannot remove the state that is timing out");
        assert!(!self.removed, "Cannot remove the state that has already been removed");
        (self.value, self.updated, self.removed) = (None, false, true);
    }
}

/// `map_with_state`
pub struct MapWithState<F, S, U> {
    f: F,
    timeout: Option<Duration>,
    types: PhantomData<fn() -> (S, U)>,
}

impl<F, S, U> MapWithState<F, S, U> {
    /// The function, and after what time without a value a key falls silent.
    pub fn new(f: F, timeout: Option<Duration>) -> Self {
        Self { f, timeout, types: PhantomData }
    }
}

impl<K, V, S: Data, U: Data, F> KeyedLogic<K, V> for MapWithState<F, S, U>
where
    F: Fn(Time, &K, Option<V>, &mut State<S>) -> Option<U> + Send + Sync + 'static,
{
    type State = S;
    type Out = U;

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    fn value(&self, time: Time, key: &K, value: V, state: Option<(S, Time)>, out: &mut Vec<U>) -> After<S> {
        let mut state = State::new(state.map(|(state, _)| state), false);
        out.extend((self.f)(time, key, Some(value), &mut state));
        match state.value {
            Some(value) if state.updated || self.timeout.is_some() => After::Touched(value),
            None if state.removed => After::Removed,
            value => After::Untouched(value),
        }
    }

    fn silent(&self, time: Time, key: &K, state: S, _: Time, out: &mut Vec<U>) {
        out.extend((self.f)(time, key, None, &mut State::new(Some(state), true)));
    }
}

/// Windows by number of elements.
pub struct CountWindow {
    /// The elements of a full window.
    pub size: usize,
    /// After how many elements a window goes out.
    pub slide: usize,
}

/// The last elements of a key, and how many have come since its last window.
#[derive(Clone, Serialize, Deserialize)]
pub struct LastElements<V> {
    elements: VecDeque<V>,
    since: usize,
}

impl<K: Data, V: Data> KeyedLogic<K, V> for CountWindow {
    type State = LastElements<V>;
    type Out = (K, Vec<V>);

    fn timeout(&self) -> Option<Duration> {
        None
    }

    fn value(
        &self,
        _: Time,
        key: &K,
        value: V,
        state: Option<(LastElements<V>, Time)>,
        out: &mut Vec<(K, Vec<V>)>,
    ) -> After<LastElements<V>> {
        let mut last = state.map_or_else(|| LastElements { elements: VecDeque::new(), since: 0 }, |(state, _)| state);
        last.elements.push_back(value);
        last.since += 1;
        while last.elements.len() > self.size {
            last.elements.pop_front();
        }
        if last.since >= self.slide {
            last.since = 0;
            if self.slide >= self.size {
                out.push((key.clone(), last.elements.into()));
                return After::Removed;
            }
            out.push((key.clone(), last.elements.iter().cloned().collect()));
        }
        After::Touched(last)
    }

    fn silent(&self, _: Time, _: &K, _: LastElements<V>, _: Time, _: &mut Vec<(K, Vec<V>)>) {}
}

/// A session: values of one key, none further than the gap from the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session<S> {
    /// The batch time of its first value.
    pub start: Time,
    /// The batch time of its last value.
    pub end: Time,
    /// What its values were reduced to.
    pub value: S,
}

/// Sessions by a gap in batch time.
pub struct SessionWindow<V, S> {
    /// A key that has no value for longer than this has ended its session.
    pub gap: Duration,
    /// Starts a session.
    pub create: Box<dyn Fn(V) -> S + Send + Sync>,
    /// Adds a value.
    pub add: Box<dyn Fn(S, V) -> S + Send + Sync>,
}

impl<K: Data, V: Data, S: Data> KeyedLogic<K, V> for SessionWindow<V, S> {
    type State = (Time, S);
    type Out = (K, Session<S>);

    fn timeout(&self) -> Option<Duration> {
        Some(self.gap)
    }

    fn value(
        &self,
        time: Time,
        key: &K,
        value: V,
        state: Option<((Time, S), Time)>,
        out: &mut Vec<(K, Session<S>)>,
    ) -> After<(Time, S)> {
        match state {
            Some(((start, so_far), end)) if end + self.gap >= time => {
                After::Touched((start, (self.add)(so_far, value)))
            }
            Some((ended, end)) => {
                self.silent(time, key, ended, end, out);
                After::Touched((time, (self.create)(value)))
            }
            None => After::Touched((time, (self.create)(value))),
        }
    }

    fn silent(&self, _: Time, key: &K, (start, value): (Time, S), end: Time, out: &mut Vec<(K, Session<S>)>) {
        out.push((key.clone(), Session { start, end, value }));
    }
}
