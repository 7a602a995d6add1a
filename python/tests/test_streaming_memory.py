"""What is freed once a context is stopped, and what is not."""

from __future__ import annotations

import gc
import weakref

import pytest
from streaming_batches import INTERVAL, eventually

from tidemill.streaming import StreamingContext
from tidemill.streaming.kafka import KafkaUtils


def freed(sc, ref):
    """What the engine's threads have dropped is freed with the next call of the engine."""
    sc._native.default_parallelism()
    gc.collect()
    return ref() is None


def run_to_the_end(sc, program, prepare=lambda ssc: ssc.queueStream([], default=[1, 2, 3])):
    """A weak reference to a context that has run `program`, which says when a batch is done, and was stopped."""
    ssc, done = StreamingContext(sc, INTERVAL), []
    program(ssc, prepare(ssc), done)
    ssc.start()
    try:
        while not done and not ssc.awaitTerminationOrTimeout(0.01):
            pass
    except Exception as error:
        assert "ZeroDivisionError" in str(error)
    ssc.stop(stopSparkContext=False)
    return weakref.ref(ssc)


def of_all_kinds(ssc, stream, done):
    pairs = stream.map(lambda n: (n % 2, n)).reduceByKey(lambda a, b: a * b)
    pairs.window(2 * INTERVAL).transform(lambda time, rdd: rdd).foreachRDD(lambda rdd: done.append(rdd.collect()))


def fails(ssc, stream, done):
    stream.map(lambda n: n / 0).foreachRDD(lambda rdd: done.append(rdd.collect()))


PROGRAMS = {
    "foreachRDD": lambda ssc, stream, done: stream.foreachRDD(lambda rdd: done.append(1)),
    "map": lambda ssc, stream, done: stream.map(lambda n: done.append(n)).pprint(),
    "transform": lambda ssc, stream, done: stream.transform(lambda rdd: done.append(1) or rdd).pprint(),
    "several operators": of_all_kinds,
    "a failure": fails,
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_stopped_context_is_freed(sc, program, capsys):
    ref = run_to_the_end(sc, program)
    eventually(lambda: freed(sc, ref), "the end of the context")


def test_a_context_of_a_kafka_stream_that_never_started_is_freed(sc):
    def program():
        def look(rdd):
            return rdd

        stream = KafkaUtils.createDirectStream(StreamingContext(sc, 1), ["orders"], {"bootstrap.servers": "localhost:1"})
        stream.transform(look).pprint()
        stream.foreachRDD(look)
        return weakref.ref(look)

    ref = program()
    eventually(lambda: freed(sc, ref), "the end of the graph")
