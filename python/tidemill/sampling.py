"""Random parts of partitions. The same seed gives the same part, if the partitions are the same."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any

__all__ = ["RDDRangeSampler", "RDDSampler", "RDDStratifiedSampler"]

_SEED_BITS = 31


class _Sampler:
    """What samplers share: whether items may come more than once, and a random generator for each partition."""

    def __init__(self, withReplacement: bool, seed: int | None = None) -> None:
        self._with_replacement = withReplacement
        self._seed = random.getrandbits(_SEED_BITS) if seed is None else seed

    def _generator(self, split: int) -> random.Random:
        # A text as the seed is hashed well: neighbouring partitions have nothing in common.
        return random.Random(f"{self._seed}/{split}")


class RDDSampler(_Sampler):
    """Takes each item with a probability, or, with replacement, so many times on average.

    >>> len(list(RDDSampler(False, 0.5, seed=3).func(0, iter(range(1000))))) in range(400, 600)
    True
    """

    def __init__(self, withReplacement: bool, fraction: float, seed: int | None = None) -> None:
        """A sampler of this fraction of the items."""
        super().__init__(withReplacement, seed)
        self._fraction = fraction

    def func(self, split: int, iterator: Iterator[Any]) -> Iterable[Any]:
        """The items of a partition that are taken."""
        generator, fraction = self._generator(split), self._fraction
        if self._with_replacement:
            return (item for item in iterator for _ in repeat(None, poisson(generator, fraction)))
        uniform = generator.random
        return (item for item in iterator if uniform() < fraction)


class RDDRangeSampler(_Sampler):
    """Takes the items whose random number lies between two bounds: ranges beside each other share no item."""

    def __init__(self, lowerBound: float, upperBound: float, seed: int | None = None) -> None:
        """A sampler of this range, within 0 and 1."""
        super().__init__(False, seed)
        self._lower, self._upper = lowerBound, upperBound

    def func(self, split: int, iterator: Iterator[Any]) -> Iterable[Any]:
        """The items of a partition that are taken."""
        uniform, lower, upper = self._generator(split).random, self._lower, self._upper
        return (item for item in iterator if lower <= uniform() < upper)


class RDDStratifiedSampler(_Sampler):
    """Takes pairs as `RDDSampler` does, with a fraction for each key."""

    def __init__(self, withReplacement: bool, fractions: Mapping[Any, float], seed: int | None = None) -> None:
        """A sampler of these fractions; every key must have one."""
        super().__init__(withReplacement, seed)
        self._fractions = fractions

    def func(self, split: int, iterator: Iterator[Any]) -> Iterable[Any]:
        """The pairs of a partition that are taken."""
        generator, fractions = self._generator(split), self._fractions
        if self._with_replacement:
            return (pair for pair in iterator for _ in repeat(None, poisson(generator, fractions[pair[0]])))
        uniform = generator.random
        return (pair for pair in iterator if uniform() < fractions[pair[0]])


def poisson(generator: random.Random, mean: float) -> int:
    """A random number with the Poisson distribution: how many events of rate 1 fall into the time `mean`."""
    events, time = 0, generator.expovariate(1.0)
    while time < mean:
        events += 1
        time += generator.expovariate(1.0)
    return events
