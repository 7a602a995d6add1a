//! Streams with state by key: `update_state_by_key`, `map_with_state`, count windows and sessions.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tidemill_engine::chunk::{Data, Rows};
use tidemill_engine::error::Error;
use tidemill_engine::function::{Emit, Function};
use tidemill_engine::lineage::{Deps, Lineage};
use tidemill_engine::state::cell::StateCell;
use tidemill_engine::time::Time;

use super::DStream;
use crate::dataset::{Placement, register};
use crate::op::narrow::ChunkWriter;
use crate::op::partition::{Key, PairExchange, Partitioning};
use crate::op::state::keyed::{Keyed, KeyedStep};
use crate::op::state::logic::{CountWindow, KeyedLogic, LastElements, MapWithState, Session, SessionWindow};
use crate::op::state::update::{AllKeys, EachKey, Keys, Update, UpdateState};
use crate::op::state::{ByKey, StateCore, View, nothing, number_of, time_of};
use crate::rdd::Rdd;
use crate::state_spec::StateSpec;
use crate::stateful::{StatefulNode, StepInput, ViewNode};

/// The stream that `map_with_state` gives: what its function gave, and beside it the states.
pub struct MapWithStateDStream<K, S, U> {
    mapped: DStream<U>,
    snapshots: DStream<(K, S)>,
}

impl<K: Data, S: Data, U: Data> MapWithStateDStream<K, S, U> {
    /// Every key with its state, after every batch.
    pub fn state_snapshots(&self) -> DStream<(K, S)> {
        self.snapshots.clone()
    }

    /// Names the state: a restart finds it by its name.
    pub fn named(&self, name: &str) -> Self {
        Self { mapped: self.mapped.named(name), snapshots: self.snapshots.clone() }
    }
}

impl<K, S, U> Deref for MapWithStateDStream<K, S, U> {
    type Target = DStream<U>;

    fn deref(&self) -> &DStream<U> {
        &self.mapped
    }
}

impl<T: Data> DStream<T> {
    /// Windows of `size` elements, in the order of arrival, each as it is full.
    ///
    /// ```
    /// use tidemill_dstream::testing::StreamTest;
    ///
    /// StreamTest::new(|_, numbers| Ok(numbers.count_window(2)))
    ///     .add_data([1, 2, 3]).check_batch([vec![1, 2]])
    ///     .add_data([4]).check_batch([vec![3, 4]])
    ///     .run()?;
    /// # Ok::<(), tidemill_engine::error::Error>(())
    /// ```
    #[track_caller]
    pub fn count_window(&self, size: usize) -> DStream<Vec<T>> {
        self.sliding_count_window(size, size)
    }

    /// After every `slide` elements a window of the last `size`; the first ones are not full.
    #[track_caller]
    pub fn sliding_count_window(&self, size: usize, slide: usize) -> DStream<Vec<T>> {
        let keyed = self.map(|row| ((), row));
        keyed.count_windows("count_window", size, slide, Partitioning::Hash(1)).map(|((), window)| window)
    }
}

impl<K: Key, V: Data> DStream<(K, V)> {
    fn by_hash(&self) -> Partitioning<K> {
        Partitioning::Hash(self.sc().default_parallelism())
    }

    /// For every key a state, which `f` makes of the batch's values of the key and the state so far; `None` ends it. `f` is called
    /// in every batch for every key that has a state or new values. Needs a checkpoint.
    ///
    /// ```
    /// use tidemill_dstream::testing::StreamTest;
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// StreamTest::new(|_, words: tidemill_dstream::stream::DStream<String>| {
    ///     let ones = words.map(|word| (word, 1));
    ///     Ok(ones.update_state_by_key(|new, sum: Option<u64>| Some(sum.unwrap_or(0) + new.len() as u64)))
    /// })
    /// .conf("spark.streaming.checkpoint.directory", folder.path().display())
    /// .add_data(["a", "b", "a"].map(String::from)).check_batch([("a".to_string(), 2), ("b".to_string(), 1)])
    /// .add_data(["b"].map(String::from)).check_batch([("a".to_string(), 2), ("b".to_string(), 2)])
    /// .run()?;
    /// # Ok::<(), tidemill_engine::error::Error>(())
    /// ```
    #[track_caller]
    pub fn update_state_by_key<S: Data>(
        &self,
        f: impl Fn(Vec<V>, Option<S>) -> Option<S> + Send + Sync + 'static,
    ) -> DStream<(K, S)> {
        self.update_state_by_key_with(f, self.by_hash(), None)
    }

    /// [`DStream::update_state_by_key`], placed as `partitioning` says, beginning with an initial state.
    #[track_caller]
    pub fn update_state_by_key_with<S: Data>(
        &self,
        f: impl Fn(Vec<V>, Option<S>) -> Option<S> + Send + Sync + 'static,
        partitioning: impl Into<Partitioning<K>>,
        initial: Option<Rdd<(K, S)>>,
    ) -> DStream<(K, S)> {
        self.update_states(EachKey(move |_, _: &K, values, state| f(values, state)), partitioning.into(), initial)
    }

    /// [`DStream::update_state_by_key_with`], with the batch time and the key.
    #[track_caller]
    pub fn update_state_by_key_with_time<S: Data>(
        &self,
        f: impl Fn(Time, &K, Vec<V>, Option<S>) -> Option<S> + Send + Sync + 'static,
        partitioning: impl Into<Partitioning<K>>,
        initial: Option<Rdd<(K, S)>>,
    ) -> DStream<(K, S)> {
        self.update_states(EachKey(f), partitioning.into(), initial)
    }

    /// [`DStream::update_state_by_key_with_time`] for all keys of a partition at once: what `f` gives is the whole new state. Keys
    /// must stay what they are, or at least where the partitioner puts them.
    #[track_caller]
    pub fn update_state_by_key_iter<S: Data, I: IntoIterator<Item = (K, S)> + 'static>(
        &self,
        f: impl Fn(Time, Keys<K, V, S>) -> I + Send + Sync + 'static,
        partitioning: impl Into<Partitioning<K>>,
        initial: Option<Rdd<(K, S)>>,
    ) -> DStream<(K, S)> {
        self.update_states(AllKeys(f, PhantomData), partitioning.into(), initial)
    }

    #[track_caller]
    fn update_states<S: Data, U: Update<K, V, S>>(
        &self,
        update: U,
        partitioning: Partitioning<K>,
        initial: Option<Rdd<(K, S)>>,
    ) -> DStream<(K, S)> {
        let name = "update_state_by_key";
        let stateful = Stateful::new(self, name, partitioning, initial, true);
        stateful.core.describe::<K, S>();
        let step = register::<()>(self.sc(), name, UpdateState::<K, V, S, U>::new(&stateful.core.cell, update));
        let views = stateful.with_step(step, true);
        views.view("state", |cell, partition, time, out| {
            cell.read(partition, time, false, |states: &ByKey<K, S>| {
                let mut writer = ChunkWriter::new(out);
                writer.extend(states.0.iter().filter_map(|(key, state)| Some((key.clone(), state.clone()?))))?;
                writer.flush().map(drop)
            })
        })
    }

    /// What the function of `spec` makes of every value and the state of its key. The work of a batch grows with the keys that it
    /// has values for, not with all keys. Needs a checkpoint.
    ///
    /// Unlike Spark's, keys time out with the first batch in which they have been silent for longer than the timeout.
    #[track_caller]
    pub fn map_with_state<S: Data, U: Data, F>(&self, spec: StateSpec<K, V, S, U, F>) -> MapWithStateDStream<K, S, U>
    where
        F: Fn(Time, &K, Option<V>, &mut crate::op::state::logic::State<S>) -> Option<U> + Send + Sync + 'static,
    {
        let partitioning = spec.partitioning.unwrap_or_else(|| self.by_hash());
        let logic = MapWithState::<F, S, U>::new(spec.f, spec.timeout);
        let views = self.keyed_state("map_with_state", logic, partitioning, spec.initial, true);
        let mapped = views.view("mapped", output::<K, S, U>);
        let snapshots = views.view("state_snapshots", |cell, partition, time, out| {
            cell.read(partition, time, false, |keyed: &Keyed<K, S, U>| keyed.emit_states(out))
        });
        MapWithStateDStream { mapped, snapshots }
    }

    /// For each key, windows of `size` values in the order of arrival, each as it is full.
    #[track_caller]
    pub fn count_window_by_key(&self, size: usize) -> DStream<(K, Vec<V>)> {
        self.sliding_count_window_by_key(size, size)
    }

    /// For each key, after every `slide` values a window of the last `size`; the first ones are not full.
    #[track_caller]
    pub fn sliding_count_window_by_key(&self, size: usize, slide: usize) -> DStream<(K, Vec<V>)> {
        self.count_windows("count_window_by_key", size, slide, self.by_hash())
    }

    #[track_caller]
    fn count_windows(
        &self,
        name: &'static str,
        size: usize,
        slide: usize,
        partitioning: Partitioning<K>,
    ) -> DStream<(K, Vec<V>)> {
        if size == 0 || slide == 0 {
            let message = format!("a count window of {size} elements every {slide} is none: both must be at least 1");
            self.context().graph().refuse(Error::usage(message));
        }
        self.keyed_state(name, CountWindow { size: size.max(1), slide: slide.max(1) }, partitioning, None, false)
            .view("windows", output::<K, LastElements<V>, (K, Vec<V>)>)
    }

    /// For each key its sessions: values none of which came later than `gap` after the one before, by batch time. A session
    /// goes out with the first batch that is later than its end and the gap.
    #[track_caller]
    pub fn session_window(&self, gap: Duration) -> DStream<(K, Session<Vec<V>>)> {
        let add = |mut values: Vec<V>, value| {
            values.push(value);
            values
        };
        self.sessions(SessionWindow { gap, create: Box::new(|value| vec![value]), add: Box::new(add) })
    }

    /// [`DStream::session_window`], the values of each session reduced to one.
    #[track_caller]
    pub fn reduce_by_key_and_session(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        gap: Duration,
    ) -> DStream<(K, Session<V>)> {
        self.sessions(SessionWindow { gap, create: Box::new(|value| value), add: Box::new(f) })
    }

    #[track_caller]
    fn sessions<S: Data>(&self, window: SessionWindow<V, S>) -> DStream<(K, Session<S>)> {
        self.keyed_state("session_window", window, self.by_hash(), None, false)
            .view("sessions", output::<K, (Time, S), (K, Session<S>)>)
    }

    #[track_caller]
    fn keyed_state<L: KeyedLogic<K, V>>(
        &self,
        name: &'static str,
        logic: L,
        partitioning: Partitioning<K>,
        initial: Option<Rdd<(K, L::State)>>,
        must_checkpoint: bool,
    ) -> Views<K, V> {
        let stateful = Stateful::new(self, name, partitioning, initial, must_checkpoint);
        stateful.core.describe::<K, (L::State, Time)>();
        let step = KeyedStep::<K, V, L>::new(&stateful.core.cell, &Arc::new(logic));
        let step = register::<()>(self.sc(), name, step);
        stateful.with_step(step, false)
    }
}

/// Emits what the last batch put out.
fn output<K: Key, S: Data, U: Data>(
    cell: &StateCell,
    partition: usize,
    time: Time,
    out: &mut Emit<'_>,
) -> tidemill_engine::error::Result<()> {
    cell.read(partition, time, false, |keyed: &Keyed<K, S, U>| keyed.emit_output(out))
}

/// A stateful operator that is being put together.
struct Stateful<K, V, S> {
    parent: DStream<(K, V)>,
    core: Arc<StateCore>,
    exchange: PairExchange<K, V>,
    initial: Option<(PairExchange<K, S>, Rdd<(K, S)>)>,
}

impl<K: Key, V: Data, S: Data> Stateful<K, V, S> {
    #[track_caller]
    fn new(
        parent: &DStream<(K, V)>,
        name: &'static str,
        partitioning: Partitioning<K>,
        initial: Option<Rdd<(K, S)>>,
        must_checkpoint: bool,
    ) -> Self {
        let sc = parent.sc();
        let partitions = partitioning.placement(sc, &[]).partitions;
        let core = StateCore::new(name, partitions, must_checkpoint);
        let initial = initial.map(|rdd| (PairExchange::new(sc, partitioning.clone()), rdd));
        Self { parent: parent.clone(), core, exchange: PairExchange::new(sc, partitioning), initial }
    }

    /// The node that runs `step`; `all_keys`: in every batch for all keys.
    #[track_caller]
    fn with_step(self, step: Arc<Function>, all_keys: bool) -> Views<K, V> {
        let Self { parent, core, exchange, initial } = self;
        if let Err(error) = parent.context().check_may_add() {
            let place = format!("{} at {}", core.kind, core.call_site);
            parent.context().graph().refuse(error.context(place));
        }
        let (sc, cell) = (parent.sc().clone(), Arc::clone(&core.cell));
        let empty = sc.empty_rdd::<(K, V)>().dataset().clone();
        let placement = {
            let (core, placement) = (Arc::clone(&core), exchange.placement(&[]));
            move || Placement { partitions: core.partitions(), ..placement }
        };
        let place = placement.clone();
        let make = move |input: StepInput<'_>| {
            let placement = place();
            let data = input.data.unwrap_or_else(|| empty.clone());
            let mut inputs = vec![exchange.apply(&data, placement).lineage];
            match initial.as_ref().filter(|_| input.first) {
                Some((exchange, rdd)) => inputs.push(exchange.apply(rdd.dataset(), placement).lineage),
                None if all_keys => inputs.push(nothing::<(K, S)>(sc.functions(), placement.partitions, cell.rows())),
                None => {}
            }
            Ok(Lineage::op(Arc::clone(&step), inputs, Deps::Aligned))
        };
        let graph = parent.context().graph();
        let node = StatefulNode::new(&core, make);
        let node = graph.add_node(core.kind, parent.slide_duration(), vec![Arc::clone(parent.node())], node);
        Views { parent, core, node, placement: Arc::new(placement) }
    }
}

/// A state that is brought forward, and from which views are made.
struct Views<K, V> {
    parent: DStream<(K, V)>,
    core: Arc<StateCore>,
    node: Arc<crate::node::StreamNode>,
    placement: Arc<dyn Fn() -> Placement + Send + Sync>,
}

impl<K: Key, V: Data> Views<K, V> {
    fn view<U: Data>(
        &self,
        name: &'static str,
        read: impl Fn(&StateCell, usize, Time, &mut Emit<'_>) -> tidemill_engine::error::Result<()> + Send + Sync + 'static,
    ) -> DStream<U> {
        let (graph, placement) = (self.parent.context().graph(), Arc::clone(&self.placement));
        let read = move |cell: &StateCell, partition: usize, number: u64, out: &mut Emit<'_>| {
            read(cell, partition, time_of(number), out)
        };
        let view = View::new(self.parent.sc(), &graph.next_view(), &self.core.cell, Rows::<U>::ELEMENT, read);
        let which = move |time, _: &crate::node::Planning<'_>| {
            let placement = placement();
            (number_of(time), placement.partitions, Some(placement))
        };
        let node = ViewNode::new(&self.core, view, which);
        let node = graph.add_node(name, self.parent.slide_duration(), vec![Arc::clone(&self.node)], node);
        DStream::from_node(self.parent.context(), node)
    }
}
