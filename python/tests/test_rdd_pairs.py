"""Operations by key, against dicts."""

from __future__ import annotations

import operator
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from tidemill import RDD, SparkContext, TidemillError
from tidemill.resultiterable import ResultIterable

PAIRS = [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("b", 5), ("a", 6), (None, 7), (("t", 1), 8)]
GROUPS: dict[Any, list[int]] = defaultdict(list)
for _key, _value in PAIRS:
    GROUPS[_key].append(_value)
SUMS = {key: sum(values) for key, values in GROUPS.items()}

TABLE: list[tuple[str, Callable[[RDD[Any], int | None], RDD[Any]], dict[Any, Any]]] = [
    ("reduceByKey", lambda r, n: r.reduceByKey(lambda a, b: a + b, n), SUMS),
    ("reduceByKey operator", lambda r, n: r.reduceByKey(operator.add, n), SUMS),
    (
        "reduceByKey other",
        lambda r, n: r.reduceByKey(lambda a, b: a if a > b else b, n),
        {k: max(v) for k, v in GROUPS.items()},
    ),
    ("reduceByKey placed", lambda r, n: r.reduceByKey(operator.add, n, lambda key: 1), SUMS),
    ("foldByKey", lambda r, n: r.foldByKey(0, operator.add, n), SUMS),
    ("groupByKey", lambda r, n: r.groupByKey(n).mapValues(list), dict(GROUPS)),
    ("groupByKey placed", lambda r, n: r.groupByKey(n, lambda key: 0).mapValues(list), dict(GROUPS)),
    ("combineByKey", lambda r, n: r.combineByKey(lambda v: [v], lambda c, v: c + [v], operator.add, n), dict(GROUPS)),
    (
        "combineByKey in place",
        lambda r, n: r.combineByKey(lambda v: [v], lambda c, v: c.append(v) or c, lambda a, b: a.extend(b) or a, n),
        dict(GROUPS),
    ),
    (
        "aggregateByKey",
        lambda r, n: r.aggregateByKey(
            (0, 0), lambda a, v: (a[0] + v, a[1] + 1), lambda a, b: (a[0] + b[0], a[1] + b[1]), n
        ),
        {k: (sum(v), len(v)) for k, v in GROUPS.items()},
    ),
    (
        "aggregateByKey in place",
        lambda r, n: r.aggregateByKey([], lambda c, v: c.append(v) or c, lambda a, b: a.extend(b) or a, n),
        dict(GROUPS),
    ),
]


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("partitions", [None, 1, 4])
@pytest.mark.parametrize(("operation", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_as_with_dicts(sc: SparkContext, operation: Any, expected: Any, partitions: int | None, slices: int) -> None:
    rdd = sc.parallelize(PAIRS, slices)
    for source in (rdd, rdd.partitionBy(4)):
        made = operation(source, partitions)
        assert made.getNumPartitions() == (source.getNumPartitions() if partitions is None else partitions)
        # Twice: what is changed in place in one job must not be seen by the next.
        for _ in range(2):
            found = made.collect()
            assert dict(found) == expected and len(found) == len(expected)


@pytest.mark.parametrize("operation", [row[1] for row in TABLE], ids=[row[0] for row in TABLE])
def test_nothing_comes_of_nothing(sc: SparkContext, operation: Any) -> None:
    assert operation(sc.emptyRDD(), None).collect() == []
    assert operation(sc.emptyRDD(), 2).collect() == []
    assert operation(sc.parallelize([], 3), 2).collect() == []


def test_zero_values_are_copied_for_each_key(sc: SparkContext) -> None:
    zero: list[int] = []
    rdd = sc.parallelize(PAIRS, 3)
    made = rdd.aggregateByKey(zero, lambda c, v: c.append(v) or c, lambda a, b: a.extend(b) or a)
    assert made.collectAsMap() == GROUPS
    assert rdd.mapValues(lambda v: [v]).foldByKey(zero, lambda a, b: a.extend(b) or a).collectAsMap() == GROUPS
    assert zero == []


def test_foldByKey_begins_with_zero_in_every_partition(sc: SparkContext) -> None:
    assert sc.parallelize([("a", 1), ("a", 2)], 2).foldByKey(10, operator.add).collect() == [("a", 23)]


def test_where_nothing_moves_values_are_combined_once(sc: SparkContext) -> None:
    merged: list[Any] = []
    rdd = sc.parallelize([("a", 1), ("a", 2)], 2).partitionBy(2)
    made = rdd.combineByKey(lambda v: [v], lambda c, v: c + [v], lambda a, b: merged.append(a) or a + b)
    assert made.collect() == [("a", [1, 2])] and merged == []


def test_groups_are_result_iterables(sc: SparkContext) -> None:
    (group,) = sc.parallelize([("a", 1), ("a", 2)], 1).groupByKey().values().collect()
    assert isinstance(group, ResultIterable)
    assert len(group) == 2 and list(group) == list(group) == [1, 2]


def test_groups_have_values_in_order(sc: SparkContext) -> None:
    pairs = [(n % 3, n) for n in range(100)]
    grouped = sc.parallelize(pairs, 7).groupByKey(2).mapValues(list).collectAsMap()
    assert grouped == {key: list(range(key, 100, 3)) for key in range(3)}


def test_groupBy(sc: SparkContext) -> None:
    found = sc.parallelize(range(10), 3).groupBy(lambda x: x % 3, 2).mapValues(sorted).collectAsMap()
    assert found == {0: [0, 3, 6, 9], 1: [1, 4, 7], 2: [2, 5, 8]}


def test_as_dicts_on_the_driver(sc: SparkContext) -> None:
    rdd = sc.parallelize(PAIRS, 3)
    assert rdd.reduceByKeyLocally(operator.add) == SUMS
    assert rdd.countByKey() == Counter(key for key, _ in PAIRS)
    assert rdd.countByKey()["nobody"] == 0
    assert rdd.keys().countByValue() == Counter(key for key, _ in PAIRS)
    assert sc.parallelize([(1, 2), (1, 3)], 1).collectAsMap() == {1: 3}
    empty = sc.parallelize([], 2)
    assert empty.reduceByKeyLocally(operator.add) == {}
    assert empty.countByKey() == empty.countByValue() == empty.collectAsMap() == sc.emptyRDD().collectAsMap() == {}


def test_sampleByKey(sc: SparkContext) -> None:
    rdd = sc.parallelize([(key, n) for key in "abc" for n in range(1000)], 3)
    counts = rdd.sampleByKey(False, {"a": 0.2, "b": 1.0, "c": 0}, seed=7).countByKey()
    assert 120 < counts["a"] < 280 and counts["b"] == 1000 and counts["c"] == 0
    assert rdd.sampleByKey(False, {"a": 0.2, "b": 0.1, "c": 0}, seed=7).collect() == (
        rdd.sampleByKey(False, {"a": 0.2, "b": 0.1, "c": 0}, seed=7).collect()
    )
    assert rdd.sampleByKey(True, {"a": 2.0, "b": 0.0, "c": 0.0}, seed=7).count() in range(1700, 2300)
    with pytest.raises(AssertionError, match="Negative fraction value: -1"):
        rdd.sampleByKey(False, {"a": -1})


def test_items_that_are_no_pairs(sc: SparkContext) -> None:
    with pytest.raises(TidemillError, match="pair"):
        sc.parallelize([1, 2]).reduceByKey(operator.add).collect()


class Folded(str):
    """A text whose case makes no difference."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())


def test_keys_that_compare_in_their_own_way_are_one_key(sc: SparkContext) -> None:
    pairs = sc.parallelize([(Folded(word), 1) for word in ("a", "A", "b", "B", "a", "C")], 3)
    counts = pairs.reduceByKey(operator.add, 7).collect()
    assert sorted((key.lower(), n) for key, n in counts) == [("a", 3), ("b", 2), ("c", 1)]
