"""Joins and set operations, against nested loops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tidemill import RDD, SparkContext
from tidemill.resultiterable import ResultIterable

LEFT = [("a", 1), ("b", 2), ("a", 3), ("c", 4), (None, 5)]
RIGHT = [("a", "x"), ("d", "y"), ("a", "z"), (None, "w"), ("d", "v")]
MATCHES = [(k, (v, w)) for k, v in LEFT for other, w in RIGHT if k == other]
LEFT_ONLY = [(k, (v, None)) for k, v in LEFT if k not in dict(RIGHT)]
RIGHT_ONLY = [(k, (None, w)) for k, w in RIGHT if k not in dict(LEFT)]

TABLE: list[tuple[str, Callable[[RDD[Any], RDD[Any], int | None], RDD[Any]], list[Any]]] = [
    ("join", lambda a, b, n: a.join(b, n), MATCHES),
    ("leftOuterJoin", lambda a, b, n: a.leftOuterJoin(b, n), MATCHES + LEFT_ONLY),
    ("rightOuterJoin", lambda a, b, n: a.rightOuterJoin(b, n), MATCHES + RIGHT_ONLY),
    ("fullOuterJoin", lambda a, b, n: a.fullOuterJoin(b, n), MATCHES + LEFT_ONLY + RIGHT_ONLY),
    ("subtractByKey", lambda a, b, n: a.subtractByKey(b, n), [(k, v) for k, v in LEFT if k not in dict(RIGHT)]),
]


@pytest.mark.parametrize("partitions", [None, 1, 3])
@pytest.mark.parametrize(("operation", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_as_with_loops(sc: SparkContext, operation: Any, expected: Any, partitions: int | None) -> None:
    left, right = sc.parallelize(LEFT, 2), sc.parallelize(RIGHT, 3)
    for a, b in ((left, right), (left.partitionBy(3), right.partitionBy(3)), (left.partitionBy(3), right)):
        assert Counter(operation(a, b, partitions).collect()) == Counter(expected)


EMPTY_SIDES: list[tuple[str, Callable[[RDD[Any], RDD[Any]], RDD[Any]], int, int]] = [
    ("join", lambda a, b: a.join(b), 0, 0),
    ("leftOuterJoin", lambda a, b: a.leftOuterJoin(b), 5, 0),
    ("rightOuterJoin", lambda a, b: a.rightOuterJoin(b), 0, 5),
    ("fullOuterJoin", lambda a, b: a.fullOuterJoin(b), 5, 5),
    ("subtractByKey", lambda a, b: a.subtractByKey(b), 5, 0),
    ("subtract", lambda a, b: a.subtract(b), 5, 0),
    ("intersection", lambda a, b: a.intersection(b), 0, 0),
    ("cogroup", lambda a, b: a.cogroup(b), 4, 4),
]


@pytest.mark.parametrize(
    ("operation", "left", "right"), [row[1:] for row in EMPTY_SIDES], ids=[row[0] for row in EMPTY_SIDES]
)
def test_one_side_or_both_empty(sc: SparkContext, operation: Any, left: int, right: int) -> None:
    for empty in (sc.emptyRDD(), sc.parallelize([], 2)):
        assert operation(sc.parallelize(LEFT, 2), empty).count() == left
        assert operation(empty, sc.parallelize(LEFT, 2)).count() == right
        assert operation(empty, sc.emptyRDD()).count() == 0


def test_cogroup(sc: SparkContext) -> None:
    found = sc.parallelize(LEFT, 2).cogroup(sc.parallelize(RIGHT, 3), 2).collect()
    assert all(isinstance(side, ResultIterable) for _, sides in found for side in sides)
    assert {key: tuple(map(list, sides)) for key, sides in found} == {
        "a": ([1, 3], ["x", "z"]),
        "b": ([2], []),
        "c": ([4], []),
        "d": ([], ["y", "v"]),
        None: ([5], ["w"]),
    }


def test_groupWith(sc: SparkContext) -> None:
    a, b, c = (sc.parallelize([(key, f"{key}{n}") for key in keys], n + 1) for n, keys in enumerate(("xy", "yz", "xx")))
    found = {key: tuple(map(list, sides)) for key, sides in a.groupWith(b, c).collect()}
    assert found == {"x": (["x0"], [], ["x2", "x2"]), "y": (["y0"], ["y1"], []), "z": ([], ["z1"], [])}
    assert {key: tuple(map(list, sides)) for key, sides in a.groupWith(b).collect()} == {
        "x": (["x0"], []),
        "y": (["y0"], ["y1"]),
        "z": ([], ["z1"]),
    }


def test_order_of_what_joins_give(sc: SparkContext) -> None:
    left, right = sc.parallelize([("a", 1), ("b", 2), ("a", 3)], 1), sc.parallelize([("b", 4), ("a", 5), ("a", 6)], 1)
    assert left.join(right).collect() == [("a", (1, 5)), ("a", (1, 6)), ("a", (3, 5)), ("a", (3, 6)), ("b", (2, 4))]


def test_self_join(sc: SparkContext) -> None:
    rdd = sc.parallelize([("a", 1), ("a", 2)], 2)
    assert sorted(rdd.join(rdd).collect()) == [("a", (1, 1)), ("a", (1, 2)), ("a", (2, 1)), ("a", (2, 2))]


def test_sets(sc: SparkContext) -> None:
    left, right = sc.parallelize([1, 1, 2, 3, None, "a"], 3), sc.parallelize([3, 3, 4, None], 2)
    assert Counter(left.subtract(right).collect()) == Counter([1, 1, 2, "a"])
    assert left.subtract(right, 5).getNumPartitions() == 5
    assert Counter(left.intersection(right).collect()) == Counter([3, None])
