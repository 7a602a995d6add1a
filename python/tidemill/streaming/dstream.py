"""`DStream`: a stream that is cut into batches, each of them an RDD.

Its operators are in files of their own, by theme, each building on the one before:

- `pipeline`: where rows come from, and how operators are put together
- `pairs`: reduceByKey, join...
- `windows`: window, reduceByKeyAndWindow...
- `state`: updateStateByKey, mapWithState...
- `output`: foreachRDD, pprint...
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..kept_items import keeping, reading
from ..stages import (
    counting,
    filtering,
    flat_mapping,
    glomming,
    mapping,
    partition_mapping,
    reducing,
)
from .arguments import with_time
from .batch_time import duration_ms, time_ms
from .binding import RDD, StorageLevel, call_site, check_closure, checked_level, wrap_rdd
from .output import OutputOperations
from .stages import counting_values, summing

if TYPE_CHECKING:
    from .._native import NativeDStream
    from .context import StreamingContext

__all__ = ["DStream", "MapWithStateDStream", "TransformedDStream"]

T_co = TypeVar("T_co", covariant=True)


class DStream(OutputOperations, Generic[T_co]):
    """A stream of batches, which operators make into other streams and output operations look at.

    Streams come from a `StreamingContext`, or from other streams: operators are called while the program is put together, before
    `ssc.start()`, and take effect in every batch.
    """

    def context(self) -> StreamingContext:
        """The context that this stream belongs to."""
        return self._ssc

    def map(self, f: Callable[[Any], Any], preservesPartitioning: bool = False) -> DStream:
        """`f` of each row."""
        return self._then("map", mapping(check_closure(f)))

    def flatMap(self, f: Callable[[Any], Iterable[Any]], preservesPartitioning: bool = False) -> DStream:
        """All items that `f` gives for each row."""
        return self._then("flatMap", flat_mapping(check_closure(f)))

    def filter(self, f: Callable[[Any], Any]) -> DStream:
        """The rows for which `f` holds."""
        return self._then("filter", filtering(check_closure(f)))

    def glom(self) -> DStream:
        """Each partition as one list."""
        return self._then("glom", glomming)

    def mapPartitions(
        self, f: Callable[[Iterator[Any]], Iterable[Any]], preservesPartitioning: bool = False
    ) -> DStream:
        """What `f` gives for the iterator over each partition."""
        return self._then("mapPartitions", partition_mapping(check_closure(f)))

    def mapPartitionsWithIndex(
        self, f: Callable[[int, Iterator[Any]], Iterable[Any]], preservesPartitioning: bool = False
    ) -> DStream:
        """What `f` gives for the number of each partition and the iterator over it."""
        return self._then("mapPartitionsWithIndex", check_closure(f))

    def mapArrow(self, f: Callable[[Any], Any]) -> DStream:
        """What `f` gives for each Arrow record batch of the rows, which is one, too. Not in PySpark.

        Lines of text are one column, `value`; those of a socket or of files have not been Python objects before. The rows of the new
        stream are dicts by column, or the values alone of one column `value`.
        """
        return self._wrap(self._native().map_arrow(check_closure(f), "mapArrow", call_site()))

    def count(self) -> DStream:
        """The number of rows of each batch; no row for a batch that has no partition."""
        return self._then("count", counting)._to_one("count", summing)

    def reduce(self, func: Callable[[Any, Any], Any]) -> DStream:
        """All rows of each batch reduced to one; none for a batch without rows. `func` must be associative and commutative."""
        reduced = reducing(check_closure(func))
        return self._then("reduce", reduced)._to_one("reduce", reduced)

    def countByValue(self) -> DStream:
        """Each distinct row of a batch with how often it is there."""
        counted = self._then("countByValue", *counting_values)
        return counted._merged("countByValue", operator.add, self._sc.defaultParallelism)

    def repartition(self, numPartitions: int) -> DStream:
        """The rows dealt out to so many partitions, one after the other."""
        return self._wrap(self._native().repartition(self._partitions(numPartitions)))

    def union(self, other: DStream) -> DStream:
        """The rows of both streams."""
        if self._slide_ms() != other._slide_ms():
            raise ValueError("the two DStream should have same slide duration")
        return self._ssc.union(self, other)

    def transform(self, func: Callable[..., RDD | None]) -> TransformedDStream:
        """The RDD that `func` makes of each batch's RDD, or of its time (a datetime) and its RDD.

        `func` runs on the driver, in every batch, and may do with the RDD what can be done with one. Where it gives None the new stream has
        no batch: its outputs do not run, and windows go on without it. A union asks for a batch of each of its streams.
        """
        return TransformedDStream(self, func)

    def transformWith(self, func: Callable[..., RDD | None], other: DStream, keepSerializer: bool = False) -> DStream:
        """The RDD that `func` makes of the RDDs of this stream and of `other`; or of the time and both.

        The new stream has the times of this one. Where `other`, which may slide differently, has no batch, its RDD is empty. So it is with
        joins and `cogroup`.
        """
        return self._ssc._transformed((self, other), with_time(func, rdds=2))

    def persist(self, storageLevel: StorageLevel) -> DStream:
        """Keeps the RDDs of the batches, as the level says, for as long as batches that are still to come need them."""
        level = checked_level(storageLevel).engine_name
        # As of RDDs: what somebody could change is kept as pickles, so that each output has its own.
        kept, site = self._native().map_partitions(keeping, "persist", call_site()), call_site()
        kept.persist(level)
        self._registered = kept.map_partitions(reading, "persist", site)
        self.is_cached = True
        return self

    def cache(self) -> DStream:
        """Keeps the RDDs of the batches in memory."""
        return self.persist(StorageLevel.MEMORY_ONLY)

    def checkpoint(self, interval: float) -> DStream:
        """Writes the RDDs of the batches to the checkpoint folder, every `interval` seconds."""
        self.is_checkpointed = True
        self._native().checkpoint(duration_ms(interval))
        return self

    def slice(self, begin: Any, end: Any) -> list[RDD]:
        """The RDDs of the batches from `begin` to `end`, both included: datetimes, or seconds since 1970."""
        natives = self._native().slice(time_ms(begin), time_ms(end))
        return [wrap_rdd(native, self._sc, self._site) for native in natives]


DStream._result_class = DStream


class TransformedDStream(DStream[T_co]):
    """A stream whose RDDs a function makes of those of another one."""

    def __init__(self, prev: DStream, func: Callable[..., RDD | None]) -> None:
        made = prev._ssc._transformed((prev,), with_time(func, rdds=1))
        super().__init__(made._source, prev._ssc)


class MapWithStateDStream(DStream[T_co]):
    """What the function of `mapWithState` has given; beside it, the states."""

    def __init__(self, mapped: NativeDStream, snapshots: DStream) -> None:
        super().__init__(mapped, snapshots._ssc)
        self._snapshots = snapshots

    def stateSnapshots(self) -> DStream:
        """Every key with its state, after each batch."""
        return self._snapshots
