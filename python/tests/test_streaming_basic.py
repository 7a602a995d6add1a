"""Operators on single batches."""

from __future__ import annotations

import operator
from datetime import datetime
from typing import get_type_hints

import pytest
from streaming_batches import INTERVAL, by_key, collected, eventually, run, wait_for

from tidemill import StorageLevel, TaskContext
from tidemill.streaming import DStream, StreamingContext
from tidemill.streaming.dstream import TransformedDStream

NUMBERS = [range(1, 5), range(5, 9), range(9, 13)]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (lambda s: s.map(str), [["1", "2", "3", "4"], ["5", "6", "7", "8"], ["9", "10", "11", "12"]]),
        (lambda s: s.map(lambda n: -n), [[-1, -2, -3, -4], [-5, -6, -7, -8], [-9, -10, -11, -12]]),
        (lambda s: s.flatMap(lambda n: [n] * (n % 3)), [[1, 2, 2, 4], [5, 5, 7, 8, 8], [10, 11, 11]]),
        (lambda s: s.filter(lambda n: n % 2 == 0), [[2, 4], [6, 8], [10, 12]]),
        (lambda s: s.mapPartitions(lambda rows: [sum(rows)]).reduce(operator.add), [[10], [26], [42]]),
        (lambda s: s.count(), [[4], [4], [4]]),
        (lambda s: s.reduce(lambda a, b: a + b), [[10], [26], [42]]),
        (lambda s: s.map(lambda n: n * 2).filter(lambda n: n > 4).flatMap(range).count(), [[14], [52], [84]]),
        (lambda s: s.repartition(3).map(lambda n: n).reduce(max), [[4], [8], [12]]),
    ],
    ids=lambda case: None,
)
def test_batches_become_other_batches(sc, program, expected):
    assert run(sc, program, NUMBERS) == expected


def test_glom_and_partitions_by_number(sc):
    batches = [sc.parallelize(range(1, 5), 2), sc.parallelize(range(5, 9), 2)]
    assert run(sc, lambda s: s.glom(), batches) == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    numbered = run(sc, lambda s: s.mapPartitionsWithIndex(lambda n, rows: [(n, sum(rows))]), batches)
    assert numbered == [[(0, 3), (1, 7)], [(0, 11), (1, 15)]]


def test_map_partitions_gets_an_iterator_whatever_came_before(sc):
    def first_two(rows):
        return [next(rows), next(rows)]

    batches = [sc.parallelize([1, 2, 3], 1)]
    assert run(sc, lambda s: s.mapPartitions(lambda rows: list(rows)).mapPartitions(first_two), batches) == [[1, 2]]


def test_count_by_value(sc):
    batches = [["a", "b", "a"], [], ["c", (1, 2), (1, 2)]]
    result = by_key(run(sc, lambda s: s.countByValue(), batches))
    assert result == [[("a", 2), ("b", 1)], [], [("c", 1), ((1, 2), 2)]]


def test_count_of_nothing(sc):
    """No row of a batch without partitions, 0 of one whose partitions have no rows."""
    batches = [sc.emptyRDD(), sc.parallelize([], 2), sc.parallelize([7], 2)]
    assert run(sc, lambda s: s.count(), batches) == [[], [0], [1]]
    assert run(sc, lambda s: s.reduce(operator.add), batches) == [[], [], [7]]


def test_union(sc):
    left, right = [[1], [2], [3]], [["a"], ["b"], ["c"]]
    assert run(sc, lambda a, b: a.union(b), left, right) == [[1, "a"], [2, "b"], [3, "c"]]

    def three(a, b):
        return a.context().union(a, b, a)

    assert run(sc, three, left, right) == [[1, "a", 1], [2, "b", 2], [3, "c", 3]]


def test_union_of_none_and_of_one(sc):
    ssc = StreamingContext(sc, INTERVAL)
    with pytest.raises(ValueError, match="^should have at least one DStream to union$"):
        ssc.union()
    stream = ssc.queueStream([[1]])
    assert ssc.union(stream) is stream
    slower = stream.window(2 * INTERVAL, 2 * INTERVAL)
    with pytest.raises(ValueError, match="^the two DStream should have same slide duration$"):
        stream.union(slower)
    with pytest.raises(ValueError, match="^All DStreams should have same slide duration$"):
        ssc.union(stream, slower)
    ssc.stop(False)


def test_transform_by_number_of_arguments(sc):
    times = []

    def timed(time, rdd):
        times.append(time)
        return rdd.map(lambda n: n + 1)

    assert run(sc, lambda s: s.transform(timed), [[1], [2]]) == [[2], [3]]
    assert all(isinstance(time, datetime) for time in times)
    assert times == sorted(times)
    assert run(sc, lambda s: s.transform(lambda rdd: rdd.sortBy(lambda n: -n)), [[1, 3, 2]]) == [[3, 2, 1]]
    assert run(sc, lambda s: s.transform(lambda rdd: rdd.cartesian(rdd)), [[1, 2]]) == [
        [(1, 1), (1, 2), (2, 1), (2, 2)]
    ]


@pytest.mark.parametrize("function", [lambda: None, lambda a, b, c: a])
def test_transform_refuses_other_functions(sc, function):
    ssc = StreamingContext(sc, INTERVAL)
    stream = ssc.queueStream([[1]])
    with pytest.raises(AssertionError, match="^func should take one or two arguments$"):
        stream.transform(function)
    ssc.stop(False)


def test_transform_with(sc):
    left, right = [[1, 2], [3]], [[2], [3, 4]]
    both = lambda a, b: a.union(b)  # noqa: E731
    assert run(sc, lambda a, b: a.transformWith(both, b), left, right) == [[1, 2, 2], [3, 3, 4]]
    timed = lambda time, a, b: a.subtract(b)  # noqa: E731
    assert run(sc, lambda a, b: a.transformWith(timed, b), left, right) == [[1], []]
    ssc = StreamingContext(sc, INTERVAL)
    stream = ssc.queueStream([[1]])
    with pytest.raises(AssertionError, match="^func should take two or three arguments$"):
        stream.transformWith(lambda rdd: rdd, stream)
    ssc.stop(False)


def test_transform_of_a_context(sc):
    def program(a, b, c):
        return a.context().transform([a, b, c], lambda rdds: rdds[2].union(rdds[0]).union(rdds[1]))

    assert run(sc, program, [[1]], [[2]], [[3]]) == [[3, 1, 2]]


def test_transform_must_give_an_rdd(sc):
    with pytest.raises(Exception, match="Transform function must not return null. Return SparkContext.emptyRDD"):
        run(sc, lambda s: s.context().transform([s], lambda rdds: None), [[1]])
    with pytest.raises(Exception, match="must return an RDD, not list"):
        run(sc, lambda s: s.transform(lambda rdd: [1]), [[1]])


def even(rdd):
    return None if rdd.filter(lambda n: n % 2).count() else rdd


WITH_NONE = [
    (lambda s: s.transform(even), [[2], [4]]),
    (lambda s: s.transform(even).map(str).count(), [[1], [1]]),
    (lambda s: s.transform(even).transform(lambda rdd: rdd.map(str)), [["2"], ["4"]]),
    (lambda s: s.transform(even).repartition(1).persist(StorageLevel.MEMORY_ONLY), [[2], [4]]),
    (lambda s: s.transformWith(lambda a, b: even(a), s), [[2], [4]]),
    (lambda s: s.transform(even).window(INTERVAL * 3, INTERVAL).map(lambda n: n), [[2], [2], [2, 4], [4]]),
    (lambda s: s.transform(even).map(lambda n: (0, n)).updateStateByKey(lambda new, old: sum(new) + (old or 0)),
     [[(0, 2)], [(0, 2)], [(0, 6)], [(0, 6)]]),
]  # fmt: skip


@pytest.mark.parametrize(("program", "expected"), WITH_NONE)
def test_a_stream_has_no_batch_where_its_function_gives_none(sc, tmp_path, program, expected):
    batches = [[2], [1], [4], [3]]
    assert run(sc, program, batches, checkpoint=tmp_path, batches=len(expected)) == expected


def test_a_transformed_stream_by_its_class(sc):
    result = run(sc, lambda s: TransformedDStream(s, lambda rdd: rdd.map(str)).map(len), [[1, 10]])
    assert result == [[1, 2]]


def test_bound_methods_partials_and_objects_are_functions(sc):
    from functools import partial

    class Adder:
        def __init__(self, n):
            self.n = n

        def __call__(self, rdd):
            n = self.n
            return rdd.map(lambda x: x + n)

        def timed(self, time, rdd):
            return self(rdd)

    def added(n, rdd):
        return rdd.map(lambda x: x + n)

    assert run(sc, lambda s: s.transform(Adder(1)), [[1]]) == [[2]]
    assert run(sc, lambda s: s.transform(Adder(2).timed), [[1]]) == [[3]]
    assert run(sc, lambda s: s.transform(partial(added, 3)), [[1]]) == [[4]]


def test_arrow_batches(sc, tmp_path):
    compute = pytest.importorskip("pyarrow.compute")
    pyarrow = pytest.importorskip("pyarrow")

    def upper(batch):
        return pyarrow.RecordBatch.from_arrays([compute.utf8_upper(batch["value"])], ["value"])

    def lengths(batch):
        return pyarrow.RecordBatch.from_arrays(
            [batch["value"], compute.utf8_length(batch["value"])], ["word", "length"]
        )

    assert run(sc, lambda s: s.mapArrow(upper), [["a", "bb"]]) == [["A", "BB"]]
    rows = run(sc, lambda s: s.map(str).mapArrow(lengths).filter(lambda row: row["length"] > 1), [["a", "bb"]])
    assert rows == [[{"word": "bb", "length": 2}]]


def test_persisted_streams_are_computed_once(sc):
    computed = sc.accumulator(0)

    def counted(n):
        computed.add(1)
        return n

    ssc = StreamingContext(sc, INTERVAL)
    stream = ssc.queueStream([[1, 2, 3]], default=[]).map(counted).cache()
    assert stream.is_cached
    first, second = collected(stream.map(lambda n: n)), collected(stream.map(lambda n: -n))
    ssc.start()
    try:
        wait_for(ssc, lambda: len(second) >= 2)
    finally:
        ssc.stop(False)
    assert (first[0], second[0]) == ([1, 2, 3], [-1, -2, -3])
    assert computed.value == 3


def test_storage_levels_are_taken(sc):
    ssc = StreamingContext(sc, INTERVAL)
    stream = ssc.queueStream([[1]])
    assert stream.persist(StorageLevel.MEMORY_AND_DISK) is stream
    ssc.stop(False)


def test_slice(sc):
    times = []
    ssc = StreamingContext(sc, INTERVAL)
    ssc.remember(60)
    stream = ssc.queueStream([[1], [2], [3], [4]])
    stream.foreachRDD(lambda time, rdd: times.append(time))
    ssc.start()
    try:
        wait_for(ssc, lambda: len(times) >= 4)
        rdds = stream.slice(times[0], times[2])
        assert [rdd.collect() for rdd in rdds] == [[1], [2], [3]]
        seconds = [time.timestamp() for time in times]
        assert [rdd.collect() for rdd in stream.slice(seconds[1], seconds[2])] == [[2], [3]]
    finally:
        ssc.stop(False)


DURATION, COUNT, PARTITIONS = "a duration can't be negative: -2 s", "at least one", "^Number of partitions .* must be positive.$"
WRONG_NUMBERS = [
    (DURATION, lambda ssc, s: StreamingContext(ssc.sparkContext, -2)),
    (DURATION, lambda ssc, s: ssc.remember(-2)),
    (DURATION, lambda ssc, s: s.window(-2)),
    (DURATION, lambda ssc, s: s.window(2, -2)),
    (DURATION, lambda ssc, s: s.reduceByKeyAndWindow(operator.add, None, -2, 1)),
    (DURATION, lambda ssc, s: s.sessionWindow(-2)),
    (DURATION, lambda ssc, s: s.checkpoint(-2)),
    (COUNT, lambda ssc, s: ssc.binaryRecordsStream("nowhere", -3)),
    (COUNT, lambda ssc, s: s.countWindow(-1)),
    (COUNT, lambda ssc, s: s.countWindow(2, 0)),
    (PARTITIONS, lambda ssc, s: s.repartition(0)),
    (PARTITIONS, lambda ssc, s: s.partitionBy(-1)),
    (PARTITIONS, lambda ssc, s: s.reduceByKey(operator.add, -1)),
    (PARTITIONS, lambda ssc, s: s.join(s, 0)),
    (PARTITIONS, lambda ssc, s: s.updateStateByKey(lambda values, state: state, 0)),
    (PARTITIONS, lambda ssc, s: s.countByValueAndWindow(2, 1, 0)),
]


@pytest.mark.parametrize(("text", "operation"), WRONG_NUMBERS)
def test_numbers_that_are_too_small(sc, text, operation):
    ssc = StreamingContext(sc, 1)
    with pytest.raises(ValueError, match=text):
        operation(ssc, ssc.queueStream([[("a", 1)]]))
    ssc.stop(False)


def test_streams_know_their_context(sc):
    ssc = StreamingContext(sc, 0.5)
    stream = ssc.queueStream([[1]])
    assert isinstance(stream, DStream)
    assert stream.context() is ssc
    assert stream._slideDuration == 0.5
    assert stream.map(str)._slideDuration == 0.5
    assert stream.window(1, 1)._slideDuration == 1
    ssc.stop(False)


def test_streams_have_a_type_of_rows_in_annotations():
    def lengths(words: DStream[str]) -> TransformedDStream[int]:
        return words.transform(lambda rdd: rdd.map(len))

    assert get_type_hints(lengths) == {"words": DStream[str], "return": TransformedDStream[int]}


def test_a_function_that_needs_the_context_is_refused_at_once(sc):
    ssc = StreamingContext(sc, INTERVAL)
    stream = ssc.queueStream([[1]])
    rdd = sc.parallelize([1])
    for operation in (stream.map, stream.filter, stream.flatMap, stream.mapPartitions):
        with pytest.raises(RuntimeError, match="SPARK-5063"):
            operation(lambda n: sc.parallelize([n]).collect())
        with pytest.raises(RuntimeError, match="SPARK-5063"):
            operation(lambda n: rdd.collect())
    ssc.stop(False)


def test_stop_iteration_is_an_error_and_loses_nothing(sc):
    for operation in ("map", "filter", "flatMap"):
        with pytest.raises(Exception, match="StopIteration"):
            run(sc, lambda s, operation=operation: getattr(s, operation)(lambda n: next(iter(()))), [[1, 2]])


def test_tasks_know_themselves(sc):
    """Also with the local properties of the thread that has started the batches."""

    def place(_):
        context = TaskContext.get()
        return context.partitionId(), context.getLocalProperty("spark.scheduler.pool")

    sc.setLocalProperty("spark.scheduler.pool", "mine")
    batches = [sc.parallelize(range(3), 3)]
    assert run(sc, lambda s: s.map(place), batches) == [[(0, "mine"), (1, "mine"), (2, "mine")]]
    # The functions of outputs run on the driver, also where a task has failed on the same thread.
    contexts = []
    ssc = StreamingContext(sc, INTERVAL)
    stream = ssc.queueStream([[1]])
    stream.map(lambda n: 1 // 0).foreachRDD(lambda rdd: rdd.count())
    stream.foreachRDD(lambda rdd: contexts.append(TaskContext.get()))
    ssc.start()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        ssc.awaitTermination(60)
    eventually(lambda: contexts)
    ssc.stop(False)
    assert contexts[0] is None
