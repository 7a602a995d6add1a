"""The RDDs that a context makes of collections and files."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from . import pickle_files
from ._native import NativeContext
from .callsite import call_site
from .input_paths import in_slices, input_files, whole_file
from .lineage import Step
from .parallel_collection import sliced
from .rdd import RDD
from .rdd_partitions import union_of
from .stages import Stage

T = TypeVar("T")

__all__ = ["InputFunctions"]


class InputFunctions:
    """The part of `SparkContext` that makes RDDs. Paths are of local files, with or without `file:`."""

    _native: NativeContext

    @property
    def defaultParallelism(self) -> int:
        """How many partitions an RDD has if nobody says."""
        raise NotImplementedError

    @property
    def defaultMinPartitions(self) -> int:
        """How many partitions the RDD of a file has at least if nobody says: 2, or 1 with a single core."""
        return min(self.defaultParallelism, 2)

    def _parallelized(self: Any, partitions: list[list[Any]], stage: Stage | None, kind: str) -> RDD[Any]:
        """An RDD of what `stage` makes of lists, one for each partition."""
        self._check_alive()
        native = self._native.parallelize(partitions)
        step = None if stage is None else Step(call_site().operation, stage)
        return RDD(native, self, step=step, kind=kind)

    def parallelize(self, c: Iterable[T], numSlices: int | None = None) -> RDD[T]:
        """An RDD of the items of a collection.

        >>> sc.parallelize([0, 2, 3, 4, 6], 5).glom().collect()
        [[0], [2], [3], [4], [6]]
        >>> sc.parallelize(range(0, 6, 2), 5).glom().collect()
        [[], [0], [], [2], [4]]
        """
        slices = self.defaultParallelism if numSlices is None else int(numSlices)
        if slices < 1:
            raise ValueError("Positive number of partitions required")
        partitions, stage = sliced(c, slices)
        return self._parallelized(partitions, stage, "ParallelCollectionRDD")

    def range(self, start: int, end: int | None = None, step: int = 1, numSlices: int | None = None) -> RDD[int]:
        """An RDD of integers, like Python's `range`.

        >>> sc.range(5).collect(), sc.range(2, 6, 2).collect()
        ([0, 1, 2, 3, 4], [2, 4])
        """
        numbers = builtins.range(start) if end is None else builtins.range(start, end, step)
        return self.parallelize(numbers, numSlices)

    def emptyRDD(self: Any) -> RDD[Any]:
        """An RDD without items and without partitions.

        >>> sc.emptyRDD().collect(), sc.emptyRDD().getNumPartitions()
        ([], 0)
        """
        self._check_alive()
        return RDD(self._native.empty(), self, kind="EmptyRDD")

    def union(self: Any, rdds: Sequence[RDD[T]]) -> RDD[T]:
        """The items of several RDDs, one after the other.

        >>> sc.union([sc.parallelize("ab"), sc.parallelize("c")]).collect()
        ['a', 'b', 'c']
        """
        return union_of(list(rdds)) if rdds else self.emptyRDD()

    def textFile(self: Any, name: str, minPartitions: int | None = None, use_unicode: bool = True) -> RDD[str]:
        """The lines of a file, of the files of a folder, of all that match a pattern, or of several with commas between.

        Compressed files (`.gz`) are one partition each. Without `use_unicode` the lines are bytes.

        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "lines.txt")
        >>> _ = open(path, "w").write("to be\\nor not\\n")
        >>> sc.textFile(path).collect()
        ['to be', 'or not']
        """
        self._check_alive()
        partitions = self.defaultMinPartitions if minPartitions is None else minPartitions
        native = self._native.text_file(name, partitions, use_unicode)
        return RDD(native, self, kind="MapPartitionsRDD").setName(name)

    def wholeTextFiles(
        self, path: str, minPartitions: int | None = None, use_unicode: bool = True
    ) -> RDD[tuple[str, str]]:
        """Pairs of the path and the text of each file; paths as in `textFile`, but they must be there already.

        >>> import os, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> _ = open(os.path.join(folder, "1.txt"), "w").write("one")
        >>> [(os.path.basename(name), text) for name, text in sc.wholeTextFiles(folder).collect()]
        [('1.txt', 'one')]
        """

        def texts(_: int, paths: Iterator[str]) -> Iterator[tuple[str, Any]]:
            for file in paths:
                content = whole_file(file)
                yield f"file:{file}", content.decode("utf-8") if use_unicode else content

        return self._of_files(path, minPartitions, texts)

    def binaryFiles(self, path: str, minPartitions: int | None = None) -> RDD[tuple[str, bytes]]:
        """Pairs of the path and the bytes of each file; paths as in `wholeTextFiles`."""

        def contents(_: int, paths: Iterator[str]) -> Iterator[tuple[str, bytes]]:
            for file in paths:
                with open(file, "rb") as opened:
                    yield f"file:{file}", opened.read()

        return self._of_files(path, minPartitions, contents)

    def _of_files(self, path: str, min_partitions: int | None, stage: Stage) -> RDD[Any]:
        """An RDD of what `stage` makes of the paths of files."""
        files = input_files(path)
        slices = min(self.defaultMinPartitions if min_partitions is None else min_partitions, len(files))
        return self._parallelized(in_slices(files, max(slices, 1)), stage, "WholeFileRDD").setName(path)

    def binaryRecords(self, path: str, recordLength: int) -> RDD[bytes]:
        """The records of files in which each has so many bytes. A file whose end is not the end of a record is an error.

        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "records")
        >>> _ = open(path, "wb").write(b"aabbcc")
        >>> sc.binaryRecords(path, 2).collect()
        [b'aa', b'bb', b'cc']
        """
        if recordLength < 1:
            raise ValueError(f"a record has at least one byte, not {recordLength}")
        pieces: list[tuple[str, int, int]] = []
        for file in input_files(path):
            records, rest = divmod(os.path.getsize(file), recordLength)
            if rest:
                raise ValueError(
                    f"{file} does not end with a record of {recordLength} bytes: {rest} bytes are left over"
                )
            slices = max(1, min(self.defaultMinPartitions, records))
            bounds = [records * n // slices for n in builtins.range(slices + 1)]
            pieces += [(file, first, last) for first, last in zip(bounds, bounds[1:])]

        def read(_: int, parts: Iterator[tuple[str, int, int]]) -> Iterator[bytes]:
            for file, first, last in parts:
                with open(file, "rb") as opened:
                    opened.seek(first * recordLength)
                    for _ in builtins.range(first, last):
                        yield opened.read(recordLength)

        return self._parallelized([[piece] for piece in pieces], read, "BinaryRecordsRDD").setName(path)

    def pickleFile(self, name: str, minPartitions: int | None = None) -> RDD[Any]:
        """The items that `RDD.saveAsPickleFile` of this package wrote. Read only what you trust: pickles can run code."""
        files = input_files(name)
        wanted = len(files) if minPartitions is None else max(len(files), minPartitions)
        rdd = self._parallelized([[file] for file in files], pickle_files.read_parts, "PickleFileRDD")
        return rdd.repartition(wanted) if wanted > len(files) else rdd

    def _checkpointFile(self: Any, name: str, input_deserializer: Any = None) -> RDD[Any]:
        """The items of a checkpoint that `RDD.getCheckpointFile` named."""
        rdd: RDD[Any] = self._checkpoints.read(name)
        return rdd
