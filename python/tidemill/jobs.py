"""Jobs: what runs, for whom, and what the threads of the driver have set for theirs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, compress, islice, takewhile
from typing import TYPE_CHECKING, Any

from ._native import Items
from .callsite import call_site
from .errors import PySparkRuntimeError
from .process import Home
from .stages import Stage, fused
from .taskcontext import TaskFunction, chain_name

if TYPE_CHECKING:
    from .lineage import Lineage

GROUP = "spark.jobGroup.id"
DESCRIPTION = "spark.job.description"
INTERRUPT = "spark.job.interruptOnCancel"
TAGS = "spark.job.tags"
TAG_SEPARATOR = ","

_REMEMBERED_JOBS = 1000
# Items of a partition that are taken together, where the engine does not have them in lists.
_TAKEN_AHEAD = 256


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
        # Not empty as long as the job may run; a list, because its length can be asked for without running Python code.
        self._permits = [True]
        # The items that tasks go through, by task. Going through a list ends when it becomes empty.
        self._lent: dict[object, list[Any]] = {}
        self._reason = ""

    @property
    def group(self) -> str | None:
        """The group that the thread had set."""
        return self.properties.get(GROUP)

    @property
    def tags(self) -> set[str]:
        """The tags that the thread had set."""
        return set(filter(None, self.properties.get(TAGS, "").split(TAG_SEPARATOR)))

    def cancel(self, reason: str) -> None:
        """Makes the tasks of the job fail before their next item."""
        self._reason = reason
        self._permits.clear()
        for part in list(self._lent.values()):
            part.clear()

    @property
    def cancelled(self) -> PySparkRuntimeError | None:
        """The error of a cancelled job."""
        return None if self._permits else PySparkRuntimeError(f"Job {self.job_id} cancelled {self._reason}".rstrip())

    def function(self, stages: Sequence[Stage]) -> TaskFunction:
        """The function that the tasks of this job run.

        Jobs with a group or a tag can be cancelled at every item of every operation, others at every item of the partition, but for a count
        of words that needs no interpreter; in workers, all within a tenth of a second.
        """
        return TaskFunction(stages, self.stage_id, lambda: self.properties, self._guarded, self._check)

    def _guarded(self, stages: Sequence[Stage]) -> Sequence[Stage]:
        if self.group is not None or self.tags:
            return [step for stage in stages for step in (self._at_every_item, stage)]
        counts_words = any(getattr(step, "needs_no_interpreter", False) for step in islice(fused(tuple(stages)), 1))
        if counts_words:
            return [self._at_the_beginning, *stages]
        unpacking = list(takewhile(lambda stage: getattr(stage, "unpacks", False), stages))
        return [*unpacking, self._at_every_item_of_it, *stages[len(unpacking) :]]

    def _at_the_beginning(self, _: int, items: Iterator[Any]) -> Iterator[Any]:
        self._check()
        return items

    def _at_every_item_of_it(self, _: int, items: Iterator[Any]) -> Iterator[Any]:
        parts = items.parts() if type(items) is Items else None
        if parts is None:
            # No function of the program's has anything to do with what is taken ahead.
            parts = iter(lambda: list(islice(items, _TAKEN_AHEAD)), [])
        return chain.from_iterable(self._lend(parts))

    def _lend(self, parts: Iterator[list[Any]]) -> Iterator[list[Any]]:
        """The parts of a partition, which lose their items when the job is cancelled. A check of every item would cost more."""
        task = object()
        try:
            for part in parts:
                # In this order, for the job may be cancelled at any time.
                self._lent[task] = part
                self._check()
                yield part
        finally:
            self._lent.pop(task, None)
        self._check()

    def _at_every_item(self, _: int, items: Iterator[Any]) -> Iterator[Any]:
        # iter(f, 0) ends when f() gives 0.
        yield from compress(items, iter(self._permits.__len__, 0))
        self._check()

    def _check(self) -> None:
        error = self.cancelled
        if error is not None:
            raise error


class Jobs:
    """Runs the jobs of a context, and remembers the last ones."""

    def __init__(self) -> None:
        """No jobs yet."""
        self._lock = threading.Lock()
        self._jobs: OrderedDict[int, Job] = OrderedDict()
        self._next_id = 0
        self.local_properties = LocalProperties()
        self.home = Home()

    def run(
        self, rdd: Lineage[Any], stage: Stage | None, partitions: Sequence[int] | None, name: str
    ) -> list[list[Any]]:
        """What `stage` makes of the partitions of an RDD (all of them, or those asked for), a list for each."""
        self.home.check()
        total = rdd.getNumPartitions()
        if not (total if partitions is None else partitions):
            return []
        base, steps = rdd._plan()
        stages = [step.stage for step in steps]
        names = [step.name for step in steps]
        if stage is not None:
            stages.append(stage)
            names.append(name)
        job = self._begin(total if partitions is None else len(partitions))
        function = job.function(stages) if stages else None
        native = base if function is None else base.map_partitions(function, chain_name(names), job.operation)
        try:
            result = native.collect(None if partitions is None else list(partitions))
            job.status = "SUCCEEDED"
            return result
        except Exception as error:
            cancelled = job.cancelled
            if cancelled is not None:
                raise cancelled from error
            raise
        except BaseException:
            # Ctrl-C has ended the wait, not the tasks, which would keep those of the next job waiting.
            job.cancel("because its action was interrupted")
            raise
        finally:
            if job.status == "RUNNING":
                job.status = "FAILED"
            if function is not None:
                function.forget_tasks()

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
                job.cancel(reason)

    def properties_in_force(self) -> Mapping[str, str]:
        """Properties for tasks that run before a shuffle, whose function does not know its job: those of the job begun last."""
        active = self.active()
        return active[-1].properties if active else {}
