"""Classes of the program's main script in states and their keys: a restart has the same ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tidemill

PROGRAM = """
import enum, sys, typing
from collections import namedtuple
from dataclasses import dataclass
from tidemill import SparkContext
from tidemill.streaming import Receiver, StreamingContext

Named = namedtuple("Named", "x y")

class Typed(typing.NamedTuple):
    x: int

@dataclass(frozen=True)
class Frozen:
    x: int

class Color(enum.Enum):
    RED = 1

class Text(str):
    pass

class Stage(enum.Enum):
    OPEN = 1

def local():
    @dataclass(frozen=True)
    class Local:
        x: int
    return Local(1)

# What has no name in the script is one key as long as the process lives.
keys = [Named("a b", "".join(["a ", "b"])), Typed(1), Frozen(1), Color.RED, Text("text")]
keys += [local()] if sys.argv[2] == "with a local class" else []
counts, stages = [], []

class Keys(Receiver):
    def onStart(self):
        self.storeMany(keys)
        self.storeMany(keys)

def program():
    ssc = StreamingContext(SparkContext("local[2]", "classes"), 0.05)
    pairs = ssc.receiverStream(Keys()).map(lambda key: (key, 1))
    counted = pairs.updateStateByKey(lambda new, before: sum(new) + (before or 0))
    counted.foreachRDD(lambda rdd: counts.append(rdd.collect()))
    opened = pairs.updateStateByKey(lambda new, before: before or Stage.OPEN)
    opened.foreachRDD(lambda rdd: stages.extend(rdd.values().collect()))
    return ssc

def all_counted():
    return counts and sum(count for _, count in counts[-1]) == 2 * len(keys) * int(sys.argv[3])

ssc = StreamingContext.getOrCreate(sys.argv[1], program)
ssc.start()
while not all_counted():
    if ssc.awaitTerminationOrTimeout(0.01):
        sys.exit("the stream has stopped")
ssc.stop(stopSparkContext=True, stopGraceFully=True)
assert len(counts[-1]) == len(keys), counts[-1]
assert {(type(key), key) for key, _ in counts[-1]} == {(type(key), key) for key in keys}, counts[-1]
assert stages and all(stage is Stage.OPEN for stage in stages), stages
print(len(keys), "keys")
"""


def test_keys_and_states_over_restarts(tmp_path):
    script = tmp_path / "classes.py"
    script.write_text(PROGRAM)
    path = os.pathsep.join(filter(None, [str(Path(tidemill.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    runs = [("a", "named classes", 1, 5), ("a", "named classes", 2, 5), ("b", "with a local class", 1, 6)]
    for folder, which, run, keys in runs:
        done = subprocess.run(
            [sys.executable, str(script), str(tmp_path / folder), which, str(run)],
            capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, f"{keys} keys\n"), done.stderr


SHUFFLED = """
import enum, sys
from collections import namedtuple
from tidemill import PythonException, SparkConf, SparkContext

Named = namedtuple("Named", "x y")

class Color(enum.Enum):
    RED = 1

class Counted:
    made = 0

    def __init__(self, n):
        self.n = n
        Counted.made += 1

class Unlucky(Exception):
    pass

def unlucky(named):
    raise Unlucky(named)

sc = SparkContext("local[2]", "shuffled", conf=SparkConf().set("tidemill.python.functions", sys.argv[1]))
rows = [(Named(n % 3, Color.RED), Counted(n)) for n in range(30)]
grouped = sc.parallelize(rows, 3).reduceByKey(lambda a, b: a if a.n > b.n else b, 2)
for _ in range(2):
    result = dict(grouped.mapValues(lambda counted: counted).collect())
    assert {key: value.n for key, value in result.items()} == {Named(n, Color.RED): 27 + n for n in range(3)}, result
    assert all(type(key) is Named and key.y is Color.RED for key in result)
    assert all(type(value) is Counted for value in result.values()) and Counted.made == 30
try:
    grouped.keys().foreach(unlucky)
except PythonException as error:
    assert type(error.__cause__) is Unlucky and type(error.__cause__.args[0]) is Named
    print("all the same")
"""


@pytest.mark.parametrize("place", ["driver", "workers"])
def test_objects_that_are_moved(tmp_path, place):
    script = tmp_path / "shuffled.py"
    script.write_text(SHUFFLED)
    path = os.pathsep.join(filter(None, [str(Path(tidemill.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(script), place], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert (done.returncode, done.stdout) == (0, "all the same\n"), done.stderr
