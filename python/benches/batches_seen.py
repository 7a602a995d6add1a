"""What `jobs.py` notes down of its batches.

In a module of its own: with a checkpoint PySpark pickles the functions of outputs, by name if they are in a module.
"""

import threading
import time

from pyspark.streaming import StreamingListener

delays_ms = []
last_rows = []
all_seen = threading.Event()
wanted = 0


def keep(rdd):
    """An output operation: brings the rows of a batch to the driver."""
    rows = rdd.collect()
    if rows and not last_rows:
        # The parent measures the time to the first result.
        print("FIRST", time.time(), flush=True)
    last_rows[:] = rows
    if len(delays_ms) >= wanted:
        all_seen.set()


class Delays(StreamingListener):
    """Notes how long each batch took: in steps of a millisecond, or of a microsecond where the engine says it."""

    def onBatchCompleted(self, batchCompleted):
        info = batchCompleted.batchInfo()
        # An object of py4j seems to have any method.
        precise = type(info).__module__.startswith("tidemill")
        delays_ms.append(info.processingDelayMicros() / 1000 if precise else info.processingDelay())
