"""Operations that move items between partitions, or that put partitions of several RDDs together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count
from typing import TYPE_CHECKING, Any, TypeVar

from . import stages
from .callsite import call_site
from .closure import capture
from .errors import PySparkTypeError, PySparkValueError
from .lineage import Lineage
from .partitioner import Partitioner, portable_hash
from .rdd_actions import ActionFunctions

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")
U = TypeVar("U")
K = TypeVar("K")
V = TypeVar("V")

__all__ = ["PartitionFunctions"]


class PartitionFunctions(ActionFunctions[T]):
    """The part of `RDD` that decides about partitions."""

    def _defaultReducePartitions(self, *others: Lineage[Any]) -> int:
        """How many partitions a shuffle has if nobody says: `spark.default.parallelism`, or as many as its largest parent."""
        if self.ctx._conf.contains("spark.default.parallelism"):
            return self.ctx.defaultParallelism
        return max(rdd.getNumPartitions() for rdd in (self, *others))

    def partitionBy(
        self: PartitionFunctions[tuple[K, V]],
        numPartitions: int | None,
        partitionFunc: Callable[[K], int] = portable_hash,
    ) -> RDD[tuple[K, V]]:
        """Pairs in the partitions that `partitionFunc` of their keys, modulo `numPartitions`, says.

        Within a partition they are in the order of the partitions that they come from.

        >>> pairs = sc.parallelize([1, 2, 3, 4, 2, 4, 1]).map(lambda x: (x, x))
        >>> sets = pairs.partitionBy(2).glom().map(set).collect()
        >>> sets[0] & sets[1]
        set()
        """
        partitions = self._defaultReducePartitions() if numPartitions is None else numPartitions
        partitioner = Partitioner(partitions, partitionFunc)
        if self.partitioner == partitioner:
            return self  # type: ignore[return-value]
        return self._shuffled("partitionBy", partitions, partitioner.of_pair(), partitioner)

    def _shuffled(
        self, name: str, partitions: int, place: Callable[[Any], int] | None, partitioner: Partitioner | None
    ) -> RDD[Any]:
        """Items in the partitions that `place` of each, modulo `partitions`, says; None is the hash of a pair's key."""
        if partitions < 1:
            if self.getNumPartitions():
                raise PySparkValueError(f"the number of partitions must be positive, not {partitions}")
            return self.ctx.emptyRDD()
        closure = None
        if partitioner is not None and partitioner.partitionFunc is not portable_hash:
            closure = capture(partitioner.partitionFunc)
        # Not the site of `moved`: a function that holds the RDD that holds it would keep its data until the next collection of cycles.
        site = call_site()
        moved = self._built(
            lambda native: native.shuffle(partitions, place, name, site), (), "ShuffledRDD", partitioner
        )
        moved._closure = closure
        return moved

    def repartition(self, numPartitions: int) -> RDD[T]:
        """Items dealt out evenly to `numPartitions` partitions.

        >>> sc.parallelize(range(8), 2).repartition(4).getNumPartitions()
        4
        """
        return self.coalesce(numPartitions, shuffle=True)

    def coalesce(self, numPartitions: int, shuffle: bool = False) -> RDD[T]:
        """The same items in fewer partitions, each put together from several; with `shuffle` dealt out evenly, also to more.

        >>> sc.parallelize([1, 2, 3, 4, 5], 3).coalesce(1).glom().collect()
        [[1, 2, 3, 4, 5]]
        """
        if numPartitions < 1:
            raise PySparkValueError(f"Number of partitions ({numPartitions}) must be positive.")
        if shuffle:
            return self._built(lambda native: native.repartition(numPartitions), (), "ShuffledRDD")
        return self._built(lambda native: native.coalesce(numPartitions), (), "CoalescedRDD")

    def union(self, other: PartitionFunctions[U]) -> RDD[T | U]:
        """The items of both: the partitions of this RDD, and then those of the other.

        Two RDDs with the same partitioner are put together partition by partition, and keep it.

        >>> sc.parallelize([1, 1]).union(sc.parallelize([2])).collect()
        [1, 1, 2]
        """
        return self.ctx.union([self, other])  # type: ignore[list-item]

    def __add__(self, other: PartitionFunctions[U]) -> RDD[T | U]:
        if not isinstance(other, PartitionFunctions):
            raise PySparkTypeError(f"an RDD can be added to an RDD only, not to {type(other).__name__}")
        return self.union(other)

    def cartesian(self, other: PartitionFunctions[U]) -> RDD[tuple[T, U]]:
        """All pairs of an item of this RDD and one of the other.

        >>> sc.parallelize([1, 2]).cartesian(sc.parallelize("ab")).collect()
        [(1, 'a'), (1, 'b'), (2, 'a'), (2, 'b')]
        """
        return self._built(lambda left, right: left.cartesian(right), (other,), "CartesianRDD")

    def zip(self, other: PartitionFunctions[U]) -> RDD[tuple[T, U]]:
        """Pairs of the n-th items of both, which must have as many partitions, and as many items in each.

        >>> sc.parallelize(range(3)).zip(sc.parallelize("abc")).collect()
        [(0, 'a'), (1, 'b'), (2, 'c')]
        """
        if self.getNumPartitions() != other.getNumPartitions():
            raise ValueError("Can only zip with RDD which has the same number of partitions")
        return self._with_partitions_of(other, _zipped, "zip")

    def _with_partitions_of(
        self,
        other: Lineage[Any],
        combine: Callable[[Iterator[Any], Iterator[Any]], Iterable[Any]],
        name: str,
        partitioner: Partitioner | None = None,
    ) -> RDD[Any]:
        """What `combine` makes of the iterators of partitions of the same number."""
        if not self.getNumPartitions():
            return self.ctx.emptyRDD()
        site = call_site()
        return self._built(
            lambda left, right: left.zip_partitions(right, combine, name, site),
            (other,),
            "ZippedPartitionsRDD2",
            partitioner,
        )

    def zipWithIndex(self) -> RDD[tuple[T, int]]:
        """Pairs of an item and its number, counted through all partitions. Where there are several, a job counts them first.

        >>> sc.parallelize("abcd", 3).zipWithIndex().collect()
        [('a', 0), ('b', 1), ('c', 2), ('d', 3)]
        """
        starts = [0]
        partitions = self.getNumPartitions()
        if partitions > 1:
            counts = self._job(stages.counting, "zipWithIndex", range(partitions - 1))
            for (items,) in counts:
                starts.append(starts[-1] + items)
        return self._narrow("zipWithIndex", lambda split, items: zip(items, count(starts[split])))

    def zipWithUniqueId(self) -> RDD[tuple[T, int]]:
        """Pairs of an item and a number that no other item has: k, k + n, k + 2n... in partition k of n. Needs no job.

        >>> sc.parallelize("abcde", 3).zipWithUniqueId().collect()
        [('a', 0), ('b', 1), ('c', 4), ('d', 2), ('e', 5)]
        """
        partitions = self.getNumPartitions()
        return self._narrow("zipWithUniqueId", lambda split, items: zip(items, count(split, partitions)))

    def distinct(self, numPartitions: int | None = None) -> RDD[T]:
        """Each item once.

        >>> sorted(sc.parallelize([1, 1, 2, 3]).distinct().collect())
        [1, 2, 3]
        """
        partitions = self._defaultReducePartitions() if numPartitions is None else numPartitions
        local = self._narrow("distinct", stages.distinct_items)
        return local._shuffled("distinct", partitions, portable_hash, None)._narrow("distinct", stages.distinct_items)


def _zipped(left: Iterator[Any], right: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from zip(left, right, strict=True)
    except ValueError:
        raise PySparkValueError("Can only zip RDDs with same number of elements in each partition") from None


def concatenated(left: Iterator[Any], right: Iterator[Any]) -> Iterable[Any]:
    """The items of one partition, and then those of the other."""
    return chain(left, right)


def union_of(rdds: Sequence[PartitionFunctions[Any]]) -> RDD[Any]:
    """The items of all RDDs: partition by partition if they have the same partitioner, else one after the other."""
    first, *others = rdds
    partitioner = first.partitioner
    if others and partitioner is not None and all(other.partitioner == partitioner for other in others):
        merged: Any = first
        for other in others:
            merged = merged._with_partitions_of(other, concatenated, "union", partitioner)
        return merged
    context = first.ctx
    return first._built(lambda *natives: context._native.union(list(natives)), others, "UnionRDD")
