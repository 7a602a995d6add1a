"""Operations that sort, that sample, and that find the least and the greatest."""

from __future__ import annotations

import heapq
import math
import random
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from . import stages
from .closure import capture
from .partitioner import portable_hash
from .rdd_joins import JoinFunctions
from .sampling import RDDRangeSampler, RDDSampler

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
Key = Callable[[Any], Any]

__all__ = ["OrderFunctions"]

# So many keys of each partition are looked at, for each partition of the result, to find where to cut.
_KEYS_PER_PARTITION = 20
# As PySpark has it: ten standard deviations below the largest index.
_LARGEST_SAMPLE = sys.maxsize - int(10.0 * math.sqrt(sys.maxsize))


def _itself(item: Any) -> Any:
    return item


class OrderFunctions(JoinFunctions[T]):
    """The part of `RDD` that has to do with order and chance."""

    def sortByKey(
        self: OrderFunctions[tuple[K, V]],
        ascending: bool | None = True,
        numPartitions: int | None = None,
        keyfunc: Key = _itself,
    ) -> RDD[tuple[K, V]]:
        """Pairs sorted by `keyfunc` of their keys, through all partitions. A job that looks at some keys runs at once.

        >>> pairs = sc.parallelize([("a", 1), ("b", 2), ("1", 3), ("d", 4), ("2", 5)])
        >>> pairs.sortByKey(True, 3).collect()
        [('1', 3), ('2', 5), ('a', 1), ('b', 2), ('d', 4)]
        """
        if numPartitions is None:
            numPartitions = self._defaultReducePartitions()
        order = _PairOrder(keyfunc, not ascending)
        closure = capture(keyfunc)
        if numPartitions == 1:
            gathered = self.coalesce(1) if self.getNumPartitions() > 1 else self
            return gathered._narrow("sortByKey", order.sort, closure, preserves=True)
        bounds = self._bounds(keyfunc, numPartitions)
        place = order.places(bounds, numPartitions)
        return self.partitionBy(numPartitions, place)._narrow("sortByKey", order.sort, closure, preserves=True)

    def _bounds(self, keyfunc: Key, partitions: int) -> list[Any]:
        """Keys that cut the pairs into parts of about the same size, by a sample of each partition."""

        def sample(split: int, items: Iterator[Any]) -> list[Any]:
            keys = [keyfunc(pair[0]) for pair in items]
            return [(len(keys), random.Random(split).sample(keys, min(len(keys), _KEYS_PER_PARTITION * partitions)))]

        weighted = [
            (key, total / len(keys)) for total, keys in self._partials(sample, "sortByKey") if keys for key in keys
        ]
        weighted.sort(key=itemgetter(0))
        sums = list(accumulate(weight for _, weight in weighted))
        if not sums:
            return []
        return [weighted[bisect_left(sums, sums[-1] * n / partitions)][0] for n in range(1, partitions)]

    def sortBy(self, keyfunc: Callable[[T], Any], ascending: bool = True, numPartitions: int | None = None) -> RDD[T]:
        """Items sorted by `keyfunc` of each, through all partitions.

        >>> sc.parallelize([3, -1, 2]).sortBy(abs, ascending=False).collect()
        [3, 2, -1]
        """
        keyed: RDD[Any] = self.keyBy(keyfunc)
        return keyed.sortByKey(ascending, numPartitions).values()

    def repartitionAndSortWithinPartitions(
        self: OrderFunctions[tuple[Any, V]],
        numPartitions: int | None = None,
        partitionFunc: Callable[[Any], int] = portable_hash,
        ascending: bool = True,
        keyfunc: Key = _itself,
    ) -> RDD[tuple[Any, V]]:
        """Pairs in the partitions that `partitionFunc` says, sorted there by `keyfunc` of their keys.

        >>> pairs = sc.parallelize([(0, 5), (3, 8), (2, 6), (0, 8), (3, 8), (1, 3)])
        >>> pairs.repartitionAndSortWithinPartitions(2, lambda x: x % 2, True).glom().collect()
        [[(0, 5), (0, 8), (2, 6)], [(1, 3), (3, 8), (3, 8)]]
        """
        if numPartitions is None:
            numPartitions = self._defaultReducePartitions()
        sort = _PairOrder(keyfunc, not ascending).sort
        moved = self.partitionBy(numPartitions, partitionFunc)
        return moved._narrow("repartitionAndSortWithinPartitions", sort, capture(keyfunc), preserves=True)

    def top(self, num: int, key: Callable[[T], Any] | None = None) -> list[T]:
        """The `num` greatest items, the greatest first. An error where there is no partition.

        >>> sc.parallelize([10, 4, 2, 12, 3]).top(2), sc.parallelize([10, 4, 2, 12, 3]).top(2, key=str)
        ([12, 10], [4, 3])
        """
        capture(key)
        parts = self._reducible(lambda _, items: heapq.nlargest(num, items, key=key), "top")
        return heapq.nlargest(num, parts, key=key)

    def takeOrdered(self, num: int, key: Callable[[T], Any] | None = None) -> list[T]:
        """The `num` least items, the least first.

        >>> sc.parallelize([10, 1, 2, 9]).takeOrdered(2), sc.parallelize([10, 1, 2, 9]).takeOrdered(2, key=lambda x: -x)
        ([1, 2], [10, 9])
        """
        if num < 0:
            raise ValueError("top N cannot be negative.")
        capture(key)
        parts = self._partials(lambda _, items: heapq.nsmallest(num, items, key=key), "takeOrdered")
        return heapq.nsmallest(num, parts, key=key)

    def max(self, key: Callable[[T], Any] | None = None) -> T:
        """The greatest item.

        >>> sc.parallelize([1.0, 5.0, 43.0, 10.0]).max(), sc.parallelize([1.0, 5.0, 43.0, 10.0]).max(key=str)
        (43.0, 5.0)
        """
        return self._extreme(max, key, "max")

    def min(self, key: Callable[[T], Any] | None = None) -> T:
        """The least item.

        >>> sc.parallelize([2.0, 5.0, 43.0, 10.0]).min(), sc.parallelize([2.0, 5.0, 43.0, 10.0]).min(key=str)
        (2.0, 10.0)
        """
        return self._extreme(min, key, "min")

    def _extreme(self, pick: Callable[..., Any], key: Key | None, name: str) -> Any:
        def run(_: int, items: Iterator[Any]) -> list[Any]:
            for first in items:
                return [pick(chain([first], items), key=key)]
            return []

        capture(key)
        partials = self._partials(run, name)
        if not partials:
            raise ValueError("Can not reduce() empty RDD")
        return pick(partials, key=key)

    def sample(self, withReplacement: bool, fraction: float, seed: int | None = None) -> RDD[T]:
        """A random part of the items: each with the probability `fraction`, or, with replacement, so many times on average.

        >>> 6 <= sc.parallelize(range(100), 4).sample(False, 0.1, 81).count() <= 14
        True
        """
        if not fraction >= 0:
            raise ValueError("Fraction must be nonnegative.")
        return self._narrow("sample", RDDSampler(withReplacement, fraction, seed).func, preserves=True)

    def randomSplit(self, weights: Sequence[int | float], seed: int | None = None) -> list[RDD[T]]:
        """The items dealt out by chance to as many RDDs as there are weights, in their proportions.

        >>> parts = sc.parallelize(range(500), 1).randomSplit([2, 3], 17)
        >>> sum(part.count() for part in parts), 150 < parts[0].count() < 250
        (500, True)
        """
        if not all(weight >= 0 for weight in weights):
            raise ValueError("Weights must be nonnegative")
        total = float(sum(weights))
        if total <= 0:
            raise ValueError("Sum of weights must be positive")
        bounds = [0.0, *(weight / total for weight in accumulate(weights))]
        bounds[-1] = 1.0
        if seed is None:
            seed = random.getrandbits(31)
        samplers = [RDDRangeSampler(lower, upper, seed) for lower, upper in zip(bounds, bounds[1:])]
        return [self._narrow("randomSplit", sampler.func, preserves=True) for sampler in samplers]

    def takeSample(self, withReplacement: bool, num: int, seed: int | None = None) -> list[T]:
        """Exactly `num` items by chance, in random order; all items, if there are fewer and each may come once only.

        >>> rdd = sc.parallelize(range(10))
        >>> len(rdd.takeSample(True, 20, 1)), len(set(rdd.takeSample(False, 5, 2))), len(rdd.takeSample(False, 15, 3))
        (20, 5, 10)
        """
        if num < 0:
            raise ValueError("Sample size cannot be negative.")
        if num > _LARGEST_SAMPLE:
            raise ValueError(f"Sample size cannot be greater than {_LARGEST_SAMPLE}.")
        counts = self._partials(stages.counting, "takeSample") if num else []
        total = sum(counts)
        if not total:
            return []
        generator = random.Random(seed)
        if withReplacement:
            wanted = generator.choices(range(total), k=num)
        else:
            wanted = generator.sample(range(total), min(num, total))
        starts = [0, *accumulate(counts)]

        def chosen(split: int, items: Iterator[T]) -> Iterable[tuple[int, T]]:
            return ((number, item) for number, item in enumerate(items, starts[split]) if number in numbers)

        numbers = set(wanted)
        found = dict(self._partials(chosen, "takeSample"))
        return [found[number] for number in wanted]


class _PairOrder:
    """How pairs are sorted: by a function of their keys, up or down."""

    def __init__(self, keyfunc: Key, down: bool) -> None:
        self._key = itemgetter(0) if keyfunc is _itself else lambda pair: keyfunc(pair[0])
        self._keyfunc = keyfunc
        self._down = down

    def sort(self, _: int, items: Iterator[Any]) -> list[Any]:
        return sorted(items, key=self._key, reverse=self._down)

    def places(self, bounds: list[Any], partitions: int) -> Callable[[Any], int]:
        """The partition of a key: as many as there are bounds before it, or counted from the other end."""
        keyfunc, last = self._keyfunc, partitions - 1
        if self._down:
            return lambda key: last - bisect_left(bounds, keyfunc(key))
        if keyfunc is _itself:
            return lambda key: bisect_left(bounds, key)
        return lambda key: bisect_left(bounds, keyfunc(key))
