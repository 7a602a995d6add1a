"""Processes that are forked from one with a context: they have none of the engine's threads."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import run

BEGIN = """
import warnings
# From 3.12 on Python warns of what is tried here.
warnings.simplefilter("ignore", DeprecationWarning)

def in_child(body):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = body()
        except RuntimeError as error:
            said = type(error).__name__ + (": forked" if "was forked" in str(error) else str(error))
        os.write(writing, str(said).encode())
        sys.exit(5)
    os.close(writing)
    with open(reading) as pipe:
        print(pipe.read())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

STREAM = """
from tidemill import SparkFiles
sc = context()
open("added", "w").close()
sc.addFile("added")
seen = []
ssc = StreamingContext(sc, 0.01)
ssc.queueStream([], default=[1]).foreachRDD(lambda rdd: seen.append(rdd.count()))
ssc.start()
numbers = sc.parallelize([1, 2])
other = StreamingContext(sc, 1)
other.queueStream([[1]]).pprint()
def wait():
    before = len(seen)
    while len(seen) <= before:
        ssc.awaitTerminationOrTimeout(0.01)
wait()
in_child(lambda: {body})
wait()
print(os.path.exists(SparkFiles.get("added")), sc.parallelize([1]).count())
"""

REFUSED = "PySparkRuntimeError: forked"

DONE = [
    ("nothing", "None", "None"),
    ("a stop of the stream", "ssc.stop()", "None"),
    ("a stop of the context", "sc.stop()", "None"),
    ("a job", "sc.parallelize([1]).count()", REFUSED),
    ("a job of an RDD that is there", "numbers.count()", REFUSED),
    ("a file", "numbers.map(str).saveAsTextFile('files')", REFUSED),
    ("a start", "other.start()", REFUSED),
    ("a wait", "ssc.awaitTermination()", REFUSED),
]


@pytest.mark.parametrize(("body", "said"), [row[1:] for row in DONE], ids=[row[0] for row in DONE])
def test_a_forked_process_has_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(tmp_path, BEGIN + STREAM.format(body=body))
    assert (done.returncode, done.stdout) == (0, f"{said}\n5\nTrue 1\n"), done.stderr
    assert done.stderr == ""
