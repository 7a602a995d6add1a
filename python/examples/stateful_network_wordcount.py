"""Counts the words of all lines since the start, which come from a TCP server. A few words are there from the beginning.

nc -lk 9999
python -m tidemill python/examples/stateful_network_wordcount.py localhost 9999
"""

import sys
import tempfile

from pyspark import SparkContext
from pyspark.streaming import StreamingContext


def total(new, before):
    return sum(new) + (before or 0)


def main(host, port):
    sc = SparkContext(appName="stateful network word count")
    ssc = StreamingContext(sc, 1)

    # States go with a checkpoint. This one is left behind: recoverable_network_wordcount.py goes on where it was.
    ssc.checkpoint(tempfile.mkdtemp(prefix="wordcount-"))
    first = sc.parallelize([("hello", 1), ("world", 1)])

    words = ssc.socketTextStream(host, port).flatMap(lambda line: line.split(" "))
    words.map(lambda word: (word, 1)).updateStateByKey(total, initialRDD=first).pprint()

    ssc.start()
    ssc.awaitTermination()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: stateful_network_wordcount.py HOST PORT")
    main(sys.argv[1], int(sys.argv[2]))
