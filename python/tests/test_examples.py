"""The examples, as programs of their own, against real servers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka_broker import KafkaBroker, skip_if_named
from lines_server import LinesServer
from streaming_batches import PATIENCE, eventually

import tidemill

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "examples"
# Where the package is not installed, it lies here.
SOURCES = str(Path(tidemill.__file__).parents[1])


class Example:
    """A running example; what it prints is in `lines`."""

    def __init__(self, name: str, *arguments: object) -> None:
        path = os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tidemill", str(EXAMPLES / name), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, condition: Callable[[list[str]], object]) -> None:
        """Waits until what it has printed fulfils the condition."""

        def holds() -> object:
            # Asked before the lines are looked at: the last ones may come with the end.
            ended = self.process.poll() is not None and not self._reader.is_alive()
            if condition(self.lines):
                return True
            if ended:
                raise AssertionError("the example has ended:\n" + "\n".join(self.lines))
            return False

        try:
            eventually(holds)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *self.lines])) from error

    def wait_for_lines(self, *wanted: str) -> None:
        """Waits until it has printed all these lines."""
        self.wait_for(lambda lines: set(wanted) <= set(lines))

    def interrupt(self) -> int:
        """Presses Ctrl-C; gives the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """Kills it with SIGKILL."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def __enter__(self) -> Example:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._reader.join(PATIENCE)

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))


@pytest.fixture
def server():
    with LinesServer() as server:
        yield server


def test_network_wordcount(server):
    with Example("network_wordcount.py", server.host, server.port) as example:
        server.send("to be or not", "to be")
        # Both lines may be in one batch or in two.
        example.wait_for(lambda lines: {"('to', 2)", "('not', 1)"} <= set(lines) or lines.count("('to', 1)") == 2)
        assert "-" * 43 in example.lines
        assert any(re.fullmatch(r"Time: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line) for line in example.lines)
        example.interrupt()


def test_stateful_network_wordcount(server):
    with Example("stateful_network_wordcount.py", server.host, server.port) as example:
        example.wait_for_lines("('hello', 1)", "('world', 1)")
        server.send("hello again")
        example.wait_for_lines("('hello', 2)", "('again', 1)", "('world', 1)")
        server.send("again")
        example.wait_for_lines("('again', 2)")


def test_windowed_network_wordcount(server):
    with Example("windowed_network_wordcount.py", server.host, server.port) as example:
        server.send("a b a")
        example.wait_for_lines("('a', 2)", "('b', 1)")
        server.send("b b")
        example.wait_for_lines("('b', 3)")

        # In the end all have left the window, and are gone.
        def is_empty(lines):
            return len(lines) > 8 and lines[-1] == "" and lines[-2].startswith("---")

        example.wait_for(is_empty)


def test_recoverable_network_wordcount(server, tmp_path):
    """Killed twice, with SIGKILL: counts go on."""
    checkpoint, output = tmp_path / "checkpoint", tmp_path / "counts.txt"
    wanted = 0
    for run in range(3):
        with Example("recoverable_network_wordcount.py", server.host, server.port, checkpoint, output) as example:
            for _ in range(2):
                wanted += 2
                server.send("word a word b")
                total = f"[('word', {wanted})]"
                example.wait_for(lambda _, total=total: output.exists() and total in output.read_text())
            assert any(re.search(r": 1 words, [24] left out in this run$", line) for line in example.lines), run
            # The batch that has written this line is committed once the next one has written.
            written = output.read_text().count("\n")
            example.wait_for(lambda _, written=written: output.read_text().count("\n") > written + 1)
            example.kill()
            server.hang_up()
    counts = [int(count) for count in re.findall(r"\('word', (\d+)\)", output.read_text())]
    assert counts[-1] == 12
    # Batches that run again write the same; nothing goes back.
    assert counts == sorted(counts)


def test_queue_stream():
    with Example("queue_stream.py") as example:
        example.wait_for(lambda lines: lines.count("(0, 100)") == 5 and lines.count("(9, 100)") == 5)
        assert example.process.wait(PATIENCE) == 0


def test_sql_network_wordcount(server):
    with Example("sql_network_wordcount.py", server.host, server.port) as example:
        server.send("to be or not to be")
        example.wait_for_lines("|word|total|", "|  be|    2|", "| not|    1|")
        assert any(re.match(r"========= \d{4}-", line) for line in example.lines)


def test_hdfs_wordcount(tmp_path):
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with Example("hdfs_wordcount.py", inbox) as example:
        example.wait_for(lambda lines: any(line.startswith("Time: ") for line in lines))
        (tmp_path / "text").write_text("a b a\nb a\n")
        (tmp_path / "text").rename(inbox / "text")
        example.wait_for_lines("('a', 3)", "('b', 2)")


def test_kafka_wordcount(request):
    skip_if_named(request.node.nodeid)
    with KafkaBroker() as broker:
        broker.create_topic("lines", 1)
        broker.send("lines", [(None, "a b"), (None, "a")])
        with Example("kafka_wordcount.py", broker.address, "lines") as example:
            example.wait_for_lines("lines 0: 0 to 2", "('a', 2)", "('b', 1)")


@pytest.mark.parametrize(
    "name", [path.name for path in sorted(EXAMPLES.glob("*.py")) if path.name != "queue_stream.py"]
)
def test_usage(name):
    with Example(name) as example:
        assert example.process.wait(PATIENCE) == 1
        example.wait_for(lambda lines: any(line.startswith(f"usage: {name}") for line in lines))
