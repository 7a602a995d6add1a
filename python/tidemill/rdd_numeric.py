"""Operations on RDDs of numbers."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, TypeVar

from .partitioner import portable_hash
from .rdd_order import OrderFunctions
from .statcounter import StatCounter

T = TypeVar("T")

__all__ = ["BoundedFloat", "NumericFunctions"]


class BoundedFloat(float):
    """An estimate, with the probability that the true value lies between two bounds.

    >>> estimate = BoundedFloat(10.0, 0.95, 9.0, 11.0)
    >>> estimate + 1, estimate.low, estimate.high
    (11.0, 9.0, 11.0)
    """

    confidence: float
    low: float
    high: float

    def __new__(cls, mean: float, confidence: float, low: float, high: float) -> BoundedFloat:
        """An estimate."""
        value = float.__new__(cls, mean)
        value.confidence, value.low, value.high = confidence, low, high
        return value


class NumericFunctions(OrderFunctions[T]):
    """The part of `RDD` for numbers."""

    def sum(self) -> Any:
        """The sum of the items; 0 without any.

        >>> sc.parallelize([1.0, 2.0, 3.0]).sum()
        6.0
        """
        return sum(self._partials(lambda _, items: [sum(items)], "sum"))

    def stats(self) -> StatCounter:
        """Count, mean, variance and extremes of the items. An error where there is no partition, as with all that follow from it.

        >>> sc.parallelize([1, 2, 3]).stats().mean()
        2.0
        """
        parts = self._reducible(lambda _, items: [StatCounter._of(list(items))], "stats")
        return reduce(StatCounter.mergeStats, parts, StatCounter())

    def mean(self) -> float:
        """The mean of the items.

        >>> sc.parallelize([1, 2, 3]).mean()
        2.0
        """
        return self.stats().mean()

    def variance(self) -> float:
        """The mean squared distance from the mean.

        >>> sc.parallelize([1, 2, 3]).variance()
        0.666...
        """
        return self.stats().variance()

    def stdev(self) -> float:
        """The square root of `variance`.

        >>> sc.parallelize([1, 2, 3]).stdev()
        0.816...
        """
        return self.stats().stdev()

    def sampleVariance(self) -> float:
        """The variance of what the items are a sample of.

        >>> sc.parallelize([1, 2, 3]).sampleVariance()
        1.0
        """
        return self.stats().sampleVariance()

    def sampleStdev(self) -> float:
        """The square root of `sampleVariance`.

        >>> sc.parallelize([1, 2, 3]).sampleStdev()
        1.0
        """
        return self.stats().sampleStdev()

    def histogram(self, buckets: int | Sequence[Any]) -> tuple[Sequence[Any], list[int]]:
        """The bounds of buckets, and how many items lie in each.

        A number of buckets cuts evenly between the least and the greatest item; a sorted list gives the bounds. The last bucket
        includes its upper bound. None and NaN are not counted. An error where there is no partition.

        >>> numbers = sc.parallelize(range(51))
        >>> numbers.histogram(2)
        ([0, 25, 50], [25, 26])
        >>> numbers.histogram([0, 15, 30, 45, 60])
        ([0, 15, 30, 45, 60], [15, 15, 15, 6])
        >>> sc.parallelize(["ab", "ac", "b", "bd", "ef"]).histogram(("a", "b", "c"))
        (('a', 'b', 'c'), [2, 2])
        """
        bounds: Sequence[Any]
        if isinstance(buckets, int):
            bounds = self._even_bounds(buckets)
        elif isinstance(buckets, list | tuple):
            bounds = buckets
            _check_bounds(bounds)
        else:
            raise TypeError("buckets should be a list or tuple or number(int or long)")
        last, low, high = len(bounds) - 2, bounds[0], bounds[-1]

        def counts(_: int, items: Iterator[Any]) -> list[list[int]]:
            found = [0] * (last + 1)
            for item in items:
                if _is_comparable(item) and low <= item <= high:
                    found[min(bisect_right(bounds, item) - 1, last)] += 1
            return [found]

        return bounds, [sum(column) for column in zip(*self._reducible(counts, "histogram"))]

    def _even_bounds(self, buckets: int) -> list[Any]:
        if buckets < 1:
            raise ValueError("number of buckets must be >= 1")

        def extremes(_: int, items: Iterator[Any]) -> list[tuple[Any, Any]]:
            found = [item for item in items if _is_comparable(item)]
            return [(min(found), max(found))] if found else []

        parts = self._partials(extremes, "histogram")
        if not parts:
            raise ValueError("can not generate buckets from empty RDD")
        low, high = min(part[0] for part in parts), max(part[1] for part in parts)
        if low == high or buckets == 1:
            return [low, high]
        try:
            step = (high - low) / buckets
        except TypeError:
            raise TypeError("Can not generate buckets with non-number in RDD") from None
        if math.isinf(step):
            raise ValueError("Can not generate buckets with infinite value")
        if int(step) * buckets == high - low:
            step = int(step)
        return [low + n * step for n in range(buckets)] + [high]

    def countApprox(self, timeout: int, confidence: float = 0.95) -> int:
        """The number of items. It is exact, and waits for the end whatever `timeout` says.

        >>> sc.parallelize(range(1000), 10).countApprox(1000, 1.0)
        1000
        """
        return int(self.count())

    def sumApprox(self, timeout: int, confidence: float = 0.95) -> BoundedFloat:
        """The sum of the items. It is exact, and waits for the end whatever `timeout` says.

        >>> sc.parallelize(range(1000), 10).sumApprox(1000)
        499500.0
        """
        return _exactly(float(self.sum()))

    def meanApprox(self, timeout: int, confidence: float = 0.95) -> BoundedFloat:
        """The mean of the items. It is exact, and waits for the end whatever `timeout` says.

        >>> sc.parallelize(range(1000), 10).meanApprox(1000)
        499.5
        """
        return _exactly(self.mean())

    def countApproxDistinct(self, relativeSD: float = 0.05) -> int:
        """About how many distinct items there are, with this relative standard deviation.

        HyperLogLog: Flajolet, Fusy, Gandouet and Meunier (2007).

        >>> 900 < sc.parallelize(range(1000)).map(str).countApproxDistinct() < 1100
        True
        """
        if relativeSD < 0.000017:
            raise ValueError("relativeSD should be greater than 0.000017")
        # A bit more than the deviation asks for.
        bits = max(4, math.ceil(2 * math.log2(1.04 / relativeSD)) + 1)
        sketches = self._partials(
            lambda _, items: [_sketch(bits, set(map(portable_hash, items)))], "countApproxDistinct"
        )
        if not sketches:
            return 0
        return _estimate(bytes(map(max, zip(*sketches))) if len(sketches) > 1 else bytes(sketches[0]))


def _exactly(value: float) -> BoundedFloat:
    return BoundedFloat(value, 1.0, value, value)


def _is_comparable(item: Any) -> bool:
    return item is not None and not (type(item) is float and math.isnan(item))


def _check_bounds(bounds: Sequence[Any]) -> None:
    if len(bounds) < 2:
        raise ValueError("buckets should have more than one value")
    if not all(map(_is_comparable, bounds)):
        raise ValueError("can not have None or NaN in buckets")
    if sorted(bounds) != list(bounds):
        raise ValueError("buckets should be sorted")
    if len(set(bounds)) != len(bounds):
        raise ValueError("buckets should not contain duplicated values")


def _sketch(bits: int, hashes: set[int]) -> bytearray:
    """For each of 2^bits registers, the position of the first 1 in the rest of the hashes that fall to it."""
    registers = bytearray(1 << bits)
    for value in hashes:
        # Hashes of numbers are those numbers; they are mixed first.
        mixed = int.from_bytes(hashlib.blake2b(str(value).encode(), digest_size=8).digest(), "big")
        register, rest = mixed & ((1 << bits) - 1), mixed >> bits
        position = 64 - bits - rest.bit_length() + 1
        if position > registers[register]:
            registers[register] = position
    return registers


def _estimate(registers: bytes) -> int:
    count = len(registers)
    alpha = {16: 0.673, 32: 0.697, 64: 0.709}.get(count, 0.7213 / (1 + 1.079 / count))
    raw = alpha * count * count / sum(2.0**-register for register in registers)
    unused = registers.count(0)
    # Few items leave registers unused, and their number says more than the raw estimate.
    return round(count * math.log(count / unused)) if raw <= 2.5 * count and unused else round(raw)
