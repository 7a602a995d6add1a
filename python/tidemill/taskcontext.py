"""What a task knows about itself, and functions as tasks run them."""

from __future__ import annotations

import functools
import itertools
import logging
import pickle
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import cloudpickle

from ._native import Items
from .broadcast import broadcasts_noted
from .errors import action_in_task
from .files import SparkFiles
from .permission import Permissions, RenewedPermission
from .pickles import main_classes
from .stages import Stage, chained, fused

__all__ = [
    "TaskContext",
    "TaskFunction",
    "follow_threads",
    "forget_task",
    "is_task_of_this_thread",
    "refuse_in_threads_of_tasks",
]

_log = logging.getLogger(__name__)
_attempts = itertools.count()
_NAMES_SHOWN = 4
# The context of the task that a thread runs, by the thread's number.
_running: dict[int, TaskContext] = {}
# The context of the task that has started a thread, by the thread's number.
_starters: dict[int, TaskContext] = {}


class TaskContext:
    """The task that runs on this thread, or that has started it: `TaskContext.get()` in a function of an RDD; None on the driver.

    >>> from tidemill import TaskContext
    >>> sc.parallelize(range(4), 2).map(lambda x: TaskContext.get().partitionId()).collect()
    [0, 0, 1, 1]
    """

    _taskContext: ClassVar[TaskContext | None] = None

    # What one on the driver says, which is that of no task.
    _stage: int = None  # type: ignore[assignment]
    _partition: int = None  # type: ignore[assignment]
    _attempt: int = None  # type: ignore[assignment]
    _properties: Mapping[str, str] = MappingProxyType({})
    _thread: int

    def __new__(cls) -> TaskContext:
        """The context of the task that runs on this thread: the one that `get` gives. On the driver it knows nothing."""
        return cls.get() or super().__new__(cls)

    @classmethod
    def _of(cls, stage: int, partition: int, properties: Mapping[str, str], attempt: int | None) -> TaskContext:
        """The context of a new task."""
        context = super().__new__(cls)
        context._stage, context._partition, context._properties = stage, partition, properties
        context._attempt = next(_attempts) if attempt is None else attempt
        context._thread = threading.get_ident()
        return context

    @classmethod
    def get(cls) -> TaskContext | None:
        """The context of the task that runs on this thread, or that has started it and still runs; or None on the driver."""
        thread = threading.get_ident()
        return _running.get(thread) or _starter(thread)

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
        """A number that no other task of the program has."""
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


def _starter(thread: int) -> TaskContext | None:
    task = _starters.get(thread)
    return task if task is not None and _running.get(task._thread) is task else None


def refuse_in_threads_of_tasks() -> None:
    """Raises on a thread that a task has started which still runs: the task may wait for the thread, whose job would wait for the task's place.

    On the task's own thread the engine refuses that.
    """
    if _starter(threading.get_ident()) is not None:
        raise action_in_task()


def follow_threads() -> None:
    """Has threads know from now on which task has started them."""
    start = threading.Thread.start
    if hasattr(start, "_follows"):
        return

    @functools.wraps(start)
    def followed(thread: threading.Thread) -> None:
        task = TaskContext.get()
        if task is not None:
            thread.run = _followed(thread, thread.run, task)  # type: ignore[method-assign]
        start(thread)

    followed._follows = True  # type: ignore[attr-defined]
    threading.Thread.start = followed  # type: ignore[method-assign, assignment]


def _followed(thread: threading.Thread, run: Callable[[], None], task: TaskContext) -> Callable[[], None]:
    def followed() -> None:
        number = threading.get_ident()
        _starters[number] = task
        try:
            run()
        finally:
            del _starters[number]
            # Nobody waits for the collector to free the thread.
            thread.__dict__.pop("run", None)

    return followed


def is_task_of_this_thread() -> bool:
    """Whether a task runs on this thread."""
    return threading.get_ident() in _running


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

    `stage_id` and `properties` are what the contexts say. With `permissions` tasks can be cancelled; workers are asked to end then.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        stage_id: int,
        properties: Callable[[], Mapping[str, str]],
        permissions: Permissions | None = None,
    ) -> None:
        """A function of these stages."""
        self._run = chained(stages if permissions is None else permissions.guarded(stages))
        # In a worker: the number of the next task, which the program gives.
        self._attempt: int | None = None
        self._stages = tuple(stages)
        self._stage_id = stage_id
        self._properties = properties
        self._permissions = permissions
        # The contexts of tasks that have not ended, by thread: those of failed ones are replaced by the next.
        self._begun: dict[int, TaskContext] = {}

    def __call__(self, split: int, items: Iterator[Any]) -> Iterable[Any]:
        """The items of a partition."""
        thread = threading.get_ident()
        context = TaskContext._of(self._stage_id, split, self._properties(), self._attempt)
        self._begun[thread] = _running[thread] = context
        result = self._run(split, items)
        if type(result) is list or type(result) is Items:
            self._end(thread, context)
            return result
        return itertools.chain(result, self._at_end(thread, context))

    def travels(self) -> tuple[bytes, list[int], Callable[[], None] | None] | None:
        """The form in which it goes to workers, the broadcast values in it, and what raises if it is cancelled.

        None if it has to stay: it holds what can't be pickled, or is nothing but a count of words, which needs no interpreter.
        """
        if all(getattr(step, "needs_no_interpreter", False) for step in fused(self._stages)):
            return None
        with broadcasts_noted() as broadcasts:
            try:
                pickled = cloudpickle.dumps((self._stages, self._stage_id), pickle.HIGHEST_PROTOCOL)
                classes = main_classes()
            except Exception:
                _log.info("a function stays in the program's own process, for it can't be pickled", exc_info=True)
                return None
        files = None if SparkFiles._added is None else SparkFiles._added._root
        as_pyspark = getattr(sys.modules.get("pyspark"), "__tidemill__", False)
        around = pickle.dumps((sys.path, files, as_pyspark, classes, pickled), pickle.HIGHEST_PROTOCOL)
        return around, list(broadcasts), None if self._permissions is None else self._permissions.check

    @property
    def renewed(self) -> RenewedPermission | None:
        """The permission of its tasks, if the function may be part of several jobs."""
        return self._permissions if isinstance(self._permissions, RenewedPermission) else None

    def next_task(self) -> tuple[int, dict[str, str]]:
        """The number and the properties of a task of this thread's that is to run in a worker."""
        if self._permissions is not None:
            self._permissions.begin()
        return next(_attempts), dict(self._properties())

    def is_task(self, attempt: int, properties: Mapping[str, str]) -> None:
        """Gives the next task what `next_task` has said."""
        self._attempt, self._properties = attempt, lambda: properties

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
