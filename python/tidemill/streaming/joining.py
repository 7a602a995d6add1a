"""Joins of two partitions of pairs that were shuffled alike: every key is in both, or in one of them only.

The side that may not be missing is read row by row, the other one lies in a dict. So an inner join holds one side in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .._native import group_values
from .binding import ResultIterable

Pairs = Iterator[tuple[Any, Any]]


def inner(left: Pairs, right: Pairs) -> Iterable[tuple[Any, tuple[Any, Any]]]:
    """`(k, (v, w))` for all values of a key on both sides."""
    groups = dict(group_values(right))
    found = groups.get
    return ((key, (v, w)) for key, v in left for w in found(key, ()))


def left_outer(left: Pairs, right: Pairs) -> Iterable[tuple[Any, tuple[Any, Any]]]:
    """Every pair of the left side; `None` where the right one has nothing."""
    groups = dict(group_values(right))
    found = groups.get
    nothing = (None,)
    return ((key, (v, w)) for key, v in left for w in found(key, nothing))


def right_outer(left: Pairs, right: Pairs) -> Iterable[tuple[Any, tuple[Any, Any]]]:
    """Every pair of the right side; `None` where the left one has nothing."""
    groups = dict(group_values(left))
    found = groups.get
    nothing = (None,)
    return ((key, (v, w)) for key, w in right for v in found(key, nothing))


def full_outer(left: Pairs, right: Pairs) -> Iterable[tuple[Any, tuple[Any, Any]]]:
    """Every pair of both sides; `None` where the other one has nothing."""
    groups = dict(group_values(right))
    rest = dict.fromkeys(groups)
    nothing = (None,)
    for key, v in left:
        rest.pop(key, None)
        for w in groups.get(key, nothing):
            yield key, (v, w)
    for key in rest:
        for w in groups[key]:
            yield key, (None, w)


def grouped(left: Pairs, right: Pairs) -> Iterable[tuple[Any, tuple[ResultIterable, ResultIterable]]]:
    """Each key with its values on the left and those on the right."""
    second = dict(group_values(right))
    for key, values in group_values(left):
        yield key, (ResultIterable(values), ResultIterable(second.pop(key, ())))
    for key, values in second.items():
        yield key, (ResultIterable(()), ResultIterable(values))
