"""Names, arguments and defaults are those of PySpark."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import tidemill
from tidemill import RDD, Accumulator, Broadcast, SparkConf, SparkContext, SparkFiles, StatusTracker, TaskContext

# name, arguments; `name=default` as they are written there.
RDD_METHODS = """
map f preservesPartitioning=False | flatMap f preservesPartitioning=False | filter f
mapPartitions f preservesPartitioning=False | mapPartitionsWithIndex f preservesPartitioning=False
mapPartitionsWithSplit f preservesPartitioning=False | mapValues f | flatMapValues f | keys | values | keyBy f | glom
distinct numPartitions=None | union other | __add__ other | intersection other | subtract other numPartitions=None
subtractByKey other numPartitions=None | cartesian other | zip other | zipWithIndex | zipWithUniqueId
groupBy f numPartitions=None partitionFunc=portable_hash | groupByKey numPartitions=None partitionFunc=portable_hash
reduceByKey func numPartitions=None partitionFunc=portable_hash
combineByKey createCombiner mergeValue mergeCombiners numPartitions=None partitionFunc=portable_hash
aggregateByKey zeroValue seqFunc combFunc numPartitions=None partitionFunc=portable_hash
foldByKey zeroValue func numPartitions=None partitionFunc=portable_hash
cogroup other numPartitions=None | groupWith other *others | join other numPartitions=None
leftOuterJoin other numPartitions=None | rightOuterJoin other numPartitions=None | fullOuterJoin other numPartitions=None
partitionBy numPartitions partitionFunc=portable_hash | repartition numPartitions | coalesce numPartitions shuffle=False
repartitionAndSortWithinPartitions numPartitions=None partitionFunc=portable_hash ascending=True keyfunc=?
sortByKey ascending=True numPartitions=None keyfunc=? | sortBy keyfunc ascending=True numPartitions=None
sample withReplacement fraction seed=None | randomSplit weights seed=None | sampleByKey withReplacement fractions seed=None
pipe command env=None checkCode=False | collect | take num | first | isEmpty | count | foreach f | foreachPartition f
reduce f | fold zeroValue op | aggregate zeroValue seqOp combOp | treeReduce f depth=2
treeAggregate zeroValue seqOp combOp depth=2 | sum | max key=None | min key=None | mean | stats | variance | stdev
sampleVariance | sampleStdev | histogram buckets | countByKey | countByValue | collectAsMap | lookup key
reduceByKeyLocally func | top num key=None | takeOrdered num key=None | takeSample withReplacement num seed=None
toLocalIterator prefetchPartitions=False | countApprox timeout confidence=0.95 | sumApprox timeout confidence=0.95
meanApprox timeout confidence=0.95 | countApproxDistinct relativeSD=0.05 | saveAsTextFile path compressionCodecClass=None
saveAsPickleFile path batchSize=10 | collectWithJobGroup groupId description interruptOnCancel=False
cache | persist storageLevel=? | unpersist blocking=False | getStorageLevel | checkpoint | isCheckpointed | getCheckpointFile
localCheckpoint | isLocallyCheckpointed | getNumPartitions | id | name | setName name | toDebugString
cleanShuffleDependencies blocking=False
"""
CONTEXT_METHODS = """
getOrCreate conf=None | stop | parallelize c numSlices=None | range start end=None step=1 numSlices=None | emptyRDD | union rdds
textFile name minPartitions=None use_unicode=True | wholeTextFiles path minPartitions=None use_unicode=True
binaryFiles path minPartitions=None | binaryRecords path recordLength | pickleFile name minPartitions=None
broadcast value | accumulator value accum_param=None | setCheckpointDir dirName | getCheckpointDir | sparkUser
setLocalProperty key value | getLocalProperty key | setJobGroup groupId description interruptOnCancel=False
setJobDescription value | setInterruptOnCancel interruptOnCancel | addJobTag tag | removeJobTag tag | getJobTags | clearJobTags
cancelJobGroup groupId | cancelJobsWithTag tag | cancelAllJobs | runJob rdd partitionFunc partitions=None allowLocal=False
addFile path recursive=False | addPyFile path | addArchive path | statusTracker | getConf | setLogLevel logLevel
setSystemProperty key value | getSystemProperty key | show_profiles | dump_profiles path | __enter__
"""
PROPERTIES: list[tuple[type, str]] = [
    (RDD, "context"),
    (SparkContext, "defaultParallelism defaultMinPartitions version uiWebUrl listFiles listArchives resources"),
    (Accumulator, "value"),
    (Broadcast, "value"),
]
OTHERS: list[tuple[type, str]] = [
    (
        SparkConf,
        "set setIfMissing setMaster setAppName setSparkHome setExecutorEnv setAll get getAll contains toDebugString",
    ),
    (TaskContext, "get stageId partitionId attemptNumber taskAttemptId getLocalProperty cpus resources"),
    (SparkFiles, "get getRootDirectory"),
    (StatusTracker, "getJobIdsForGroup getActiveStageIds getActiveJobsIds getJobInfo getStageInfo"),
    (Broadcast, "unpersist destroy"),
    (Accumulator, "add __iadd__"),
]


def rows(text: str) -> list[list[str]]:
    return [row.split() for row in text.replace("\n", "|").split("|") if row.split()]


def written(parameter: inspect.Parameter, like: str) -> str:
    name = f"*{parameter.name}" if parameter.kind is parameter.VAR_POSITIONAL else parameter.name
    if parameter.default is parameter.empty:
        return name
    default = getattr(parameter.default, "__name__", repr(parameter.default))
    return f"{name}={'?' if like.endswith('=?') else default}"


@pytest.mark.parametrize(
    ("owner", "row"),
    [(RDD, row) for row in rows(RDD_METHODS)] + [(SparkContext, row) for row in rows(CONTEXT_METHODS)],
    ids=lambda value: value[0] if isinstance(value, list) else value.__name__,
)
def test_methods(owner: Any, row: list[str]) -> None:
    name, *expected = row
    parameters = [p for p in inspect.signature(getattr(owner, name)).parameters.values() if p.name != "self"]
    assert [written(parameter, like) for parameter, like in zip(parameters, expected)] == expected
    assert len(parameters) == len(expected)
    assert name.startswith("__") or getattr(owner, name).__doc__, "every method says what it does"


@pytest.mark.parametrize(("owner", "names"), OTHERS + PROPERTIES)
def test_names(owner: Any, names: str) -> None:
    for name in names.split():
        assert hasattr(owner, name), name
    if (owner, names) in PROPERTIES:
        assert all(isinstance(inspect.getattr_static(owner, name), property) for name in names.split())


def test_constructor_of_the_context() -> None:
    names = list(inspect.signature(SparkContext).parameters)
    expected = "master appName sparkHome pyFiles environment batchSize serializer conf gateway jsc profiler_cls"
    assert names == [*expected.split(), "udf_profiler_cls", "memory_profiler_cls"]
    assert SparkContext._active_spark_context is None and hasattr(SparkContext, "_lock")
    assert SparkContext._jvm is SparkContext._gateway is None


def test_public_names_are_there() -> None:
    assert all(hasattr(tidemill, name) for name in tidemill.__all__)
    assert sorted(tidemill.__all__) == sorted(set(tidemill.__all__))
