"""What is freed once a context is stopped, and what is not."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
from streaming_batches import INTERVAL, eventually

from tidemill.streaming import Receiver, StreamingContext, StreamingListener
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

        stream = KafkaUtils.createDirectStream(
            StreamingContext(sc, 1), ["orders"], {"bootstrap.servers": "localhost:1"}
        )
        stream.transform(look).pprint()
        stream.foreachRDD(look)
        return weakref.ref(look)

    ref = program()
    eventually(lambda: freed(sc, ref), "the end of the graph")


class Listens(StreamingListener):
    def __init__(self, ssc):
        self.ssc = ssc


class Receives(Receiver):
    def __init__(self, ssc):
        self.ssc = ssc

    def onStart(self):
        while not self.sleep(0.01):
            self.store(1)


def received(ssc):
    return ssc.receiverStream(Receives(ssc))


def stops_itself(ssc, stream, done):
    stream.foreachRDD(lambda rdd: (done.append(1), ssc.stop(stopSparkContext=False)))


def listens(ssc, stream, done):
    ssc.addStreamingListener(Listens(ssc))
    stream.foreachRDD(lambda rdd: done.append(1))


def never_stopped_by_the_program(ssc, stream, done):
    stream.transform(lambda rdd: rdd if ssc else None).foreachRDD(lambda rdd: done.append((1, ssc)))


HOLDING = {
    "an output that stops it": stops_itself,
    "a transformation and an output": never_stopped_by_the_program,
    "a listener": listens,
}


@pytest.mark.parametrize("program", HOLDING.values(), ids=HOLDING)
@pytest.mark.parametrize("prepare", [lambda ssc: ssc.queueStream([], default=[1]), received], ids=["queue", "receiver"])
def test_a_stopped_context_that_its_program_holds_is_freed(sc, program, prepare):
    ref = run_to_the_end(sc, program, prepare)
    eventually(lambda: freed(sc, ref), "the end of the context")


@pytest.mark.parametrize("start", [True, False])
def test_a_context_that_never_ran_is_freed(sc, start):
    def program():
        ssc = StreamingContext(sc, INTERVAL)
        ssc.addStreamingListener(Listens(ssc))
        stream = received(ssc).transform(lambda rdd: rdd if ssc else None)
        if start:
            with pytest.raises(Exception, match="No output operations registered"):
                ssc.start()
        else:
            stream.foreachRDD(lambda rdd: ssc)
            ssc.stop(stopSparkContext=False)
        return weakref.ref(ssc)

    ref = program()
    eventually(lambda: freed(sc, ref), "the end of the context")


def with_state(stream):
    return stream.map(lambda n: (n, n)).updateStateByKey(lambda new, old: sum(new) + (old or 0))


KEPT = {
    "queue": lambda stream: stream,
    "map": lambda stream: stream.map(lambda n: n + 1),
    "shuffle": lambda stream: stream.map(lambda n: (n % 2, n)).reduceByKey(lambda a, b: a + b),
    "transform": lambda stream: stream.transform(lambda rdd: rdd.map(str)),
    "window": lambda stream: stream.window(2 * INTERVAL),
    "persisted": lambda stream: stream.map(lambda n: [n]).cache(),
    "state": with_state,
}


@pytest.mark.parametrize("program", KEPT.values(), ids=KEPT)
def test_rdds_of_a_stopped_stream_can_be_used(sc, program, tmp_path):
    ssc, kept = StreamingContext(sc, INTERVAL), []
    ssc.checkpoint(str(tmp_path))
    program(ssc.queueStream([], default=[1, 2, 3])).foreachRDD(lambda rdd: kept.append((rdd, sorted(rdd.collect()))))
    ssc.start()
    while not kept:
        assert not ssc.awaitTerminationOrTimeout(0.01)
    # A batch whose state has come forward has its outputs, too.
    ssc.stop(stopSparkContext=False, stopGraceFully=True)
    del ssc
    gc.collect()
    rdd, rows = kept[-1]
    assert sorted(rdd.collect()) == rows
    assert rdd.map(repr).count() == len(rows)


def test_what_threads_of_a_stream_have_is_freed_with_it(sc):
    class Kept:
        pass

    local, refs = threading.local(), []

    def keep(rdd):
        local.kept = Kept()
        refs.append(weakref.ref(local.kept))

    ref = run_to_the_end(sc, lambda ssc, stream, done: stream.foreachRDD(lambda rdd: (keep(rdd), done.append(1))))
    eventually(lambda: freed(sc, ref), "the end of the context")
    assert [ref() for ref in refs] == [None] * len(refs)
