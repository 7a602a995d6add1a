"""What becomes of a program that ends while its stream, a job or a receiver runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import run

STREAM = """
ssc = StreamingContext(context(), 0.01)
busy = ssc.queueStream([], default=ssc.sparkContext.parallelize(range(50_000), 2))
seen = []
busy.map(lambda n: n * n % 7).foreachRDD(lambda rdd: seen.append(rdd.sum()))
ssc.start()
while not seen:
    ssc.awaitTerminationOrTimeout(0.01)
"""

RECEIVER = """
class Polling(Receiver):
    def onStart(self):
        while {condition}:
            stored.append(1)
            {body}
            time.sleep(0.02)

stored = []
ssc = StreamingContext(context(), 0.05)
ssc.receiverStream(Polling()).count().foreachRDD(lambda rdd: None)
ssc.start()
while not stored:
    ssc.awaitTerminationOrTimeout(0.01)
ssc.stop()
"""

JOB = """
def work(item):
    begun.set()
    {work}

def job():
    try:
        context().parallelize(range(1_000_000), 2).map(work).collect()
    except RuntimeError:
        pass

begun = threading.Event()
threading.Thread(target=job, daemon=True).start()
begun.wait()
"""

INTERRUPTED = """
def slow(item):
    begun.set()
    for _ in range(50):
        time.sleep(0.01)

begun = threading.Event()
threading.Thread(target=lambda: (begun.wait(), interrupt()), daemon=True).start()
sc = context()
try:
    sc.parallelize(range(100), 2).map(slow).collect()
except KeyboardInterrupt:
    sc.stop()
"""

SEVERAL = """
import gc, weakref

def start(batches):
    ssc = StreamingContext(sc, 0.01)
    ssc.queueStream([], default=[1]).foreachRDD(lambda rdd: batches.append(rdd.collect()))
    ssc.start()
    return weakref.ref(ssc)

sc, seen = context(spark_driver_allowMultipleContexts="true"), ([], [])
streams = [start(batches) for batches in seen]
gc.collect()
assert all(stream() for stream in streams)
before = [len(batches) for batches in seen]
while any(len(batches) <= count for batches, count in zip(seen, before)):
    time.sleep(0.01)
"""

# A stream of the engine's ends with its last object.
FREED = """
from tidemill._native import NativeStreamingContext

def work(ms, rdd):
    begun.set()
    time.sleep(0.5)

def run():
    native = NativeStreamingContext(sc._native, 10)
    native.queue_stream([], True, sc.parallelize([1])._native()).foreach_rdd(work, "work", "here")
    native.start("here")
    begun.wait()

sc, begun = context(), threading.Event()
run()
"""

ENDS = {
    "a stream that was not stopped": STREAM,
    "several streams that nobody holds": SEVERAL,
    "a stream that was freed": FREED,
    "a receiver that looks whether it was stopped": RECEIVER.format(condition="not self.isStopped()", body=""),
    "a receiver that stores": RECEIVER.format(condition="not self.isStopped()", body="self.store(1)"),
    "a receiver that never looks": RECEIVER.format(condition="True", body=""),
    "a receiver that waits for data": RECEIVER.format(condition="True", body="threading.Event().wait()"),
    "a job of a daemon thread": JOB.format(work="time.sleep(0.1)"),
    "an endless function": JOB.format(work="while True: pass"),
    "a job that was interrupted": INTERRUPTED,
}


@pytest.mark.parametrize("program", ENDS.values(), ids=ENDS)
def test_a_program_that_ends_has_its_status(tmp_path: Path, program: str) -> None:
    for status in (0, 3):
        done = run(tmp_path, f"{program}\nprint('ends')\nsys.exit({status})")
        assert (done.returncode, done.stdout) == (status, "ends\n"), done.stderr


EXITING = """
class Exits(StreamingListener):
    def {event}(self, event):
        told.append(1)
        sys.exit(7)

class Numbers(Receiver):
    def onStart(self):
        while not self.sleep(0.01):
            self.store(1)

    def onStop(self):
        sys.exit(8)

told = []
ssc = StreamingContext(context(), 0.05)
ssc.addStreamingListener(Exits())
ssc.receiverStream(Numbers()).count().foreachRDD(lambda rdd: None)
ssc.start()
while not told:
    ssc.awaitTerminationOrTimeout(0.01)
ssc.stop()
print("stopped")
"""


@pytest.mark.parametrize("event", ["onStreamingStarted", "onBatchCompleted"])
def test_the_exit_of_a_listener_or_a_receiver_is_its_own(tmp_path: Path, event: str) -> None:
    done = run(tmp_path, EXITING.format(event=event))
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr
    # The two may be written at the same time, piece by piece.
    assert f"{event} of Exits failed" in done.stderr and "tidemill.streaming.receiver.Supervised" in done.stderr


CIRCULAR = """
def failed(rdd):
    try:
        rdd.map(lambda n: n / 0).collect()
    except Exception as error:
        return error

def work(rdd):
    first, second = failed(rdd), failed(rdd)
    {raises}

ssc = StreamingContext(context(), 0.05)
ssc.queueStream([], default=[1]).foreachRDD(work)
ssc.start()
try:
    ssc.awaitTermination()
except Exception as error:
    ssc.stop()
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    "raises", ["raise first from first", "first.__cause__ = second; raise second from first"], ids=["itself", "another"]
)
def test_failures_that_are_their_own_causes(tmp_path: Path, raises: str) -> None:
    done = run(tmp_path, CIRCULAR.format(raises=raises))
    assert (done.returncode, done.stdout) == (0, "PythonException\n"), done.stderr
