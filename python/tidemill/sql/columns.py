"""Rows of Python objects as Arrow columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .row import Row

if TYPE_CHECKING:
    import pyarrow


def table_of(rows: Sequence[Any], names: Sequence[str] | None) -> pyarrow.Table:
    """Columns of rows, which are tuples, lists, dicts or `Row`s. The names are those given, those in the rows, or `_1`, `_2` ..."""
    import pyarrow  # comes with `tidemill[sql]`

    if not rows:
        raise ValueError("can not infer schema from empty dataset")
    tuples = [_tuple(row) for row in rows]
    found = list(names) if names is not None else _names(rows[0])
    width = len(tuples[0])
    # Fewer names than columns: the rest are numbered, as in Spark.
    found += [f"_{n + 1}" for n in range(len(found), width)]
    if len(found) > width or any(len(row) != width for row in tuples):
        raise ValueError(f"a row does not have the {len(found)} columns {', '.join(found)}")
    columns = []
    for name, values in zip(found, zip(*tuples, strict=True), strict=True):
        try:
            columns.append(pyarrow.array(values))
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
            raise TypeError(f"the values of column {name} are not of one type: {error}") from error
    return pyarrow.Table.from_arrays(columns, names=found)


def _tuple(row: Any) -> tuple[Any, ...]:
    if isinstance(row, tuple | list):
        return tuple(row)
    if isinstance(row, dict):
        return tuple(row.values())
    raise TypeError(f"Can not infer schema for type: {type(row)}; rows are tuples, lists, dicts or Row")


def _names(row: Any) -> list[str]:
    if isinstance(row, dict):
        return list(row)
    if isinstance(row, Row):
        return list(row._names() or ())
    return []
