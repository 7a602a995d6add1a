"""Counts the words of the last ten seconds, every second; the lines come from a TCP server.

The window is brought forward: words that enter are added, words that leave are taken away, whatever its length.

    nc -lk 9999
    python -m tidemill python/examples/windowed_network_wordcount.py localhost 9999
"""

import operator
import sys
import tempfile

from pyspark import SparkContext
from pyspark.streaming import StreamingContext

WINDOW = 10


def main(host, port):
    sc = SparkContext(appName="windowed network word count")
    ssc = StreamingContext(sc, 1)
    ssc.checkpoint(tempfile.mkdtemp(prefix="wordcount-"))

    words = ssc.socketTextStream(host, port).flatMap(lambda line: line.split(" "))
    counts = words.map(lambda word: (word, 1)).reduceByKeyAndWindow(
        operator.add,
        operator.sub,
        windowDuration=WINDOW,
        slideDuration=1,
        # Words that are no longer in the window need not be kept with a count of 0.
        filterFunc=lambda pair: pair[1] > 0,
    )
    counts.transform(lambda rdd: rdd.sortBy(lambda pair: -pair[1])).pprint()

    ssc.start()
    ssc.awaitTermination()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: windowed_network_wordcount.py HOST PORT")
    main(sys.argv[1], int(sys.argv[2]))
