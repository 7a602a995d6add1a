"""Sorting, extremes and samples."""

from __future__ import annotations

import random
import sys
from collections import Counter
from typing import Any

import pytest

from tidemill import SparkContext

RANDOM = [random.Random(5).randrange(1000) for _ in range(500)]
PAIRS = [(n, str(n)) for n in RANDOM]


@pytest.mark.parametrize("slices", [1, 4])
@pytest.mark.parametrize("partitions", [None, 1, 3, 40])
@pytest.mark.parametrize("ascending", [True, False])
def test_sorts(sc: SparkContext, slices: int, partitions: int | None, ascending: bool) -> None:
    down = not ascending
    rdd = sc.parallelize(PAIRS, slices)
    assert rdd.sortByKey(ascending, partitions).collect() == sorted(PAIRS, key=lambda pair: pair[0], reverse=down)
    assert rdd.sortByKey(ascending, partitions, str).keys().collect() == sorted(RANDOM, key=str, reverse=down)
    by_last_digit = sc.parallelize(RANDOM, slices).sortBy(lambda n: n % 10, ascending, partitions).collect()
    assert by_last_digit == sorted(RANDOM, key=lambda n: n % 10, reverse=down)
    if partitions is not None:
        assert rdd.sortByKey(ascending, partitions).getNumPartitions() == partitions


def test_sorted_partitions_are_of_about_the_same_size(sc: SparkContext) -> None:
    sizes = [len(part) for part in sc.parallelize(range(1000), 5).sortBy(lambda n: -n, True, 4).glom().collect()]
    assert sum(sizes) == 1000 and min(sizes) > 150


@pytest.mark.parametrize("items", [[], [1], [1, 1, 1, 1]])
def test_sorts_few_items(sc: SparkContext, items: list[int]) -> None:
    for slices in (1, 3):
        assert sc.parallelize(items, slices).sortBy(lambda n: n, True, 3).collect() == items
        assert sc.parallelize([(n, 0) for n in items], slices).sortByKey(False, 2).keys().collect() == items
    assert sc.emptyRDD().sortBy(lambda n: n).collect() == []


def test_lookup_in_what_is_sorted(sc: SparkContext) -> None:
    rdd = sc.parallelize(PAIRS, 4).sortByKey(numPartitions=3)
    assert rdd.lookup(PAIRS[0][0]) == [value for key, value in sorted(PAIRS) if key == PAIRS[0][0]]


def test_repartitionAndSortWithinPartitions(sc: SparkContext) -> None:
    pairs = [(0, 5), (3, 8), (2, 6), (0, 8), (3, 8), (1, 3)]
    rdd = sc.parallelize(pairs, 3)
    up = rdd.repartitionAndSortWithinPartitions(2, lambda n: n % 2, True).glom().collect()
    assert up == [[(0, 5), (0, 8), (2, 6)], [(1, 3), (3, 8), (3, 8)]]
    down = rdd.repartitionAndSortWithinPartitions(2, lambda n: n % 2, False).glom().collect()
    assert down == [[(2, 6), (0, 5), (0, 8)], [(3, 8), (3, 8), (1, 3)]]
    by_key = rdd.repartitionAndSortWithinPartitions(1, keyfunc=lambda n: (n - 2) ** 2).keys().collect()
    assert by_key == [2, 3, 3, 1, 0, 0]


@pytest.mark.parametrize("slices", [1, 7])
@pytest.mark.parametrize("num", [0, 1, 10, 1000])
def test_extremes(sc: SparkContext, slices: int, num: int) -> None:
    rdd = sc.parallelize(RANDOM, slices)
    assert rdd.top(num) == sorted(RANDOM, reverse=True)[:num]
    assert rdd.takeOrdered(num) == sorted(RANDOM)[:num]
    assert rdd.top(num, key=lambda n: -n) == sorted(RANDOM)[:num]
    assert rdd.takeOrdered(num, key=lambda n: -n) == sorted(RANDOM, reverse=True)[:num]
    assert (rdd.max(), rdd.min()) == (max(RANDOM), min(RANDOM))
    assert (rdd.max(str), rdd.min(key=str)) == (max(RANDOM, key=str), min(RANDOM, key=str))


def test_extremes_of_nothing(sc: SparkContext) -> None:
    empty = sc.parallelize([], 3)
    assert empty.top(3) == empty.takeOrdered(3) == sc.emptyRDD().takeOrdered(3) == []


def test_fewer_than_none(sc: SparkContext) -> None:
    with pytest.raises(ValueError, match="^top N cannot be negative.$"):
        sc.parallelize([1, 2]).takeOrdered(-1)
    assert sc.parallelize([1, 2]).top(-1) == []


def test_sample(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(1000), 4)
    part = rdd.sample(False, 0.3, 7).collect()
    assert 220 < len(part) < 380 and len(set(part)) == len(part) and part == sorted(part)
    assert part == rdd.sample(False, 0.3, 7).collect() != rdd.sample(False, 0.3, 8).collect()
    assert rdd.sample(False, 0.0).collect() == [] and rdd.sample(False, 1.0).collect() == list(range(1000))
    many = Counter(rdd.sample(True, 2.0, 7).collect())
    assert 1800 < sum(many.values()) < 2200 and max(many.values()) > 3
    assert rdd.sample(False, 0.5, 1).collect() == rdd.sample(False, 0.5, 1).collect()
    with pytest.raises(ValueError, match="Fraction must be nonnegative."):
        rdd.sample(False, -0.1)


def test_a_sample_without_a_seed_stays_the_same(sc: SparkContext) -> None:
    part = sc.parallelize(range(1000), 4).sample(False, 0.5)
    assert part.collect() == part.collect()


@pytest.mark.parametrize("seed", [None, 3])
def test_randomSplit(sc: SparkContext, seed: int | None) -> None:
    parts = sc.parallelize(range(1000), 4).randomSplit([1, 2, 0, 1], seed)
    lists = [part.collect() for part in parts]
    assert sorted(n for part in lists for n in part) == list(range(1000))
    assert 150 < len(lists[0]) < 350 and 400 < len(lists[1]) < 600 and lists[2] == []


WRONG_WEIGHTS: list[tuple[list[float], str]] = [
    ([1.0, -1.0], "Weights must be nonnegative"),
    ([0.0, 0.0], "Sum of weights must be positive"),
]


@pytest.mark.parametrize(("weights", "text"), WRONG_WEIGHTS)
def test_randomSplit_checks_weights(sc: SparkContext, weights: list[float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        sc.parallelize([1]).randomSplit(weights)


SAMPLES = [(False, 0, 0), (False, 10, 10), (False, 100, 100), (False, 200, 100), (True, 10, 10), (True, 200, 200)]


@pytest.mark.parametrize("slices", [1, 8])
@pytest.mark.parametrize(("replaced", "num", "size"), SAMPLES)
def test_takeSample(sc: SparkContext, replaced: bool, num: int, size: int, slices: int) -> None:
    rdd = sc.parallelize(range(100), slices)
    sample: list[Any] = rdd.takeSample(replaced, num, 11)
    assert len(sample) == size and set(sample) <= set(range(100))
    assert replaced or len(set(sample)) == size
    assert sample == rdd.takeSample(replaced, num, 11)
    assert size < 10 or sample != sorted(sample)


def test_takeSample_of_nothing(sc: SparkContext) -> None:
    assert sc.emptyRDD().takeSample(True, 5) == sc.parallelize([], 2).takeSample(False, 5) == []
    with pytest.raises(ValueError, match="Sample size cannot be negative."):
        sc.parallelize([1]).takeSample(False, -1)
    with pytest.raises(ValueError, match="Sample size cannot be greater than"):
        sc.parallelize([1]).takeSample(False, sys.maxsize)
