"""Counts the words of each second's lines, which come from a TCP server.

nc -lk 9999                                                              # in one terminal: type here
python -m tidemill python/examples/network_wordcount.py localhost 9999   # in another one
"""

import sys

from pyspark import SparkContext
from pyspark.streaming import StreamingContext


def main(host, port):
    sc = SparkContext(appName="network word count")
    ssc = StreamingContext(sc, 1)

    lines = ssc.socketTextStream(host, port)
    words = lines.flatMap(lambda line: line.split(" "))
    words.map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b).pprint()

    ssc.start()
    ssc.awaitTermination()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: network_wordcount.py HOST PORT")
    main(sys.argv[1], int(sys.argv[2]))
