"""`Receiver`: your own way of taking data in, written in Python. PySpark has no such thing; the methods are those of Spark's receivers.

```python
class Lines(Receiver):
    def onStart(self):
        with open("/dev/serial0") as port:
            for line in port:
                if self.isStopped():
                    return
                self.store(line.rstrip())

lines = ssc.receiverStream(Lines())
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .batch_time import duration_ms

__all__ = ["Receiver"]


class Receiver:
    """To be derived from: takes data in and stores it.

    With `spark.streaming.receiver.writeAheadLog.enable` and a checkpoint folder, rows are on disk when `storeMany` returns, and come into
    exactly one batch; what may be lost should be acknowledged to its sender only then.
    """

    _store: Any = None
    _is_stopped: Callable[[], bool] | None = None

    def onStart(self) -> None:
        """Receives, on a thread of its own, until `isStopped()`. Or starts threads that do, and returns.

        An exception is told to listeners, and the receiver is started again after a while.
        """
        raise NotImplementedError(f"{type(self).__name__} must have a method onStart()")

    def onStop(self) -> None:
        """Frees what `onStart` has taken. Called once after each start, from another thread."""

    def store(self, item: Any) -> None:
        """Stores one row. Waits where the rate is limited."""
        self._started()(item)

    def storeMany(self, items: Iterable[Any]) -> None:
        """Stores rows together, which is quicker than one by one, and returns when they are stored."""
        self._started().many(items if isinstance(items, list) else list(items))

    def reportError(self, message: str, throwable: BaseException | None = None) -> None:
        """Tells listeners and the log of an error; the receiver goes on."""
        self._started().report_error(message, None if throwable is None else repr(throwable))

    def restart(self, message: str, error: BaseException | None = None, delay: float | None = None) -> None:
        """Stops the receiver and starts it again after `delay` seconds, or `spark.streaming.receiverRestartDelay`. Returns at once."""
        text = message if error is None else f"{message}: {error!r}"
        self._started().restart(text, None if delay is None else duration_ms(delay))

    def stop(self, message: str) -> None:
        """Stops the receiver for good."""
        self._started().stop(message)

    def sleep(self, seconds: float) -> bool:
        """Sleeps; True if the receiver was stopped meanwhile."""
        return self._started().sleep(duration_ms(seconds))

    def isStopped(self) -> bool:
        """Whether the receiver was stopped, so that `onStart` should come to its end."""
        return self._is_stopped is None or self._is_stopped()

    def isStarted(self) -> bool:
        """Whether the receiver was started, and not stopped."""
        return not self.isStopped()

    def _started(self) -> Any:
        if self._store is None:
            raise RuntimeError("the receiver has not been started: rows can be stored once the StreamingContext runs")
        return self._store


class Supervised:
    """A receiver as the engine calls it."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def on_start(self, store: Any, is_stopped: Callable[[], bool]) -> None:
        """Begins to receive. `store(row)` and `store.many(rows)` take rows."""
        self._receiver._store = store
        self._receiver._is_stopped = is_stopped
        self._receiver.onStart()

    def on_stop(self) -> None:
        """Ends it."""
        self._receiver.onStop()
