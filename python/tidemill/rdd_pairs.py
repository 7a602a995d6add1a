"""Operations by key on RDDs of pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from . import stages
from ._native import combine_values
from .closure import capture
from .lineage import Step
from .partitioner import portable_hash
from .rdd_partitions import PartitionFunctions
from .sampling import RDDStratifiedSampler

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")
U = TypeVar("U")
K = TypeVar("K")
V = TypeVar("V")
Hash = Callable[[Any], int]

__all__ = ["PairFunctions"]


class PairFunctions(PartitionFunctions[T]):
    """The part of `RDD` that combines and groups by key.

    `numPartitions` is the number of partitions of the result, by default that of `spark.default.parallelism` or, where that is
    not set, of the RDD; `partitionFunc` says which key goes where.
    """

    def combineByKey(
        self: PairFunctions[tuple[K, V]],
        createCombiner: Callable[[V], U],
        mergeValue: Callable[[U, V], U],
        mergeCombiners: Callable[[U, U], U],
        numPartitions: int | None = None,
        partitionFunc: Hash = portable_hash,
    ) -> RDD[tuple[K, U]]:
        """For each key, what its values combine to.

        `createCombiner` makes a combination of the first value in a partition, `mergeValue` takes in the next, and
        `mergeCombiners` puts those of two partitions together. Both may change and give back their first argument.

        >>> pairs = sc.parallelize([("a", 1), ("b", 1), ("a", 2)])
        >>> lists = pairs.combineByKey(lambda v: [v], lambda so_far, v: so_far + [v], lambda a, b: a + b)
        >>> sorted(lists.collect())
        [('a', [1, 2]), ('b', [1])]
        """
        closure = capture(createCombiner, mergeValue, mergeCombiners)
        step = Step("combineByKey", stages.combining(createCombiner, mergeValue), closure)
        return self._combined(step, mergeCombiners, numPartitions, partitionFunc)

    def _combined(self, combine: Step, merge: Callable[..., Any], partitions: int | None, hash_of: Hash) -> RDD[Any]:
        """Combined in each partition, moved, and combined again; where nothing has to move, once is enough."""
        if partitions is None:
            partitions = self._defaultReducePartitions()
        local = self._narrow(*combine, preserves=True)
        moved = local.partitionBy(partitions, hash_of)
        return local if moved is local else moved._narrow(combine.name, stages.combining(None, merge), preserves=True)

    def reduceByKey(
        self: PairFunctions[tuple[K, V]],
        func: Callable[[V, V], V],
        numPartitions: int | None = None,
        partitionFunc: Hash = portable_hash,
    ) -> RDD[tuple[K, V]]:
        """For each key, its values combined by `func`, which must be associative. They are combined before they are moved.

        >>> sorted(sc.parallelize([("a", 1), ("b", 1), ("a", 2)]).reduceByKey(lambda a, b: a + b).collect())
        [('a', 3), ('b', 1)]
        """
        step = Step("reduceByKey", stages.combining(None, func), capture(func))
        return self._combined(step, func, numPartitions, partitionFunc)

    def aggregateByKey(
        self: PairFunctions[tuple[K, V]],
        zeroValue: U,
        seqFunc: Callable[[U, V], U],
        combFunc: Callable[[U, U], U],
        numPartitions: int | None = None,
        partitionFunc: Hash = portable_hash,
    ) -> RDD[tuple[K, U]]:
        """For each key, its values taken into `zeroValue` by `seqFunc`, and the results of all partitions combined by `combFunc`.

        Each key begins with a copy of `zeroValue`, so that both functions may change their first argument.

        >>> pairs = sc.parallelize([("a", 1), ("b", 5), ("a", 2)])
        >>> sorted(pairs.aggregateByKey(0, lambda so_far, v: max(so_far, v), max).collect())
        [('a', 2), ('b', 5)]
        """
        step = Step("aggregateByKey", _beginning_with(zeroValue, seqFunc), capture(seqFunc, combFunc))
        return self._combined(step, combFunc, numPartitions, partitionFunc)

    def foldByKey(
        self: PairFunctions[tuple[K, V]],
        zeroValue: V,
        func: Callable[[V, V], V],
        numPartitions: int | None = None,
        partitionFunc: Hash = portable_hash,
    ) -> RDD[tuple[K, V]]:
        """For each key, its values combined by `func`, beginning with `zeroValue` once in every partition that has the key.

        >>> sorted(sc.parallelize([("a", 1), ("b", 1), ("a", 2)]).foldByKey(0, lambda a, b: a + b).collect())
        [('a', 3), ('b', 1)]
        """
        step = Step("foldByKey", _beginning_with(zeroValue, func), capture(func))
        return self._combined(step, func, numPartitions, partitionFunc)

    def groupByKey(
        self: PairFunctions[tuple[K, V]],
        numPartitions: int | None = None,
        partitionFunc: Hash = portable_hash,
    ) -> RDD[tuple[K, Iterable[V]]]:
        """For each key, all its values, in the order of the partitions they come from. To combine them, `reduceByKey` moves less.

        >>> groups = sc.parallelize([("a", 1), ("b", 1), ("a", 2)]).groupByKey()
        >>> sorted(groups.mapValues(list).collect())
        [('a', [1, 2]), ('b', [1])]
        """
        if numPartitions is None:
            numPartitions = self._defaultReducePartitions()
        # Lists are moved and not pairs, so that a key is moved once for each partition that has it.
        lists = self._narrow("groupByKey", stages.listing, preserves=True)
        moved = lists.partitionBy(numPartitions, partitionFunc)
        stage = stages.iterable_values if moved is lists else stages.merging_lists
        return moved._narrow("groupByKey", stage, preserves=True)

    def groupBy(
        self, f: Callable[[T], K], numPartitions: int | None = None, partitionFunc: Hash = portable_hash
    ) -> RDD[tuple[K, Iterable[T]]]:
        """For each result of `f`, the items that gave it.

        >>> groups = sc.parallelize([1, 1, 2, 3, 5, 8]).groupBy(lambda x: x % 2)
        >>> sorted((parity, sorted(items)) for parity, items in groups.collect())
        [(0, [2, 8]), (1, [1, 1, 3, 5])]
        """
        keyed: RDD[Any] = self.keyBy(f)
        return keyed.groupByKey(numPartitions, partitionFunc)

    def reduceByKeyLocally(self: PairFunctions[tuple[K, V]], func: Callable[[V, V], V]) -> dict[K, V]:
        """For each key, its values combined by `func`: as a dict, on the driver. An error where there is no partition.

        >>> sorted(sc.parallelize([("a", 1), ("b", 1), ("a", 2)]).reduceByKeyLocally(lambda a, b: a + b).items())
        [('a', 3), ('b', 1)]
        """
        capture(func)
        return dict(combine_values(self._reducible(stages.combining(None, func), "reduceByKeyLocally"), None, func))

    def countByKey(self: PairFunctions[tuple[K, V]]) -> dict[K, int]:
        """For each key, how many pairs have it: as a dict, on the driver. An error where there is no partition.

        >>> sorted(sc.parallelize([("a", 1), ("b", 1), ("a", 2)]).countByKey().items())
        [('a', 2), ('b', 1)]
        """
        return self.keys().countByValue()

    def countByValue(self) -> dict[T, int]:
        """How often each distinct item is there: as a dict, on the driver. An error where there is no partition.

        >>> sorted(sc.parallelize([1, 2, 1, 2, 2]).countByValue().items())
        [(1, 2), (2, 3)]
        """
        total: dict[T, int] = defaultdict(int)
        for counts in self._reducible(stages.counting_values, "countByValue"):
            for value, times in counts.items():
                total[value] += times
        return total

    def collectAsMap(self: PairFunctions[tuple[K, V]]) -> dict[K, V]:
        """All pairs as a dict, on the driver; the last one of a key holds.

        >>> sc.parallelize([(1, 2), (3, 4)]).collectAsMap()[3]
        4
        """
        return dict(self.collect())

    def sampleByKey(
        self: PairFunctions[tuple[K, V]],
        withReplacement: bool,
        fractions: dict[K, float | int],
        seed: int | None = None,
    ) -> RDD[tuple[K, V]]:
        """A random part of the pairs, as large for each key as `fractions` says.

        >>> pairs = sc.parallelize([("a", n) for n in range(1000)] + [("b", n) for n in range(1000)])
        >>> counts = pairs.sampleByKey(False, {"a": 0.2, "b": 0.0}, 2).countByKey()
        >>> 100 < counts["a"] < 300, counts["b"]
        (True, 0)
        """
        for fraction in fractions.values():
            assert fraction >= 0.0, f"Negative fraction value: {fraction}"
        sampler = RDDStratifiedSampler(withReplacement, fractions, seed)
        return self._narrow("sampleByKey", sampler.func, preserves=True)


def _beginning_with(zero: Any, take_in: Callable[[Any, Any], Any]) -> stages.Stage:
    fresh = stages.copies_of(zero)
    return stages.combining(lambda value: take_in(fresh(), value), take_in)
