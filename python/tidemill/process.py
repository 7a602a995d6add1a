"""The process of the program: its end, at which the engine's threads must not meet an interpreter that is going away."""

from __future__ import annotations

import logging
import os

from ._native import leave_interpreter

__all__ = ["leave"]

# How long functions that run in tasks and receivers may take to come to their end when the program has ended.
_PATIENCE_MS = 2000

_IMPORTED_IN = os.getpid()


def leave() -> None:
    """To be called when the program has ended, jobs are cancelled and streams stopped: functions of the program's come to their end.

    After a while they get a SystemExit. Those that do not come to their end even then, for they wait for data that does not come, are
    left where they are.
    """
    if os.getpid() != _IMPORTED_IN:
        # A process that was forked has not the threads that are known here.
        return
    staying = leave_interpreter(_PATIENCE_MS)
    if staying:
        logging.getLogger("tidemill").warning("the program ends while functions of it still wait: %d", staying)
