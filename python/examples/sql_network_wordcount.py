"""Counts words in SQL: each second's words are a table. The lines come from a TCP server. Needs `pip install tidemill[sql]`.

nc -lk 9999
python -m tidemill python/examples/sql_network_wordcount.py localhost 9999
"""

import sys

from pyspark import SparkContext
from pyspark.sql import Row, SparkSession
from pyspark.streaming import StreamingContext


def count(time, rdd):
    print(f"========= {time} =========", flush=True)
    if rdd.isEmpty():
        return
    # Made in the first batch, found in the others.
    spark = SparkSession.builder.config(conf=rdd.context.getConf()).getOrCreate()
    words = spark.createDataFrame(rdd.map(lambda word: Row(word=word)))
    words.createOrReplaceTempView("words")
    spark.sql("select word, count(*) as total from words group by word order by total desc, word").show()


def main(host, port):
    sc = SparkContext(appName="sql network word count")
    ssc = StreamingContext(sc, 1)

    ssc.socketTextStream(host, port).flatMap(lambda line: line.split(" ")).foreachRDD(count)

    ssc.start()
    ssc.awaitTermination()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: sql_network_wordcount.py HOST PORT")
    main(sys.argv[1], int(sys.argv[2]))
