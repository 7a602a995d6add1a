"""Ctrl-C: what it ends, and what goes on after it."""

from __future__ import annotations

from pathlib import Path

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
