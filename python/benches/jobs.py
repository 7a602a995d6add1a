"""The jobs of the comparison, written for PySpark. `compare.py` runs this file on either engine.

Every batch is the same RDD of lines, which is read and kept before the stream starts: a batch's time holds no reading, but the
whole of the engine's own work. It is what a `StreamingListener` is told as the processing delay. Batches fall due faster than most
are done, so they run back to back. What is printed last is one line of JSON.
"""

import argparse
import json
import statistics
import sys
import tempfile

import batches_seen
from pyspark import SparkConf, SparkContext
from pyspark.streaming import StreamingContext


def wordcount(lines):
    return lines.flatMap(lambda line: line.split(" ")).map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b)


def update_state(lines):
    pairs = lines.flatMap(lambda line: line.split(" ")).map(lambda word: (word, 1))
    return pairs.updateStateByKey(lambda new, total: sum(new) + (total or 0))


JOBS = {"wordcount": wordcount, "update_state": update_state}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("--input", required=True, help="a text file: its lines are a batch")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=5, help="batches before those that count")
    parser.add_argument("--batches", type=int, default=20, help="batches that count")
    parser.add_argument("--interval", type=float, default=0.1, help="seconds between batches")
    options = parser.parse_args()

    conf = SparkConf().setMaster(f"local[{options.cores}]").setAppName(options.job)
    conf.set("spark.ui.enabled", "false").set("spark.ui.showConsoleProgress", "false").set(
        "spark.default.parallelism", str(options.cores)
    )
    # Otherwise the input would be forgotten with the first batch that has used it.
    conf.set("spark.streaming.unpersist", "false")
    sc = SparkContext(conf=conf)
    sc.setLogLevel("ERROR")
    lines = sc.textFile(options.input, options.cores).cache()
    count = lines.count()

    ssc = StreamingContext(sc, options.interval)
    folder = tempfile.TemporaryDirectory(prefix="tidemill-bench-", ignore_cleanup_errors=True)
    if options.job == "update_state":
        ssc.checkpoint(folder.name)
    batches_seen.wanted = options.warmup + options.batches
    ssc.addStreamingListener(batches_seen.Delays())
    # The first batch stands in the list: PySpark takes the form of rows from there.
    JOBS[options.job](ssc.queueStream([lines], default=lines)).foreachRDD(batches_seen.keep)
    ssc.start()
    while not batches_seen.all_seen.wait(0.1):
        if ssc.awaitTerminationOrTimeout(0):
            sys.exit("the stream has stopped")
    rows = list(batches_seen.last_rows)
    measured = batches_seen.delays_ms[options.warmup : batches_seen.wanted]
    median = statistics.median(measured)
    result = {
        "job": options.job,
        "lines": count,
        "median_ms": round(median, 3),
        "lines_per_s": round(count / median * 1000),
        "keys": len(rows),
        "total": sum(n for _, n in rows),
    }
    print(json.dumps(result), flush=True)
    ssc.stop(stopSparkContext=True, stopGraceFully=False)
    folder.cleanup()


if __name__ == "__main__":
    main()
