"""Ctrl-C: what it ends, and what goes on after it."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import run

IN_STOP = """
class Receives(Receiver):
    def onStart(self):
        self.store(1)

    def onStop(self):
        interrupt()

def work(rdd):
    waits.wait()
    interrupt()
    threading.Event().wait()

waits = threading.Event()
ssc = StreamingContext(context(), 0.05)
ssc.receiverStream(Receives()).foreachRDD(work)
ssc.start()
try:
    waits.set()
    ssc.awaitTermination()
except KeyboardInterrupt:
    print("left")
"""


def test_a_second_one_ends_the_wait_for_a_graceful_stop(tmp_path: Path) -> None:
    done = run(tmp_path, IN_STOP)
    assert (done.returncode, done.stdout) == (0, "left\n"), done.stderr


IN_JOB = """
def work(item):
    if item == 10:
        waits.wait()
        interrupt()
    time.sleep(0.01)
    return item

waits = threading.Event()
sc = context()
try:
    numbers = sc.parallelize(range(100_000), {partitions}).map(work)
    waits.set()
    numbers.{action}
except KeyboardInterrupt:
    print("interrupted", sc.parallelize([1]).count())
"""


ACTIONS = [
    "collect()",
    "count()",
    "foreach(lambda n: None)",
    "map(str).reduce(min)",
    "map(lambda n: (n % 3, n)).groupByKey().collect()",
    "map(lambda n: (n % 3, 1)).reduceByKey(max).join(sc.parallelize([(1, 1)])).count()",
    "cache().map(str).distinct().count()",
    "saveAsTextFile('{folder}')",
    "repartition(3).saveAsTextFile('{folder}')",
]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("partitions", [1, 2])
def test_one_ends_the_tasks_of_a_job(tmp_path: Path, action: str, partitions: int) -> None:
    action = action.format(folder=tmp_path / "out")
    done = run(tmp_path, IN_JOB.format(action=action, partitions=partitions))
    assert (done.returncode, done.stdout) == (0, "interrupted 1\n"), done.stderr


IMPORTED_ELSEWHERE = """
import os, signal, threading, time

def imports():
    global tidemill
    import tidemill

thread = threading.Thread(target=imports)
thread.start()
thread.join()

def work(item):
    if item == 0:
        waits.wait()
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)

waits = threading.Event()
numbers = tidemill.SparkContext("local[2]", "program").parallelize(range(100_000), 2).map(work)
try:
    waits.set()
    numbers.collect()
except KeyboardInterrupt:
    print("interrupted")
"""


def test_the_main_thread_is_not_the_one_that_imports(tmp_path: Path) -> None:
    done = run(tmp_path, IMPORTED_ELSEWHERE, begin="")
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
