"""Programs that work while one of their modules is being imported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from programs import run

MODULE = """
import sys
from tidemill import SparkConf, SparkContext

class Thing:
    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return self.number == other.number

    def __hash__(self):
        return hash(self.number)

def thing(number):
    import things
    return things.Thing(number)

conf = SparkConf().set("tidemill.python.functions", "PLACE")
sc = SparkContext("local[2]", "things", conf=conf)
"""

JOBS = """
numbers = sc.parallelize(range(4), 2).map(thing).map(lambda t: (t, 1)).groupByKey().map(lambda kv: kv[0].number)
print(sorted(numbers.collect()))
print(sc.parallelize([Thing(1), Thing(2)], 2).repartition(1).map(lambda t: t.number).sum())
print(sys.modules["things"].__spec__._initializing)
"""

STREAM = """
from tidemill.streaming import StreamingContext
ssc = StreamingContext(sc, 0.1)
ssc.checkpoint("PLACE/checkpoint")
stream = ssc.queueStream([[1, 2], [2]]).map(thing).map(lambda t: (t, t))
states = stream.updateStateByKey(lambda new, old: (old or []) + new)
found = []
states.foreachRDD(lambda rdd: found.append(sorted((k.number, len(v)) for k, v in rdd.collect())))
ssc.start()
while [(1, 1), (2, 2)] not in found:
    if ssc.awaitTerminationOrTimeout(0.1):
        break
ssc.stop()
print("ended")
"""


def imported(tmp_path: Path, module: str, place: str = "driver") -> tuple[int, str, str]:
    """How a program ends that imports this module."""
    (tmp_path / "things.py").write_text(MODULE.replace("PLACE", place) + module)
    done = run(tmp_path, "import things\nprint('imported')\n", begin="")
    return done.returncode, done.stdout, done.stderr


def test_jobs(tmp_path: Path) -> None:
    status, out, err = imported(tmp_path, JOBS)
    assert (status, out) == (0, "[0, 1, 2, 3]\n3\nTrue\nimported\n"), err


def test_a_stream(tmp_path: Path) -> None:
    status, out, err = imported(tmp_path, STREAM.replace("PLACE", os.fspath(tmp_path)))
    assert (status, out) == (0, "ended\nimported\n"), err


@pytest.mark.parametrize("action", ["map(thing).count()", "groupBy(thing).count()"])
def test_workers_do_not_run_the_program(tmp_path: Path, action: str) -> None:
    """They would import the module, and begin all of it anew."""
    status, out, err = imported(tmp_path, f"sc.parallelize([1], 1).{action}", "workers")
    assert status == 1 and "can only be used on the driver" in err and "Python worker" in err, (out, err)
