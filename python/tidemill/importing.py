"""Modules whose import runs a job, or starts a stream, and has not ended.

Python has other threads that import such a module wait until its import ends; so do they that pickle one of its objects, or read one.
Here the import waits for a job, whose tasks would wait for the import. So they get the module as far as it has come, which is what
Python gives modules that import each other in a circle.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["modules_as_they_are", "show_modules_as_they_are"]


@contextmanager
def modules_as_they_are() -> Iterator[None]:
    """Has other threads see the modules that this thread is importing, until the block ends."""
    shown = show_modules_as_they_are()
    try:
        yield
    finally:
        for spec in shown:
            spec._initializing = True


def show_modules_as_they_are() -> list[Any]:
    """Has other threads see the modules that this thread is importing from now on; gives their specs."""
    shown = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            spec: Any = frame.f_globals.get("__spec__")
            # By this the import system knows whom to let wait. It sets it back when the import ends.
            if getattr(spec, "_initializing", False):
                spec._initializing = False
                shown.append(spec)
        frame = frame.f_back
    return shown
