"""Users' functions: what they may capture, and what their errors say."""

from __future__ import annotations

import operator
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from tidemill import RDD, PythonException, SparkContext, TaskContext, TidemillError
from tidemill.callsite import call_site
from tidemill.closure import capture, check_closure

CONTEXT_TEXT = (
    "It appears that you are attempting to reference SparkContext from a broadcast variable, action, or transformation"
)
RDD_TEXT = "It appears that you are attempting to broadcast an RDD or reference an RDD from an action or transformation"

# Every operation that takes a function, with one that uses what it is given.
OPERATIONS: list[Callable[[RDD[Any], Any], Any]] = [
    lambda r, x: r.map(lambda item: x),
    lambda r, x: r.flatMap(lambda item: x),
    lambda r, x: r.filter(lambda item: x),
    lambda r, x: r.mapPartitions(lambda items: x),
    lambda r, x: r.mapPartitionsWithIndex(lambda split, items: x),
    lambda r, x: r.mapValues(lambda value: x),
    lambda r, x: r.flatMapValues(lambda value: x),
    lambda r, x: r.keyBy(lambda item: x),
    lambda r, x: r.groupBy(lambda item: x),
    lambda r, x: r.reduceByKey(lambda a, b: x),
    lambda r, x: r.combineByKey(lambda v: v, lambda a, b: x, lambda a, b: a),
    lambda r, x: r.aggregateByKey(0, lambda a, b: a, lambda a, b: x),
    lambda r, x: r.foldByKey(0, lambda a, b: x),
    lambda r, x: r.reduceByKeyLocally(lambda a, b: x),
    lambda r, x: r.partitionBy(2, lambda key: x),
    lambda r, x: r.sortBy(lambda item: x),
    lambda r, x: r.sortByKey(keyfunc=lambda key: x),
    lambda r, x: r.foreach(lambda item: x),
    lambda r, x: r.foreachPartition(lambda items: x),
    lambda r, x: r.reduce(lambda a, b: x),
    lambda r, x: r.fold(0, lambda a, b: x),
    lambda r, x: r.aggregate(0, lambda a, b: x, lambda a, b: a),
    lambda r, x: r.treeReduce(lambda a, b: x),
    lambda r, x: r.treeAggregate(0, lambda a, b: x, lambda a, b: a),
    lambda r, x: r.max(key=lambda item: x),
    lambda r, x: r.top(2, key=lambda item: x),
    lambda r, x: r.mapArrow(lambda batch: x),
    lambda r, x: r.ctx.runJob(r, lambda items: x),
]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_functions_can_use_neither_contexts_nor_rdds(sc: SparkContext, operation: Any) -> None:
    rdd = sc.parallelize([(1, 2), (1, 3)], 2)
    with pytest.raises(RuntimeError, match=CONTEXT_TEXT) as raised:
        operation(rdd, sc)
    assert "SPARK-5063" in str(raised.value)
    with pytest.raises(RuntimeError, match=RDD_TEXT) as raised:
        operation(rdd, rdd)
    assert "SPARK-5063" in str(raised.value)


def test_a_context_is_found_behind_other_things(sc: SparkContext) -> None:
    lock = threading.Lock()

    def helper(x: Any) -> Any:
        return sc, x

    class Holder:
        def __init__(self) -> None:
            self.context = sc

        def method(self, x: Any) -> Any:
            return x

    holder = {"deep": [(sc,)]}
    rdd = sc.parallelize([1])
    for function in (lambda x: helper(x), lambda x: holder, Holder().method, lambda x: (lock, helper)):
        with pytest.raises(RuntimeError, match="SPARK-5063"):
            rdd.map(function)


def test_neither_can_be_pickled_or_shared(sc: SparkContext) -> None:
    rdd = sc.parallelize([1])
    for value in (sc, rdd, [rdd], {"context": sc}):
        with pytest.raises(RuntimeError, match="SPARK-5063"):
            pickle.dumps(value)
    for value in (sc, rdd):
        with pytest.raises(RuntimeError, match="SPARK-5063"):
            sc.broadcast(value)
    with pytest.raises(RuntimeError, match="SPARK-5063"):
        sc.parallelize([rdd])


def test_captured_functions_can_travel() -> None:
    base = 10
    closure = capture(lambda x: x + base, operator.add)
    assert closure.payload is not None
    add_base, add = cloudpickle.loads(closure.payload)
    assert (add_base(1), add(1, 2)) == (11, 3)


def test_operations_keep_the_pickled_function(sc: SparkContext) -> None:
    base = 10
    mapped = sc.parallelize([1]).map(lambda x: x + base)
    assert mapped._closure is not None and mapped._closure.payload is not None
    (function,) = cloudpickle.loads(mapped._closure.payload)
    assert function(1) == 11


def test_what_cannot_be_pickled_works_in_process(sc: SparkContext) -> None:
    lock, seen = threading.Lock(), []

    def note(x: int) -> int:
        with lock:
            seen.append(x)
        return x

    mapped = sc.parallelize(range(4), 2).map(note)
    assert mapped._closure is not None and mapped._closure.payload is None
    assert mapped.sum() == 6 and sorted(seen) == [0, 1, 2, 3]
    assert check_closure(note) is note


def test_an_error_names_the_operation_the_place_and_the_cause(sc: SparkContext) -> None:
    def fails(x: int) -> float:
        return 1 / (x - 2)

    rdd = sc.parallelize([1, 2, 3], 2).map(fails)
    for action in (
        rdd.collect,
        rdd.count,
        rdd.first,
        lambda: rdd.foreach(str),
        lambda: rdd.keyBy(str).groupByKey().collect(),
    ):
        if action == rdd.first:
            assert action() == -1.0
            continue
        with pytest.raises(PythonException) as raised:
            action()
        text = str(raised.value)
        assert "map" in text and "test_closures.py:" in text and "in fails" in text and "ZeroDivisionError" in text
        assert isinstance(raised.value.__cause__, ZeroDivisionError)


FAILING: list[Callable[[RDD[Any]], Any]] = [
    lambda r: r.reduceByKey(lambda a, b: a + b).collect(),
    lambda r: r.mapValues(lambda v: v + "x").collect(),
    lambda r: r.mapPartitions(lambda items: 1 / 0).collect(),
    lambda r: r.mapPartitions(lambda items: None).collect(),
    lambda r: r.flatMap(lambda pair: 5).collect(),
    lambda r: r.partitionBy(2, lambda key: "x").collect(),
    lambda r: r.foreach(lambda pair: pair.nothing),
    lambda r: r.sortBy(lambda pair: pair[1]).collect(),
    lambda r: r.aggregate(0, lambda a, x: a + x, lambda a, b: a),
]


@pytest.mark.parametrize("operation", FAILING)
def test_errors_in_functions(sc: SparkContext, operation: Any) -> None:
    rdd = sc.parallelize([("a", 1), ("a", None), ("b", {})], 1)
    with pytest.raises(TidemillError):
        operation(rdd)
    assert rdd.count() == 3, "the engine goes on"


def leak(*_: Any) -> Any:
    raise StopIteration


LEAKING: list[tuple[str, Callable[[RDD[Any]], Any]]] = [
    ("map", lambda r: r.map(leak).collect()),
    ("flatMap", lambda r: r.flatMap(leak).collect()),
    ("filter", lambda r: r.filter(leak).collect()),
    ("map by next", lambda r: r.map(lambda x: next(iter(()))).collect()),
    ("map of next", lambda r: r.map(lambda x: iter(())).map(next).collect()),
    ("foreach", lambda r: r.foreach(leak)),
    ("reduce", lambda r: r.reduce(leak)),
    ("fold", lambda r: r.fold(0, leak)),
    ("aggregate", lambda r: r.aggregate(0, leak, leak)),
    ("treeAggregate", lambda r: r.treeAggregate(0, leak, leak)),
    ("keyBy", lambda r: r.keyBy(leak).collect()),
    ("mapValues", lambda r: r.keyBy(str).mapValues(leak).collect()),
    ("flatMapValues", lambda r: r.keyBy(str).flatMapValues(leak).collect()),
    ("reduceByKey", lambda r: r.keyBy(lambda x: 0).reduceByKey(leak).collect()),
    ("aggregateByKey", lambda r: r.keyBy(str).aggregateByKey(0, leak, leak).collect()),
    ("sortBy", lambda r: r.sortBy(leak).collect()),
    ("partitionBy", lambda r: r.keyBy(str).partitionBy(2, leak).collect()),
]


@pytest.mark.parametrize("operation", [row[1] for row in LEAKING], ids=[row[0] for row in LEAKING])
@pytest.mark.parametrize("items", [1, 10])
def test_a_stop_iteration_of_the_user_is_an_error_and_no_end(sc: SparkContext, operation: Any, items: int) -> None:
    rdd = sc.parallelize(range(items + 1), 1)
    with pytest.raises((RuntimeError, StopIteration)):
        operation(rdd)


def test_call_sites_are_in_the_program() -> None:
    site = call_site()
    assert site.operation == "call_site" and site.file == __file__
    assert site == f"test_closures.py:{site.line}" and site.named() == f"call_site at {site}"


def in_a_thread(action: Callable[[], Any]) -> Callable[[Any], str]:
    """A function for tasks that runs an action in a thread of its own, and says what came of it."""

    def run(_: Any) -> str:
        with ThreadPoolExecutor(1) as pool:
            # In a thread that the thread has started.
            with ThreadPool(1) as threads:
                nested = pool.submit(threads.apply, action)
                error = nested.exception()
        return "" if error is None else f"{type(error).__name__}: {error}"

    return run


# As a module that functions are imported from would have it.
DRIVERS: dict[str, Any] = {}


def an_action() -> None:
    DRIVERS["rdd"].count()


def a_file() -> None:
    DRIVERS["rdd"].saveAsTextFile(DRIVERS["path"])


@pytest.mark.parametrize("action", [an_action, a_file])
def test_a_thread_of_a_task_can_run_no_action(sc: SparkContext, tmp_path: Path, action: Callable[[], None]) -> None:
    DRIVERS.update(rdd=sc.parallelize([1, 2], 2), path=str(tmp_path / "out"))
    wants = in_a_thread(action)
    # In all places for tasks, so that the action would wait for ever.
    said = sc.parallelize(range(8), 8).map(wants).collect()
    assert all("TidemillError" in text and "SPARK-5063" in text for text in said), said
    # Here no task waits.
    assert wants(None) == ""


def test_threads_of_tasks_know_them(sc: SparkContext) -> None:
    def number(_: Any) -> int | None:
        task = TaskContext.get()
        return None if task is None else task.partitionId()

    def ask(_: Any) -> Any:
        with ThreadPool(2) as pool:
            return pool.map(number, range(3))

    assert sc.parallelize(range(3), 3).map(ask).collect() == [[n] * 3 for n in range(3)]
    assert ask(None) == [None] * 3


def leaves_a_pool(_: Any) -> None:
    DRIVERS["pools"].append(ThreadPoolExecutor(1))
    DRIVERS["pools"][0].submit(len, ()).result()


def test_a_thread_outlives_its_task(sc: SparkContext) -> None:
    pools: list[Any] = []

    DRIVERS["pools"] = pools
    sc.parallelize([1], 1).foreach(leaves_a_pool)
    with pools[0] as pool:
        assert pool.submit(lambda: sc.parallelize([1]).count()).result() == 1
        assert pool.submit(TaskContext.get).result() is None


def test_a_failed_task_without_rows_leaves_nothing_behind(sc: SparkContext) -> None:
    def fails(items: Any) -> Any:
        raise ValueError("no rows")

    with pytest.raises(PythonException):
        sc.emptyRDD().union(sc.parallelize([], 1)).mapPartitions(fails).groupBy(lambda x: x).count()
    assert TaskContext.get() is None
