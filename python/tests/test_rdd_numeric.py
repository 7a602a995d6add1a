"""Statistics, histograms and estimates."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest

from tidemill import SparkContext
from tidemill.rdd import BoundedFloat
from tidemill.statcounter import StatCounter

NUMBERS = [1.5, 2.0, -3.25, 8.0, 0.0, 7.5]


@pytest.mark.parametrize("slices", [1, 4, 10])
def test_statistics(sc: SparkContext, slices: int) -> None:
    rdd = sc.parallelize(NUMBERS, slices)
    found = (
        rdd.sum(),
        rdd.mean(),
        rdd.variance(),
        rdd.stdev(),
        rdd.sampleVariance(),
        rdd.sampleStdev(),
        rdd.max(),
        rdd.min(),
    )
    expected = (
        sum(NUMBERS),
        statistics.mean(NUMBERS),
        statistics.pvariance(NUMBERS),
        statistics.pstdev(NUMBERS),
        statistics.variance(NUMBERS),
        statistics.stdev(NUMBERS),
        8.0,
        -3.25,
    )
    assert found == pytest.approx(expected)
    stats = rdd.stats()
    assert isinstance(stats, StatCounter)
    assert (stats.count(), stats.max(), stats.min(), stats.sum()) == pytest.approx((6, 8.0, -3.25, sum(NUMBERS)))


def test_statistics_of_nothing(sc: SparkContext) -> None:
    assert sc.emptyRDD().sum() == sc.parallelize([], 2).sum() == 0
    stats = sc.parallelize([], 2).stats()
    assert stats.count() == 0 and stats.mean() == 0.0 and math.isnan(stats.variance())
    assert (stats.max(), stats.min()) == (-math.inf, math.inf)
    assert sc.parallelize([], 2).histogram([0, 1, 2]) == ([0, 1, 2], [0, 0])


def test_StatCounter_puts_parts_together() -> None:
    parts = [StatCounter(NUMBERS[:2]), StatCounter(), StatCounter(NUMBERS[2:])]
    whole = StatCounter()
    for part in parts:
        whole.mergeStats(part)
    expected = StatCounter(NUMBERS).asDict()
    assert whole.asDict() == pytest.approx(expected) == StatCounter._of(NUMBERS).asDict()
    assert set(expected) == {"count", "mean", "sum", "min", "max", "stdev", "variance"}
    assert whole.asDict()["stdev"] == pytest.approx(statistics.stdev(NUMBERS))
    assert whole.asDict(sample=True)["variance"] == pytest.approx(statistics.pvariance(NUMBERS))
    twice = StatCounter(NUMBERS).copy()
    assert twice.mergeStats(twice).count() == 12 and twice.variance() == pytest.approx(statistics.pvariance(NUMBERS))
    assert math.isnan(StatCounter([1]).sampleVariance())
    assert repr(StatCounter([1, 3])) == "(count: 2, mean: 2.0, stdev: 1.0, max: 3.0, min: 1.0)"
    with pytest.raises(TypeError):
        whole.mergeStats(3)  # type: ignore[arg-type]


def test_StatCounter_of_arrays(sc: SparkContext) -> None:
    numpy = pytest.importorskip("numpy")
    rows = [numpy.array([1.0, 2.0]), numpy.array([3.0, 6.0])]
    stats = sc.parallelize(rows, 2).stats()
    assert stats.mean().tolist() == [2.0, 4.0] and stats.max().tolist() == [3.0, 6.0]
    assert sc.parallelize(list(numpy.array([1.0, 2.0])), 2).stats().mean() == 1.5


HISTOGRAMS: list[tuple[list[Any], Any, tuple[Any, list[int]]]] = [
    (list(range(51)), 2, ([0, 25, 50], [25, 26])),
    (list(range(51)), [0, 5, 25, 50], ([0, 5, 25, 50], [5, 20, 26])),
    (list(range(51)), [0, 15, 30, 45, 60], ([0, 15, 30, 45, 60], [15, 15, 15, 6])),
    ([1, 2, 3, 4], 1, ([1, 4], [4])),
    ([2, 2, 2], 5, ([2, 2], [3])),
    ([1.0, 2.0, 3.0, 4.0], 4, ([1.0, 1.75, 2.5, 3.25, 4.0], [1, 1, 1, 1])),
    ([1, None, 5, float("nan"), 9], 2, ([1, 5, 9], [1, 2])),
    ([-1, 10.5, 3], [0, 10], ([0, 10], [1])),
    (["ab", "ac", "b", "bd", "ef"], ["a", "b", "c"], (["a", "b", "c"], [2, 2])),
    (["ab", "ac"], 1, (["ab", "ac"], [2])),
    ([], [0, 1], ([0, 1], [0])),
]


@pytest.mark.parametrize("slices", [1, 4])
@pytest.mark.parametrize(("items", "buckets", "expected"), HISTOGRAMS)
def test_histogram(sc: SparkContext, items: list[Any], buckets: Any, expected: Any, slices: int) -> None:
    assert sc.parallelize(items, slices).histogram(buckets) == expected


WRONG_BUCKETS: list[tuple[list[Any], Any, type[Exception], str]] = [
    ([1], 0, ValueError, "number of buckets must be >= 1"),
    ([], 2, ValueError, "can not generate buckets from empty RDD"),
    (["a", "b"], 2, TypeError, "Can not generate buckets with non-number in RDD"),
    ([1.0, math.inf], 2, ValueError, "Can not generate buckets with infinite value"),
    ([1], [1], ValueError, "buckets should have more than one value"),
    ([1], [1, None], ValueError, "can not have None or NaN in buckets"),
    ([1], [1.0, math.nan], ValueError, "can not have None or NaN in buckets"),
    ([1], [2, 1], ValueError, "buckets should be sorted"),
    ([1], [1, 1], ValueError, "buckets should not contain duplicated values"),
    ([1], {1: 2}, TypeError, "buckets should be a list or tuple or number"),
]


@pytest.mark.parametrize(("items", "buckets", "kind", "text"), WRONG_BUCKETS)
def test_histogram_checks_buckets(sc: SparkContext, items: Any, buckets: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        sc.parallelize(items, 2).histogram(buckets)


def test_estimates_are_exact(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(1000), 10)
    assert rdd.countApprox(1) == 1000
    for estimate, value in ((rdd.sumApprox(1), 499500.0), (rdd.meanApprox(1), 499.5)):
        assert isinstance(estimate, BoundedFloat)
        assert (estimate, estimate.low, estimate.high, estimate.confidence) == (value, value, value, 1.0)


@pytest.mark.parametrize(("distinct", "deviation"), [(0, 0.05), (20, 0.05), (1000, 0.05), (1000, 0.01), (30000, 0.05)])
def test_countApproxDistinct(sc: SparkContext, distinct: int, deviation: float) -> None:
    items = [str(n) for n in range(distinct)] * 2
    assert sc.parallelize(items, 3).countApproxDistinct(deviation) == pytest.approx(distinct, rel=3 * deviation)


def test_countApproxDistinct_of_nothing(sc: SparkContext) -> None:
    assert sc.emptyRDD().countApproxDistinct() == 0
    with pytest.raises(ValueError, match="relativeSD should be greater than 0.000017"):
        sc.parallelize([1]).countApproxDistinct(0.00000001)


@pytest.mark.parametrize("values", [[math.inf, -math.inf], [1e200, -1e200], [1e308, 1e308], [1.0, math.inf]])
def test_statistics_without_bounds_are_numbers(sc: SparkContext, values: list[float]) -> None:
    expected = StatCounter(values)
    stats = sc.parallelize(values, 1).stats()
    assert repr(stats) == repr(expected) and stats.count() == 2
