"""Actions, against plain Python."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tidemill import RDD, SparkContext

NUMBERS = [5, 3, 8, 1, 9, 2, 8]

TABLE: list[tuple[str, Callable[[RDD[Any]], Any], Any]] = [
    ("collect", lambda r: r.collect(), NUMBERS),
    ("count", lambda r: r.count(), 7),
    ("first", lambda r: r.first(), 5),
    ("isEmpty", lambda r: r.isEmpty(), False),
    ("take 0", lambda r: r.take(0), []),
    ("take 3", lambda r: r.take(3), NUMBERS[:3]),
    ("take all", lambda r: r.take(100), NUMBERS),
    ("reduce", lambda r: r.reduce(lambda a, b: a + b), sum(NUMBERS)),
    ("reduce operator", lambda r: r.reduce(operator.mul), 5 * 3 * 8 * 9 * 2 * 8),
    ("fold", lambda r: r.fold(0, operator.add), sum(NUMBERS)),
    ("aggregate", lambda r: r.aggregate([], lambda a, x: a + [x], operator.add), NUMBERS),
    (
        "aggregate in place",
        lambda r: r.aggregate([], lambda a, x: a.append(x) or a, lambda a, b: a.extend(b) or a),
        NUMBERS,
    ),
    ("treeReduce", lambda r: r.treeReduce(max), 9),
    ("treeAggregate", lambda r: r.treeAggregate(0, operator.add, operator.add, 3), sum(NUMBERS)),
    ("toLocalIterator", lambda r: list(r.toLocalIterator()), NUMBERS),
    ("toLocalIterator ahead", lambda r: list(r.toLocalIterator(prefetchPartitions=True)), NUMBERS),
    ("collectWithJobGroup", lambda r: r.collectWithJobGroup("group", "says why"), NUMBERS),
    ("keyed lookup", lambda r: r.map(lambda x: (x, -x)).lookup(8), [-8, -8]),
    ("keyed lookup nothing", lambda r: r.map(lambda x: (x, -x)).lookup(7), []),
]


@pytest.mark.parametrize("slices", [1, 3, 20])
@pytest.mark.parametrize(("action", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_as_in_python(sc: SparkContext, action: Any, expected: Any, slices: int) -> None:
    assert action(sc.parallelize(NUMBERS, slices)) == expected


EMPTY: list[tuple[str, Callable[[RDD[Any]], Any], Any]] = [
    ("collect", lambda r: r.collect(), []),
    ("count", lambda r: r.count(), 0),
    ("isEmpty", lambda r: r.isEmpty(), True),
    ("take", lambda r: r.take(2), []),
    ("fold", lambda r: r.fold(0, operator.add), 0),
    ("aggregate", lambda r: r.aggregate((0, 0), lambda a, x: a, lambda a, b: a), (0, 0)),
    ("treeAggregate", lambda r: r.treeAggregate(0, operator.add, operator.add), 0),
    ("toLocalIterator", lambda r: list(r.toLocalIterator()), []),
    ("toLocalIterator ahead", lambda r: list(r.toLocalIterator(True)), []),
    ("foreach", lambda r: r.foreach(print), None),
    ("foreachPartition", lambda r: r.foreachPartition(lambda items: None), None),
]
EMPTY_ERRORS: list[tuple[str, Callable[[RDD[Any]], Any], str]] = [
    ("first", lambda r: r.first(), "RDD is empty"),
    ("reduce", lambda r: r.reduce(operator.add), "Can not reduce() empty RDD"),
    ("treeReduce", lambda r: r.treeReduce(operator.add), "Cannot reduce empty RDD."),
    ("max", lambda r: r.max(), "Can not reduce() empty RDD"),
    ("min", lambda r: r.min(), "Can not reduce() empty RDD"),
]


REDUCING: list[tuple[str, Callable[[RDD[Any]], Any]]] = [
    ("top", lambda r: r.top(2)),
    ("stats", lambda r: r.stats()),
    ("mean", lambda r: r.mean()),
    ("histogram", lambda r: r.histogram([0, 1])),
    ("countByValue", lambda r: r.countByValue()),
    ("countByKey", lambda r: r.countByKey()),
    ("reduceByKeyLocally", lambda r: r.reduceByKeyLocally(operator.add)),
]


@pytest.mark.parametrize("action", [row[1] for row in REDUCING], ids=[row[0] for row in REDUCING])
def test_actions_that_reduce_need_a_partition(sc: SparkContext, action: Callable[[RDD[Any]], Any]) -> None:
    action(sc.parallelize([], 1))
    with pytest.raises(ValueError, match=r"^Can not reduce\(\) empty RDD$"):
        action(sc.emptyRDD())


def empty_rdds(sc: SparkContext) -> list[RDD[Any]]:
    return [sc.emptyRDD(), sc.parallelize([], 3), sc.parallelize([1, 2], 2).filter(lambda x: x > 2)]


@pytest.mark.parametrize(("action", "expected"), [row[1:] for row in EMPTY], ids=[row[0] for row in EMPTY])
def test_without_items(sc: SparkContext, action: Any, expected: Any) -> None:
    for rdd in empty_rdds(sc):
        assert action(rdd) == expected


@pytest.mark.parametrize(("action", "text"), [row[1:] for row in EMPTY_ERRORS], ids=[row[0] for row in EMPTY_ERRORS])
def test_errors_without_items(sc: SparkContext, action: Any, text: str) -> None:
    for rdd in empty_rdds(sc):
        with pytest.raises(ValueError) as raised:
            action(rdd)
        assert str(raised.value) == text


def test_depth_must_be_positive(sc: SparkContext) -> None:
    with pytest.raises(ValueError, match="Depth cannot be smaller than 1 but got 0."):
        sc.parallelize([1]).treeReduce(operator.add, 0)
    with pytest.raises(ValueError, match="Depth cannot be smaller than 1 but got -1."):
        sc.parallelize([1]).treeAggregate(0, operator.add, operator.add, -1)


@pytest.mark.parametrize("depth", [1, 2, 3, 10])
def test_trees_of_many_partitions(sc: SparkContext, depth: int) -> None:
    rdd = sc.parallelize(range(100), 40)
    assert rdd.treeReduce(operator.add, depth) == sum(range(100))
    assert rdd.treeAggregate(
        (0, 0), lambda a, x: (a[0] + x, a[1] + 1), lambda a, b: (a[0] + b[0], a[1] + b[1]), depth
    ) == (4950, 100)


def computed_partitions(sc: SparkContext, action: Callable[[RDD[int]], Any]) -> tuple[Any, list[int]]:
    """What an action gives on ten partitions of ten numbers, and which of them it computed, in which order."""
    seen: list[int] = []
    lock = threading.Lock()

    def note(split: int, items: Any) -> Any:
        with lock:
            seen.append(split)
        return items

    return action(sc.parallelize(range(100), 10).mapPartitionsWithIndex(note)), seen


def test_take_looks_at_few_partitions(sc: SparkContext) -> None:
    assert computed_partitions(sc, lambda r: r.take(3)) == ([0, 1, 2], [0])
    found, seen = computed_partitions(sc, lambda r: r.filter(lambda x: x >= 25).take(2))
    assert found == [25, 26] and sorted(seen) == [0, 1, 2, 3]
    assert computed_partitions(sc, lambda r: r.isEmpty()) == (False, [0])


def test_take_reads_no_more_items_than_it_needs(sc: SparkContext) -> None:
    read: list[int] = []
    assert sc.parallelize(range(100), 1).map(lambda x: read.append(x) or x).take(2) == [0, 1]
    assert read == [0, 1]


def test_toLocalIterator_computes_one_partition_at_a_time(sc: SparkContext) -> None:
    found, seen = computed_partitions(sc, lambda r: [item for item, _ in zip(r.toLocalIterator(), range(15))])
    assert found == list(range(15)) and seen == [0, 1]


@pytest.mark.parametrize("ahead", [False, True])
def test_toLocalIterator_does_not_shuffle_for_each_partition(sc: SparkContext, ahead: bool) -> None:
    seen: list[int] = []
    noted = sc.parallelize(range(100), 4).map(lambda n: seen.append(n) or (n, 1))
    items = noted.reduceByKey(lambda a, b: a + b, 20).keys().toLocalIterator(ahead)
    assert seen == [], "nothing is done before an item is asked for"
    first = next(items)
    assert len(seen) <= 100 * (1 + ahead)
    assert sorted([first, *items]) == list(range(100))
    assert len(seen) == 100 * len(["1 partition", "3 more", "12 more", "the last 4"])


def test_lookup_computes_one_partition_where_there_is_a_partitioner(sc: SparkContext) -> None:
    seen: list[int] = []
    pairs = sc.parallelize([(n, n) for n in range(20)], 4).partitionBy(5)
    noted = pairs.mapPartitionsWithIndex(lambda split, items: seen.append(split) or items, preservesPartitioning=True)
    assert noted.lookup(7) == [7] and seen == [2]


def test_foreach_sees_every_item(sc: SparkContext) -> None:
    seen: list[int] = []
    sc.parallelize(range(10), 3).foreach(seen.append)
    assert sorted(seen) == list(range(10))


def test_foreachPartition_reads_what_it_is_given(sc: SparkContext) -> None:
    seen: list[int] = []

    def lazily(items: Any) -> Any:
        for item in items:
            seen.append(item)
            yield item

    sc.parallelize(range(10), 3).foreachPartition(lazily)
    assert sorted(seen) == list(range(10))


def test_zero_values_are_not_shared(sc: SparkContext) -> None:
    zero: list[int] = []
    rdd = sc.parallelize(range(6), 3)
    for _ in range(2):
        gathered = rdd.aggregate(zero, lambda a, x: a.append(x) or a, lambda a, b: a.extend(b) or a)
        assert gathered == list(range(6))
    assert zero == []
    assert rdd.map(lambda x: [x]).fold(zero, lambda a, b: a.extend(b) or a) == list(range(6))
    assert zero == []


def test_fold_begins_with_zero_in_every_partition(sc: SparkContext) -> None:
    assert sc.parallelize([1, 2, 3], 3).fold(10, operator.add) == 6 + 4 * 10
    assert sc.parallelize([], 3).fold(1, operator.add) == 4
