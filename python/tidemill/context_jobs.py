"""What a context knows of jobs: their groups, tags and properties, and how they are cancelled."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from . import stages
from .closure import capture
from .jobs import DESCRIPTION, GROUP, INTERRUPT, TAG_SEPARATOR, TAGS, Jobs, LocalProperties
from .status import StatusTracker

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")
U = TypeVar("U")

__all__ = ["JobFunctions"]


class JobFunctions:
    """The part of `SparkContext` about jobs.

    Properties belong to the thread that sets them, and go to the jobs that it runs. The action of a cancelled job raises at once. What is left
    of the job, and of one whose action Ctrl-C has interrupted, ends between two items of one of its tasks: of those before a shuffle only if
    no other job that runs may need them. A function that is at work is not interrupted. Other jobs do not wait for it.
    """

    _jobs: Jobs

    @property
    def _local_properties(self) -> LocalProperties:
        return self._jobs.local_properties

    def runJob(
        self,
        rdd: RDD[T],
        partitionFunc: Callable[[Iterator[T]], Iterable[U]],
        partitions: Sequence[int] | None = None,
        allowLocal: bool = False,
    ) -> list[U]:
        """What `partitionFunc` gives for the iterators of partitions, of all or of those asked for, in one list.

        >>> sc.runJob(sc.parallelize(range(6), 3), lambda items: [x * x for x in items], [0, 2])
        [0, 1, 16, 25]
        """
        capture(partitionFunc)
        lists = rdd._job(stages.partition_mapping(partitionFunc), "runJob", partitions)
        return list(chain.from_iterable(lists))

    def setLocalProperty(self, key: str, value: str | None) -> None:
        """Sets a property of this thread's jobs, `spark.scheduler.pool` say; None takes it away."""
        self._local_properties.set(key, value)

    def getLocalProperty(self, key: str) -> str | None:
        """A property of this thread's jobs, or None."""
        return self._local_properties.get(key)

    def setJobGroup(self, groupId: str, description: str, interruptOnCancel: bool = False) -> None:
        """Names the group that this thread's jobs belong to from now on, by which they can be cancelled.

        >>> sc.setJobGroup("nightly", "counts words")
        >>> sc.getLocalProperty("spark.jobGroup.id")
        'nightly'
        """
        self.setLocalProperty(GROUP, groupId)
        self.setLocalProperty(DESCRIPTION, description)
        self.setInterruptOnCancel(interruptOnCancel)

    def setJobDescription(self, value: str) -> None:
        """Says what this thread's jobs do."""
        self.setLocalProperty(DESCRIPTION, value)

    def setInterruptOnCancel(self, interruptOnCancel: bool) -> None:
        """Notes that tasks should be interrupted when their job is cancelled. It makes no difference to functions in Python."""
        self.setLocalProperty(INTERRUPT, str(bool(interruptOnCancel)).lower())

    def addJobTag(self, tag: str) -> None:
        """Gives this thread's jobs a tag from now on.

        >>> sc.addJobTag("report")
        >>> sorted(sc.getJobTags())
        ['report']
        >>> sc.clearJobTags()
        """
        self._set_tags(self.getJobTags() | {_checked_tag(tag)})

    def removeJobTag(self, tag: str) -> None:
        """Takes a tag from this thread's jobs; it need not be there."""
        self._set_tags(self.getJobTags() - {_checked_tag(tag)})

    def getJobTags(self) -> set[str]:
        """The tags of this thread's jobs."""
        return set(filter(None, (self.getLocalProperty(TAGS) or "").split(TAG_SEPARATOR)))

    def clearJobTags(self) -> None:
        """Takes all tags from this thread's jobs."""
        self._set_tags(set())

    def _set_tags(self, tags: set[str]) -> None:
        self.setLocalProperty(TAGS, TAG_SEPARATOR.join(sorted(tags)) or None)

    def cancelJobGroup(self, groupId: str) -> None:
        """Cancels the running jobs of a group: their actions raise."""
        self._jobs.cancel(lambda job: job.group == groupId, f"part of cancelled job group {groupId}")

    def cancelJobsWithTag(self, tag: str) -> None:
        """Cancels the running jobs that have a tag."""
        _checked_tag(tag)
        self._jobs.cancel(lambda job: tag in job.tags, f"part of cancelled job tag {tag}")

    def cancelAllJobs(self) -> None:
        """Cancels all running jobs."""
        self._jobs.cancel(lambda job: True, "as part of cancellation of all jobs")

    def statusTracker(self) -> StatusTracker:
        """Says which jobs run."""
        return StatusTracker(self._jobs)

    def show_profiles(self) -> None:
        """Says that there are none: nothing is profiled here. A profiler of Python sees tasks, which run in this process."""
        warnings.warn("nothing is profiled here: run the program under a profiler of Python", stacklevel=2)

    def dump_profiles(self, path: str) -> None:
        """Writes nothing; see `show_profiles`."""
        self.show_profiles()


def _checked_tag(tag: str) -> str:
    if tag is None:
        raise ValueError("Spark job tag cannot be null.")
    if not tag:
        raise ValueError("Spark job tag cannot be an empty string.")
    if TAG_SEPARATOR in tag:
        raise ValueError(f"Spark job tag cannot contain '{TAG_SEPARATOR}'.")
    return tag
