//! Windows: the batches of a while. What they hold is state, so that a restart finds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidemill_engine::chunk::{Data, Rows};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::Emit;
use tidemill_engine::lineage::{Deps, Lineage};
use tidemill_engine::state::cell::StateCell;
use tidemill_engine::time::{Time, is_multiple, millis, pretty};

use super::{DStream, sum_to_one};
use crate::dataset::{Placement, register};
use crate::node::Planning;
use crate::op::partition::{Key, PairExchange, Partitioning};
use crate::op::state::inverse::{Inverse, InverseStep, Row, WindowTotals};
use crate::op::state::window::{WindowBatches, WindowStep};
use crate::op::state::{StateCore, View, number_of, time_of};
use crate::stateful::{StatefulNode, StepInput, ViewNode};

/// The bits of a batch time in the number of a window's view; above them stands the number of its batches.
const TIME_BITS: u32 = 44;

/// What the forms of a window with an inverse differ in.
pub(super) struct Rules {
    /// It refuses to run without a checkpoint.
    must_checkpoint: bool,
    /// See [`Inverse::lenient`].
    lenient: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { must_checkpoint: true, lenient: false }
    }
}

fn check_window<T: Data>(stream: &DStream<T>, window: Duration, slide: Duration) -> Result<()> {
    stream.context().check_may_add()?;
    let own = stream.slide_duration();
    for (what, duration) in [("window", window), ("slide", slide)] {
        if duration.is_zero() || !is_multiple(duration, own) {
            return Err(Error::usage(format!(
                "The {what} duration of windowed DStream ({}) must be a multiple of the slide duration of parent DStream \
                     ({})",
                pretty(duration),
                pretty(own)
            )));
        }
    }
    Ok(())
}

impl<T: Data> DStream<T> {
    /// The rows of the last `window`, every `slide`. The batches in it are kept in memory, encoded, and with a checkpoint also there: a
    /// restart goes on with the same window.
    ///
    /// # Errors
    /// If either is not a whole multiple of the time between this stream's batches.
    #[track_caller]
    pub fn window(&self, window: Duration, slide: Duration) -> Result<DStream<T>> {
        check_window(self, window, slide)?;
        self.windowed(window, slide, None)
    }

    /// The rows of the last `window` reduced to one, every `slide`; none where there are none.
    ///
    /// # Errors
    /// As [`DStream::window`], and so for all that follow.
    #[track_caller]
    pub fn reduce_by_window(
        &self,
        f: impl Fn(T, T) -> T + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
    ) -> Result<DStream<T>> {
        let f = Arc::new(f);
        let again = Arc::clone(&f);
        Ok(self.reduce(move |a, b| f(a, b)).window(window, slide)?.reduce(move |a, b| again(a, b)))
    }

    /// The number of rows of the last `window`, every `slide`; 0 where there are none.
    #[track_caller]
    pub fn count_by_window(&self, window: Duration, slide: Duration) -> Result<DStream<u64>> {
        let counts = self.count().window(window, slide)?;
        Ok(counts.then(sum_to_one(self.sc()).named("count_by_window")))
    }

    /// How often each row occurs in the last `window`, every `slide`.
    #[track_caller]
    pub fn count_by_value_and_window(&self, window: Duration, slide: Duration) -> Result<DStream<(T, u64)>>
    where
        T: Key,
    {
        self.count_by_value_and_window_with(window, slide, self.sc().default_parallelism())
    }

    /// [`DStream::count_by_value_and_window`], placed as `partitioning` says.
    #[track_caller]
    pub fn count_by_value_and_window_with(
        &self,
        window: Duration,
        slide: Duration,
        partitioning: impl Into<Partitioning<T>>,
    ) -> Result<DStream<(T, u64)>>
    where
        T: Key,
    {
        let ones = self.map(|row| (row, 1u64));
        let some = Some(|(_, count): &(T, u64)| *count > 0);
        let rules = Rules { must_checkpoint: false, lenient: false };
        ones.inverse_window(|a, b| a + b, |a, b| a - b, window, slide, partitioning.into(), some, rules)
    }
}

impl<T: Data> DStream<T> {
    /// The window; `placed` says where the rows of this stream's batches lie, if that is known: so they lie in the window, too.
    #[track_caller]
    fn windowed(&self, window: Duration, slide: Duration, placed: Option<Placement>) -> Result<DStream<T>> {
        let (sc, own, element) = (self.sc(), self.slide_duration(), Rows::<T>::ELEMENT);
        let (batches, most) = (millis(window) / millis(own).max(1), 1 << (64 - TIME_BITS));
        if batches >= most {
            return Err(Error::usage(format!(
                "a window of {batches} batches is too long, it may have less than {most}: make batches longer, or reduce them first, by \
                 `reduce_by_key_and_window_inverse`"
            )));
        }
        let core = StateCore::new("window", placed.map_or(sc.default_parallelism(), |p| p.partitions), false);
        core.describe::<Time, T>();
        // How much longer than for the windows to come batches are kept, for those who look back.
        let longer = Arc::new(AtomicU64::new(0));
        let step = WindowStep::new(&core.cell, element, window, &longer);
        let step = register::<()>(sc, "window", step);
        let empty = sc.empty_rdd::<T>().dataset().clone();
        let (state, back) = (Arc::clone(&core), Arc::clone(&longer));
        let make = move |input: StepInput<'_>| {
            let more = input.remembered.saturating_sub(slide);
            back.store(more.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
            let data = input.data.unwrap_or_else(|| empty.clone());
            let (from, to) = (data.partitions(), state.partitions());
            // Runs of partitions that lie beside each other, so that the order of rows stays.
            let groups = (0..to).map(|p| (p * from / to..(p + 1) * from / to).collect()).collect();
            Ok(Lineage::op(Arc::clone(&step), vec![data.lineage], Deps::Groups(groups)))
        };
        let graph = self.context().graph();
        let node = graph.add_node("window", own, vec![Arc::clone(self.node())], StatefulNode::new(&core, make));
        let is_placed = {
            let core = Arc::clone(&core);
            move || placed.filter(|placed| placed.partitions == core.partitions())
        };
        let (place, state) = (is_placed.clone(), Arc::clone(&core));
        let read = move |cell: &StateCell, partition: usize, number: u64, out: &mut Emit<'_>| {
            let (end, batches) = (time_of(number & ((1 << TIME_BITS) - 1)), number >> TIME_BITS);
            let read = |partition, begin, end, out: &mut Emit<'_>| {
                cell.read(partition, end, true, |held: &WindowBatches| held.emit(element, begin, end, out))
            };
            if place().is_some() {
                return read(partition, end - window, end, out);
            }
            // A partition for each batch and partition of the state: batch after batch, as the rows came.
            let (batch, partition) = (partition / state.partitions(), partition % state.partitions());
            let later = u32::try_from(batches).unwrap_or(u32::MAX).saturating_sub(batch as u32 + 1);
            let end = end - own * later;
            read(partition, end - own, end, out)
        };
        let view = View::new(sc, &graph.next_view(), &core.cell, element, read);
        let state = Arc::clone(&core);
        let which = move |time: Time, planning: &Planning<'_>| {
            if let Some(placed) = is_placed() {
                return (number_of(time), placed.partitions, Some(placed));
            }
            let span = Duration::from_millis(time.millis_since((time - window).max(planning.zero)).unsigned_abs());
            let batches = u64::try_from(millis(span) / millis(own).max(1)).unwrap_or(0);
            (number_of(time) | batches << TIME_BITS, batches as usize * state.partitions(), None)
        };
        let view = ViewNode::new(&core, view, which).remembering(window, longer);
        let node = graph.add_node("window", slide, vec![node], view);
        Ok(DStream::from_node(self.context(), node))
    }
}

/// Where `partitioning` puts keys, if that does not depend on the data.
fn fixed_placement<K: Key, V: Data>(
    exchange: &PairExchange<K, V>,
    partitioning: &Partitioning<K>,
) -> Option<Placement> {
    (!matches!(partitioning, Partitioning::Default)).then(|| exchange.placement(&[]))
}

impl<K: Key, V: Data> DStream<(K, V)> {
    /// [`DStream::reduce_by_key_and_window`], brought forward from window to window: `f` adds the values that enter, `inverse` takes
    /// away the values that leave. The work grows with the keys of the batches that enter and leave, not with the window.
    ///
    /// Without `filter`, a key stays for ever, with what is left of its value; with it, pairs for which it is false go. Needs a
    /// checkpoint.
    ///
    /// # Errors
    /// If window or slide are not whole multiples of the time between this stream's batches.
    #[track_caller]
    pub fn reduce_by_key_and_window_inverse(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        inverse: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
    ) -> Result<DStream<(K, V)>> {
        let partitions = self.sc().default_parallelism();
        self.inverse_window(f, inverse, window, slide, partitions.into(), None::<fn(&(K, V)) -> bool>, Rules::default())
    }

    /// [`DStream::reduce_by_key_and_window_inverse`], placed as `partitioning` says, of pairs for which `filter` is true.
    #[track_caller]
    pub fn reduce_by_key_and_window_inverse_with(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        inverse: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
        partitioning: impl Into<Partitioning<K>>,
        filter: Option<impl Fn(&(K, V)) -> bool + Send + Sync + 'static>,
    ) -> Result<DStream<(K, V)>> {
        self.inverse_window(f, inverse, window, slide, partitioning.into(), filter, Rules::default())
    }

    /// [`DStream::reduce_by_key_and_window_inverse_with`], where values that leave are left out if their key has no total: `filter` may have
    /// dropped it while they were in the window. That is an error there, and in Spark's Scala; its Python API leaves them out.
    #[track_caller]
    pub fn reduce_by_key_and_window_inverse_lenient(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        inverse: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
        partitioning: impl Into<Partitioning<K>>,
        filter: Option<impl Fn(&(K, V)) -> bool + Send + Sync + 'static>,
    ) -> Result<DStream<(K, V)>> {
        let rules = Rules { lenient: true, ..Rules::default() };
        self.inverse_window(f, inverse, window, slide, partitioning.into(), filter, rules)
    }

    #[track_caller]
    #[expect(clippy::too_many_arguments, reason = "the longest of the public forms, and what tells them apart")]
    pub(super) fn inverse_window(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        inverse: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
        partitioning: Partitioning<K>,
        filter: Option<impl Fn(&(K, V)) -> bool + Send + Sync + 'static>,
        rules: Rules,
    ) -> Result<DStream<(K, V)>> {
        self.context().check_may_add()?;
        let own = self.slide_duration();
        for (what, duration) in [("window", window), ("slide", slide)] {
            if duration.is_zero() || !is_multiple(duration, own) {
                return Err(Error::usage(format!(
                    "The {what} duration of ReducedWindowedDStream ({}) must be multiple of the slide duration of parent DStream \
                     ({})",
                    pretty(duration),
                    pretty(own)
                )));
            }
        }
        let sc = self.sc();
        let reduce: Arc<dyn Fn(V, V) -> V + Send + Sync> = Arc::new(f);
        let add = Arc::clone(&reduce);
        let reduced = self.reduce_by_key_with(move |a, b| add(a, b), partitioning.clone());
        let exchange = PairExchange::<K, V>::new(sc, partitioning);
        let placement = exchange.placement(&[]);
        let core = StateCore::new("reduce_by_key_and_window", placement.partitions, rules.must_checkpoint);
        core.describe::<Row<K>, V>();
        let filter = filter.map(|filter| Arc::new(filter) as Arc<dyn Fn(&(K, V)) -> bool + Send + Sync>);
        let lenient = rules.lenient;
        let inverse = Arc::new(Inverse { reduce, inverse: Arc::new(inverse), filter, window, lenient });
        let between = register::<()>(sc, core.kind, InverseStep::new(&core.cell, &inverse, false));
        let ends = register::<()>(sc, core.kind, InverseStep::new(&core.cell, &inverse, true));
        let placed = {
            let core = Arc::clone(&core);
            move || Placement { partitions: core.partitions(), ..placement }
        };
        let (place, empty) = (placed.clone(), sc.empty_rdd::<(K, V)>().dataset().clone());
        let make = move |input: StepInput<'_>| {
            let since_zero = Duration::from_millis(input.time.millis_since(input.planning.zero).unsigned_abs());
            let step = if is_multiple(since_zero, slide) { &ends } else { &between };
            let data = exchange.apply(&input.data.unwrap_or_else(|| empty.clone()), place());
            Ok(Lineage::op(Arc::clone(step), vec![data.lineage], Deps::Aligned))
        };
        let graph = self.context().graph();
        let node = StatefulNode::new(&core, make);
        let node = graph.add_node(core.kind, own, vec![Arc::clone(reduced.node())], node);
        let read = |cell: &StateCell, partition: usize, number: u64, out: &mut Emit<'_>| {
            let time = time_of(number);
            cell.read(partition, time, false, |totals: &WindowTotals<K, V>| totals.emit(time, out))
        };
        let view = View::new(sc, &graph.next_view(), &core.cell, Rows::<(K, V)>::ELEMENT, read);
        let which = move |time, _: &Planning<'_>| {
            let placement = placed();
            (number_of(time), placement.partitions, Some(placement))
        };
        let node = graph.add_node(core.kind, slide, vec![node], ViewNode::new(&core, view, which));
        Ok(DStream::from_node(self.context(), node))
    }

    /// The values of each key of the last `window` reduced to one, every `slide`.
    #[track_caller]
    pub fn reduce_by_key_and_window(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
    ) -> Result<DStream<(K, V)>> {
        self.reduce_by_key_and_window_with(f, window, slide, self.sc().default_parallelism())
    }

    /// [`DStream::reduce_by_key_and_window`], placed as `partitioning` says.
    #[track_caller]
    pub fn reduce_by_key_and_window_with(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
        partitioning: impl Into<Partitioning<K>>,
    ) -> Result<DStream<(K, V)>> {
        check_window(self, window, slide)?;
        let (f, partitioning) = (Arc::new(f), partitioning.into());
        let again = Arc::clone(&f);
        let batches = self.reduce_by_key_with(move |a, b| f(a, b), partitioning.clone());
        let placed = fixed_placement(&PairExchange::<K, V>::new(self.sc(), partitioning.clone()), &partitioning);
        Ok(batches.windowed(window, slide, placed)?.reduce_by_key_with(move |a, b| again(a, b), partitioning))
    }

    /// The values of each key of the last `window`, in the order of their arrival, every `slide`.
    #[track_caller]
    pub fn group_by_key_and_window(&self, window: Duration, slide: Duration) -> Result<DStream<(K, Vec<V>)>> {
        self.group_by_key_and_window_with(window, slide, self.sc().default_parallelism())
    }

    /// [`DStream::group_by_key_and_window`], placed as `partitioning` says.
    #[track_caller]
    pub fn group_by_key_and_window_with(
        &self,
        window: Duration,
        slide: Duration,
        partitioning: impl Into<Partitioning<K>>,
    ) -> Result<DStream<(K, Vec<V>)>> {
        Ok(self.window(window, slide)?.group_by_key_with(partitioning))
    }
}
