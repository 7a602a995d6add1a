"""The life of a context."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from streaming_batches import INTERVAL, PATIENCE, collected, wait_for

import tidemill
from tidemill.streaming import StreamingContext, StreamingListener

# Where the package is not installed, it lies here.
SOURCES = str(Path(tidemill.__file__).parents[1])


@pytest.fixture
def ssc(sc):
    context = StreamingContext(sc, INTERVAL)
    yield context
    context.stop(stopSparkContext=False)


def test_what_a_context_is_made_of(sc):
    with pytest.raises(
        ValueError, match="^Spark Streaming cannot be initialized with both SparkContext and checkpoint as null$"
    ):
        StreamingContext(None, 1)
    with pytest.raises(ValueError, match="^Batch duration for StreamingContext cannot be null$"):
        StreamingContext(sc)
    ssc = StreamingContext(sc, batchDuration=0.25)
    assert ssc.sparkContext is sc
    assert ssc._native.batch_ms() == 250
    ssc.stop(False)


@pytest.mark.parametrize("duration", [0, 0.0001, -1])
def test_durations_that_are_none(sc, duration):
    with pytest.raises(Exception, match="batch duration|negative|convert"):
        StreamingContext(sc, duration)


def test_start_and_stop(ssc):
    done = collected(ssc.queueStream([[1]]))
    assert StreamingContext.getActive() is None
    ssc.start()
    assert StreamingContext.getActive() is ssc
    wait_for(ssc, lambda: done)
    # Only a warning.
    ssc.start()
    ssc.stop(stopSparkContext=False)
    assert StreamingContext.getActive() is None
    ssc.stop(stopSparkContext=False)
    assert ssc.awaitTerminationOrTimeout(0) is True
    ssc.awaitTermination()
    with pytest.raises(Exception, match="^StreamingContext has already been stopped$"):
        ssc.start()


def test_stop_before_start(ssc):
    ssc.stop(False)
    with pytest.raises(Exception, match="has already been stopped"):
        ssc.start()


def test_nothing_to_do(ssc):
    ssc.queueStream([[1]])
    with pytest.raises(Exception, match="No output operations registered, so nothing to execute"):
        ssc.start()
    assert StreamingContext.getActive() is None


def test_one_context_at_a_time(sc, ssc):
    collected(ssc.queueStream([[1]]))
    ssc.start()
    other = StreamingContext(sc, INTERVAL)
    collected(other.queueStream([[1]]))
    with pytest.raises(Exception, match="Only one StreamingContext may be started"):
        other.start()
    assert StreamingContext.getActive() is ssc
    other.stop(False)
    assert StreamingContext.getActive() is ssc


def test_no_additions_after_the_start(ssc):
    stream = ssc.queueStream([[1]])
    collected(stream)
    ssc.start()
    text = "Adding new inputs, transformations, and output operations after starting a context is not supported"
    for add in (
        lambda: ssc.queueStream([[1]]),
        lambda: ssc.socketTextStream("localhost", 1),
        lambda: stream.pprint(),
        lambda: stream.map(str).pprint(),
        lambda: stream.window(INTERVAL),
    ):
        with pytest.raises(Exception, match=text):
            add()
    with pytest.raises(Exception, match="Cannot change storage level"):
        stream.cache()


def test_waiting_has_an_end(ssc):
    collected(ssc.queueStream([[1]]))
    ssc.start()
    assert ssc.awaitTerminationOrTimeout(0.01) is False
    assert ssc.awaitTermination(0.01) is None
    stopper = threading.Thread(target=lambda: ssc.stop(False))
    stopper.start()
    assert ssc.awaitTerminationOrTimeout(PATIENCE) is True
    stopper.join()


def test_stop_from_within_an_output(ssc):
    seen = []

    def look(rdd):
        seen.append(rdd.collect())
        if len(seen) == 2:
            ssc.stop(stopSparkContext=False)

    ssc.queueStream([[1], [2], [3]]).foreachRDD(look)
    ssc.start()
    assert ssc.awaitTerminationOrTimeout(PATIENCE) is True
    assert seen == [[1], [2]]


def test_no_stop_from_within_a_listener(ssc):
    texts = []

    class Stopper(StreamingListener):
        def onBatchCompleted(self, batchCompleted):
            try:
                ssc.stop(stopSparkContext=True)
            except Exception as error:
                texts.append(str(error))

    ssc.addStreamingListener(Stopper())
    collected(ssc.queueStream([[1]]))
    ssc.start()
    wait_for(ssc, lambda: texts)
    assert texts[0] == "Cannot stop StreamingContext within listener bus thread."
    assert StreamingContext.getActive() is ssc


def test_graceful_stop_runs_what_is_there(ssc):
    submitted, let_go, seen = [], threading.Event(), []

    class Submissions(StreamingListener):
        def onBatchSubmitted(self, batchSubmitted):
            submitted.append(batchSubmitted.batchInfo().batchTime())

    def look(rdd):
        let_go.wait(PATIENCE)
        seen.append(rdd.collect())

    ssc.addStreamingListener(Submissions())
    ssc.queueStream([[n] for n in range(1000)]).foreachRDD(look)
    ssc.start()
    wait_for(ssc, lambda: len(submitted) >= 3)
    threading.Timer(INTERVAL, let_go.set).start()
    ssc.stop(stopSparkContext=False, stopGraceFully=True)
    assert seen[:3] == [[0], [1], [2]]


def test_get_active_or_create(sc, tmp_path):
    def create():
        ssc = StreamingContext(sc, INTERVAL)
        collected(ssc.queueStream([[1]]))
        return ssc

    with pytest.raises(TypeError, match=r"^setupFunc should be callable\.$"):
        StreamingContext.getActiveOrCreate(None, None)
    ssc = StreamingContext.getActiveOrCreate(None, create)
    ssc.start()
    assert StreamingContext.getActiveOrCreate(None, create) is ssc
    assert StreamingContext.getActiveOrCreate(str(tmp_path), create) is ssc
    ssc.stop(False)
    other = StreamingContext.getActiveOrCreate(None, create)
    assert other is not ssc
    other.stop(False)


def test_get_or_create(sc, tmp_path):
    with pytest.raises(TypeError, match="setupFunc should return a StreamingContext, not NoneType"):
        StreamingContext.getOrCreate(str(tmp_path), lambda: None)
    with pytest.raises(KeyError, match="mine"):
        StreamingContext.getOrCreate(str(tmp_path), lambda: {}["mine"])
    text = r"^Cannot run multiple SparkContexts at once.*use SparkContext.getOrCreate\(\) in it$"
    with pytest.raises(ValueError, match=text):
        StreamingContext.getOrCreate(str(tmp_path), lambda: StreamingContext(tidemill.SparkContext("local"), INTERVAL))

    made = []

    def create():
        made.append(StreamingContext(sc, INTERVAL))
        return made[-1]

    assert StreamingContext.getOrCreate(str(tmp_path), create) is made[0]
    made[0].stop(False)


def test_a_damaged_checkpoint(sc, tmp_path):
    folder = tmp_path / "checkpoint"

    def create():
        ssc = StreamingContext(sc, INTERVAL)
        ssc.textFileStream(str(tmp_path)).pprint()
        return ssc

    ssc = StreamingContext.getOrCreate(str(folder), create)
    ssc.start()
    ssc.stop(False)
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(b"\0damaged\0" * 10)
    with pytest.raises(Exception, match="Failed to read checkpoint from directory"):
        StreamingContext.getOrCreate(str(folder), create).start()


def test_queues_do_not_go_with_checkpoints(ssc, tmp_path):
    """A batch that was logged and is not done can't be run again."""
    ssc.checkpoint(str(tmp_path))
    ssc.queueStream([[1]]).foreachRDD(lambda rdd: 1 / 0)
    ssc.start()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        ssc.awaitTermination(PATIENCE)
    ssc.stop(False)
    again = StreamingContext.getOrCreate(str(tmp_path), lambda: StreamingContext(ssc.sparkContext, INTERVAL))
    collected(again.queueStream([[1]]))
    try:
        with pytest.raises(Exception, match="queueStream doesn't support checkpointing"):
            again.start()
            again.awaitTermination(PATIENCE)
    finally:
        again.stop(False)


def test_waiting_without_an_end(ssc):
    collected(ssc.queueStream([[1]]))
    ssc.start()
    threading.Timer(0.1, ssc.stop, [False]).start()
    assert ssc.awaitTerminationOrTimeout(-1) is True


def test_remember_twice(ssc):
    ssc.remember(5)
    with pytest.raises(Exception, match="Remember duration already set as 5000 ms. Cannot set it again."):
        ssc.remember(6)


def test_ctrl_c_stops_gracefully(tmp_path):
    """A program of its own, which a signal reaches while it waits."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import sys
            from tidemill import SparkContext
            from tidemill.streaming import StreamingContext

            ssc = StreamingContext(SparkContext("local[2]", "ctrl-c"), 0.05)
            ssc.queueStream([[n] for n in range(10000)]).foreachRDD(lambda rdd: print(rdd.collect(), flush=True))
            ssc.start()
            try:
                ssc.awaitTermination()
            except KeyboardInterrupt:
                print("interrupted", StreamingContext.getActive(), ssc.awaitTerminationOrTimeout(0))
                ssc.stop()
                sys.exit(7)
            """
        )
    )
    path = os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "[0]\n"
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read().splitlines()
    assert process.returncode == 7, rest
    assert rest[-1] == "interrupted None True"
    # Batch after batch, without a gap.
    assert rest[:-1] == [f"[{n}]" for n in range(1, len(rest))]
