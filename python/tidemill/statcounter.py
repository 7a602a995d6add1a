"""Count, mean, variance and extremes of numbers, gathered in one pass and put together from parts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

__all__ = ["StatCounter"]


class StatCounter:
    """Statistics of numbers.

    The sum of squared distances from the mean is kept as Welford's method does, and two of them are put together as in Chan,
    Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).

    >>> stats = StatCounter([1, 2, 3, 4])
    >>> stats.count(), stats.mean(), stats.variance(), stats.max()
    (4, 2.5, 1.25, 4.0)
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        """Statistics of these values."""
        self.n: int = 0
        self.mu: float = 0.0
        self.m2: float = 0.0
        self.maxValue: float = float("-inf")
        self.minValue: float = float("inf")
        for value in values or ():
            self.merge(value)

    @classmethod
    def _of(cls, values: list[Any]) -> StatCounter:
        """Statistics of values that are all there: in two passes, which is faster and more exact."""
        if not values or not all(type(value) in (int, float) for value in values):
            return cls(values)
        stats = cls()
        stats.n = len(values)
        try:
            mean = stats.mu = math.fsum(values) / stats.n
            stats.m2 = math.fsum((value - mean) ** 2 for value in values)
        except (OverflowError, ValueError):
            # Sums or squares without an end, or of infinities: one after the other they come to inf or nan.
            return cls(values)
        # One after the other, as merge() does: what a comparison with NaN gives depends on the order.
        stats.maxValue = float(max(values))
        stats.minValue = float(min(values))
        return stats

    def merge(self, value: Any) -> StatCounter:
        """Takes in a number."""
        delta = value - self.mu
        self.n += 1
        self.mu += delta / self.n
        self.m2 += delta * (value - self.mu)
        self.maxValue = (
            max(self.maxValue, float(value)) if _is_plain(value) else _elementwise("maximum", self.maxValue, value)
        )
        self.minValue = (
            min(self.minValue, float(value)) if _is_plain(value) else _elementwise("minimum", self.minValue, value)
        )
        return self

    def mergeStats(self, other: StatCounter) -> StatCounter:
        """Takes in other statistics."""
        if not isinstance(other, StatCounter):
            raise TypeError(f"only a StatCounter can be taken in, not {type(other).__name__}")
        if other is self:
            return self.mergeStats(other.copy())
        if not other.n:
            return self
        if not self.n:
            # Not by the formula below: nothing times a distance beyond all numbers is none.
            vars(self).update(vars(other))
            return self
        total = self.n + other.n
        delta = other.mu - self.mu
        self.m2 = self.m2 + other.m2 + delta * delta * (self.n * other.n / total)
        self.mu = (self.mu * self.n + other.mu * other.n) / total
        self.n = total
        if _is_plain(other.maxValue):
            self.maxValue = max(self.maxValue, other.maxValue)
            self.minValue = min(self.minValue, other.minValue)
        else:
            self.maxValue = _elementwise("maximum", self.maxValue, other.maxValue)
            self.minValue = _elementwise("minimum", self.minValue, other.minValue)
        return self

    def copy(self) -> StatCounter:
        """Statistics of the same values."""
        same = StatCounter()
        vars(same).update(vars(self))
        return same

    def count(self) -> int:
        """How many numbers there are."""
        return int(self.n)

    def mean(self) -> float:
        """Their mean."""
        return self.mu

    def sum(self) -> float:
        """Their sum."""
        return self.n * self.mu

    def min(self) -> float:
        """The least; infinite without any."""
        return self.minValue

    def max(self) -> float:
        """The greatest; infinitely small without any."""
        return self.maxValue

    def variance(self) -> float:
        """The mean squared distance from the mean; NaN without any numbers."""
        return self.m2 / self.n if self.n else float("nan")

    def sampleVariance(self) -> float:
        """The variance of what the numbers are a sample of: divided by one less; NaN below two numbers."""
        return self.m2 / (self.n - 1) if self.n > 1 else float("nan")

    def stdev(self) -> float:
        """The square root of `variance`."""
        return self.variance() ** 0.5

    def sampleStdev(self) -> float:
        """The square root of `sampleVariance`."""
        return self.sampleVariance() ** 0.5

    def asDict(self, sample: bool = False) -> dict[str, Any]:
        """All of them by name. Deviation and variance are those of a sample, unless `sample` is true: as it is in PySpark."""
        return {
            "count": self.count(),
            "mean": self.mean(),
            "sum": self.sum(),
            "min": self.min(),
            "max": self.max(),
            "stdev": self.stdev() if sample else self.sampleStdev(),
            "variance": self.variance() if sample else self.sampleVariance(),
        }

    def __repr__(self) -> str:
        return (
            f"(count: {self.count()}, mean: {self.mean()}, stdev: {self.stdev()}, max: {self.max()}, min: {self.min()})"
        )


def _is_plain(value: Any) -> bool:
    """Whether a value is one number; arrays are compared element by element."""
    return not hasattr(value, "__len__")


def _elementwise(function: str, left: Any, right: Any) -> Any:
    import numpy

    return getattr(numpy, function)(left, right)
