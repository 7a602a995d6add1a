"""Values that tasks share."""

from __future__ import annotations

import itertools
import weakref
from typing import Any, Generic, TypeVar

from .callsite import call_site
from .errors import PySparkRuntimeError

T = TypeVar("T")

__all__ = ["Broadcast"]

_numbers = itertools.count()
_broadcasts: weakref.WeakValueDictionary[int, Broadcast[Any]] = weakref.WeakValueDictionary()


class Broadcast(Generic[T]):
    """A value that is given to tasks once, however many functions refer to it. In one process it is the object itself.

    >>> weights = sc.broadcast({"a": 2, "b": 3})
    >>> sc.parallelize(["a", "b", "a"]).map(lambda key: weights.value[key]).sum()
    7
    >>> weights.destroy()
    """

    def __init__(self, value: T) -> None:
        """A value to share; made by `SparkContext.broadcast`."""
        self.id = next(_numbers)
        self._value: Any = value
        self._destroyed_at: str | None = None
        _broadcasts[self.id] = self

    @property
    def value(self) -> T:
        """The value. Tasks must not change it."""
        self._check()
        return self._value

    def _check(self) -> None:
        if self._destroyed_at is not None:
            raise PySparkRuntimeError(
                f"Attempted to use Broadcast({self.id}) after it was destroyed (destroy at {self._destroyed_at})"
            )

    def unpersist(self, blocking: bool = False) -> None:
        """Takes copies away from executors; there are none in one process, and the value stays usable."""
        self._check()

    def destroy(self, blocking: bool = False) -> None:
        """Gives up the value. Using it from now on is an error."""
        if self._destroyed_at is None:
            self._destroyed_at = str(call_site())
            self._value = None

    def __repr__(self) -> str:
        return f"Broadcast({self.id})"

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return _broadcast_of, (self.id,)


def _broadcast_of(number: int) -> Broadcast[Any]:
    """The broadcast value with this number, in a function that was pickled."""
    try:
        return _broadcasts[number]
    except KeyError:
        raise PySparkRuntimeError(f"Broadcast variable '{number}' not loaded!") from None
