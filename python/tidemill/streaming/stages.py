"""Stages that only streams have. The others are those of RDDs: see `tidemill.stages`."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from ..stages import Stage, length, listing, reducing

__all__ = ["counted_values", "counting_some", "lines", "listing", "summing"]

# The sum of the rows; nothing where there are none.
summing: Stage = reducing(operator.add)


def counting_some(_: int, rows: Iterator[Any]) -> Iterable[int]:
    """The number of rows, if there are any."""
    found = length(rows)
    return (found,) if found else ()


def counted_values(_: int, rows: Iterator[Any]) -> Iterable[tuple[Any, int]]:
    """Each distinct row with how often it is there."""
    return Counter(rows).items()


def lines(_: int, rows: Iterator[Any]) -> Iterable[str]:
    """Each row as a line of text."""
    return (row if type(row) is str else _line(row) for row in rows)


def _line(row: Any) -> str:
    return row.decode("utf-8", "replace") if isinstance(row, bytes) else str(row)
