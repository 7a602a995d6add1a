"""A TCP server that sends lines to whoever connects, as `nc -lk` does."""

from __future__ import annotations

import socket
import threading


class LinesServer:
    """Listens on a free port. Lines are kept until somebody is there to hear them."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self._server = socket.create_server((self.host, 0))
        self.port: int = self._server.getsockname()[1]
        self._changed = threading.Condition()
        self._waiting: list[str] = []
        self._client: socket.socket | None = None
        self._closed = False
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._accept, self._deliver)]
        for thread in self._threads:
            thread.start()

    def send(self, *lines: str) -> None:
        """Sends lines, to the one who is connected or to the next one who will be."""
        with self._changed:
            self._waiting.extend(lines)
            self._changed.notify_all()

    def wait_for_a_client(self, timeout: float) -> None:
        """Waits until somebody is connected."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._client is not None, timeout):
                raise AssertionError("nobody has connected")

    def hang_up(self) -> None:
        """Forgets the one who is connected."""
        with self._changed:
            if self._client is not None:
                self._client.close()
                self._client = None

    def __enter__(self) -> LinesServer:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        # Wakes the thread that waits for connections.
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.hang_up()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            with self._changed:
                if self._client is not None:
                    self._client.close()
                self._client = client
                self._changed.notify_all()

    def _deliver(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or (self._client is not None and self._waiting))
                if self._closed:
                    return
                text = "".join(f"{line}\n" for line in self._waiting)
                self._waiting.clear()
                try:
                    self._client.sendall(text.encode())
                except OSError:
                    self._client = None
