"""Runs batches 10 ms apart for a long time, with functions in Python, and looks whether memory grows or batches fall behind.

    python -m tidemill python/benches/soak.py --minutes 30

Every minute it prints the resident memory, the number of batches, and quantiles of the scheduling delay in milliseconds.
"""

import argparse
import shutil
import tempfile
import threading
import time

from process_memory import rss_bytes
from pyspark import SparkContext
from pyspark.streaming import StreamingContext, StreamingListener


class Delays(StreamingListener):
    """The scheduling delays since they were taken last, in milliseconds."""

    def __init__(self):
        self._lock = threading.Lock()
        self._ms = []

    def onBatchCompleted(self, batchCompleted):
        with self._lock:
            self._ms.append(batchCompleted.batchInfo().schedulingDelayMicros() / 1000)

    def take(self):
        with self._lock:
            taken, self._ms = self._ms, []
            return sorted(taken)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--interval-ms", type=int, default=10)
    parser.add_argument("--lines", type=int, default=100, help="lines of a batch")
    options = parser.parse_args()

    sc = SparkContext("local[2]", "soak")
    ssc = StreamingContext(sc, options.interval_ms / 1000)
    folder = tempfile.mkdtemp(prefix="tidemill-soak-")
    ssc.checkpoint(folder)
    delays, seen = Delays(), [0]
    ssc.addStreamingListener(delays)

    lines = sc.parallelize([f"line {n % 37} of words {n % 11} and more" for n in range(options.lines)], 2)
    words = ssc.queueStream([], default=lines).flatMap(lambda line: line.split(" "))
    pairs = words.filter(lambda word: word != "of").map(lambda word: (word, 1))
    pairs.reduceByKey(lambda a, b: a + b).foreachRDD(lambda rdd: seen.__setitem__(0, seen[0] + len(rdd.collect())))
    pairs.updateStateByKey(lambda new, total: sum(new) + (total or 0)).foreachRDD(lambda rdd: rdd.take(1))
    pairs.reduceByKeyAndWindow(lambda a, b: a + b, lambda a, b: a - b, 1, options.interval_ms / 1000).foreachRDD(
        lambda rdd: rdd.map(lambda pair: pair[1]).count()
    )
    ssc.start()
    began = time.monotonic()
    print(f"{'minute':>6} {'RSS MiB':>8} {'batches':>8} {'median':>8} {'90 %':>8} {'99 %':>8} {'most':>8}", flush=True)
    try:
        for minute in range(1, max(1, round(options.minutes)) + 1):
            until = min(60 * minute, 60 * options.minutes)
            if ssc.awaitTerminationOrTimeout(max(0, began + until - time.monotonic())):
                raise SystemExit("the stream has stopped")
            ms = delays.take() or [float("nan")]
            quantiles = (ms[min(len(ms) - 1, int(len(ms) * q))] for q in (0.5, 0.9, 0.99, 1))
            print(
                f"{minute:>6} {rss_bytes() / 2**20:>8.1f} {len(ms):>8}", *(f"{q:>8.2f}" for q in quantiles), flush=True
            )
    finally:
        ssc.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
