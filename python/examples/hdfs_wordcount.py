"""Counts the words of text files that are new in a folder. A file must be moved there when it is complete.

python -m tidemill python/examples/hdfs_wordcount.py inbox
"""

import sys

from pyspark import SparkContext
from pyspark.streaming import StreamingContext


def main(folder):
    sc = SparkContext(appName="hdfs word count")
    ssc = StreamingContext(sc, 1)

    words = ssc.textFileStream(folder).flatMap(lambda line: line.split(" "))
    words.map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b).pprint()

    ssc.start()
    ssc.awaitTermination()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: hdfs_wordcount.py FOLDER")
    main(sys.argv[1])
