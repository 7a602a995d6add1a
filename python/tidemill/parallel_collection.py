"""Collections of the driver's as partitions."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from .errors import PySparkRuntimeError
from .input_paths import in_slices
from .kept_items import unchanging
from .stages import Stage, flattening


def sliced(values: Iterable[Any], slices: int) -> tuple[list[list[Any]], Stage | None]:
    """A list for each partition, and the stage that makes the items of it, if it does not hold them.

    Ranges are cut, not listed. Where somebody could change items, each task gets copies of its own, as it would in another
    process; items that can't be pickled stay what they are.
    """
    if isinstance(values, range):
        return [[part] for part in _cut(values, slices)], flattening
    items = values if type(values) is list else list(values)
    parts = in_slices(items, slices)
    if unchanging(items):
        return parts, None
    try:
        return [[pickle.dumps(part, pickle.HIGHEST_PROTOCOL)] for part in parts], _unpickling
    except PySparkRuntimeError:
        # Among them is an RDD or a context.
        raise
    except Exception:
        return parts, None


def _cut(values: range, slices: int) -> list[range]:
    count = len(values)
    return [values[count * n // slices : count * (n + 1) // slices] for n in range(slices)]


def _unpickling(_: int, items: Iterator[bytes]) -> Iterator[Any]:
    return chain.from_iterable(map(pickle.loads, items))


_unpickling.unpacks = True  # type: ignore[attr-defined]
