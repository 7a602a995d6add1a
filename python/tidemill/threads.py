"""Threads that inherit what their parent set for its jobs."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from .context import SparkContext

F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["InheritableThread", "inheritable_thread_target"]


def inheritable_thread_target(f: Any = None) -> Any:
    """A function that, on another thread, has the job group and other local properties that this thread has now.

    >>> import threading
    >>> sc.setLocalProperty("spark.scheduler.pool", "fast")
    >>> found = []
    >>> target = inheritable_thread_target(lambda: found.append(sc.getLocalProperty("spark.scheduler.pool")))
    >>> thread = threading.Thread(target=target)
    >>> thread.start(); thread.join(); found
    ['fast']
    >>> sc.setLocalProperty("spark.scheduler.pool", None)
    """
    if not callable(f):
        # Called with something else it gives the decorator.
        return inheritable_thread_target
    context = SparkContext._active_spark_context
    inherited = {} if context is None else context._local_properties.snapshot()

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        if context is not None:
            context._local_properties.replace(inherited)
        return f(*args, **kwargs)

    return run


class InheritableThread(threading.Thread):
    """A thread that begins with the local properties that the one which starts it has then."""

    def __init__(self, target: Callable[..., Any], *args: Any, session: Any = None, **kwargs: Any) -> None:
        """A thread that runs `target`; see `threading.Thread`. `session` is for PySpark's clients of a server, and makes no difference."""
        self._inherited_target = target
        super().__init__(None, self._run_target, *args, **kwargs)

    def _run_target(self, *args: Any, **kwargs: Any) -> Any:
        return self._with_properties(*args, **kwargs)

    def start(self) -> None:
        """Starts it."""
        self._with_properties = inheritable_thread_target(self._inherited_target)
        super().start()
