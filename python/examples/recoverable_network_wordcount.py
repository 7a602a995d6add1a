"""Counts words, and goes on where it was when it is killed and started again.

The counts of each batch are appended to a file. A word that is to be left out is told to all tasks by a broadcast variable, and
an accumulator counts how often that happened.

    nc -lk 9999
    python -m tidemill python/examples/recoverable_network_wordcount.py localhost 9999 checkpoint counts.txt
"""

import sys

from pyspark import SparkContext
from pyspark.streaming import StreamingContext

LEFT_OUT = ["a", "b", "c"]


def program(host, port, checkpoint, output):
    """Puts the program together: in the first run, and in each one that goes on from the checkpoint."""
    sc = SparkContext(appName="recoverable network word count")
    ssc = StreamingContext(sc, 1)
    ssc.checkpoint(checkpoint)

    left_out = sc.broadcast(frozenset(LEFT_OUT))
    dropped = sc.accumulator(0)

    def is_wanted(word):
        if word in left_out.value:
            dropped.add(1)
            return False
        return True

    def append(time, rdd):
        counts = sorted(rdd.collect())
        with open(output, "a", encoding="utf-8") as file:
            file.write(f"{time} {counts}\n")
        print(f"{time}: {len(counts)} words, {dropped.value} left out in this run", flush=True)

    words = ssc.socketTextStream(host, port).flatMap(lambda line: line.split(" ")).filter(is_wanted)
    totals = words.map(lambda word: (word, 1)).updateStateByKey(lambda new, before: sum(new) + (before or 0))
    totals.foreachRDD(append)
    return ssc


def main(host, port, checkpoint, output):
    ssc = StreamingContext.getOrCreate(checkpoint, lambda: program(host, port, checkpoint, output))
    ssc.start()
    ssc.awaitTermination()


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: recoverable_network_wordcount.py HOST PORT CHECKPOINT OUTPUT")
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
