"""What a task knows about itself, and functions as tasks run them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from ._native import Items
from .stages import Stage, chained

__all__ = ["TaskContext", "TaskFunction", "forget_task"]

_attempts = itertools.count()
_NAMES_SHOWN = 4
# The context of the task that a thread runs, by the thread's number.
_running: dict[int, TaskContext] = {}


class TaskContext:
    """The task that runs on this thread: `TaskContext.get()` in a function of an RDD; None on the driver.

    >>> from tidemill import TaskContext
    >>> sc.parallelize(range(4), 2).map(lambda x: TaskContext.get().partitionId()).collect()
    [0, 0, 1, 1]
    """

    _taskContext: ClassVar[TaskContext | None] = None

    def __init__(self, stage: int = 0, partition: int = 0, properties: Mapping[str, str] | None = None) -> None:
        """The context of a new task. Contexts are made by the engine's side of this package."""
        self._stage = stage
        self._partition = partition
        self._attempt = next(_attempts)
        self._properties: Mapping[str, str] = properties or {}

    @classmethod
    def get(cls) -> TaskContext | None:
        """The context of the task that runs on this thread, or None on the driver."""
        return _running.get(threading.get_ident())

    def stageId(self) -> int:
        """The stage that the task is part of."""
        return self._stage

    def partitionId(self) -> int:
        """The number of the partition that the task computes."""
        return self._partition

    def attemptNumber(self) -> int:
        """How often the task was tried before: a task that fails is not tried again in one process, so it is 0."""
        return 0

    def taskAttemptId(self) -> int:
        """A number that no other task of the process has."""
        return self._attempt

    def getLocalProperty(self, key: str) -> str | None:
        """A property that the driver's thread had set with `SparkContext.setLocalProperty` when it started the job."""
        return self._properties.get(key)

    def cpus(self) -> int:
        """How many cores the task was given."""
        return 1

    def resources(self) -> dict[str, Any]:
        """Other resources that the task was given: there are none."""
        return {}


def forget_task() -> None:
    """Takes away what a task that failed has left on this thread, which goes on to do something else."""
    _running.pop(threading.get_ident(), None)


def chain_name(names: Sequence[str]) -> str:
    """What a chain of operations is called in errors: their names, not all of many.

    >>> chain_name(["textFile", "map", "map", "filter", "count"])
    'textFile, map, ..., filter, count'
    """
    shown = names if len(names) <= _NAMES_SHOWN else [*names[:2], "...", *names[-2:]]
    return ", ".join(shown)


class TaskFunction:
    """Stages as one function that the engine calls in a task: it has a `TaskContext` while it runs.

    `stage_id` and `properties` are what the contexts say.
    """

    def __init__(self, stages: Sequence[Stage], stage_id: int, properties: Callable[[], Mapping[str, str]]) -> None:
        """A function of these stages."""
        self._run = chained(stages)
        self._stage_id = stage_id
        self._properties = properties
        # The contexts of tasks that have not ended, by thread: those of failed ones are replaced by the next.
        self._begun: dict[int, TaskContext] = {}

    def __call__(self, split: int, items: Iterator[Any]) -> Iterable[Any]:
        """The items of a partition."""
        thread, context = threading.get_ident(), TaskContext(self._stage_id, split, self._properties())
        self._begun[thread] = _running[thread] = context
        result = self._run(split, items)
        if type(result) is list or type(result) is Items:
            self._end(thread, context)
            return result
        return itertools.chain(result, self._at_end(thread, context))

    def forget_tasks(self) -> None:
        """Ends the contexts of tasks that did not run to their end. To be called when the job is over."""
        for thread, context in list(self._begun.items()):
            self._end(thread, context)

    def _at_end(self, thread: int, context: TaskContext) -> Iterator[Any]:
        self._end(thread, context)
        return
        yield

    def _end(self, thread: int, context: TaskContext) -> None:
        if _running.get(thread) is context:
            del _running[thread]
        if self._begun.get(thread) is context:
            del self._begun[thread]
