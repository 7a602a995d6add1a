"""Operators on streams of pairs, batch by batch.

Where values are combined, each partition does so first, before its rows go to the partitions of their keys. All of it is
registered when the operator is called.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..stages import combining, value_flat_mapping, value_mapping
from . import joining
from .binding import ResultIterable, call_site, check_closure, portable_hash
from .pipeline import Pipeline
from .stages import listing

if TYPE_CHECKING:
    from .dstream import DStream

Function = Callable[[Any], Any]


class PairOperations(Pipeline):
    """What a `DStream` of `(key, value)` can do."""

    def mapValues(self, f: Function) -> DStream:
        """The pairs with `f` of their values."""
        return self._then("mapValues", value_mapping(check_closure(f)))

    def flatMapValues(self, f: Callable[[Any], Iterable[Any]]) -> DStream:
        """A pair for each item that `f` gives for a pair's value."""
        return self._then("flatMapValues", value_flat_mapping(check_closure(f)))

    def reduceByKey(self, func: Callable[[Any, Any], Any], numPartitions: int | None = None) -> DStream:
        """One pair for each key of a batch: its values reduced by `func`, which must be associative and commutative."""
        combined = self._then("reduceByKey", combining(None, check_closure(func)))
        return combined._merged("reduceByKey", func, self._partitions(numPartitions))

    def combineByKey(
        self,
        createCombiner: Function,
        mergeValue: Callable[[Any, Any], Any],
        mergeCombiners: Callable[[Any, Any], Any],
        numPartitions: int | None = None,
    ) -> DStream:
        """One pair for each key of a batch: begun with `createCombiner` of a value, to which `mergeValue` adds others.

        What two partitions have made of a key, `mergeCombiners` makes into one.
        """
        stage = combining(check_closure(createCombiner), check_closure(mergeValue))
        combined = self._then("combineByKey", stage)
        return combined._merged("combineByKey", check_closure(mergeCombiners), self._partitions(numPartitions))

    def groupByKey(self, numPartitions: int | None = None) -> DStream:
        """Each key of a batch with its values, in the order of partitions."""
        groups = self._grouped("groupByKey", numPartitions)
        return groups._then("groupByKey", value_mapping(ResultIterable))

    def partitionBy(self, numPartitions: int, partitionFunc: Function = portable_hash) -> DStream:
        """The pairs of a batch in so many partitions: a pair is in partition `partitionFunc(key) % numPartitions`."""
        return self._wrap(self._shuffled("partitionBy", self._partitions(numPartitions), partitionFunc))

    def cogroup(self, other: DStream, numPartitions: int | None = None) -> DStream:
        """Each key of two streams' batches with its values in the one and its values in the other."""
        return self._joined("cogroup", other, joining.grouped, numPartitions)

    def join(self, other: DStream, numPartitions: int | None = None) -> DStream:
        """`(key, (v, w))` for all values that a key has in both streams' batches.

        If the streams slide differently, it has the times of this one, and `other` has no rows where it has no batch.
        """
        return self._joined("join", other, joining.inner, numPartitions)

    def leftOuterJoin(self, other: DStream, numPartitions: int | None = None) -> DStream:
        """As `join`, and `(key, (v, None))` where `other` does not have the key."""
        return self._joined("leftOuterJoin", other, joining.left_outer, numPartitions)

    def rightOuterJoin(self, other: DStream, numPartitions: int | None = None) -> DStream:
        """As `join`, and `(key, (None, w))` where this stream does not have the key."""
        return self._joined("rightOuterJoin", other, joining.right_outer, numPartitions)

    def fullOuterJoin(self, other: DStream, numPartitions: int | None = None) -> DStream:
        """As `join`, and all other pairs of both streams, with `None` for what is missing."""
        return self._joined("fullOuterJoin", other, joining.full_outer, numPartitions)

    def _grouped(self, name: str, numPartitions: int | None) -> DStream:
        """Keys with lists of their values."""
        grouped = self._then(name, listing)
        shuffled = grouped._shuffled(name, self._partitions(numPartitions))
        # The first list is copied: what came through the shuffle may be read again.
        return self._wrap(shuffled, (name, combining(list, operator.iadd)))

    def _joined(self, name: str, other: DStream, join: Callable[..., Any], numPartitions: int | None) -> DStream:
        n, site = self._partitions(numPartitions), call_site()
        left, right = self._shuffled(name, n), other._every(self._slide_ms())._shuffled(name, n)
        return self._wrap(left.zip_partitions(right, join, name, site))
