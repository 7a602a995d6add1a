"""What is kept: persisted RDDs, checkpoints, and lineages."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidemill import RDD, SparkContext, StorageLevel
from tidemill.streaming import StreamingContext


class Counted:
    """An RDD that notes which items were computed."""

    def __init__(self, sc: SparkContext) -> None:
        self.items: list[int] = []
        self.rdd: RDD[int] = sc.parallelize(range(6), 3).map(self._note)

    def _note(self, item: int) -> int:
        self.items.append(item)
        return item * 10

    def computed(self, action: Callable[[], Any]) -> int:
        """How many items an action computes."""
        before = len(self.items)
        action()
        return len(self.items) - before


LEVELS = ["MEMORY_ONLY", "MEMORY_ONLY_2", "MEMORY_AND_DISK", "MEMORY_AND_DISK_2", "MEMORY_AND_DISK_DESER", "OFF_HEAP"]
LEVELS += ["DISK_ONLY", "DISK_ONLY_2", "DISK_ONLY_3"]


@pytest.mark.parametrize("name", LEVELS)
def test_persisted_items_are_computed_once(sc: SparkContext, name: str) -> None:
    counted, level = Counted(sc), getattr(StorageLevel, name)
    rdd = counted.rdd.persist(level)
    assert rdd is counted.rdd and rdd.is_cached and rdd.getStorageLevel() == level
    assert counted.computed(rdd.collect) == 6
    assert counted.computed(rdd.collect) == 0
    assert counted.computed(lambda: rdd.map(str).reduceByKey) == 0
    assert rdd.map(lambda x: x + 1).collect() == [1, 11, 21, 31, 41, 51]
    assert counted.computed(lambda: rdd.keyBy(lambda x: x).groupByKey().collect()) == 0
    rdd.unpersist()
    assert not rdd.is_cached and rdd.getStorageLevel() == StorageLevel.NONE
    assert counted.computed(rdd.collect) == 6


def test_what_is_no_level(sc: SparkContext) -> None:
    ssc = StreamingContext(sc, 1)
    stream = ssc.queueStream([[1]])
    for operation in (sc.parallelize([1]).persist, stream.persist, lambda level: ssc.socketTextStream("a", 1, level)):
        with pytest.raises(TypeError, match="^storageLevel must be of type pyspark.StorageLevel$"):
            operation("MEMORY_ONLY")
    ssc.stop(False)


def test_cache_is_memory_only(sc: SparkContext) -> None:
    rdd = sc.parallelize([1]).cache()
    assert rdd.getStorageLevel() == StorageLevel.MEMORY_ONLY
    assert rdd.cache() is rdd
    with pytest.raises(
        RuntimeError, match="Cannot change storage level of an RDD after it was already assigned a level"
    ):
        rdd.persist(StorageLevel.DISK_ONLY)
    rdd.unpersist(blocking=True)
    assert rdd.persist(StorageLevel.DISK_ONLY).getStorageLevel() == StorageLevel.DISK_ONLY


def test_a_partition_is_kept_when_it_was_computed(sc: SparkContext) -> None:
    counted = Counted(sc)
    rdd = counted.rdd.cache()
    assert counted.computed(rdd.first) == 2
    assert counted.computed(rdd.collect) == 4


def test_rdds_defined_before_see_that_their_parent_is_persisted_now(sc: SparkContext) -> None:
    counted = Counted(sc)
    child = counted.rdd.map(lambda x: x + 1)
    shuffled = child.keyBy(lambda x: x).reduceByKey(min)
    assert counted.computed(child.collect) == counted.computed(shuffled.collect) == 6
    counted.rdd.cache().count()
    assert counted.computed(child.collect) == counted.computed(shuffled.collect) == 0
    counted.rdd.unpersist()
    assert counted.computed(child.collect) == counted.computed(shuffled.collect) == 6


@pytest.mark.parametrize("name", ["MEMORY_ONLY", "MEMORY_AND_DISK", "DISK_ONLY"])
def test_tasks_change_nothing_that_is_kept(sc: SparkContext, name: str) -> None:
    for make in (lambda x: [x], lambda x: (x, [x]), lambda x: {"k": [x]}):
        rdd = sc.parallelize(range(3000), 2).map(make).persist(getattr(StorageLevel, name))
        expected = [make(x) for x in range(3000)]
        for _ in range(2):
            changed = rdd.map(
                lambda x: (x[-1] if type(x) is tuple else x["k"] if type(x) is dict else x).append(0) or x
            )
            assert changed.count() == 3000 and rdd.collect() == expected
            assert rdd.keyBy(str).groupByKey().count() == 3000


def test_what_cannot_be_pickled_is_kept_as_it_is(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(3), 2).map(lambda x: (x, lambda: x)).persist()
    assert [function() for _, function in rdd.collect()] == [0, 1, 2]
    assert rdd.map(lambda pair: pair[1]()).collect() == [0, 1, 2]


@pytest.fixture
def folder(sc: SparkContext, tmp_path: Path) -> Path:
    sc.setCheckpointDir(str(tmp_path / "checkpoints"))
    return tmp_path / "checkpoints"


def test_checkpoint(sc: SparkContext, folder: Path) -> None:
    counted = Counted(sc)
    rdd = counted.rdd
    assert Path(sc.getCheckpointDir() or "").parent == folder
    rdd.checkpoint()
    assert rdd.is_checkpointed and not rdd.isCheckpointed() and rdd.getCheckpointFile() is None
    assert counted.computed(rdd.count) == 12, "once for the job, once for the files"
    assert rdd.isCheckpointed() and not rdd.isLocallyCheckpointed()
    path = rdd.getCheckpointFile() or ""
    assert path.startswith(sc.getCheckpointDir() or "?")
    assert sorted(os.listdir(path)) == ["_SUCCESS", "part-00000", "part-00001", "part-00002"]
    assert counted.computed(rdd.collect) == 0
    assert rdd.glom().collect() == [[0, 10], [20, 30], [40, 50]]
    assert sc._checkpointFile(path).collect() == [0, 10, 20, 30, 40, 50]
    assert (
        b"ParallelCollectionRDD" not in rdd.toDebugString().split(b"\n")[-1] and b"CheckpointRDD" in rdd.toDebugString()
    )


def test_checkpoint_of_an_ancestor(sc: SparkContext, folder: Path) -> None:
    counted = Counted(sc)
    child = counted.rdd.keyBy(lambda x: x % 20).reduceByKey(min)
    counted.rdd.checkpoint()
    child.collect()
    assert counted.rdd.isCheckpointed()
    assert counted.computed(child.collect) == 0


def test_checkpoint_of_what_is_persisted(sc: SparkContext, folder: Path) -> None:
    counted = Counted(sc)
    counted.rdd.cache().checkpoint()
    assert counted.computed(counted.rdd.count) == 6, "the files are written from what is kept"
    counted.rdd.unpersist()
    assert counted.computed(counted.rdd.collect) == 0


def test_checkpoint_after_other_jobs_than_collect(sc: SparkContext, folder: Path, tmp_path: Path) -> None:
    actions: list[Callable[[RDD[int]], Any]] = [
        lambda r: r.take(1),
        lambda r: r.foreach(str),
        lambda r: r.saveAsTextFile(str(tmp_path / "text")),
        lambda r: r.saveAsPickleFile(str(tmp_path / "pickles")),
        lambda r: list(r.toLocalIterator()),
    ]
    for action in actions:
        rdd = sc.parallelize(range(3), 2)
        rdd.checkpoint()
        action(rdd)
        assert rdd.isCheckpointed()


def test_checkpoint_needs_a_folder(tmp_path: Path) -> None:
    active = SparkContext._active_spark_context
    if active is not None:
        active.stop()
    with SparkContext("local[1]", "no folder") as sc:
        assert sc.getCheckpointDir() is None
        with pytest.raises(RuntimeError, match="Checkpoint directory has not been set in the SparkContext"):
            sc.parallelize([1]).checkpoint()


def test_localCheckpoint(sc: SparkContext) -> None:
    counted = Counted(sc)
    rdd = counted.rdd
    rdd.localCheckpoint()
    assert rdd.isLocallyCheckpointed() and not rdd.isCheckpointed()
    assert rdd.getStorageLevel() == StorageLevel.MEMORY_AND_DISK
    assert counted.computed(rdd.collect) == 6
    assert rdd.isCheckpointed() and rdd.getCheckpointFile() is None
    assert counted.computed(rdd.collect) == 0
    assert len(rdd.toDebugString().splitlines()) == 1


def test_long_lineages(sc: SparkContext) -> None:
    rdd: RDD[Any] = sc.parallelize(range(4), 2)
    for _ in range(2000):
        rdd = rdd.map(lambda x: x + 1)
    assert rdd.collect() == [2000, 2001, 2002, 2003]


def test_shared_ancestors_are_planned_once(sc: SparkContext) -> None:
    rdd: RDD[Any] = sc.parallelize([("a", 1)], 1)
    for _ in range(6):
        rdd = rdd.join(rdd).mapValues(sum)
    assert rdd.collect() == [("a", 64)]


def test_names_and_ids(sc: SparkContext) -> None:
    rdd, other = sc.parallelize([1]), sc.parallelize([1])
    assert rdd.id() != other.id()
    assert rdd.name() is None and rdd.setName("numbers") is rdd and rdd.name() == "numbers"
    assert rdd.context is rdd.ctx is sc


def test_repr_names_the_operation_and_the_place(sc: SparkContext) -> None:
    rdd = sc.parallelize([1])
    assert re.fullmatch(r"ParallelCollectionRDD\[\d+\] at parallelize at test_rdd_persistence\.py:\d+", repr(rdd))
    mapped = rdd.map(str).setName("texts")
    assert re.fullmatch(r"texts PythonRDD\[\d+\] at map at test_rdd_persistence\.py:\d+", repr(mapped))
    sorted_rdd = rdd.sortBy(lambda x: x)
    assert " at sortBy at " in repr(sorted_rdd)


def test_toDebugString(sc: SparkContext) -> None:
    pairs = sc.parallelize([("a", 1)], 2).map(lambda pair: pair)
    described = pairs.reduceByKey(max, 3).union(pairs).toDebugString()
    assert isinstance(described, bytes)
    lines = [re.sub(r"\[\d+\] at .*", "", line) for line in described.decode().splitlines()]
    assert lines == [
        "(5) UnionRDD",
        " +-(3) PythonRDD",
        " |  |  ShuffledRDD",
        " |  +-(2) PythonRDD",
        " |     |  PythonRDD",
        " |     |  ParallelCollectionRDD",
        " +-(2) PythonRDD",
        "    |  ParallelCollectionRDD",
    ]
