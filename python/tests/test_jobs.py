"""Jobs: groups, tags, cancelling, and what tasks know of theirs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streaming_batches import eventually

from tidemill import RDD, SparkContext, TaskContext
from tidemill.errors import PySparkRuntimeError, TidemillError
from tidemill.permission import RenewedPermission
from tidemill.stages import Stage, mapping


def test_runJob(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(6), 3)
    assert sc.runJob(rdd, lambda items: [sum(items)]) == [1, 5, 9]
    assert sc.runJob(rdd, lambda items: (x * x for x in items), [2, 0]) == [16, 25, 0, 1]
    assert sc.runJob(rdd, lambda items: items, [], True) == []
    assert sc.runJob(sc.emptyRDD(), lambda items: [1]) == []


def test_job_groups(sc: SparkContext) -> None:
    tracker = sc.statusTracker()
    sc.setJobGroup("words", "counts words", interruptOnCancel=True)
    assert sc.getLocalProperty("spark.jobGroup.id") == "words"
    assert sc.getLocalProperty("spark.job.description") == "counts words"
    assert sc.getLocalProperty("spark.job.interruptOnCancel") == "true"
    sc.setJobDescription("counts more")
    assert sc.getLocalProperty("spark.job.description") == "counts more"
    before = tracker.getJobIdsForGroup("words")
    sc.parallelize([1, 2], 2).count()
    sc.setLocalProperty("spark.jobGroup.id", None)
    sc.parallelize([1, 2], 2).count()
    (job,) = set(tracker.getJobIdsForGroup("words")) - set(before)
    info = tracker.getJobInfo(job)
    assert info is not None and (info.jobId, info.status, len(info.stageIds)) == (job, "SUCCEEDED", 1)
    stage = tracker.getStageInfo(info.stageIds[0])
    assert stage is not None and (
        stage.numTasks,
        stage.numActiveTasks,
        stage.numCompletedTasks,
        stage.numFailedTasks,
    ) == (2, 0, 2, 0)
    assert "count at test_jobs.py" in stage.name
    assert tracker.getActiveJobsIds() == tracker.getActiveStageIds() == []
    assert tracker.getJobInfo(10**9) is tracker.getStageInfo(10**9) is None


def test_failed_jobs(sc: SparkContext) -> None:
    sc.setJobGroup("failing", "fails")
    with pytest.raises(RuntimeError):
        sc.parallelize([1]).map(lambda x: 1 / 0).collect()
    info = sc.statusTracker().getJobInfo(sc.statusTracker().getJobIdsForGroup("failing")[-1])
    assert info is not None and info.status == "FAILED"
    assert sc.parallelize([1], 1).map(lambda x: TaskContext.get() is not None).collect() == [True]


def test_tags(sc: SparkContext) -> None:
    assert sc.getJobTags() == set()
    sc.addJobTag("b")
    sc.addJobTag("a")
    sc.addJobTag("a")
    assert sc.getJobTags() == {"a", "b"}
    sc.removeJobTag("b")
    sc.removeJobTag("never")
    assert sc.getJobTags() == {"a"}
    sc.clearJobTags()
    assert sc.getJobTags() == set()


WRONG_TAGS: list[tuple[Any, str]] = [
    ("", "Spark job tag cannot be an empty string."),
    ("a,b", "Spark job tag cannot contain ','."),
    (None, "Spark job tag cannot be null."),
]


@pytest.mark.parametrize(("tag", "text"), WRONG_TAGS)
def test_tags_are_checked(sc: SparkContext, tag: Any, text: str) -> None:
    for method in (sc.addJobTag, sc.removeJobTag, sc.cancelJobsWithTag):
        with pytest.raises(ValueError) as raised:
            method(tag)
        assert str(raised.value) == text


Action = Callable[[RDD[int]], Any]


def collected(rdd: RDD[int]) -> list[int]:
    """The items."""
    return rdd.collect()


def collected_after_a_shuffle(rdd: RDD[int]) -> list[int]:
    """The items, once all of them were moved."""
    return sorted(rdd.map(lambda n: (n, n)).groupByKey(1).keys().collect())


class HeldJob:
    """A job on a thread of its own, whose task works on its first item until it is let go."""

    def __init__(self, sc: SparkContext, mark: Callable[[SparkContext], None], action: Action = collected) -> None:
        self.seen: list[int] = []
        self.rdd = sc.parallelize(range(100), 1).map(self._work)
        self._action = action
        self.result: Any = None
        self._started, self._go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(sc, mark))
        self._thread.start()
        assert self._started.wait(60)

    def _run(self, sc: SparkContext, mark: Callable[[SparkContext], None]) -> None:
        mark(sc)
        try:
            self.result = self._action(self.rdd)
        except TidemillError as error:
            assert isinstance(error, PySparkRuntimeError)
            self.result = str(error)

    def _work(self, item: int) -> int:
        self._started.set()
        self._go.wait(60)
        self.seen.append(item)
        return item

    def raises(self) -> bool:
        """Whether its action comes back while its task still works on the first item."""
        self._thread.join(60)
        return not (self._thread.is_alive() or self._go.is_set())

    def let_go(self) -> None:
        """Waits for the end."""
        self._go.set()
        self._thread.join(60)


def in_group(sc: SparkContext) -> None:
    sc.setJobGroup("slow", "is slow")


def with_tag(sc: SparkContext) -> None:
    sc.addJobTag("slow")


CANCELS: list[tuple[str, Callable[[SparkContext], None], Callable[[SparkContext], None], str]] = [
    ("group", in_group, lambda sc: sc.cancelJobGroup("slow"), "part of cancelled job group slow"),
    ("tag", with_tag, lambda sc: sc.cancelJobsWithTag("slow"), "part of cancelled job tag slow"),
    ("all", with_tag, lambda sc: sc.cancelAllJobs(), "as part of cancellation of all jobs"),
]


@pytest.mark.parametrize(("mark", "cancel", "reason"), [row[1:] for row in CANCELS], ids=[row[0] for row in CANCELS])
@pytest.mark.parametrize("action", [collected, collected_after_a_shuffle, lambda rdd: rdd.distinct(2).count()])
def test_cancelled_jobs_raise(sc: SparkContext, mark: Any, cancel: Any, reason: str, action: Action) -> None:
    job = HeldJob(sc, mark, action)
    assert len(sc.statusTracker().getActiveJobsIds()) == 1
    cancel(sc)
    assert job.raises(), "nobody waits for a function that is at work"
    assert "Job" in job.result and reason in job.result
    assert sc.statusTracker().getActiveJobsIds() == []
    job.let_go()
    assert eventually(lambda: job.seen == [0])
    assert sc.parallelize(range(8), 8).map(lambda x: x).sum() == 28
    assert job.seen == [0], "no further item was worked on"
    assert sc.parallelize([1]).count() == 1


def test_functions_of_a_cancelled_job_are_not_waited_for(sc: SparkContext) -> None:
    begun, go = threading.Semaphore(0), threading.Event()

    def work(item: int) -> int:
        begun.release()
        go.wait(60)
        return item

    n = sc.defaultParallelism
    held = threading.Thread(target=lambda: pytest.raises(TidemillError, sc.parallelize(range(n), n).foreach, work))
    held.start()
    for _ in range(n):
        assert begun.acquire(timeout=60)
    sc.cancelAllJobs()
    held.join(60)
    try:
        later = threading.Thread(target=sc.parallelize(range(n), n).map(str).collect)
        later.start()
        later.join(20)
        assert not later.is_alive(), "its tasks have threads of their own"
    finally:
        go.set()
        later.join(60)


@pytest.mark.parametrize("mark", [in_group, with_tag, lambda sc: None])
def test_other_jobs_are_not_cancelled(sc: SparkContext, mark: Any) -> None:
    job = HeldJob(sc, mark)
    sc.cancelJobGroup("others")
    sc.cancelJobsWithTag("others")
    job.let_go()
    assert job.result == job.seen == list(range(100))


def test_what_a_file_is_written_of_is_a_job(sc: SparkContext, tmp_path: Path) -> None:
    job = HeldJob(sc, in_group, lambda rdd: rdd.saveAsTextFile(str(tmp_path / "out")))
    assert len(sc.statusTracker().getActiveJobsIds()) == 1
    sc.cancelJobGroup("slow")
    job.let_go()
    assert "part of cancelled job group slow" in job.result and job.seen == [0]
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_a_job_is_not_cancelled_with_another_one_of_the_same_shuffle(sc: SparkContext) -> None:
    shared: list[RDD[int]] = []

    def share(rdd: RDD[int]) -> Any:
        shared.append(rdd.groupBy(lambda n: n % 3, 1).keys())
        return shared[0].count()

    job = HeldJob(sc, in_group, share)
    results: list[int] = []
    other = threading.Thread(target=lambda: results.append(shared[0].count()))
    other.start()
    while len(sc.statusTracker().getActiveJobsIds()) < 2:
        time.sleep(0.01)
    sc.cancelJobGroup("slow")
    job.let_go()
    other.join(60)
    assert "part of cancelled job group slow" in job.result and results == [3]


def test_a_shuffle_whose_job_was_cancelled_can_be_asked_for_again(sc: SparkContext) -> None:
    shuffled: list[RDD[int]] = []

    def count(rdd: RDD[int]) -> Any:
        shuffled.append(rdd.groupBy(lambda n: n % 3, 1).keys())
        return shuffled[0].count()

    job = HeldJob(sc, in_group, count)
    sc.cancelJobGroup("slow")
    job.let_go()
    assert "part of cancelled job group slow" in job.result and shuffled[0].count() == 3


def test_tasks_know_about_themselves(sc: SparkContext) -> None:
    def describe(_: Any) -> tuple[Any, ...]:
        task = TaskContext.get()
        assert task is not None
        return (
            task.partitionId(),
            task.attemptNumber(),
            task.cpus(),
            task.resources(),
            task.getLocalProperty("colour"),
        )

    sc.setLocalProperty("colour", "blue")
    assert TaskContext.get() is None
    assert sc.parallelize(range(3), 3).map(describe).collect() == [(n, 0, 1, {}, "blue") for n in range(3)]
    assert TaskContext.get() is None
    shuffled = sc.parallelize(range(3), 3).map(lambda x: (0, describe(x))).groupByKey(1).collect()
    assert sorted(shuffled[0][1]) == [(n, 0, 1, {}, "blue") for n in range(3)]


def test_a_context_is_that_of_the_task(sc: SparkContext) -> None:
    assert sc.parallelize(range(2), 2).map(lambda n: TaskContext() is TaskContext.get()).collect() == [True, True]
    assert TaskContext().partitionId() is TaskContext().getLocalProperty("colour") is TaskContext.get() is None


def test_stages_and_attempts_have_numbers(sc: SparkContext) -> None:
    def numbers(_: Any) -> tuple[int, int]:
        task = TaskContext.get()
        assert task is not None
        return task.stageId(), task.taskAttemptId()

    rdd = sc.parallelize(range(4), 4).map(numbers)
    first, second = rdd.collect(), rdd.collect()
    assert len({stage for stage, _ in first}) == 1 and {stage for stage, _ in first} != {stage for stage, _ in second}
    assert len({attempt for _, attempt in first + second}) == 8


def test_jobs_of_several_threads(sc: SparkContext) -> None:
    found: dict[int, Any] = {}

    def run(number: int) -> None:
        sc.setLocalProperty("number", str(number))
        rdd = sc.parallelize(range(100), 4).map(lambda x: (x % 5, x + number)).reduceByKey(lambda a, b: a + b)
        noted = rdd.mapValues(lambda x: (x, TaskContext.get().getLocalProperty("number")))  # type: ignore[union-attr]
        found[number] = sorted(noted.collect())

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(8):
        assert found[number] == [(k, (sum(range(k, 100, 5)) + 20 * number, str(number))) for k in range(5)]


def test_there_are_no_profiles(sc: SparkContext, tmp_path: Any) -> None:
    with pytest.warns(UserWarning, match="nothing is profiled"):
        sc.show_profiles()
    with pytest.warns(UserWarning, match="nothing is profiled"):
        sc.dump_profiles(str(tmp_path))


def test_items_stay_whole_where_no_function_sees_them() -> None:
    def unpacking(_: int, items: Iterator[Any]) -> Iterator[Any]:
        return items

    unpacking.unpacks = True  # type: ignore[attr-defined]
    double = mapping(lambda n: 2 * n)
    cases: list[tuple[list[Stage], int]] = [([unpacking], 1), ([unpacking, double], 3), ([double], 2), ([], 0)]
    for stages, looked in cases:
        assert len(RenewedPermission().guarded(stages)) == looked, stages
