"""How a worker process is started."""

from __future__ import annotations

import sys

__all__ = ["worker_command"]


def worker_command() -> list[str]:
    """The command that starts a worker which finds the modules that this process finds; empty if there is no interpreter to start."""
    # A frozen program is its own executable: it would start itself.
    if not sys.executable or getattr(sys, "frozen", False):
        return []
    # Ctrl-C and SIGTERM are the program's to handle, also while modules are imported here. A handler that does nothing, and not SIG_IGN,
    # which processes that functions start would inherit: they could not be told to end.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, lambda *_: None); "
        f"signal.siginterrupt(signal.SIGTERM, False); sys.path[:] = {sys.path!r}; from {__package__}.worker import main; main()"
    )
    return [sys.executable, "-c", program]
