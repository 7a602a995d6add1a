"""Values that tasks only add to, and that the driver reads."""

from __future__ import annotations

import copy
import itertools
import pickle
import threading
import weakref
from typing import Any, ClassVar, Generic, TypeVar

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

    What is added counts, at once or when the task ends: also that of a task which fails, and that of every run of an operation that is computed
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

    def __reduce__(self) -> tuple[Any, tuple[int, Any, AccumulatorParam[Any]]]:
        return _accumulator_of, (self.aid, self.accum_param.zero(self._value), self.accum_param)


class WorkersAccumulator(Accumulator[T]):
    """What tasks in a worker add to instead of the driver's accumulator, which gets the sum at the end of each task."""

    # None in processes that are no workers.
    all: ClassVar[dict[int, WorkersAccumulator[Any]] | None] = None

    def __init__(self, aid: int, zero: T, accum_param: AccumulatorParam[T]) -> None:
        """One that begins with zero."""
        super().__init__(aid, copy.deepcopy(zero), accum_param)
        self._zero = zero
        self._added = False

    def add(self, term: T) -> None:
        """Adds a value."""
        super().add(term)
        self._added = True

    @classmethod
    def take_sums(cls) -> list[tuple[int, Any]]:
        """The numbers and the sums of those that something was added to; they begin again with zero."""
        sums = []
        for aid, accumulator in list((cls.all or {}).items()):
            with accumulator._lock:
                if accumulator._added:
                    sums.append((aid, accumulator._value))
                    accumulator._value, accumulator._added = copy.deepcopy(accumulator._zero), False
        return sums


def add_from_worker(sums: bytes) -> None:
    """Adds what a task in a worker has added. An accumulator that nobody can read any more is left out."""
    for aid, value in pickle.loads(sums):
        accumulator = _accumulators.get(aid)
        if accumulator is not None:
            accumulator.add(value)


def _accumulator_of(aid: int, zero: Any, param: AccumulatorParam[Any]) -> Accumulator[Any]:
    """The accumulator with this number, in a function that was pickled."""
    if WorkersAccumulator.all is None:
        return _accumulators[aid]
    return WorkersAccumulator.all.setdefault(aid, WorkersAccumulator(aid, zero, param))


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
