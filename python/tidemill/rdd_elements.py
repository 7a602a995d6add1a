"""Operations on single items and on partitions, without a shuffle."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from . import stages
from .callsite import call_site
from .closure import capture
from .lineage import Lineage

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")
U = TypeVar("U")
K = TypeVar("K")
V = TypeVar("V")

__all__ = ["ElementFunctions"]


class ElementFunctions(Lineage[T]):
    """The part of `RDD` that makes items of items."""

    def map(self, f: Callable[[T], U], preservesPartitioning: bool = False) -> RDD[U]:
        """`f` of each item.

        >>> sc.parallelize([1, 2, 3]).map(lambda x: x * 10).collect()
        [10, 20, 30]
        """
        return self._narrow("map", stages.mapping(f), capture(f), preservesPartitioning)

    def flatMap(self, f: Callable[[T], Iterable[U]], preservesPartitioning: bool = False) -> RDD[U]:
        """All that `f` gives for each item.

        >>> sc.parallelize(["a b", "", "c"]).flatMap(str.split).collect()
        ['a', 'b', 'c']
        """
        return self._narrow("flatMap", stages.flat_mapping(f), capture(f), preservesPartitioning)

    def filter(self, f: Callable[[T], bool]) -> RDD[T]:
        """The items for which `f` holds.

        >>> sc.parallelize(range(6)).filter(lambda x: x % 2).collect()
        [1, 3, 5]
        """
        return self._narrow("filter", stages.filtering(f), capture(f), preserves=True)

    def mapPartitions(self, f: Callable[[Iterator[T]], Iterable[U]], preservesPartitioning: bool = False) -> RDD[U]:
        """What `f` gives for the iterator of each partition.

        >>> sc.parallelize([1, 2, 3, 4], 2).mapPartitions(lambda items: [sum(items)]).collect()
        [3, 7]
        """
        return self._narrow("mapPartitions", stages.partition_mapping(f), capture(f), preservesPartitioning)

    def mapPartitionsWithIndex(
        self, f: Callable[[int, Iterator[T]], Iterable[U]], preservesPartitioning: bool = False
    ) -> RDD[U]:
        """What `f` gives for the number and the iterator of each partition.

        >>> sc.parallelize("abc", 3).mapPartitionsWithIndex(lambda split, items: [(split, list(items))]).collect()
        [(0, ['a']), (1, ['b']), (2, ['c'])]
        """
        return self._narrow("mapPartitionsWithIndex", f, capture(f), preservesPartitioning)

    def mapPartitionsWithSplit(
        self, f: Callable[[int, Iterator[T]], Iterable[U]], preservesPartitioning: bool = False
    ) -> RDD[U]:
        """The old name of `mapPartitionsWithIndex`."""
        return self.mapPartitionsWithIndex(f, preservesPartitioning)

    def mapArrow(self, f: Callable[[Any], Any]) -> RDD[Any]:
        """What `f` gives for each Arrow record batch of the items: an extension, PySpark's RDDs have nothing like it.

        `f` takes a `pyarrow.RecordBatch` and gives one. Lines of text are one column, `value`; a text file's come without having
        been Python objects. The items of the result are its rows: dicts by column, or the values alone of one column `value`.
        """
        # Not the site of `made`: a function that holds the RDD that holds it would keep its data until the next collection of cycles.
        closure, site = capture(f), call_site()
        made = self._built(lambda native: native.map_arrow(f, "mapArrow", site), kind="ArrowRDD")
        made._closure = closure
        return made

    def glom(self) -> RDD[list[T]]:
        """One list for each partition.

        >>> sc.parallelize([1, 2, 3, 4], 2).glom().collect()
        [[1, 2], [3, 4]]
        """
        return self._narrow("glom", stages.glomming)

    def keyBy(self, f: Callable[[T], K]) -> RDD[tuple[K, T]]:
        """Pairs of `f` of the item and the item.

        >>> sc.parallelize(["a", "bb"]).keyBy(len).collect()
        [(1, 'a'), (2, 'bb')]
        """
        return self._narrow("keyBy", stages.keying(f), capture(f))

    def keys(self: ElementFunctions[tuple[K, V]]) -> RDD[K]:
        """The keys of pairs.

        >>> sc.parallelize([(1, "a"), (2, "b")]).keys().collect()
        [1, 2]
        """
        return self._narrow("keys", stages.first_halves)

    def values(self: ElementFunctions[tuple[K, V]]) -> RDD[V]:
        """The values of pairs.

        >>> sc.parallelize([(1, "a"), (2, "b")]).values().collect()
        ['a', 'b']
        """
        return self._narrow("values", stages.second_halves)

    def mapValues(self: ElementFunctions[tuple[K, V]], f: Callable[[V], U]) -> RDD[tuple[K, U]]:
        """Pairs with `f` of their values; they stay in their partitions.

        >>> sc.parallelize([("a", [1, 2]), ("b", [])]).mapValues(len).collect()
        [('a', 2), ('b', 0)]
        """
        return self._narrow("mapValues", stages.value_mapping(f), capture(f), preserves=True)

    def flatMapValues(self: ElementFunctions[tuple[K, V]], f: Callable[[V], Iterable[U]]) -> RDD[tuple[K, U]]:
        """A pair for each item that `f` gives for a pair's value; they stay in their partitions.

        >>> sc.parallelize([("a", "xy"), ("b", "")]).flatMapValues(list).collect()
        [('a', 'x'), ('a', 'y')]
        """
        return self._narrow("flatMapValues", stages.value_flat_mapping(f), capture(f), preserves=True)

    def pipe(self, command: str, env: dict[str, str] | None = None, checkCode: bool = False) -> RDD[str]:
        """The lines that a program prints when the items of a partition are its input, one line each.

        `env` adds to the environment. With `checkCode` an exit code other than 0 is an error.

        >>> sc.parallelize(["b", "a"], 1).pipe("sort").collect()
        ['a', 'b']
        """
        words, environment = shlex.split(command), {**os.environ, **(env or {})}

        def lines(items: Iterator[Any]) -> Iterator[str]:
            program = subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert program.stdout is not None
            raised: list[BaseException] = []
            writer = threading.Thread(target=_feed, args=(program.stdin, items, raised), daemon=True)
            writer.start()
            yield from (line.rstrip(b"\n").decode("utf-8") for line in program.stdout)
            writer.join()
            code = program.wait()
            if raised:
                raise raised[0]
            if checkCode and code:
                raise RuntimeError(f"Pipe function `{command}' exited with error code {code}")

        return self._narrow("pipe", stages.partition_mapping(lines))


def _feed(stdin: Any, items: Iterator[Any], raised: list[BaseException]) -> None:
    """Writes items as lines. A program need not read all of them; what the functions before it raise is kept."""
    try:
        with stdin:
            stdin.writelines(str(item).rstrip("\n").encode("utf-8") + b"\n" for item in items)
    except BrokenPipeError:
        return
    except BaseException as error:
        raised.append(error)
