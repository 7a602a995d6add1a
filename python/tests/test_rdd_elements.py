"""Operations on single items and on partitions, against plain Python."""

from __future__ import annotations

import gc
import operator
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from tidemill import RDD, PythonException, SparkContext, TidemillError

NUMBERS = [5, 3, 8, 1, 9, 2, 8]
PAIRS = [("a", 1), ("b", 2), ("a", 3), ("c", 4)]

# name, input, operation, what a list comprehension gives
TABLE: list[tuple[str, list[Any], Callable[[RDD[Any]], RDD[Any]], list[Any]]] = [
    ("map", NUMBERS, lambda r: r.map(lambda x: x + 1), [x + 1 for x in NUMBERS]),
    ("map builtin", NUMBERS, lambda r: r.map(str), [str(x) for x in NUMBERS]),
    ("map pairing", NUMBERS, lambda r: r.map(lambda x: (x, 1)), [(x, 1) for x in NUMBERS]),
    ("flatMap", NUMBERS, lambda r: r.flatMap(range), [y for x in NUMBERS for y in range(x)]),
    ("flatMap text", ["a b", "", "c"], lambda r: r.flatMap(str.split), ["a", "b", "c"]),
    (
        "flatMap generator",
        NUMBERS,
        lambda r: r.flatMap(lambda x: (x for _ in range(2))),
        [x for x in NUMBERS for _ in "ab"],
    ),
    ("filter", NUMBERS, lambda r: r.filter(lambda x: x > 4), [x for x in NUMBERS if x > 4]),
    ("filter builtin", [0, 1, "", "a"], lambda r: r.filter(bool), [1, "a"]),
    (
        "chain",
        NUMBERS,
        lambda r: r.map(lambda x: x * 2).filter(lambda x: x > 4).map(str),
        ["10", "6", "16", "18", "16"],
    ),
    ("keyBy", NUMBERS, lambda r: r.keyBy(lambda x: x % 2), [(x % 2, x) for x in NUMBERS]),
    ("keys", PAIRS, lambda r: r.keys(), ["a", "b", "a", "c"]),
    ("values", PAIRS, lambda r: r.values(), [1, 2, 3, 4]),
    ("mapValues", PAIRS, lambda r: r.mapValues(lambda v: -v), [(k, -v) for k, v in PAIRS]),
    ("flatMapValues", PAIRS, lambda r: r.flatMapValues(range), [(k, n) for k, v in PAIRS for n in range(v)]),
    (
        "mapPartitions",
        NUMBERS,
        lambda r: r.mapPartitions(lambda items: (x * 2 for x in items)),
        [x * 2 for x in NUMBERS],
    ),
    ("pipe", NUMBERS, lambda r: r.pipe("cat"), [str(x) for x in NUMBERS]),
]


@pytest.mark.parametrize("slices", [1, 3, 20])
@pytest.mark.parametrize(("items", "operation", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_as_in_python(sc: SparkContext, items: list[Any], operation: Any, expected: list[Any], slices: int) -> None:
    assert operation(sc.parallelize(items, slices)).collect() == expected


@pytest.mark.parametrize("operation", [row[2] for row in TABLE], ids=[row[0] for row in TABLE])
def test_nothing_comes_of_nothing(sc: SparkContext, operation: Any) -> None:
    assert operation(sc.emptyRDD()).collect() == []
    assert operation(sc.parallelize([], 2)).collect() == []


def test_partitions_are_seen_in_order(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(5), 3)
    assert rdd.glom().collect() == [[0], [1, 2], [3, 4]]
    numbered = [(0, [0]), (1, [1, 2]), (2, [3, 4])]
    assert rdd.mapPartitionsWithIndex(lambda split, items: [(split, list(items))]).collect() == numbered
    assert rdd.mapPartitionsWithSplit(lambda split, items: [(split, list(items))]).collect() == numbered
    assert rdd.mapPartitions(lambda items: [sum(items)]).collect() == [0, 3, 7]


def test_empty_partitions_are_called_too(sc: SparkContext) -> None:
    assert sc.parallelize([1], 3).mapPartitions(lambda items: [len(list(items))]).collect() == [0, 0, 1]


def test_mapPartitions_gets_an_iterator_after_any_operation(sc: SparkContext) -> None:
    take_first: Any = lambda items: [next(items)]  # noqa: E731
    for rdd in (sc.parallelize(range(4), 2), sc.parallelize(range(4), 2).glom(), sc.parallelize(range(4), 2).map(str)):
        assert len(rdd.mapPartitions(take_first).collect()) == 2
    listed = sc.parallelize(range(4), 2).mapPartitions(lambda items: [1, 2])
    assert listed.mapPartitions(take_first).collect() == [1, 1]


def test_items_may_be_of_any_kind(sc: SparkContext) -> None:
    items = [None, 1.5, 2**80, "ü", b"\x00", (1, (2,)), [1, [2]], {"k": {1}}, frozenset([1]), range(3), ValueError]
    assert sc.parallelize(items, 4).collect() == items
    assert sc.parallelize(items, 4).map(lambda x: x).repartition(1).count() == len(items)


def test_what_tasks_change_is_theirs(sc: SparkContext) -> None:
    lists = [[1], [2, 3]]
    rdd = sc.parallelize(lists, 2)
    assert rdd.map(lambda x: x.append(0) or len(x)).collect() == [2, 3]
    assert rdd.collect() == [[1], [2, 3]] == lists


def test_pipe_takes_an_environment_and_checks_the_code(sc: SparkContext) -> None:
    words = f"{sys.executable} -c \"import os, sys; print(os.environ['WORD']); sys.exit(3)\""
    assert sc.parallelize([1], 1).pipe(words, {"WORD": "tide"}).collect() == ["tide"]
    with pytest.raises(TidemillError, match="exited with error code 3"):
        sc.parallelize([1], 1).pipe(words, {"WORD": "tide"}, checkCode=True).collect()


def test_mapArrow_works_on_columns(sc: SparkContext, tmp_path: Any) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    compute = pytest.importorskip("pyarrow.compute")
    (tmp_path / "lines.txt").write_text("to be\nor not\n")

    def upper(batch: Any) -> Any:
        assert isinstance(batch, pyarrow.RecordBatch)
        return pyarrow.RecordBatch.from_arrays([compute.utf8_upper(batch["value"])], ["value"])

    shouted = sc.textFile(str(tmp_path / "lines.txt")).mapArrow(upper)
    assert shouted.collect() == ["TO BE", "OR NOT"]
    assert shouted.map(len).collect() == [5, 6]


def test_pipe_raises_what_the_functions_before_it_raise(sc: SparkContext) -> None:
    numbers = sc.parallelize(range(6), 2)
    with pytest.raises(PythonException, match="ZeroDivisionError"):
        numbers.map(lambda n: 12 // (n - 4)).pipe("cat").collect()


def test_each_reader_of_a_shuffle_has_objects_of_its_own(sc: SparkContext) -> None:
    grouped = sc.parallelize([("k", [1])], 1).reduceByKey(lambda a, b: a + b, 1)
    appended = grouped.union(grouped).map(lambda pair: (pair[0], pair[1].append(9) or pair[1]))
    assert appended.collect() == [("k", [1, 9])] * 2


@pytest.mark.parametrize(
    "make",
    [
        lambda rdd: rdd.map(lambda n: (n, n)).reduceByKey(lambda a, b: a + b),
        lambda rdd: rdd.repartition(3),
        lambda rdd: rdd.zip(rdd),
        lambda rdd: rdd.mapArrow(lambda batch: batch),
    ],
    ids=["reduceByKey", "repartition", "zip", "mapArrow"],
)
def test_an_rdd_that_nobody_holds_is_gone_at_once(sc: SparkContext, make: Callable[[Any], Any]) -> None:
    if make(sc.parallelize(range(4), 2)).count() != 4:
        raise AssertionError("the RDD does not work")
    gc.collect()
    gc.disable()
    try:
        rdd = make(sc.parallelize(range(4), 2))
        rdd.count()
        gone = weakref.ref(rdd)
        del rdd
        assert gone() is None
    finally:
        gc.enable()


def test_what_cannot_be_sent_on_is_an_error_that_says_why(sc: SparkContext) -> None:
    locks = sc.parallelize(range(2), 2).map(lambda n: (n, threading.Lock()))
    with pytest.raises(PythonException, match=r"(?s)partitionBy at test_rdd_elements\.py.*lock") as raised:
        locks.partitionBy(2).count()
    assert isinstance(raised.value.__cause__, TypeError)


def test_methods_of_items_that_leak_the_end_of_an_iterator(sc: SparkContext) -> None:
    iterators = sc.parallelize(range(4), 1).map(lambda n: iter(range(n)))
    with pytest.raises(PythonException, match="StopIteration"):
        iterators.map(operator.methodcaller("__next__")).collect()


def test_a_separator_that_has_no_utf_8(sc: SparkContext, tmp_path: Any) -> None:
    (tmp_path / "lines").write_text("a b\n")
    lines = sc.textFile(str(tmp_path / "lines"))
    words = lines.flatMap(lambda x: x.split("\ud800")).map(lambda word: (word, 1)).reduceByKey(operator.add)
    assert words.collect() == [("a b", 1)]
