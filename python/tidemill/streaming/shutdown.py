"""The end of a stream whose program is told to end, or ends without a word."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType


class Termination:
    """What SIGTERM does while a stream is to end gracefully: the stop, and then `SystemExit` in the main thread.

    The stop runs on a thread of its own. Batches have to be finished meanwhile, and the main thread, interrupted wherever it was, may hold
    what they wait for: a lock, or the standard output. A second signal ends the process at once, as the first one does if nothing runs.
    """

    def __init__(self, is_active: Callable[[], bool], stop: Callable[[], None]) -> None:
        """`stop` is called once, if there is something to stop."""
        self._is_active = is_active
        self._stop = stop
        self._thread: threading.Thread | None = None
        self._stopped = False

    def install(self) -> None:
        """Takes the signal, unless the program has taken it. Only the main thread can."""
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._handle)

    def wait(self) -> None:
        """Has the main thread wait for a stop that has begun, and then leave."""
        if self._thread is not None and threading.current_thread() is threading.main_thread():
            self._thread.join()

    def _handle(self, signum: int, _: FrameType | None) -> None:
        if self._stopped:
            # What a shell says of a process that the signal has ended.
            raise SystemExit(128 + signum)
        if self._thread is None and self._is_active():
            self._thread = threading.Thread(target=self._run, name="tidemill-termination", daemon=True)
            self._thread.start()
            return
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)

    def _run(self) -> None:
        try:
            self._stop()
        finally:
            self._stopped = True
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGTERM)
