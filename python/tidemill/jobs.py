"""Jobs: what runs, for whom, and what the threads of the driver have set for theirs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .callsite import call_site
from .errors import JobCancelled
from .importing import modules_as_they_are
from .permission import Permission, guarded
from .process import Home
from .stages import Stage
from .taskcontext import (
    TaskFunction,
    chain_name,
    follow_threads,
    forget_task,
    is_task_of_this_thread,
    refuse_in_threads_of_tasks,
)

if TYPE_CHECKING:
    from ._native import NativeRdd
    from .lineage import Lineage

R = TypeVar("R")

GROUP = "spark.jobGroup.id"
DESCRIPTION = "spark.job.description"
INTERRUPT = "spark.job.interruptOnCancel"
TAGS = "spark.job.tags"
TAG_SEPARATOR = ","

_REMEMBERED_JOBS = 1000


class LocalProperties(threading.local):
    """Properties that each thread of the driver has for itself, and that its jobs inherit."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def get(self, key: str) -> str | None:
        """A property of this thread."""
        return self._values.get(key)

    def set(self, key: str, value: str | None) -> None:
        """Sets a property of this thread; None takes it away."""
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = str(value)

    def snapshot(self) -> dict[str, str]:
        """All properties of this thread."""
        return dict(self._values)

    def replace(self, values: Mapping[str, str]) -> None:
        """Gives this thread these properties and no others."""
        self._values = dict(values)


class Job:
    """A job: what one action does."""

    def __init__(self, job_id: int, stage_id: int, tasks: int, properties: Mapping[str, str]) -> None:
        """A job of so many tasks, that is about to run."""
        self.job_id = job_id
        self.stage_id = stage_id
        self.tasks = tasks
        self.properties = properties
        self.operation = call_site()
        self.status = "RUNNING"
        self.permission = Permission()
        # What it computes, while it runs.
        self.rdd: Lineage[Any] | None = None

    @property
    def group(self) -> str | None:
        """The group that the thread had set."""
        return self.properties.get(GROUP)

    @property
    def tags(self) -> set[str]:
        """The tags that the thread had set."""
        return set(filter(None, self.properties.get(TAGS, "").split(TAG_SEPARATOR)))

    @property
    def cancelled(self) -> JobCancelled | None:
        """The error of a cancelled job."""
        return self.permission.error

    def function(self, stages: Sequence[Stage]) -> TaskFunction:
        """The function that the last tasks of this job run, those after all shuffles.

        Jobs with a group or a tag can be cancelled at every item of every operation, others at every item of the partition, but for a count
        of words that needs no interpreter; in workers, all within a tenth of a second.
        """
        return TaskFunction(stages, self.stage_id, lambda: self.properties, self)

    def guarded(self, stages: Sequence[Stage]) -> Sequence[Stage]:
        """The stages with looks between them whether the job was cancelled."""
        if self.group is not None or self.tags:
            return [step for stage in stages for step in (self._at_every_item, stage)]
        return guarded(stages, lambda: self.permission)

    def begin(self) -> None:
        """A task begins in a worker."""

    def check(self) -> None:
        """Raises if the job was cancelled."""
        self.permission.check()

    def _at_every_item(self, _: int, items: Iterator[Any]) -> Iterator[Any]:
        return self.permission.item_by_item(items)


class Jobs:
    """Runs the jobs of a context, and remembers the last ones."""

    def __init__(self) -> None:
        """No jobs yet."""
        self._lock = threading.Lock()
        self._jobs: OrderedDict[int, Job] = OrderedDict()
        self._next_id = 0
        self.local_properties = LocalProperties()
        self.home = Home()
        follow_threads()

    def run(
        self, rdd: Lineage[Any], stage: Stage | None, partitions: Sequence[int] | None, name: str
    ) -> list[list[Any]]:
        """What `stage` makes of the partitions of an RDD (all of them, or those asked for), a list for each."""
        self.home.check()
        total = rdd.getNumPartitions()
        if not (total if partitions is None else partitions):
            return []
        wanted = None if partitions is None else list(partitions)
        return self.run_native(rdd, stage, name, lambda native, check: native.collect(wanted, check), wanted)

    def run_native(
        self,
        rdd: Lineage[Any],
        stage: Stage | None,
        name: str,
        action: Callable[[NativeRdd, Callable[[], None]], R],
        partitions: Sequence[int] | None = None,
    ) -> R:
        """What `action` does with the native data set of what `stage` makes of the partitions of an RDD, and a function that raises if the job
        was cancelled."""
        self.home.check()
        refuse_in_threads_of_tasks()
        in_task = is_task_of_this_thread()
        base, steps = rdd._plan()
        stages = [step.stage for step in steps]
        names = [step.name for step in steps]
        if stage is not None:
            stages.append(stage)
            names.append(name)
        job = self._begin(rdd.getNumPartitions() if partitions is None else len(partitions))
        job.rdd = rdd
        function = job.function(stages) if stages else None
        native = base if function is None else base.map_partitions(function, chain_name(names), job.operation)
        try:
            with modules_as_they_are():
                result = action(native, job.check)
            job.status = "SUCCEEDED"
            return result
        except JobCancelled:
            raise
        except Exception as error:
            cancelled = job.cancelled
            if cancelled is not None:
                raise cancelled from error
            raise
        except BaseException:
            # Ctrl-C has ended the wait, not the tasks, which would keep those of the next job waiting.
            self._cancel(job, "because its action was interrupted")
            raise
        finally:
            job.rdd = None
            if job.status == "RUNNING":
                job.status = "FAILED"
            if function is not None:
                function.forget_tasks()
            if not in_task:
                # Tasks without rows run on this thread.
                forget_task()

    def _begin(self, tasks: int) -> Job:
        with self._lock:
            job = Job(self._next_id, self._next_id, tasks, self.local_properties.snapshot())
            self._next_id += 1
            self._jobs[job.job_id] = job
            while len(self._jobs) > _REMEMBERED_JOBS:
                self._jobs.popitem(last=False)
            return job

    def known(self) -> list[Job]:
        """The jobs that are remembered, the oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def active(self) -> list[Job]:
        """The jobs that run."""
        return [job for job in self.known() if job.status == "RUNNING"]

    def cancel(self, which: Callable[[Job], bool], reason: str) -> None:
        """Cancels the running jobs for which `which` holds."""
        for job in self.active():
            if which(job):
                self._cancel(job, reason)

    def _cancel(self, job: Job, reason: str) -> None:
        """Makes the tasks of a job fail before their next item; not those before its shuffles that another job may need as well."""
        why = f"Job {job.job_id} cancelled {reason}".rstrip()
        job.permission.take_away(why)
        others: set[int] = set()
        for other in self.active():
            if other is not job and other.cancelled is None:
                others.update(map(id, _ahead(other)))
        for function in _ahead(job):
            if id(function) not in others and function.renewed is not None:
                function.renewed.take_away(why)

    def properties_in_force(self) -> Mapping[str, str]:
        """Properties for tasks that run before a shuffle, whose function does not know its job: those of the job begun last."""
        active = self.active()
        return active[-1].properties if active else {}


def _ahead(job: Job) -> list[TaskFunction]:
    """The functions of the tasks before the shuffles of a job."""
    rdd = job.rdd
    if rdd is None:
        return []
    return [ancestor._function for ancestor in rdd._ancestors() if ancestor._function is not None]
