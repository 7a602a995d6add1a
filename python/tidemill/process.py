"""The process of the program: its end, at which the engine's threads must not meet an interpreter that is going away."""

from __future__ import annotations

import logging
import os

from ._native import forget_stays, leave_interpreter

__all__ = ["leave"]

# How long functions that run in tasks and receivers may take to come to their end when the program has ended.
_PATIENCE_MS = 3000


def leave() -> None:
    """To be called when the program has ended, jobs are cancelled and streams stopped: functions of the program's come to their end.

    Those that do not, say because they wait for data that does not come, are left where they are.
    """
    staying = leave_interpreter(_PATIENCE_MS)
    if staying:
        logging.getLogger("tidemill").warning("the program ends while functions of it still run: %d", staying)


os.register_at_fork(after_in_child=forget_stays)
