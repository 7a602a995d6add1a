"""`Pipeline`: what a stream is made of, and when that becomes a stream of the engine.

A stream keeps a native stream and the stages (see `tidemill.stages`) that are still to be run over its batches. Narrow operators add
a stage and nothing else. What needs whole batches (a shuffle, a window, an output) registers the stages as one native operator, once: per
batch, nothing of this package runs but the stages themselves, and the functions given to `transform` and `foreachRDD`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import PySparkValueError
from ..stages import Stage, combining, listed_words
from ..taskcontext import TaskFunction
from .binding import RDD, call_site, portable_hash, wrap_rdd

if TYPE_CHECKING:
    from .._native import NativeDStream, NativeRdd
    from .context import StreamingContext
    from .dstream import DStream

# The name of an operator, and what it does with a partition.
Step = tuple[str, Stage]


class Pipeline:
    """The part of `DStream` that knows where its rows come from."""

    _result_class: ClassVar[type[DStream]]

    def __init__(self, native: NativeDStream, ssc: StreamingContext, *steps: Step) -> None:
        self._source = native
        self._steps = steps
        self._registered: NativeDStream | None = None
        self._site = call_site()
        self._ssc = ssc
        self._sc = ssc._sc
        self.is_cached = False
        self.is_checkpointed = False

    @property
    def _slideDuration(self) -> float:
        """The time between batches in seconds."""
        return self._slide_ms() / 1000

    def _slide_ms(self) -> int:
        return self._source.slide_ms()

    def _wrap(self, native: NativeDStream, *steps: Step) -> DStream:
        """A stream of the same context."""
        return self._result_class(native, self._ssc, *steps)

    def _then(self, name: str, *stages: Stage) -> DStream:
        """This stream with further stages. What is kept is read from where it is kept."""
        steps = ((name, stage) for stage in stages)
        if self.is_cached or self.is_checkpointed:
            return self._wrap(self._native(), *steps)
        return self._wrap(self._source, *self._steps, *steps)

    def _native(self) -> NativeDStream:
        """The native stream that has all stages behind it."""
        if self._registered is None:
            source, steps = self._source, self._steps
            if steps:
                # Not the context, which holds the function.
                properties, names = self._ssc._properties, dict.fromkeys(name for name, _ in steps)
                function = TaskFunction([stage for _, stage in steps], 0, lambda: properties)
                source = source.map_partitions(function, ", ".join(names), self._site)
            self._registered = source
        return self._registered

    def _listed(self) -> NativeDStream | None:
        """Keys with lists of their values, if the stages of this stream come to words with a constant, which the engine counts itself."""
        listed = (
            None if self.is_cached or self.is_checkpointed else listed_words(tuple(stage for _, stage in self._steps))
        )
        if listed is None:
            return None
        return self._wrap(self._source, ("flatMap, map", listed))._native()

    def _base(self) -> tuple[NativeDStream, Callable[[NativeRdd], RDD[Any]]]:
        """What functions over whole batches are run on: a native stream, and how its RDDs become the user's."""
        sc, site = self._sc, self._site
        return self._native(), lambda native: wrap_rdd(native, sc, site)

    def _every(self, slide_ms: int) -> DStream:
        """This stream at the times of one that slides so: without rows where it has no batch."""
        if self._slide_ms() == slide_ms:
            return self  # type: ignore[return-value]
        return self._wrap(self._native().every(slide_ms))

    def _partitions(self, wanted: int | None) -> int:
        if wanted is None:
            return self._sc.defaultParallelism
        if wanted < 1:
            raise PySparkValueError(f"Number of partitions ({wanted}) must be positive.")
        return wanted

    def _shuffled(self, name: str, n: int, by: Callable[[Any], int] = portable_hash) -> NativeDStream:
        """The pairs in the partitions of their keys. The engine knows the hash itself, without a call of Python."""
        where = None if by is portable_hash else lambda pair: by(pair[0])
        return self._native().shuffle(n, where, name, call_site())

    def _merged(self, name: str, merge: Callable[[Any, Any], Any], n: int) -> DStream:
        """Pairs that each partition has combined, combined to the end."""
        return self._wrap(self._shuffled(name, n), (name, combining(None, merge)))

    def _to_one(self, name: str, stage: Stage) -> DStream:
        """All rows in one partition, and then `stage`."""
        gathered = self._native().shuffle(1, _nowhere, name, call_site())
        return self._wrap(gathered, (name, stage))


def _nowhere(_: Any) -> int:
    """The partition of everything where there is but one."""
    return 0
