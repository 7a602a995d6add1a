"""Counts numbers by their last digit; the batches come from a list, which is how streams are tried out without a server.

python -m tidemill python/examples/queue_stream.py
"""

import time

from pyspark import SparkContext
from pyspark.streaming import StreamingContext


def main():
    sc = SparkContext(appName="queue stream")
    ssc = StreamingContext(sc, 1)

    batches = [range(1, 1001) for _ in range(5)]
    numbers = ssc.queueStream(batches)
    numbers.map(lambda n: (n % 10, 1)).reduceByKey(lambda a, b: a + b).pprint()

    ssc.start()
    time.sleep(6)
    ssc.stop(stopSparkContext=True, stopGraceFully=True)


if __name__ == "__main__":
    main()
