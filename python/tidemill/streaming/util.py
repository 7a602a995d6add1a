"""Names of folders, as programs that save batches themselves make them."""

from __future__ import annotations

from datetime import datetime

from .batch_time import batch_folder, time_ms

__all__ = ["rddToFileName"]


def rddToFileName(prefix: str | None, suffix: str | None, timestamp: datetime | int) -> str:
    """The name that `saveAsTextFiles` gives to the folder of a batch, whose time is a datetime or milliseconds.

    >>> rddToFileName("counts", None, 12345678910), rddToFileName("counts", "txt", 12345678910)
    ('counts-12345678910', 'counts-12345678910.txt')
    """
    return batch_folder(prefix, suffix, time_ms(timestamp) if isinstance(timestamp, datetime) else timestamp)
