"""What becomes of a program that ends while its stream runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import tidemill

PROGRAM = """
from tidemill import SparkContext
from tidemill.streaming import StreamingContext

ssc = StreamingContext(SparkContext("local[2]", "ends"), 0.01)
busy = ssc.queueStream([], default=ssc.sparkContext.parallelize(range(50_000), 2))
seen = []
busy.map(lambda n: n * n % 7).foreachRDD(lambda rdd: seen.append(rdd.sum()))
ssc.start()
while not seen:
    ssc.awaitTerminationOrTimeout(0.01)
print("seen")
"""


def test_a_program_may_end_without_a_stop(tmp_path):
    script = tmp_path / "ends.py"
    script.write_text(PROGRAM)
    path = os.pathsep.join(filter(None, [str(Path(tidemill.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
        )
        assert (done.returncode, done.stdout) == (0, "seen\n"), done.stderr
