"""Operations that keep items, that write them, and that say what an RDD is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from . import kept_items
from .checkpoint import write_items
from .errors import PySparkRuntimeError, folder_exists
from .input_paths import local_path
from .lineage import Lineage, Step
from .rdd_numeric import NumericFunctions
from .storagelevel import StorageLevel, checked_level
from .text_lines import lines

if TYPE_CHECKING:
    from ._native import NativeRdd
    from .rdd import RDD

T = TypeVar("T")

__all__ = ["PersistenceFunctions"]


class PersistenceFunctions(NumericFunctions[T]):
    """The part of `RDD` that keeps and writes items."""

    _level = StorageLevel.NONE

    def cache(self) -> RDD[T]:
        """`persist` in memory.

        >>> sc.parallelize(range(5)).cache().is_cached
        True
        """
        return self.persist()

    def persist(self, storageLevel: StorageLevel = StorageLevel.MEMORY_ONLY) -> RDD[T]:
        """Keeps each partition once it is computed. The level can't be changed without `unpersist`.

        >>> rdd = sc.parallelize(range(5)).persist(StorageLevel.DISK_ONLY)
        >>> rdd.sum(), str(rdd.unpersist().getStorageLevel())
        (10, 'Serialized 1x Replicated')
        """
        checked_level(storageLevel)
        if self.is_cached and storageLevel != self._level:
            raise PySparkRuntimeError(
                "Cannot change storage level of an RDD after it was already assigned a level: unpersist it first"
            )
        if storageLevel == StorageLevel.NONE or self.is_cached:
            return self  # type: ignore[return-value]
        # What is only on disk is read anew by every task.
        kept, reading = self._native(), None
        if storageLevel.useMemory:
            kept = kept.map_partitions(kept_items.keeping, "persist", self._site)
            reading = Step("persist", kept_items.reading)
        kept.persist(storageLevel.engine_name)
        self._pin(kept, reading)
        self.is_cached = True
        self._level = storageLevel
        return self  # type: ignore[return-value]

    def unpersist(self, blocking: bool = False) -> RDD[T]:
        """Gives up what `persist` kept. It is gone when this returns, whatever `blocking` says."""
        if self.is_cached:
            assert self._kept is not None
            self._kept.unpersist()
            self.is_cached = False
            self._level = StorageLevel.NONE
            if self._written is not None:
                self._pin(self._written)
            elif not self._checkpoint_done:
                self._unpin()
        return self  # type: ignore[return-value]

    def getStorageLevel(self) -> StorageLevel:
        """Where the partitions are kept.

        >>> sc.parallelize([1, 2]).cache().getStorageLevel()
        StorageLevel(False, True, False, False, 1)
        """
        return self._level

    def checkpoint(self) -> None:
        """Has the items written to the folder of `setCheckpointDir` after the next job, and forgets what they were made of.

        The RDD is computed once more for that, unless it is persisted.
        """
        if not self.is_checkpointed:
            self.ctx._checkpoints.ask(self)
            self.is_checkpointed = True

    def isCheckpointed(self) -> bool:
        """Whether the items are written, or, with `localCheckpoint`, kept."""
        return self._checkpoint_done

    def localCheckpoint(self) -> None:
        """Has the items kept in memory and on disk, and forgets what they were made of, after the next job."""
        if self.is_checkpointed and not self._locally:
            raise PySparkRuntimeError("this RDD was marked for a reliable checkpoint already")
        if not self.is_cached:
            self.persist(StorageLevel.MEMORY_AND_DISK)
        self.is_checkpointed = self._locally = True
        self.ctx._checkpoints.ask_local(self)

    def isLocallyCheckpointed(self) -> bool:
        """Whether `localCheckpoint` was called."""
        return self._locally

    def getCheckpointFile(self) -> str | None:
        """The folder that the items were written to; None before that, and with `localCheckpoint`."""
        return self._checkpoint_file

    def cleanShuffleDependencies(self, blocking: bool = False) -> None:
        """Does nothing: what a shuffle has moved is gone with its job."""

    def saveAsTextFile(self, path: str, compressionCodecClass: str | None = None) -> None:
        """Writes `str` of each item as a line; bytes are read as UTF-8. One file for each partition, and `_SUCCESS` at the end.

        The folder must not be there. A codec is named as in Hadoop, `org.apache.hadoop.io.compress.GzipCodec`; there are GzipCodec,
        BZip2Codec, ZStandardCodec and DefaultCodec.

        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "numbers")
        >>> sc.parallelize(range(3), 1).saveAsTextFile(path)
        >>> sorted(os.listdir(path)), sc.textFile(path).collect()
        (['_SUCCESS', 'part-00000'], ['0', '1', '2'])
        """
        if os.path.exists(local_path(path)):
            raise folder_exists(path)

        def save(native: NativeRdd, _: Callable[[], None]) -> None:
            native.save_as_text_file(path, compressionCodecClass)

        self.ctx._jobs.run_native(self, lines, "saveAsTextFile", save)
        self.ctx._checkpoints.after_job(self)

    def saveAsPickleFile(self, path: str, batchSize: int = 10) -> None:
        """Writes the items so that `SparkContext.pickleFile` of this package can read them, in lists of `batchSize`.

        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "items")
        >>> sc.parallelize([1, "two", (3.0,)]).saveAsPickleFile(path)
        >>> sc.pickleFile(path).collect()
        [1, 'two', (3.0,)]
        """
        write_items(self, path, batchSize if batchSize > 0 else 1000, "saveAsPickleFile")
        self.ctx._checkpoints.after_job(self)

    def id(self) -> int:
        """A number that no other RDD of the context has."""
        return self._id

    def name(self) -> str | None:
        """The name that was given, or None."""
        return self._name

    def setName(self, name: str) -> RDD[T]:
        """Gives the RDD a name.

        >>> sc.parallelize([1, 2]).setName("numbers").name()
        'numbers'
        """
        self._name = name
        return self  # type: ignore[return-value]

    def toDebugString(self) -> bytes | None:
        """What the RDD is made of, a line for each RDD; those beyond a shuffle are indented.

        >>> lines = sc.parallelize(["a"], 2).map(len).toDebugString().decode().splitlines()
        >>> [line.partition(" at ")[0].rstrip("0123456789[]") for line in lines]
        ['(2) PythonRDD', ' |  ParallelCollectionRDD']
        """
        return "\n".join(_described(self, "", "")).encode("utf-8")


def _described(rdd: Lineage[Any], first: str, rest: str) -> Iterator[str]:
    """Lines for an RDD and its parents. A chain goes straight down; at a shuffle, or where there are more parents, it branches."""
    partitions = f"({rdd.getNumPartitions()})"
    yield f"{first}{partitions} {rdd!r} []"
    margin = rest + " |" + " " * (len(partitions) - 1)
    while len(rdd._parents) == 1 and not rdd._moves:
        rdd = rdd._parents[0]
        yield f"{margin}{rdd!r} []"
    for parent in rdd._parents:
        last = parent is rdd._parents[-1]
        yield from _described(parent, rest + " +-", rest + ("   " if last else " | "))
