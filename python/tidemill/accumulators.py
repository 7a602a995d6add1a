"""Values that tasks only add to, and that the driver reads."""

from __future__ import annotations

import itertools
import threading
import weakref
from typing import Any, Generic, TypeVar

from .errors import PySparkRuntimeError, PySparkTypeError
from .taskcontext import TaskContext

T = TypeVar("T")

__all__ = [
    "COMPLEX_ACCUMULATOR_PARAM",
    "FLOAT_ACCUMULATOR_PARAM",
    "INT_ACCUMULATOR_PARAM",
    "Accumulator",
    "AccumulatorParam",
    "AddingAccumulatorParam",
]

_numbers = itertools.count()
_accumulators: weakref.WeakValueDictionary[int, Accumulator[Any]] = weakref.WeakValueDictionary()


class AccumulatorParam(Generic[T]):
    """How values of a type are added, for accumulators of that type.

    >>> from tidemill import AccumulatorParam
    >>> class SetParam(AccumulatorParam):
    ...     def zero(self, value):
    ...         return set()
    ...     def addInPlace(self, left, right):
    ...         return left | right
    >>> seen = sc.accumulator(set(), SetParam())
    >>> sc.parallelize([1, 2, 1]).foreach(lambda x: seen.add({x}))
    >>> sorted(seen.value)
    [1, 2]
    """

    def zero(self, value: T) -> T:
        """A value that adds nothing, of the shape of `value`."""
        raise NotImplementedError

    def addInPlace(self, value1: T, value2: T) -> T:
        """The sum of two values; it may be made of the first."""
        raise NotImplementedError


class AddingAccumulatorParam(AccumulatorParam[T]):
    """Values that are added with `+=`."""

    def __init__(self, zero_value: T) -> None:
        """Beginning with this value."""
        self.zero_value = zero_value

    def zero(self, value: T) -> T:
        """The value that was given for that."""
        return self.zero_value

    def addInPlace(self, value1: T, value2: T) -> T:
        """The sum."""
        value1 += value2  # type: ignore[operator]
        return value1


INT_ACCUMULATOR_PARAM: AddingAccumulatorParam[int] = AddingAccumulatorParam(0)
FLOAT_ACCUMULATOR_PARAM: AddingAccumulatorParam[float] = AddingAccumulatorParam(0.0)
COMPLEX_ACCUMULATOR_PARAM: AddingAccumulatorParam[complex] = AddingAccumulatorParam(0.0 + 0.0j)


class Accumulator(Generic[T]):
    """A value that tasks add to, with `add` or `+=`, and that only the driver can read.

    What is added counts at once: also that of a task which fails later, and that of every run of an operation that is computed
    again. Functions of actions run once for each item.

    >>> total = sc.accumulator(1)
    >>> sc.parallelize([1, 2, 3]).foreach(lambda x: total.add(x))
    >>> total += 1
    >>> total.value
    8
    """

    def __init__(self, aid: int, value: T, accum_param: AccumulatorParam[T]) -> None:
        """An accumulator; made by `SparkContext.accumulator`."""
        self.aid = aid
        self.accum_param = accum_param
        self._value = value
        self._lock = threading.Lock()
        _accumulators[aid] = self

    @property
    def value(self) -> T:
        """The sum so far; an error in tasks."""
        self._refuse_in_tasks()
        return self._value

    @value.setter
    def value(self, value: T) -> None:
        self._refuse_in_tasks()
        self._value = value

    def _refuse_in_tasks(self) -> None:
        if TaskContext.get() is not None:
            raise PySparkRuntimeError("Accumulator.value cannot be accessed inside tasks")

    def add(self, term: T) -> None:
        """Adds a value."""
        with self._lock:
            self._value = self.accum_param.addInPlace(self._value, term)

    def __iadd__(self, term: T) -> Accumulator[T]:
        self.add(term)
        return self

    def __str__(self) -> str:
        return str(self._value)

    def __repr__(self) -> str:
        return f"Accumulator<id={self.aid}, value={self._value}>"

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return _accumulator_of, (self.aid,)


def _accumulator_of(aid: int) -> Accumulator[Any]:
    """The accumulator with this number, in a function that was pickled."""
    return _accumulators[aid]


def new_accumulator(value: Any, param: AccumulatorParam[Any] | None) -> Accumulator[Any]:
    """An accumulator that begins with `value`; numbers know how they are added."""
    if param is None:
        by_type: dict[type, AccumulatorParam[Any]] = {
            int: INT_ACCUMULATOR_PARAM,
            float: FLOAT_ACCUMULATOR_PARAM,
            complex: COMPLEX_ACCUMULATOR_PARAM,
        }
        found = next((by_type[kind] for kind in by_type if isinstance(value, kind)), None)
        if found is None:
            raise PySparkTypeError(f"No default accumulator param for type {type(value)}")
        param = found
    return Accumulator(next(_numbers), value, param)
