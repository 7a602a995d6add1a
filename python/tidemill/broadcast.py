"""Values that tasks share."""

from __future__ import annotations

import itertools
import pickle
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import cloudpickle

from ._native import forget_broadcast
from .callsite import call_site
from .errors import PySparkRuntimeError

T = TypeVar("T")

__all__ = ["Broadcast"]

_numbers = itertools.count()
_broadcasts: weakref.WeakValueDictionary[int, Broadcast[Any]] = weakref.WeakValueDictionary()


class Broadcast(Generic[T]):
    """A value that is given to tasks once, however many functions refer to it. In this process it is the object itself; each worker gets a copy.

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
        weakref.finalize(self, forget_broadcast, self.id).atexit = False

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
        """Takes the copies away from workers; the value stays usable."""
        self._check()
        forget_broadcast(self.id)

    def destroy(self, blocking: bool = False) -> None:
        """Gives up the value. Using it from now on is an error."""
        if self._destroyed_at is None:
            self._destroyed_at = str(call_site())
            self._value = None
            forget_broadcast(self.id)

    def __repr__(self) -> str:
        return f"Broadcast({self.id})"

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        pickled = getattr(_pickling, "numbers", None)
        if pickled is not None:
            pickled.add(self.id)
        return _broadcast_of, (self.id,)


# The numbers of the broadcast values in what this thread pickles.
_pickling = threading.local()


@contextmanager
def broadcasts_noted() -> Iterator[set[int]]:
    """The numbers of the broadcast values in what this thread pickles within."""
    before, _pickling.numbers = getattr(_pickling, "numbers", None), set()
    try:
        yield _pickling.numbers
    finally:
        _pickling.numbers = before


def pickled_value(number: int) -> bytes:
    """The value of a broadcast variable, for a worker."""
    return bytes(cloudpickle.dumps(_broadcast_of(number).value, pickle.HIGHEST_PROTOCOL))


class WorkersBroadcasts:
    """The broadcast values of a worker, which functions keep referring to while values come and go."""

    def __init__(self) -> None:
        """None yet."""
        self._all: dict[int, Broadcast[Any]] = {}

    def receive(self, number: int, pickled: bytes) -> None:
        """A value, which may have been here before."""
        value = pickle.loads(pickled)
        if number in self._all:
            self._all[number]._value = value
            return
        broadcast: Broadcast[Any] = Broadcast.__new__(Broadcast)
        broadcast.id, broadcast._value, broadcast._destroyed_at = number, value, None
        self._all[number] = _broadcasts[number] = broadcast

    def forget(self, number: int) -> None:
        """Gives up a value."""
        if number in self._all:
            self._all[number]._value = None


def _broadcast_of(number: int) -> Broadcast[Any]:
    """The broadcast value with this number, in a function that was pickled."""
    try:
        return _broadcasts[number]
    except KeyError:
        raise PySparkRuntimeError(f"Broadcast variable '{number}' not loaded!") from None
