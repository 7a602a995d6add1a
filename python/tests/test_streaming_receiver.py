"""Receivers written in Python."""

from __future__ import annotations

import subprocess
import threading
from itertools import islice

import pytest
from programs import command
from streaming_batches import INTERVAL, collected, eventually, wait_for

from tidemill.streaming import Receiver, StreamingContext


def rows(batches):
    return [row for batch in batches for row in batch]


@pytest.fixture
def ssc(sc):
    context = StreamingContext(sc, INTERVAL)
    yield context
    context.stop(stopSparkContext=False)


def test_rows_come_in_order(ssc):
    class Numbers(Receiver):
        def onStart(self):
            for n in range(0, 100, 10):
                self.storeMany(range(n, n + 5))
                for m in range(n + 5, n + 10):
                    self.store(m)

    seen = collected(ssc.receiverStream(Numbers()))
    ssc.start()
    wait_for(ssc, lambda: len(rows(seen)) >= 100)
    assert rows(seen) == list(range(100))


def test_a_receiver_is_told_to_end(ssc):
    ended, freed = threading.Event(), threading.Event()

    class Patient(Receiver):
        def onStart(self):
            assert self.isStarted()
            self.store("row")
            while not self.sleep(0.01):
                pass
            assert self.isStopped()
            ended.set()

        def onStop(self):
            freed.set()

    receiver = Patient()
    assert receiver.isStopped()
    seen = collected(ssc.receiverStream(receiver))
    ssc.start()
    wait_for(ssc, lambda: rows(seen))
    assert not ended.is_set()
    ssc.stop(False)
    eventually(ended.is_set)
    eventually(freed.is_set)


def test_a_receiver_that_fails_is_started_again(ssc):
    class Flaky(Receiver):
        starts = 0

        def onStart(self):
            self.starts += 1
            self.store(self.starts)
            if self.starts < 2:
                raise OSError("the line went dead")

    seen = collected(ssc.receiverStream(Flaky()))
    ssc.start()
    wait_for(ssc, lambda: rows(seen) == [1, 2])


def test_a_receiver_may_ask_to_be_started_again_and_end(ssc):
    class Three(Receiver):
        starts = stops = 0

        def onStart(self):
            self.starts += 1
            self.store(self.starts)
            if self.starts < 3:
                self.restart("once more", ValueError("not enough"), delay=INTERVAL)
            else:
                self.stop("enough")

        def onStop(self):
            self.stops += 1

    receiver = Three()
    seen = collected(ssc.receiverStream(receiver))
    ssc.start()
    wait_for(ssc, lambda: rows(seen) == [1, 2, 3] and receiver.stops == 3)


def test_storing_before_the_start(ssc):
    class Early(Receiver):
        def onStart(self):
            pass

    with pytest.raises(RuntimeError, match="has not been started"):
        Early().store(1)


def test_several_receivers(ssc):
    class One(Receiver):
        def __init__(self, n):
            self.n = n

        def onStart(self):
            self.storeMany([self.n] * 3)

    streams = [ssc.receiverStream(One(n)) for n in range(3)]
    seen = collected(ssc.union(*streams).countByValue())
    ssc.start()
    wait_for(ssc, lambda: sorted(rows(seen)) == [(0, 3), (1, 3), (2, 3)])


LOGGED = """
class Numbers(Receiver):
    def onStart(self):
        if sys.argv[1] == "receives":
            for begin in range(0, 1000, 10):
                self.storeMany(range(begin, begin + 10))
            print("stored", flush=True)

def program():
    ssc = StreamingContext(context(spark_streaming_receiver_writeAheadLog_enable="true"), 2)
    pairs = ssc.receiverStream(Numbers()).map(lambda n: ("sum", n))
    sums = pairs.updateStateByKey(lambda new, before: sum(new) + (before or 0))
    sums.foreachRDD(lambda rdd: print("sum", dict(rdd.collect()).get("sum"), flush=True))
    return ssc

ssc = StreamingContext.getOrCreate(os.path.join(os.path.dirname(__file__), "checkpoint"), program)
ssc.start()
ssc.awaitTermination()
"""


def test_what_was_stored_is_there_after_a_kill(tmp_path):
    """The program is killed when the last rows are stored, before or after their batch; with the next batch they are all in the sum."""
    for what, wanted in (("receives", "stored"), ("waits", "sum 499500"), ("waits", "sum 499500")):
        arguments = command(tmp_path, LOGGED)
        arguments["args"].append(what)
        with subprocess.Popen(**arguments, stdout=subprocess.PIPE) as process:
            try:
                assert any(line.rstrip() == wanted for line in islice(process.stdout, 10))
            finally:
                process.kill()

