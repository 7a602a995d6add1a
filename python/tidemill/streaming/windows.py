"""Windows: what a stream has given in the last while.

Durations are seconds, and whole multiples of the time between the stream's batches. A window with an inverse function is brought
forward: what enters is added, what leaves is taken away. As in PySpark that is done for windows of at least five slides only; a
shorter one is reduced anew, which costs less than two steps.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..stages import Stage, combining, filtering, mapping, reducing, second_halves, value_mapping
from .batch_time import duration_ms
from .binding import ResultIterable, call_site, check_closure
from .pairs import PairOperations
from .stages import counting_some, counting_values, listing

if TYPE_CHECKING:
    from .dstream import DStream

Reduce = Callable[[Any, Any], Any]

# Slides from which on a window is brought forward rather than reduced anew.
_WORTHWHILE = 5

_value = operator.itemgetter(1)


class WindowOperations(PairOperations):
    """What a `DStream` can do over several batches."""

    def window(self, windowDuration: float, slideDuration: float | None = None) -> DStream:
        """All rows of the last `windowDuration`, every `slideDuration`; the latter is this stream's own unless given."""
        self._validate_window_param(windowDuration, slideDuration)
        slide = None if slideDuration is None else duration_ms(slideDuration)
        return self._wrap(self._native().window(duration_ms(windowDuration), slide))

    def reduceByWindow(
        self, reduceFunc: Reduce, invReduceFunc: Reduce | None, windowDuration: float, slideDuration: float
    ) -> DStream:
        """All rows of the window reduced to one; none for a window without rows.

        With `invReduceFunc`, which takes a value away again, long windows are brought forward; that needs a checkpoint folder.
        """
        self._validate_window_param(windowDuration, slideDuration)
        reduced = reducing(check_closure(reduceFunc))
        keyed = self._then("reduceByWindow", reduced)._then("reduceByWindow", mapping(_under_one_key))
        return _only_values(
            keyed._over_window(combined_by(reduceFunc, invReduceFunc), windowDuration, slideDuration, 1)
        )

    def countByWindow(self, windowDuration: float, slideDuration: float) -> DStream:
        """The number of rows in the window. Long windows are brought forward; that needs a checkpoint folder."""
        self._validate_window_param(windowDuration, slideDuration)
        keyed = self._then("countByWindow", counting_some)._then("countByWindow", mapping(_under_one_key))
        return _only_values(keyed._over_window(_COUNTS, windowDuration, slideDuration, 1))

    def countByValueAndWindow(
        self, windowDuration: float, slideDuration: float, numPartitions: int | None = None
    ) -> DStream:
        """Each distinct row in the window with how often it is there. Long windows are brought forward, with a checkpoint folder."""
        self._validate_window_param(windowDuration, slideDuration)
        counted = self._then("countByValueAndWindow", *counting_values)
        return counted._over_window(_COUNTS._replace(keep=_is_counted), windowDuration, slideDuration, numPartitions)

    def groupByKeyAndWindow(
        self, windowDuration: float, slideDuration: float, numPartitions: int | None = None
    ) -> DStream:
        """Each key with its values in the window, in the order in which they came.

        Long windows are brought forward, with a checkpoint folder. A key without values goes.
        """
        self._validate_window_param(windowDuration, slideDuration)
        lists = self._then("groupByKeyAndWindow", listing)
        windows = lists._over_window(_GROUPS, windowDuration, slideDuration, numPartitions)
        return windows._then("groupByKeyAndWindow", value_mapping(ResultIterable))

    def reduceByKeyAndWindow(
        self,
        func: Reduce,
        invFunc: Reduce | None,
        windowDuration: float,
        slideDuration: float | None = None,
        numPartitions: int | None = None,
        filterFunc: Callable[[tuple[Any, Any]], Any] | None = None,
    ) -> DStream:
        """One pair for each key in the window: its values reduced by `func`, which must be associative and commutative.

        `invFunc(value, old)` takes away from a value what has left the window. With it, windows of at least five slides are brought
        forward, which costs what enters and leaves rather than the whole window, and needs a checkpoint folder. A key then
        stays with what is left of its value, unless `filterFunc` is false for the pair. Without `invFunc` the window is reduced
        anew each time and `filterFunc` is not asked.
        What leaves the window of a key that `filterFunc` has dropped is left out.
        """
        self._validate_window_param(windowDuration, slideDuration)
        combined = self._then("reduceByKeyAndWindow", combining(None, check_closure(func)))
        keep = check_closure(filterFunc) if filterFunc and invFunc else None
        how = combined_by(func, check_closure(invFunc) if invFunc else None, keep)
        return combined._over_window(how, windowDuration, slideDuration, numPartitions)

    def _validate_window_param(self, window: float, slide: float | None) -> None:
        own = self._slide_ms()
        for name, duration in (("windowDuration", window), ("slideDuration", slide)):
            if duration and duration_ms(duration) % own:
                raise ValueError(f"{name} must be multiple of the parent dstream's slide (batch) duration ({own} ms)")

    def _over_window(self, how: Reduced, window: float, slide: float | None, numPartitions: int | None) -> DStream:
        """Pairs, which each partition has combined already, reduced over a window."""
        n, window_ms = self._partitions(numPartitions), duration_ms(window)
        slide_ms = duration_ms(slide) if slide else self._slide_ms()
        if how.inverse is not None and window_ms >= _WORTHWHILE * slide_ms:
            pairs = self._native().inverse_window(how.add, how.inverse, window_ms, slide_ms, n, how.keep, call_site())
            return self._wrap(pairs)
        batches = self._wrap(self._native().window(window_ms, slide_ms))
        shuffled = batches._shuffled("window", n)
        again: tuple[tuple[str, Stage], ...] = (("window", how.again),)
        return self._wrap(shuffled, *again, *((("filter", filtering(how.keep)),) if how.keep else ()))


class Reduced(NamedTuple):
    """How the values of a key in a window become one."""

    add: Reduce
    inverse: Reduce | None
    again: Stage  # what reduces pairs anew
    keep: Callable[[tuple[Any, Any]], Any] | None = None


def combined_by(add: Reduce, inverse: Reduce | None, keep: Callable[[Any], Any] | None = None) -> Reduced:
    """Values reduced by a function of the user's."""
    return Reduced(add, inverse, combining(None, add), keep)


def _under_one_key(value: Any) -> tuple[int, Any]:
    return 1, value


def _only_values(pairs: DStream) -> DStream:
    return pairs._then("values", second_halves)


def _is_counted(pair: tuple[Any, int]) -> bool:
    return pair[1] > 0


def _without_oldest(values: list[Any], old: list[Any]) -> list[Any]:
    return values[len(old) :]


# Lists are joined into new ones: the engine may still hold those of single batches.
_GROUPS = Reduced(operator.add, _without_oldest, combining(list, operator.iadd), _value)
_COUNTS = combined_by(operator.add, operator.sub)
