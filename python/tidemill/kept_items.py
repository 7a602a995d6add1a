"""Items that are kept between jobs, so that no task sees what another one did to them.

Where somebody could change items they are kept as pickles, and every task that reads them gets its own, as it would in another
process. Items that nobody can change are kept as they are; lines of text, as the engine has them.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from ._native import Items
from .stages import UNCHANGING

_ITEMS_PER_PICKLE = 1000
# Tuples within tuples are looked into this deep.
_DEPTH = 3


class _Pickle(bytes):
    """The pickle of a list of items."""


def unchanging(items: list[Any], depth: int = _DEPTH) -> bool:
    """Whether nobody can change any of the items: they are of types of that kind, or tuples of such items.

    >>> unchanging([1, "a", (None, (2.0,))]), unchanging([1, [2]]), unchanging([(1, [2])])
    (True, False, False)
    """
    types = set(map(type, items))
    changing = types - UNCHANGING
    if changing != {tuple} or depth == 0:
        return not changing
    tuples = items if types == changing else [item for item in items if type(item) is tuple]
    return unchanging(list(chain.from_iterable(tuples)), depth - 1)


def keeping(_: int, items: Iterator[Any]) -> Iterable[Any]:
    """A stage: what is kept of a partition."""
    if type(items) is Items and items.is_text():
        return items
    whole = list(items)
    if unchanging(whole):
        return whole
    lists = (whole[start : start + _ITEMS_PER_PICKLE] for start in range(0, len(whole), _ITEMS_PER_PICKLE))
    try:
        return [_Pickle(pickle.dumps(part, pickle.HIGHEST_PROTOCOL)) for part in lists]
    except Exception:
        # What can't be pickled is kept as it is.
        return whole


def reading(_: int, items: Iterator[Any]) -> Iterable[Any]:
    """A stage: the items of a partition of which `keeping` made what is kept."""
    if type(items) is Items and items.is_text():
        return items
    for first in items:
        kept = chain((first,), items)
        return chain.from_iterable(map(pickle.loads, kept)) if type(first) is _Pickle else kept
    return ()


reading.unpacks = True  # type: ignore[attr-defined]
