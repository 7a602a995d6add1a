"""Where items lie: shuffles, unions, zips, and partitioners."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from programs import run

from tidemill import SparkContext, TidemillError, portable_hash
from tidemill.rdd import Partitioner

PAIRS = [(n, str(n)) for n in range(20)]


def test_partitionBy_places_by_hash(sc: SparkContext) -> None:
    rdd = sc.parallelize(PAIRS, 3).partitionBy(4)
    assert rdd.glom().collect() == [[pair for pair in PAIRS if pair[0] % 4 == n] for n in range(4)]
    assert rdd.partitioner == Partitioner(4, portable_hash)
    assert rdd.partitionBy(4) is rdd
    assert rdd.partitionBy(5) is not rdd


def test_partitionBy_places_by_function(sc: SparkContext) -> None:
    rdd = sc.parallelize(PAIRS, 3).partitionBy(2, lambda key: key // 10)
    assert rdd.glom().collect() == [PAIRS[:10], PAIRS[10:]]
    negative = sc.parallelize(PAIRS, 3).partitionBy(3, lambda key: -key)
    assert [sorted(part) for part in negative.glom().collect()] == [
        [p for p in PAIRS if -p[0] % 3 == n] for n in range(3)
    ]


def test_partitions_must_be_positive(sc: SparkContext) -> None:
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="positive"):
            sc.parallelize(PAIRS).partitionBy(wrong)
        with pytest.raises(ValueError, match="positive"):
            sc.parallelize(PAIRS).coalesce(wrong)
        with pytest.raises(ValueError, match="Positive number of partitions required"):
            sc.parallelize(PAIRS, wrong)


KEEPS: list[tuple[str, Any, bool]] = [
    ("filter", lambda r: r.filter(lambda pair: True), True),
    ("mapValues", lambda r: r.mapValues(str), True),
    ("flatMapValues", lambda r: r.flatMapValues(list), True),
    ("sample", lambda r: r.sample(False, 0.5), True),
    ("reduceByKey", lambda r: r.reduceByKey(max), True),
    ("groupByKey", lambda r: r.groupByKey(), True),
    ("join", lambda r: r.join(r), True),
    ("cogroup", lambda r: r.cogroup(r), True),
    ("union with itself", lambda r: r.union(r), True),
    ("map that says so", lambda r: r.map(lambda pair: pair, preservesPartitioning=True), True),
    ("map", lambda r: r.map(lambda pair: pair), False),
    ("flatMap", lambda r: r.flatMap(lambda pair: [pair]), False),
    ("mapPartitions", lambda r: r.mapPartitions(lambda items: items), False),
    ("keys", lambda r: r.keys(), False),
    ("keyBy", lambda r: r.keyBy(lambda pair: 0), False),
    ("repartition", lambda r: r.repartition(4), False),
    ("union with another", lambda r: r.union(r.ctx.parallelize([(1, 2)])), False),
    ("intersection", lambda r: r.intersection(r), False),
]


@pytest.mark.parametrize(("operation", "keeps"), [row[1:] for row in KEEPS], ids=[row[0] for row in KEEPS])
def test_who_keeps_the_partitioner(sc: SparkContext, operation: Any, keeps: bool) -> None:
    rdd = sc.parallelize(PAIRS, 3).partitionBy(4)
    made = operation(rdd)
    assert made.partitioner == (rdd.partitioner if keeps else None)
    if keeps:
        assert made.getNumPartitions() == 4
        for number, keys in enumerate(made.keys().glom().collect()):
            assert all(key % 4 == number for key in keys)


def test_repartition_deals_out_evenly(sc: SparkContext) -> None:
    for before, after in product((1, 2, 10), (1, 3, 10)):
        sizes = [len(part) for part in sc.parallelize(range(1000), before).repartition(after).glom().collect()]
        assert len(sizes) == after and sum(sizes) == 1000
        assert max(sizes) - min(sizes) <= before


def test_repartition_of_one_full_partition_is_not_skewed(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(100), 20).filter(lambda x: x < 5).coalesce(1).flatMap(lambda x: range(20))
    assert [len(part) for part in rdd.repartition(4).glom().collect()] == [25] * 4


def test_coalesce(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(10), 5)
    assert rdd.coalesce(2).getNumPartitions() == 2
    assert sorted(rdd.coalesce(2).collect()) == list(range(10))
    assert rdd.coalesce(1).glom().collect() == [list(range(10))]
    assert rdd.coalesce(10).getNumPartitions() == 5
    assert rdd.coalesce(10, shuffle=True).getNumPartitions() == 10
    assert sorted(rdd.coalesce(10, shuffle=True).collect()) == list(range(10))


def test_union(sc: SparkContext) -> None:
    left, right = sc.parallelize([1, 2], 2), sc.parallelize([2, 3], 3)
    assert left.union(right).collect() == (left + right).collect() == [1, 2, 2, 3]
    assert left.union(right).getNumPartitions() == 5
    assert sc.union([left, right, left]).collect() == [1, 2, 2, 3, 1, 2]
    assert sc.union([left]).collect() == [1, 2]
    assert sc.union([]).collect() == []
    assert left.union(sc.emptyRDD()).collect() == [1, 2]
    with pytest.raises(TypeError):
        left + [3]  # type: ignore[operator]


def test_union_of_equal_partitioners_goes_partition_by_partition(sc: SparkContext) -> None:
    left, right = (sc.parallelize([(n, side) for n in range(4)]).partitionBy(2) for side in "ab")
    assert left.union(right).glom().collect() == [
        [(0, "a"), (2, "a"), (0, "b"), (2, "b")],
        [(1, "a"), (3, "a"), (1, "b"), (3, "b")],
    ]


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 3), (4, 1)])
def test_cartesian(sc: SparkContext, n: int, m: int) -> None:
    left, right = sc.parallelize(range(3), n), sc.parallelize("abcd", m)
    both = left.cartesian(right)
    assert both.getNumPartitions() == n * m
    assert sorted(both.collect()) == list(product(range(3), "abcd"))
    assert left.cartesian(sc.emptyRDD()).collect() == []
    assert left.cartesian(left).count() == 9


def test_zip(sc: SparkContext) -> None:
    assert sc.parallelize(range(5), 3).zip(sc.parallelize(range(5, 10), 3)).collect() == [(n, n + 5) for n in range(5)]
    assert sc.emptyRDD().zip(sc.emptyRDD()).collect() == []
    with pytest.raises(ValueError, match="^Can only zip with RDD which has the same number of partitions$"):
        sc.parallelize(range(5), 3).zip(sc.parallelize(range(5), 2))
    for left, right in ((range(5), range(6)), (range(6), range(5)), ([], [1])):
        with pytest.raises(TidemillError, match="Can only zip RDDs with same number of elements in each partition"):
            sc.parallelize(left, 1).zip(sc.parallelize(right, 1)).collect()


def test_zip_of_derived_rdds(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(10), 4)
    assert rdd.map(str).zip(rdd.map(lambda x: x * x)).collect() == [(str(n), n * n) for n in range(10)]
    lines = sc.parallelize(["a", "b"], 2).flatMap(lambda x: [x, x])
    assert lines.zip(lines).collect() == [("a", "a"), ("a", "a"), ("b", "b"), ("b", "b")]


@pytest.mark.parametrize("slices", [1, 2, 5, 9])
def test_numbers_of_items(sc: SparkContext, slices: int) -> None:
    rdd = sc.parallelize("abcdefg", slices)
    assert rdd.zipWithIndex().collect() == [(letter, n) for n, letter in enumerate("abcdefg")]
    parts = rdd.glom().collect()
    expected = [(item, n * slices + k) for k, part in enumerate(parts) for n, item in enumerate(part)]
    assert rdd.zipWithUniqueId().collect() == expected
    assert len({number for _, number in expected}) == 7


def test_numbers_of_nothing(sc: SparkContext) -> None:
    for rdd in (sc.emptyRDD(), sc.parallelize([], 3)):
        assert rdd.zipWithIndex().collect() == rdd.zipWithUniqueId().collect() == []


@pytest.mark.parametrize("partitions", [None, 1, 5])
def test_distinct(sc: SparkContext, partitions: int | None) -> None:
    items = [1, 1, 2, "a", "a", None, (1, 2), (1, 2), 2.0]
    assert Counter(sc.parallelize(items, 3).distinct(partitions).collect()) == Counter([1, 2, "a", None, (1, 2)])
    assert sc.emptyRDD().distinct().collect() == []


HASHES = [
    (None, 0),
    (5, 5),
    (True, 1),
    (-3, -3),
    (2.0, 2),
    ("", portable_hash("")),
    (("a", 1), portable_hash(("a", 1))),
]


@pytest.mark.parametrize(("value", "expected"), HASHES)
def test_portable_hash(value: Any, expected: int) -> None:
    assert portable_hash(value) == expected
    assert portable_hash((1, None)) != portable_hash((None, 1))


def test_portable_hash_of_what_has_none(sc: SparkContext) -> None:
    with pytest.raises(TypeError):
        portable_hash([1])
    with pytest.raises(TidemillError, match="unhashable"):
        sc.parallelize([([1], 1)]).groupByKey(2).collect()


FINALIZER = """
import gc

class Looks:
    def __init__(self, items):
        self.items, self.me = items, self

    def __del__(self):
        seen.append(next(self.items))

def begin(split, items):
    Looks(items)
    gc.set_threshold(1)
    begun = iter(items)
    gc.set_threshold(700)
    return begun

seen = []
pairs = context().parallelize([(n, n) for n in range(5)], 1).partitionBy(1)
rest = pairs.mapPartitionsWithIndex(begin).partitionBy(1).collect()
print(sorted(n for n, _ in rest + seen))
"""


def test_a_finalizer_may_read_the_partition_that_is_being_begun(tmp_path: Path) -> None:
    done = run(tmp_path, FINALIZER)
    assert (done.returncode, done.stdout) == (0, "[0, 1, 2, 3, 4]\n"), done.stderr
