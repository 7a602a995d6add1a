"""Whether tasks may go on: their jobs can be cancelled while they work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, compress, islice, takewhile
from typing import Any, Protocol

from ._native import Items
from .errors import JobCancelled
from .stages import Stage, fused

__all__ = ["Permission", "Permissions", "RenewedPermission", "guarded"]

# Items of a partition that are taken together, where the engine does not have them in lists.
_TAKEN_AHEAD = 256


class Permission:
    """A permission to work, which can be taken away."""

    def __init__(self) -> None:
        """One that is given."""
        # Not empty as long as it is given; a list, because its length can be asked for without running Python code.
        self._given = [True]
        # The items that tasks go through, by task. Going through a list ends when it becomes empty.
        self._lent: dict[object, list[Any]] = {}
        self._why = ""

    def take_away(self, why: str) -> None:
        """Makes the tasks that have it fail before their next item."""
        self._why = why
        self._given.clear()
        for part in list(self._lent.values()):
            part.clear()

    @property
    def error(self) -> JobCancelled | None:
        """Why it was taken away."""
        return None if self._given else JobCancelled(self._why)

    def check(self) -> None:
        """Raises if it was taken away."""
        error = self.error
        if error is not None:
            raise error

    def lend(self, parts: Iterable[list[Any]]) -> Iterator[list[Any]]:
        """The parts of a partition, which lose their items when it is taken away. A check of every item would cost more."""
        task = object()
        try:
            for part in parts:
                # In this order, for it may be taken away at any time.
                self._lent[task] = part
                self.check()
                yield part
        finally:
            self._lent.pop(task, None)
        self.check()

    def item_by_item(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, each after a look whether it is still given."""
        # iter(f, 0) ends when f() gives 0.
        yield from compress(items, iter(self._given.__len__, 0))
        self.check()


class Permissions(Protocol):
    """Those of the tasks of a function."""

    def guarded(self, stages: Sequence[Stage]) -> Sequence[Stage]:
        """The stages with looks between them, for tasks in this process."""

    def begin(self) -> None:
        """A task begins on this thread that runs in a worker."""

    def check(self) -> None:
        """Raises if the task on this thread, which runs in a worker, may not go on."""


class RenewedPermission:
    """That of tasks whose function may be part of several jobs: it can be taken from those that have begun, and not from later ones."""

    def __init__(self) -> None:
        """One that is given."""
        self._last = Permission()
        # Of tasks that run in workers, by thread.
        self._begun: dict[int, Permission] = {}

    def take_away(self, why: str) -> None:
        """Makes the tasks that have begun fail before their next item."""
        last, self._last = self._last, Permission()
        last.take_away(why)

    def guarded(self, stages: Sequence[Stage]) -> Sequence[Stage]:
        """Stages that look before each item of the partition."""
        return guarded(stages, lambda: self._last)

    def begin(self) -> None:
        """A task begins on this thread that runs in a worker."""
        self._begun[threading.get_ident()] = self._last

    def check(self) -> None:
        """Raises if the task on this thread, which runs in a worker, may not go on."""
        self._begun.get(threading.get_ident(), self._last).check()


def guarded(stages: Sequence[Stage], permission: Callable[[], Permission]) -> Sequence[Stage]:
    """Stages that look before each item of the partition; a count of words that needs no interpreter looks at its beginning."""

    def at_the_beginning(_: int, items: Iterator[Any]) -> Iterator[Any]:
        permission().check()
        return items

    def at_every_item(_: int, items: Iterator[Any]) -> Iterator[Any]:
        parts = items.parts() if type(items) is Items else None
        if parts is None:
            # No function of the program's has anything to do with what is taken ahead.
            parts = iter(lambda: list(islice(items, _TAKEN_AHEAD)), [])
        return chain.from_iterable(permission().lend(parts))

    counts_words = any(getattr(step, "needs_no_interpreter", False) for step in islice(fused(tuple(stages)), 1))
    if counts_words:
        return [at_the_beginning, *stages]
    unpacking = list(takewhile(lambda stage: getattr(stage, "unpacks", False), stages))
    if len(unpacking) == len(stages):
        # No function of the program's: what is unpacked stays whole.
        return stages
    return [*unpacking, at_every_item, *stages[len(unpacking) :]]
