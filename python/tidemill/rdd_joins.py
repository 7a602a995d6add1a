"""Joins, and operations on RDDs as sets.

Both RDDs are brought to the same partitioner, which moves nothing where they have it, and partitions of the same number are
worked on together. Keys come out in the order in which the left side has them, then those that only the right side has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from . import stages
from ._native import group_values
from .partitioner import Partitioner, portable_hash
from .rdd_pairs import PairFunctions
from .resultiterable import ResultIterable

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
U = TypeVar("U")

__all__ = ["JoinFunctions"]

_MISSING = (None,)


class JoinFunctions(PairFunctions[T]):
    """The part of `RDD` that matches two RDDs."""

    def join(
        self: JoinFunctions[tuple[K, V]], other: JoinFunctions[tuple[K, U]], numPartitions: int | None = None
    ) -> RDD[tuple[K, tuple[V, U]]]:
        """For each key in both RDDs, all pairs of its values.

        >>> left, right = sc.parallelize([("a", 1), ("b", 4)]), sc.parallelize([("a", 2), ("a", 3)])
        >>> left.join(right).collect()
        [('a', (1, 2)), ('a', (1, 3))]
        """
        return self._matched(other, _joined(False, False), "join", numPartitions)

    def leftOuterJoin(
        self: JoinFunctions[tuple[K, V]], other: JoinFunctions[tuple[K, U]], numPartitions: int | None = None
    ) -> RDD[tuple[K, tuple[V, U | None]]]:
        """`join`, where a key without a match on the right has None there.

        >>> left, right = sc.parallelize([("a", 1), ("b", 4)]), sc.parallelize([("a", 2)])
        >>> sorted(left.leftOuterJoin(right).collect())
        [('a', (1, 2)), ('b', (4, None))]
        """
        return self._matched(other, _joined(True, False), "leftOuterJoin", numPartitions)

    def rightOuterJoin(
        self: JoinFunctions[tuple[K, V]], other: JoinFunctions[tuple[K, U]], numPartitions: int | None = None
    ) -> RDD[tuple[K, tuple[V | None, U]]]:
        """`join`, where a key without a match on the left has None there.

        >>> left, right = sc.parallelize([("a", 1)]), sc.parallelize([("a", 2), ("c", 8)])
        >>> sorted(left.rightOuterJoin(right).collect())
        [('a', (1, 2)), ('c', (None, 8))]
        """
        return self._matched(other, _joined(False, True), "rightOuterJoin", numPartitions)

    def fullOuterJoin(
        self: JoinFunctions[tuple[K, V]], other: JoinFunctions[tuple[K, U]], numPartitions: int | None = None
    ) -> RDD[tuple[K, tuple[V | None, U | None]]]:
        """`join`, where a key without a match on either side has None there.

        >>> left, right = sc.parallelize([("a", 1), ("b", 4)]), sc.parallelize([("a", 2), ("c", 8)])
        >>> sorted(left.fullOuterJoin(right).collect())
        [('a', (1, 2)), ('b', (4, None)), ('c', (None, 8))]
        """
        return self._matched(other, _joined(True, True), "fullOuterJoin", numPartitions)

    def cogroup(
        self: JoinFunctions[tuple[K, V]], other: JoinFunctions[tuple[K, U]], numPartitions: int | None = None
    ) -> RDD[tuple[K, tuple[ResultIterable[V], ResultIterable[U]]]]:
        """For each key in either RDD, its values in this one and its values in the other.

        >>> left, right = sc.parallelize([("a", 1), ("b", 4)]), sc.parallelize([("a", 2)])
        >>> [(key, list(map(list, values))) for key, values in sorted(left.cogroup(right).collect())]
        [('a', [[1], [2]]), ('b', [[4], []])]
        """
        return self._matched(other, _cogrouped, "cogroup", numPartitions)

    def groupWith(
        self: JoinFunctions[tuple[K, Any]], other: JoinFunctions[tuple[K, Any]], *others: JoinFunctions[tuple[K, Any]]
    ) -> RDD[tuple[K, tuple[ResultIterable[Any], ...]]]:
        """`cogroup` of any number of RDDs.

        >>> a, b, c = (sc.parallelize([("k", n)]) for n in range(3))
        >>> [(key, list(map(list, values))) for key, values in a.groupWith(b, c).collect()]
        [('k', [[0], [1], [2]])]
        """
        rdds = (self, other, *others)
        if not others:
            return self._matched(other, _cogrouped, "groupWith", None)
        tagged = [rdd._narrow("groupWith", _tagging(tag)) for tag, rdd in enumerate(rdds)]
        partitions = self._defaultReducePartitions(*rdds)
        moved = self.ctx.union(tagged).partitionBy(partitions)
        return moved._narrow("groupWith", _untagging(len(rdds)), preserves=True)

    def _matched(
        self,
        other: JoinFunctions[Any],
        match: Callable[[Iterator[Any], Iterator[Any]], Iterable[Any]],
        name: str,
        partitions: int | None,
    ) -> RDD[Any]:
        """What `match` makes of the partitions of both that have the same keys."""
        if partitions is None:
            partitions = self._defaultReducePartitions(other)
        if not partitions:
            return self.ctx.emptyRDD()
        left, right = (rdd._with_keys_in(partitions) for rdd in (self, other))
        return left._with_partitions_of(right, match, name, Partitioner(partitions, portable_hash))

    def _with_keys_in(self: JoinFunctions[Any], partitions: int) -> RDD[Any]:
        """Pairs by the hash of their keys; also of an RDD without partitions."""
        if not self.getNumPartitions():
            empty: RDD[Any] = self.ctx.parallelize([], partitions)
            empty.partitioner = Partitioner(partitions, portable_hash)
            return empty
        return self.partitionBy(partitions)

    def subtractByKey(
        self: JoinFunctions[tuple[K, V]], other: JoinFunctions[tuple[K, Any]], numPartitions: int | None = None
    ) -> RDD[tuple[K, V]]:
        """The pairs whose key the other RDD does not have.

        >>> sc.parallelize([("a", 1), ("b", 4)]).subtractByKey(sc.parallelize([("a", 3)])).collect()
        [('b', 4)]
        """
        return self._matched(other, _without_keys, "subtractByKey", numPartitions)

    def subtract(self, other: JoinFunctions[T], numPartitions: int | None = None) -> RDD[T]:
        """The items that the other RDD does not have.

        >>> sorted(sc.parallelize([1, 1, 2, 3]).subtract(sc.parallelize([3])).collect())
        [1, 1, 2]
        """
        left, right = (rdd._narrow("subtract", stages.mapping(_as_key)) for rdd in (self, other))
        return left.subtractByKey(right, numPartitions).keys()

    def intersection(self, other: JoinFunctions[T]) -> RDD[T]:
        """The items that both RDDs have, each once.

        >>> sorted(sc.parallelize([1, 2, 2, 3]).intersection(sc.parallelize([2, 3, 4])).collect())
        [2, 3]
        """
        local = stages.chained([stages.distinct_items, stages.mapping(_as_key)])
        left, right = (rdd._narrow("intersection", local) for rdd in (self, other))
        return left._matched(right, _in_both, "intersection", None).keys()


def _as_key(item: Any) -> tuple[Any, None]:
    return (item, None)


def _joined(keep_left: bool, keep_right: bool) -> Callable[[Iterator[Any], Iterator[Any]], Iterator[Any]]:
    """Pairs of values by key; sides that are kept have None where the other side has no value."""

    def match(left: Iterator[Any], right: Iterator[Any]) -> Iterator[Any]:
        found = dict(group_values(right))
        none: Any = _MISSING if keep_left else ()
        for key, values in group_values(left):
            others = found.pop(key, none)
            for value in values:
                for other in others:
                    yield key, (value, other)
        if keep_right:
            for key, others in found.items():
                for other in others:
                    yield key, (None, other)

    return match


def _cogrouped(left: Iterator[Any], right: Iterator[Any]) -> Iterator[Any]:
    found = dict(group_values(right))
    for key, values in group_values(left):
        yield key, (ResultIterable(values), ResultIterable(found.pop(key, [])))
    for key, values in found.items():
        yield key, (ResultIterable([]), ResultIterable(values))


def _without_keys(left: Iterator[Any], right: Iterator[Any]) -> Iterator[Any]:
    taken = {pair[0] for pair in right}
    return (pair for pair in left if pair[0] not in taken)


def _in_both(left: Iterator[Any], right: Iterator[Any]) -> Iterator[Any]:
    others = {pair[0] for pair in right}
    return ((item, None) for item in dict.fromkeys(pair[0] for pair in left) if item in others)


def _tagging(tag: int) -> stages.Stage:
    return lambda _, items: ((key, (tag, value)) for key, value in items)


def _untagging(count: int) -> stages.Stage:
    def groups(_: int, items: Iterator[Any]) -> Iterator[Any]:
        for key, tagged in group_values(items):
            sides: list[list[Any]] = [[] for _ in range(count)]
            for tag, value in tagged:
                sides[tag].append(value)
            yield key, tuple(map(ResultIterable, sides))

    return groups
