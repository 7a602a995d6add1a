"""The process of the program: its forks, which have no threads of the engine's, and its end, at which those threads must not meet an
interpreter that is going away.
"""

from __future__ import annotations

import logging
import os

from ._native import leave_interpreter
from .errors import PySparkRuntimeError

__all__ = ["Home", "leave"]

# How long functions that run in tasks and receivers may take to come to their end when the program has ended.
_PATIENCE_MS = 2000

# Whether this process runs functions of another one's. Programs that it imports, because they have such a function, must not begin anew here.
is_worker = False


class Home:
    """The process in which something was made that needs the engine's threads."""

    __slots__ = ("_process",)

    def __init__(self) -> None:
        """This one."""
        self._process = os.getpid()

    def is_here(self) -> bool:
        """Whether this is that process, and not one that was forked from it."""
        return os.getpid() == self._process

    def check(self) -> None:
        """Raises in another process, in which whoever asks the engine for something would wait forever."""
        if not self.is_here():
            raise PySparkRuntimeError(
                "This process was forked from that of the SparkContext, and has none of its threads: jobs and streams run there. With "
                "multiprocessing, use the method 'spawn', and make a SparkContext in the new process."
            )


_IMPORTED_IN = Home()


def leave() -> None:
    """To be called when the program has ended, jobs are cancelled and streams stopped: functions of the program's come to their end.

    After a while they get a SystemExit. Those that do not come to their end even then, for they wait for data that does not come, are
    left where they are.
    """
    if not _IMPORTED_IN.is_here():
        # The threads that are known here are elsewhere.
        return
    staying = leave_interpreter(_PATIENCE_MS)
    if staying:
        logging.getLogger("tidemill").warning("the program ends while functions of it still wait: %d", staying)
