"""Items as lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["lines"]


def lines(_: int, items: Iterator[Any]) -> Iterable[str]:
    """Each item as a line: a stage. What is no UTF-8 in bytes becomes U+FFFD."""
    return (item if type(item) is str else _line(item) for item in items)


def _line(item: Any) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
