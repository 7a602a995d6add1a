"""The values of a key after a grouping."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

__all__ = ["ResultIterable"]


class ResultIterable(Generic[T], Iterable[T]):
    """Values that can be read as often as you like, and whose number is known.

    >>> values = ResultIterable([1, 2, 3])
    >>> len(values), sum(values), list(values)
    (3, 6, [1, 2, 3])
    """

    __slots__ = ("data", "index", "maxindex")

    def __init__(self, data: Collection[T]) -> None:
        """Holds `data` as it is."""
        self.data = data
        self.index = 0
        self.maxindex = len(data)

    def __iter__(self) -> Iterator[T]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)
