"""Streams with a state for each key.

States lie in the engine, and with a checkpoint folder also there: a program that is killed and started again goes on with them.
`updateStateByKey` is PySpark's. `mapWithState` is what Spark has in Scala and Java only; it costs what a batch's keys cost, not
what all keys do. Windows by count and sessions are of our own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from .arguments import arguments
from .batch_time import batch_datetime, duration_ms
from .binding import RDD, call_site, check_closure, native_rdd
from .windows import WindowOperations

if TYPE_CHECKING:
    from .._native import NativeDStream, NativeRdd
    from .dstream import DStream, MapWithStateDStream

__all__ = ["State", "StateOperations", "StateSpec"]


class State(Protocol):
    """The state of one key, as the function of `mapWithState` gets it. It is valid within the call only."""

    def exists(self) -> bool:
        """Whether there is one."""

    def get(self) -> Any:
        """The state. An error where there is none."""

    def getOption(self) -> Any | None:
        """The state, or None."""

    def update(self, newState: Any) -> None:
        """Sets it. An error after `remove`, and while it is timing out."""

    def remove(self) -> None:
        """Removes it. An error if that was done, and while it is timing out."""

    def isTimingOut(self) -> bool:
        """Whether this call is the last one for the key, which has been silent for too long."""


class StateSpec:
    """What `mapWithState` does: a function, and how its states are kept. Each method gives the specification itself."""

    def __init__(self, mappingFunction: Callable[..., Any]) -> None:
        self._function = mappingFunction
        self._initial: RDD | list[tuple[Any, Any]] | None = None
        self._partitions: int | None = None
        self._timeout: float | None = None

    @classmethod
    def function(cls, mappingFunction: Callable[..., Any]) -> StateSpec:
        """Of `f(key, value, state)` or `f(time, key, value, state)`, which gives a row of the new stream, or None for none.

        The time is a datetime; the value is None where the key's state is timing out; for the state, see `State`.
        """
        return cls(mappingFunction)

    def initialState(self, pairs: RDD | list[tuple[Any, Any]]) -> StateSpec:
        """The keys and states to begin with."""
        self._initial = pairs
        return self

    def numPartitions(self, numPartitions: int) -> StateSpec:
        """In how many partitions the states lie; as many as `sc.defaultParallelism` says unless given."""
        self._partitions = numPartitions
        return self

    def timeout(self, idleDuration: float) -> StateSpec:
        """After how many seconds without a value a key's state goes, with a last call of the function."""
        self._timeout = idleDuration
        return self


class StateOperations(WindowOperations):
    """What a `DStream` of `(key, value)` can remember."""

    def updateStateByKey(
        self,
        updateFunc: Callable[[list[Any], Any], Any],
        numPartitions: int | None = None,
        initialRDD: RDD | list[tuple[Any, Any]] | None = None,
    ) -> DStream:
        """All keys with their states, which `updateFunc(new values, state or None)` makes anew in each batch; None ends one.

        The function is called in each batch for every key that has a state or new values. `initialRDD` holds the pairs to begin with.
        """
        update, n = check_closure(updateFunc), self._partitions(numPartitions)
        listed = self._listed()
        pairs = self._native() if listed is None else listed
        return self._wrap(pairs.update_state(update, n, self._pairs(initialRDD), call_site(), listed is not None))

    def mapWithState(self, spec: StateSpec) -> MapWithStateDStream:
        """What the function of `spec` makes of each value and the state of its key. Not in PySpark."""
        function = check_closure(spec._function)
        if arguments(function) == 4:
            moment = lru_cache(maxsize=8)(batch_datetime)
            call = lambda ms, key, value, state: function(moment(ms), key, value, state)  # noqa: E731
        else:
            call = lambda _, key, value, state: function(key, value, state)  # noqa: E731
        timeout = None if spec._timeout is None else duration_ms(spec._timeout)
        n, initial = self._partitions(spec._partitions), self._pairs(spec._initial)
        return self._with_snapshots(*self._native().map_with_state(call, n, timeout, initial, call_site()))

    def sessionWindow(self, gap: float) -> DStream:
        """For each key `(key, (start, end, values))`, once it has been silent for more than `gap` seconds. Not in PySpark.

        Start and end are the batch times of the first and the last value, in milliseconds.
        """
        return self._wrap(self._native().session_window(duration_ms(gap), call_site()))

    def countWindow(self, size: int, slide: int | None = None) -> DStream:
        """Lists of `size` rows in the order in which they came, each as it is full. Not in PySpark.

        With `slide`, a list of the last `size` rows after so many new ones; the first lists are not full then.
        """
        slide = size if slide is None else slide
        if size < 1 or slide < 1:
            raise ValueError(f"windows and slides by count are of at least one row, not {min(size, slide)}")
        return self._wrap(self._native().count_window(size, slide, call_site()))

    def _pairs(self, initial: RDD | list[tuple[Any, Any]] | None) -> NativeRdd | None:
        if initial is None:
            return None
        return native_rdd(initial if isinstance(initial, RDD) else self._sc.parallelize(initial))

    def _with_snapshots(self, mapped: NativeDStream, snapshots: NativeDStream) -> MapWithStateDStream:
        from .dstream import MapWithStateDStream

        return MapWithStateDStream(mapped, self._wrap(snapshots))
