"""`Lineage`: what an RDD is made of, and when that becomes a data set of the engine.

An RDD is narrow, that is, stages over the partitions of its parent, or it is *built* from the native data sets of its parents: a
source, a shuffle, a join. Chains of narrow RDDs become one function in one native operator when something needs their items.
An RDD that is persisted or checkpointed is *pinned*: its native data set stays the same, and chains begin there.

A native data set is kept and made again only when the pinned RDDs have changed, which `SparkContext._lineage_version` counts: so
that an RDD defined earlier sees that its parent was persisted since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, NoReturn, TypeVar, cast

from .callsite import CallSite, call_site
from .closure import Closure
from .errors import rdd_in_task
from .partitioner import Partitioner
from .permission import RenewedPermission
from .stages import Stage
from .taskcontext import TaskFunction, chain_name

if TYPE_CHECKING:
    from ._native import NativeRdd
    from .context import SparkContext
    from .rdd import RDD

T = TypeVar("T")

__all__ = ["Lineage", "Step"]


class Step(NamedTuple):
    """A narrow operation: its name, what it does with a partition, and the user's functions in it."""

    name: str
    stage: Stage
    closure: Closure | None = None


class Lineage(Generic[T]):
    """The part of an RDD that knows where its items come from."""

    _refuse_to_travel = staticmethod(rdd_in_task)
    # What operations give: RDD itself, also where a subclass began. Set where RDD is defined.
    _result_class: ClassVar[type[Lineage[Any]]]

    def __init__(
        self,
        native: NativeRdd | None,
        ctx: SparkContext,
        *,
        parents: Sequence[Lineage[Any]] = (),
        build: Callable[..., NativeRdd] | None = None,
        step: Step | None = None,
        kind: str = "MapPartitionsRDD",
        partitioner: Partitioner | None = None,
        site: CallSite | None = None,
    ) -> None:
        """An RDD over a native data set, or one that `build` gives for those of the parents; `step` goes over its partitions.

        Without both it is narrow: `step` goes over the partitions of the one parent. Made by operations, not by programs.
        """
        ctx._check_alive()
        self.ctx = ctx
        self.is_cached = False
        self.is_checkpointed = False
        self.partitioner = partitioner
        self._parents = tuple(parents)
        self._build = build
        self._step = step
        self._closure = None if step is None else step.closure
        self._kind = kind
        self._site = call_site() if site is None else site
        self._id = ctx._next_rdd_id()
        self._name: str | None = None
        self._pinned = False
        self._locally = False
        self._checkpoint_done = False
        self._checkpoint_file: str | None = None
        # The items that a checkpoint wrote, as they are read; a persisted RDD has them in reserve.
        self._written: NativeRdd | None = None
        # The native data set before `step`, with the parents' that it was built from, and the one after it.
        self._source = native
        self._source_inputs: list[NativeRdd] = []
        self._data: NativeRdd | None = None
        self._data_of: tuple[NativeRdd, int] | None = None
        # What makes the latter of the former.
        self._function: TaskFunction | None = None
        # Of a pinned RDD: the native data set that stays, and the step from there to the items, if there is one.
        self._kept: NativeRdd | None = None
        self._reading: Step | None = None
        self._version = -1
        self._partitions: int | None = None

    # How operations make new RDDs.

    def _narrow(self, name: str, stage: Stage, closure: Closure | None = None, preserves: bool = False) -> RDD[Any]:
        """An RDD of what `stage` makes of each partition."""
        return cast(
            "RDD[Any]",
            self._result_class(
                None,
                self.ctx,
                parents=(self,),
                step=Step(name, stage, closure),
                kind="PythonRDD",
                partitioner=self.partitioner if preserves else None,
            ),
        )

    def _built(
        self,
        build: Callable[..., NativeRdd],
        others: Sequence[Lineage[Any]] = (),
        kind: str = "MapPartitionsRDD",
        partitioner: Partitioner | None = None,
    ) -> RDD[Any]:
        """An RDD that `build` gives for the native data sets of this one and of others."""
        parents = (self, *others)
        made = self._result_class(None, self.ctx, parents=parents, build=build, kind=kind, partitioner=partitioner)
        return cast("RDD[Any]", made)

    # What it becomes.

    def _native(self) -> NativeRdd:
        """The native data set of the items of this RDD."""
        with self.ctx._lineage_lock:
            _refresh(self)
            assert self._data is not None
            return self._data

    def _plan(self) -> tuple[NativeRdd, list[Step]]:
        """A native data set, and the steps that lead from there to the items of this RDD."""
        with self.ctx._lineage_lock:
            base, steps = self._chain()
            if not base._pinned:
                for parent in base._parents:
                    _refresh(parent)
            return base._beginning(), steps

    def _chain(self) -> tuple[Lineage[Any], list[Step]]:
        """The RDD where the chain of narrow operations begins, and the steps from there on."""
        steps: list[Step] = []
        rdd: Lineage[Any] = self
        while not rdd._pinned:
            if rdd._step is not None:
                steps.append(rdd._step)
            if not rdd._is_narrow():
                break
            rdd = rdd._parents[0]
        if rdd._pinned and rdd._reading is not None:
            steps.append(rdd._reading)
        steps.reverse()
        return rdd, steps

    @property
    def _moves(self) -> bool:
        """Whether items were moved between partitions to make it."""
        return self._kind == "ShuffledRDD"

    def _is_behind_shuffle(self) -> bool:
        """Whether items were moved to make what it is made of: a job over one partition moves them all anew."""
        seen, waiting = {self._id}, [self]
        while waiting:
            rdd = waiting.pop()
            if rdd._moves:
                return True
            new = [parent for parent in rdd._parents if parent._id not in seen]
            seen.update(parent._id for parent in new)
            waiting += new
        return False

    def _is_narrow(self) -> bool:
        return self._source is None and self._build is None

    def _is_fresh(self) -> bool:
        return self._data is not None and self._version == self.ctx._lineage_version

    def _needs(self) -> tuple[Lineage[Any], ...]:
        """The RDDs whose native data sets are needed for this one's."""
        base, _ = self._chain()
        return () if base._pinned else base._parents

    def _beginning(self) -> NativeRdd:
        """The native data set where a chain begins that begins here; those of the parents are there."""
        if self._kept is not None:
            return self._kept
        if self._build is not None:
            inputs = [parent._native() for parent in self._parents]
            if self._source is None or any(a is not b for a, b in zip(inputs, self._source_inputs)):
                self._source, self._source_inputs = self._build(*inputs), inputs
        assert self._source is not None
        return self._source

    def _make(self) -> None:
        """Makes the native data set; those that it needs are there."""
        base, steps = self._chain()
        source = base._beginning()
        if self._data is None or self._data_of != (source, len(steps)):
            self._data, self._data_of = source, (source, len(steps))
            if steps:
                properties = self.ctx._jobs.properties_in_force
                stages, name = [step.stage for step in steps], chain_name([step.name for step in steps])
                self._function = TaskFunction(stages, self._id, properties, RenewedPermission())
                self._data = source.map_partitions(self._function, name, self._site)
        self._version = self.ctx._lineage_version

    def _pin(self, native: NativeRdd, reading: Step | None = None) -> None:
        """From now on the items of this RDD are those that `reading`, if it is given, makes of `native`."""
        with self.ctx._lineage_lock:
            self._pinned, self._kept, self._reading = True, native, reading
            self.ctx._lineage_version += 1

    def _unpin(self) -> None:
        with self.ctx._lineage_lock:
            self._pinned, self._kept, self._reading = False, None, None
            self.ctx._lineage_version += 1

    def _ancestors(self) -> Iterator[Lineage[Any]]:
        """This RDD and all that it is made of, the oldest last."""
        seen, waiting = {self._id}, [self]
        while waiting:
            top = waiting.pop()
            yield top
            for parent in top._parents:
                if parent._id not in seen:
                    seen.add(parent._id)
                    waiting.append(parent)

    # What it says about itself.

    def getNumPartitions(self) -> int:
        """The number of partitions.

        >>> sc.parallelize([1, 2, 3, 4], 2).getNumPartitions()
        2
        """
        if self._partitions is None:
            base, _ = self._chain()
            self._partitions = base._partitions
        if self._partitions is None:
            native, _ = self._plan()
            self._partitions = native.num_partitions()
        return self._partitions

    def __repr__(self) -> str:
        name = "" if self._name is None else f"{self._name} "
        return f"{name}{self._kind}[{self._id}] at {self._site.named()}"

    def __reduce__(self) -> NoReturn:
        raise rdd_in_task()


def _refresh(rdd: Lineage[Any]) -> None:
    """Makes native data sets where they are missing or out of date, from the sources on; long lineages don't recurse."""
    waiting = [rdd]
    while waiting:
        top = waiting[-1]
        missing = [] if top._is_fresh() else [needed for needed in top._needs() if not needed._is_fresh()]
        if missing:
            waiting.extend(missing)
            continue
        waiting.pop()
        if not top._is_fresh():
            top._make()
