"""Stages that only streams have. The others are those of RDDs: see `tidemill.stages`."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any

from ..stages import Pairing, Stage, combining, length, listing, reducing

__all__ = ["counting_some", "counting_values", "listing", "summing"]

# The sum of the rows; nothing where there are none.
summing: Stage = reducing(operator.add)

# Rows with how often they are there: as pairs that are summed, for the engine counts words of text itself.
counting_values: tuple[Stage, Stage] = (Pairing(1), combining(None, operator.add))


def counting_some(_: int, rows: Iterator[Any]) -> Iterable[int]:
    """The number of rows, if there are any."""
    found = length(rows)
    return (found,) if found else ()

