"""Accumulators and broadcast values."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill import Accumulator, AccumulatorParam, Broadcast, SparkContext, TidemillError


class ListParam(AccumulatorParam[list[int]]):
    """Lists that are appended to each other, in place."""

    def zero(self, value: list[int]) -> list[int]:
        return []

    def addInPlace(self, value1: list[int], value2: list[int]) -> list[int]:
        value1.extend(value2)
        return value1


NUMBERS: list[tuple[Any, list[Any], Any]] = [
    (10, [1, 2, 3], 16),
    (0.5, [1, 2], 3.5),
    (1j, [1, 2j], 1 + 3j),
    (True, [1], 2),
]


@pytest.mark.parametrize(("begin", "terms", "total"), NUMBERS)
def test_numbers(sc: SparkContext, begin: Any, terms: list[Any], total: Any) -> None:
    sums = sc.accumulator(begin)
    sc.parallelize(terms, 3).foreach(lambda x: sums.add(x))
    assert sums.value == total and str(sums) == str(total)
    assert repr(sums) == f"Accumulator<id={sums.aid}, value={total}>"


def test_in_place_addition_in_tasks_and_on_the_driver(sc: SparkContext) -> None:
    total = sc.accumulator(0)

    def add(x: int) -> None:
        nonlocal total
        total += x

    sc.parallelize(range(1000), 8).foreach(add)
    total += 1
    assert isinstance(total, Accumulator) and total.value == sum(range(1000)) + 1
    total.value = 7
    total.add(1)
    assert total.value == 8


def test_own_types(sc: SparkContext) -> None:
    seen = sc.accumulator([0], ListParam())
    sc.parallelize(range(1, 100), 8).foreach(lambda x: seen.add([x]))
    assert sorted(seen.value) == list(range(100))
    with pytest.raises(TypeError, match="No default accumulator param for type <class 'list'>"):
        sc.accumulator([1])
    with pytest.raises(TypeError, match="No default accumulator param for type <class 'str'>"):
        sc.accumulator("a")


def test_no_update_is_lost(sc: SparkContext) -> None:
    total = sc.accumulator(0)
    sc.parallelize(range(20000), 16).map(lambda x: total.add(1) or (x % 7, x)).reduceByKey(max).count()
    assert total.value == 20000


def test_values_are_not_read_in_tasks(sc: SparkContext) -> None:
    total = sc.accumulator(0)
    with pytest.raises(TidemillError, match="Accumulator.value cannot be accessed inside tasks"):
        sc.parallelize([1]).map(lambda x: total.value).collect()
    assert total.value == 0, "the driver can, also after a task has failed"
    for _ in range(20):
        with pytest.raises(TidemillError):
            sc.parallelize(range(8), 8).map(lambda x: 1 / 0).collect()
    assert total.value == 0


def test_accumulators_have_numbers(sc: SparkContext) -> None:
    assert sc.accumulator(0).aid != sc.accumulator(0).aid


def test_broadcast(sc: SparkContext) -> None:
    table = {"a": 1, "b": 2}
    shared = sc.broadcast(table)
    assert isinstance(shared, Broadcast) and shared.value is table
    rdd = sc.parallelize("abba", 2).map(lambda key: shared.value[key])
    assert rdd.collect() == [1, 2, 2, 1]
    shared.unpersist()
    shared.unpersist(blocking=True)
    assert rdd.collect() == [1, 2, 2, 1]


def test_destroyed_broadcasts(sc: SparkContext) -> None:
    shared = sc.broadcast(1)
    rdd = sc.parallelize([1]).map(lambda x: shared.value)
    shared.destroy()
    shared.destroy(blocking=True)
    text = rf"Attempted to use Broadcast\({shared.id}\) after it was destroyed \(destroy at test_accumulators.py:\d+\)"
    for use in (lambda: shared.value, shared.unpersist):
        with pytest.raises(RuntimeError, match=text):
            use()
    with pytest.raises(TidemillError, match="after it was destroyed"):
        rdd.collect()


def test_both_travel_by_number(sc: SparkContext) -> None:
    import cloudpickle

    shared, total = sc.broadcast([1]), sc.accumulator(0)
    assert cloudpickle.loads(cloudpickle.dumps(shared)) is shared
    assert cloudpickle.loads(cloudpickle.dumps(total)) is total
    mapped = sc.parallelize([1]).map(lambda x: total.add(len(shared.value)))
    assert mapped._closure is not None and mapped._closure.payload is not None
