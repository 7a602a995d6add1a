"""A worker: a process that runs functions of the program beside it, under an interpreter's lock of its own.

The engine starts it with a socket as its standard input, and says what to run; `python/src/worker.rs` is the other side, and has the
form of what is said. The worker asks and the engine answers, whichever thread of the worker it is that asks. It ends when the engine closes
the socket, or is gone, also in the middle of a function; signals that are sent to all processes of the program don't end it.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from . import pickles, process
from ._native import dumps, loads, piece_bytes, piece_objects
from .accumulators import WorkersAccumulator
from .broadcast import WorkersBroadcasts
from .files import AddedFiles
from .pyspark_names import install_as_pyspark
from .taskcontext import TaskFunction, follow_threads

__all__ = ["main"]

_PIECE_ROWS = 1024


class _Unreadable(Exception):
    """The function of a task can't be made here: nothing of the task was done."""


class Worker:
    """What a worker has, and what it does when the engine says so."""

    def __init__(self, connection: socket.socket) -> None:
        """A worker at the end of this connection."""
        self._connection = connection
        self._from_engine = connection.makefile("rb", buffering=1 << 16)
        self._asking = threading.Lock()
        self._pickled: dict[int, bytes] = {}
        self._functions: dict[int, TaskFunction] = {}
        self._broadcasts = WorkersBroadcasts()
        self._tasks = 0

    def serve(self) -> None:
        """Does what the engine says, until it says no more."""
        self._send(b"H")
        while (frame := self._receive()) is not None:
            kind, body = frame
            number = int.from_bytes(body[:8], "little")
            if kind == b"F":
                self._pickled[number] = body[8:]
            elif kind == b"B":
                self._broadcasts.receive(number, body[8:])
            elif kind == b"X" and body:
                self._broadcasts.forget(number)
            elif kind == b"X":
                self._pickled.clear()
                self._functions.clear()
            elif kind == b"T":
                self._run(*loads(body))

    def _run(self, number: int, split: int, attempt: int, properties: dict[str, str]) -> None:
        self._tasks += 1
        try:
            function = self._function(number)
            function.is_task(attempt, properties)
            self._hand_on(function(split, chain.from_iterable(self._lists(self._tasks))))
            end = (b"D", b"")
        except _Unreadable as error:
            end = (b"U", str(error).encode())
        except BaseException as error:
            end = (b"!", _described(error))
        self._tasks += 1
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        with self._asking:
            sums = WorkersAccumulator.take_sums()
            if sums:
                self._send(b"A", pickles.dumps(sums))
            self._send(*end)

    def _function(self, number: int) -> TaskFunction:
        if number not in self._functions:
            try:
                self._functions[number] = _unpickled(self._pickled.pop(number))
            except Exception as error:
                raise _Unreadable(f"{type(error).__name__}: {error}") from error
        return self._functions[number]

    def _hand_on(self, results: Iterable[Any]) -> None:
        results = iter(results)
        while piece := list(islice(results, _PIECE_ROWS)):
            if self._ask(b"R", piece_bytes(piece))[0] == b"S":
                return

    def _lists(self, task: int) -> Iterator[list[Any]]:
        """The pieces of the input, each when it is needed."""
        while True:
            if task != self._tasks:
                raise RuntimeError("the iterator of a partition was read after its task had ended")
            kind, body = self._ask(b"N")
            if kind == b"E":
                return
            yield piece_objects(body)

    def _ask(self, kind: bytes, body: bytes = b"") -> tuple[bytes, bytes]:
        with self._asking:
            self._send(kind, body)
            answer = self._receive()
        if answer is None:
            # Whoever wanted the result is gone.
            os._exit(1)
        return answer

    def _send(self, kind: bytes, body: bytes = b"") -> None:
        self._connection.sendall(b"%b%b%b" % (kind, len(body).to_bytes(8, "little"), body))

    def _receive(self) -> tuple[bytes, bytes] | None:
        head = self._from_engine.read(9)
        if len(head) < 9:
            return None
        length = int.from_bytes(head[1:], "little")
        body = self._from_engine.read(length)
        return (head[:1], body) if len(body) == length else None


def _unpickled(pickled: bytes) -> TaskFunction:
    """The function that a `TaskFunction.travels` was the form of, with all around it that it may need."""
    paths, files, as_pyspark, classes, function = pickle.loads(pickled)
    sys.path[:] = paths
    AddedFiles()._root = files
    if as_pyspark:
        install_as_pyspark()
    for name, copy in classes.items():
        setattr(sys.modules["__main__"], name, pickle.loads(copy))
    stages, stage_id = pickle.loads(function)
    return TaskFunction(stages, stage_id, dict)


def _described(error: BaseException) -> bytes:
    """An exception: its traceback, without the places in this file, and its pickle, or None."""
    place = error.__traceback__
    while place is not None and place.tb_frame.f_code.co_filename == __file__:
        place = place.tb_next
    text = "".join(traceback.format_exception(type(error), error, place)).rstrip()
    try:
        return dumps((text, pickles.dumps(error)))
    except Exception:
        return dumps((text, None))


def _end_with(connection: socket.socket) -> None:
    """Ends this process when the other side of the connection is closed."""
    watch = select.poll()
    # That it is closed is told without being asked for.
    watch.register(connection, 0)
    while not watch.poll():
        pass
    os._exit(1)


def _have_forks_end_by_signals() -> None:
    """Has processes that are forked here, by multiprocessing say, end by SIGTERM, which this one ignores."""
    terminate = (signal.SIGTERM,)

    def in_child() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, terminate)

    # One that comes in between waits.
    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, terminate),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, terminate),
        after_in_child=in_child,
    )


def main() -> None:
    """Serves the engine over the standard input, which functions see empty."""
    connection = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    _have_forks_end_by_signals()
    threading.Thread(target=_end_with, args=(connection,), name="tidemill-watch", daemon=True).start()
    process.is_worker = True
    follow_threads()
    WorkersAccumulator.all = {}
    try:
        Worker(connection).serve()
    except ConnectionError:
        # The program has ended, before its worker had even started perhaps. What functions raise does not come here.
        os._exit(1)
    # Not by way of what functions have left: threads that run, and handlers at exit that were meant for the program.
    os._exit(0)
