"""Which partition a key belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._native import portable_hash

__all__ = ["Partitioner", "portable_hash"]


class Partitioner:
    """A number of partitions, and the function whose result, modulo that number, is a key's partition.

    Two partitioners are equal if both parts are: RDDs with equal partitioners are joined without moving anything.

    >>> Partitioner(3, portable_hash) == Partitioner(3, portable_hash)
    True
    >>> Partitioner(3, portable_hash)(7)
    1
    """

    __slots__ = ("numPartitions", "partitionFunc")

    def __init__(self, numPartitions: int, partitionFunc: Callable[[Any], int]) -> None:
        """A partitioner."""
        self.numPartitions = numPartitions
        self.partitionFunc = partitionFunc

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Partitioner)
            and self.numPartitions == other.numPartitions
            and self.partitionFunc == other.partitionFunc
        )

    def __hash__(self) -> int:
        return hash((self.numPartitions, self.partitionFunc))

    def __call__(self, key: Any) -> int:
        """The partition of a key."""
        return self.partitionFunc(key) % self.numPartitions

    def of_pair(self) -> Callable[[Any], int] | None:
        """What the engine's shuffle takes: a function of the pair, or None for the hash that it knows itself."""
        function = self.partitionFunc
        if function is portable_hash:
            return None
        return lambda pair: function(pair[0])
