"""Counts the words of a topic of Kafka's, and prints which records each batch has read.

The brokers are read directly: a partition of the topic is a partition of the batch.

    python -m tidemill python/examples/kafka_wordcount.py localhost:9092 lines
"""

import sys

from pyspark import SparkContext
from pyspark.streaming import StreamingContext
from pyspark.streaming.kafka import KafkaUtils


def print_ranges(rdd):
    for read in rdd.offsetRanges():
        if read.untilOffset > read.fromOffset:
            print(f"{read.topic} {read.partition}: {read.fromOffset} to {read.untilOffset}", flush=True)


def main(brokers, topic):
    sc = SparkContext(appName="kafka word count")
    ssc = StreamingContext(sc, 1)

    params = {"metadata.broker.list": brokers, "auto.offset.reset": "smallest"}
    records = KafkaUtils.createDirectStream(ssc, [topic], params)
    records.foreachRDD(print_ranges)

    words = records.flatMap(lambda record: record[1].split(" "))
    words.map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b).pprint()

    ssc.start()
    ssc.awaitTermination()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: kafka_wordcount.py BROKERS TOPIC")
    main(sys.argv[1], sys.argv[2])
