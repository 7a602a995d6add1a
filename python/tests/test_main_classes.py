"""Classes of the program's main script in states and their keys: a restart has the same ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
