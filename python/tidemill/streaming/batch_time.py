"""Times and durations: what programs say in seconds and datetimes, and what the engine counts in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, order=True)
class Time:
    """A moment, as listeners hear of it."""

    _ms: int

    def milliseconds(self) -> int:
        """Since the beginning of 1970, UTC."""
        return self._ms

    def __str__(self) -> str:
        return f"{self._ms} ms"

    __repr__ = __str__


def duration_ms(seconds: float) -> int:
    """Seconds as whole milliseconds; what is left of one is cut off. An error if they are negative."""
    if seconds < 0:
        raise ValueError(f"a duration can't be negative: {seconds} seconds")
    return _whole_ms(seconds)


def time_ms(moment: datetime | float) -> int:
    """A datetime (a naive one is local time) or seconds since 1970, in milliseconds."""
    if isinstance(moment, datetime):
        return int(moment.timestamp()) * 1000 + moment.microsecond // 1000
    return _whole_ms(moment)


def _whole_ms(seconds: float) -> int:
    # 4.35 * 1000 is a hair below 4350 in binary fractions; that hair is not meant.
    return int(round(seconds * 1000, 6))


def batch_datetime(ms: int) -> datetime:
    """The time of a batch in local time, as functions with a time get it."""
    return datetime.fromtimestamp(ms / 1000)


def batch_folder(prefix: str | None, suffix: str | None, ms: int) -> str:
    """Where a batch's files go: `prefix-TIME.suffix`, where there are such, TIME in milliseconds."""
    name = str(ms) if prefix is None else f"{prefix}-{ms}"
    return f"{name}.{suffix}" if suffix else name
