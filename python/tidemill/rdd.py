"""`RDD`: an immutable collection of items in partitions, which are worked on in parallel.

Its operations are in files of their own, by theme, each building on the one before:

- `lineage`: where items come from
- `rdd_elements`: map, filter, mapPartitions...
- `rdd_actions`: collect, take, reduce...
- `rdd_partitions`: partitionBy, repartition, union, zip...
- `rdd_pairs`: reduceByKey, groupByKey...
- `rdd_joins`: join, cogroup, subtract...
- `rdd_order`: sortBy, top, sample...
- `rdd_numeric`: stats, histogram...
- `rdd_persistence`: persist, checkpoint, saveAsTextFile...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from .lineage import Lineage
from .partitioner import Partitioner, portable_hash
from .rdd_numeric import BoundedFloat
from .rdd_persistence import PersistenceFunctions

if TYPE_CHECKING:
    from .context import SparkContext

T = TypeVar("T")

__all__ = ["BoundedFloat", "Partitioner", "RDD", "portable_hash"]


class RDD(PersistenceFunctions[T]):
    """An immutable collection of items in partitions, computed when an action needs it.

    RDDs are made by a `SparkContext` and by operations on RDDs. A task that changes items changes its own only: those that are
    kept between jobs, in a collection of the driver's or by `persist`, are copied for each task if anybody could change them.

    >>> lines = sc.parallelize(["to be or", "not to be"])
    >>> counts = lines.flatMap(str.split).map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b)
    >>> sorted(counts.collect())
    [('be', 2), ('not', 1), ('or', 1), ('to', 2)]
    """

    @property
    def context(self) -> SparkContext:
        """The context that it belongs to."""
        return self.ctx


Lineage._result_class = RDD
