"""What becomes of a program whose stream is to end gracefully."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tidemill

# Batches wait until all of twenty are submitted, and the program is about to end.
GRACEFUL = """
import atexit, sys, threading, time
from tidemill import SparkConf, SparkContext
from tidemill.streaming import StreamingContext, StreamingListener

submitted, may_run, ending = [], threading.Event(), sys.argv[1]

class Submissions(StreamingListener):
    def onBatchSubmitted(self, batchSubmitted):
        submitted.append(1)

def show(rdd):
    may_run.wait()
    print(rdd.collect(), flush=True)

def let_go():
    sys.stdin.readline()
    may_run.set()

conf = SparkConf().set("spark.streaming.stopGracefullyOnShutdown", "true")
ssc = StreamingContext(SparkContext("local[2]", "ends", conf=conf), 0.01)
ssc.addStreamingListener(Submissions())
ssc.queueStream([[n] for n in range(10000)]).foreachRDD(show)
ssc.start()
while len(submitted) < 20:
    time.sleep(0.001)
if ending == "end":
    # Runs before what the package has registered.
    atexit.register(may_run.set)
    sys.exit(3)
threading.Thread(target=let_go, daemon=True).start()
print("ready", flush=True)
try:
    while ending == "busy":
        time.sleep(0.001)
    ssc.awaitTermination()
finally:
    ssc.stop()
    print("stopped", flush=True)
"""


@pytest.mark.parametrize(("ending", "code"), [("end", 3), ("wait", 143), ("busy", 143)])
def test_a_program_that_ends_gracefully(tmp_path, ending, code):
    script = tmp_path / "ends.py"
    script.write_text(GRACEFUL)
    path = os.pathsep.join(filter(None, [str(Path(tidemill.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [sys.executable, str(script), ending], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": path},
    ) as process:  # fmt: skip
        if ending != "end":
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate("go\n")
    lines = out.splitlines()
    batches = [line for line in lines if line != "stopped"]
    assert process.returncode == code, err
    assert len(batches) >= 20 and batches == [f"[{n}]" for n in range(len(batches))], err
    assert lines[len(batches) :] == ([] if ending == "end" else ["stopped"]), err


def test_a_signal_after_the_stream_ends_the_program_at_once(tmp_path):
    script = tmp_path / "ends.py"
    script.write_text(
        "import signal\n"
        "from tidemill import SparkConf, SparkContext\n"
        "from tidemill.streaming import StreamingContext\n"
        "conf = SparkConf().set('spark.streaming.stopGracefullyOnShutdown', 'true')\n"
        "ssc = StreamingContext(SparkContext('local[2]', 'ends', conf=conf), 0.01)\n"
        "ssc.queueStream([[1]]).pprint()\n"
        "ssc.start()\n"
        "ssc.stop()\n"
        "signal.raise_signal(signal.SIGTERM)\n"
    )
    path = os.pathsep.join(filter(None, [str(Path(tidemill.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == -signal.SIGTERM, done.stderr
