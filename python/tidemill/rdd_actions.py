"""Actions: what brings items, or what follows from them, to the driver."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import chain
from typing import Any, TypeVar

from . import stages
from .closure import capture
from .rdd_elements import ElementFunctions
from .stages import Stage

T = TypeVar("T")
U = TypeVar("U")

__all__ = ["ActionFunctions"]

# take() looks at this many times as many partitions as so far when it has not found enough, toLocalIterator() beyond a shuffle.
_SCAN_GROWTH = 4


class ActionFunctions(ElementFunctions[T]):
    """The part of `RDD` that runs jobs."""

    def _job(self, stage: Stage | None, name: str, partitions: Sequence[int] | None = None) -> list[list[Any]]:
        """What `stage` makes of each partition, as lists; RDDs to be checkpointed that took part are written afterwards."""
        result = self.ctx._jobs.run(self, stage, partitions, name)
        self.ctx._checkpoints.after_job(self)
        return result

    def _partials(self, stage: Stage, name: str) -> list[Any]:
        """What `stage` makes of all partitions, in their order."""
        return list(chain.from_iterable(self._job(stage, name)))

    def _reducible(self, stage: Stage, name: str) -> list[Any]:
        """`_partials` of an action that PySpark does by reducing what partitions give: without a partition that is an error."""
        lists = self._job(stage, name)
        if not lists:
            raise ValueError("Can not reduce() empty RDD")
        return list(chain.from_iterable(lists))

    def collect(self) -> list[T]:
        """All items, in the order of their partitions.

        >>> sc.parallelize(range(4), 3).collect()
        [0, 1, 2, 3]
        """
        lists = self._job(None, "collect")
        return lists[0] if len(lists) == 1 else list(chain.from_iterable(lists))

    def collectWithJobGroup(self, groupId: str, description: str, interruptOnCancel: bool = False) -> list[T]:
        """`collect` in a job group; the thread's own group stays what it was."""
        properties = self.ctx._local_properties
        before = properties.snapshot()
        self.ctx.setJobGroup(groupId, description, interruptOnCancel)
        try:
            return self.collect()
        finally:
            properties.replace(before)

    def toLocalIterator(self, prefetchPartitions: bool = False) -> Iterator[T]:
        """The items, partition by partition, each computed when its items are asked for.

        With `prefetchPartitions` the next partition is computed while one is read. Beyond a shuffle, which each job does anew, it is one
        partition first and then more and more at a time.

        >>> list(sc.parallelize(range(4), 2).toLocalIterator())
        [0, 1, 2, 3]
        """
        scans = self._scans()
        if not prefetchPartitions:
            return chain.from_iterable(items for scan in scans for items in self._job(None, "toLocalIterator", scan))
        return self._prefetched(scans)

    def _scans(self) -> Iterator[range]:
        """Which partitions to look at in one job, and which in the next."""
        total, scanned = self.getNumPartitions(), 0
        growth = _SCAN_GROWTH - 1 if self._is_behind_shuffle() else 0
        while scanned < total:
            scan = range(scanned, min(scanned + max(1, scanned * growth), total))
            yield scan
            scanned = scan.stop

    def _prefetched(self, scans: Iterable[range]) -> Iterator[T]:
        properties = self.ctx._local_properties
        inherited = properties.snapshot()

        def compute(scan: range) -> list[list[T]]:
            properties.replace(inherited)
            return self._job(None, "toLocalIterator", scan)

        with ThreadPoolExecutor(1) as pool:
            ahead = None
            for scan in scans:
                ready, ahead = ahead, pool.submit(compute, scan)
                if ready is not None:
                    yield from chain.from_iterable(ready.result())
            if ahead is not None:
                yield from chain.from_iterable(ahead.result())

    def count(self) -> int:
        """The number of items.

        >>> sc.parallelize([2, 3, 4]).count()
        3
        """
        return sum(self._partials(stages.counting, "count"))

    def take(self, num: int) -> list[T]:
        """The first `num` items. Looks at the first partition, and at more and more if that has too few.

        >>> sc.parallelize(range(100), 10).take(3)
        [0, 1, 2]
        """
        found: list[T] = []
        total, scanned, ahead = self.getNumPartitions(), 0, 1
        while len(found) < num and scanned < total:
            partitions = range(scanned, min(scanned + ahead, total))
            for items in self._job(stages.head(num - len(found)), "take", partitions):
                found += items[: num - len(found)]
            scanned += len(partitions)
            ahead = scanned * (_SCAN_GROWTH - 1)
        return found

    def first(self) -> T:
        """The first item; an error where there is none.

        >>> sc.parallelize([2, 3, 4]).first()
        2
        >>> sc.parallelize([]).first()
        Traceback (most recent call last):
            ...
        ValueError: RDD is empty
        """
        items = self.take(1)
        if not items:
            raise ValueError("RDD is empty")
        return items[0]

    def isEmpty(self) -> bool:
        """Whether there is no item; partitions without items may be there.

        >>> sc.parallelize([]).isEmpty(), sc.parallelize([1]).isEmpty()
        (True, False)
        """
        return not self.take(1)

    def foreach(self, f: Callable[[T], Any]) -> None:
        """Calls `f` with each item, in tasks.

        >>> seen = sc.accumulator(0)
        >>> sc.parallelize([1, 2, 3]).foreach(seen.add)
        >>> seen.value
        6
        """
        capture(f)

        def run(_: int, items: Iterator[T]) -> list[Any]:
            for item in items:
                f(item)
            return []

        self._job(run, "foreach")

    def foreachPartition(self, f: Callable[[Iterator[T]], Any]) -> None:
        """Calls `f` with the iterator of each partition, in tasks. What `f` gives is read to its end, if it can be iterated over.

        >>> seen = sc.accumulator(0)
        >>> sc.parallelize([1, 2, 3]).foreachPartition(lambda items: seen.add(sum(items)))
        >>> seen.value
        6
        """
        capture(f)

        def run(_: int, items: Iterator[T]) -> list[Any]:
            given = f(items)
            if hasattr(given, "__iter__"):
                stages.length(given)
            return []

        self._job(run, "foreachPartition")

    def reduce(self, f: Callable[[T, T], T]) -> T:
        """All items combined by `f`, which must be associative; an error where there is none.

        >>> sc.parallelize([1, 2, 3, 4, 5]).reduce(lambda a, b: a + b)
        15
        """
        capture(f)
        partials = self._partials(stages.reducing(f), "reduce")
        if not partials:
            raise ValueError("Can not reduce() empty RDD")
        return reduce(f, partials)

    def fold(self, zeroValue: T, op: Callable[[T, T], T]) -> T:
        """All items of a partition combined by `op`, beginning with `zeroValue`, and then those of all partitions likewise.

        >>> sc.parallelize([1, 2, 3, 4], 2).fold(10, lambda a, b: a + b)
        40
        """
        return self._aggregated(zeroValue, op, op, "fold")

    def aggregate(self, zeroValue: U, seqOp: Callable[[U, T], U], combOp: Callable[[U, U], U]) -> U:
        """The items of a partition taken into `zeroValue` by `seqOp`, and the results of all partitions combined by `combOp`.

        Both functions may change their first argument: each partition begins with a copy.

        >>> def take_in(so_far, x): return (so_far[0] + x, so_far[1] + 1)
        >>> def combine(a, b): return (a[0] + b[0], a[1] + b[1])
        >>> sc.parallelize([1, 2, 3, 4]).aggregate((0, 0), take_in, combine)
        (10, 4)
        """
        return self._aggregated(zeroValue, seqOp, combOp, "aggregate")

    def _aggregated(self, zero: Any, seqOp: Callable[..., Any], combOp: Callable[..., Any], name: str) -> Any:
        capture(seqOp, combOp)
        partials = self._partials(stages.folding(zero, seqOp), name)
        return reduce(combOp, partials, stages.copies_of(zero)())

    def treeReduce(self, f: Callable[[T, T], T], depth: int = 2) -> T:
        """`reduce`, where partitions are combined in tasks first, in `depth` steps.

        >>> sc.parallelize(range(10), 10).treeReduce(lambda a, b: a + b, 3)
        45
        """
        _check_depth(depth)
        capture(f)
        partials = self._narrow("treeReduce", stages.reducing(f))._combined_in_steps(stages.reducing(f), depth)
        if not partials:
            raise ValueError("Cannot reduce empty RDD.")
        return reduce(f, partials)

    def treeAggregate(self, zeroValue: U, seqOp: Callable[[U, T], U], combOp: Callable[[U, U], U], depth: int = 2) -> U:
        """`aggregate`, where partitions are combined in tasks first, in `depth` steps.

        >>> sc.parallelize([-5, -4, 1, 2], 4).treeAggregate(0, lambda a, b: a + b, lambda a, b: a + b)
        -6
        """
        _check_depth(depth)
        capture(seqOp, combOp)
        partials = self._narrow("treeAggregate", stages.folding(zeroValue, seqOp))
        combined = partials._combined_in_steps(stages.reducing(combOp), depth)
        return reduce(combOp, combined) if combined else stages.copies_of(zeroValue)()

    def _combined_in_steps(self, combine: Stage, depth: int) -> list[Any]:
        """One item per partition, combined in tasks until there are few enough for the driver."""
        rdd: Any = self
        partitions = self.getNumPartitions()
        scale = max(math.ceil(partitions ** (1.0 / depth)), 2)
        while partitions > scale + partitions / scale:
            partitions = int(partitions / scale)
            rdd = rdd.repartition(partitions)._narrow("combine", combine)
        return rdd.collect()

    def lookup(self: ActionFunctions[tuple[Any, U]], key: Any) -> list[U]:
        """The values of a key. Only one partition is computed where it is known which one has the key.

        >>> pairs = sc.parallelize([("a", 1), ("b", 2), ("a", 3)])
        >>> pairs.lookup("a"), pairs.lookup("z")
        ([1, 3], [])
        """

        def run(_: int, items: Iterator[Any]) -> Iterable[Any]:
            return (value for found, value in items if found == key)

        partitions = None if self.partitioner is None else [self.partitioner(key)]
        return list(chain.from_iterable(self._job(run, "lookup", partitions)))


def _check_depth(depth: int) -> None:
    if depth < 1:
        raise ValueError(f"Depth cannot be smaller than 1 but got {depth}.")
