"""A real Kafka broker on this machine, with its controller in one process, and a client that feeds it.

`scripts/install-servers` has fetched Kafka's jars into the cache before.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

PATIENCE = 60.0
READY = "Kafka Server started"
LOGGING = Path(__file__).parents[2] / "crates/servers/kafka/log4j2.properties"


def skip_if_named(test: str) -> None:
    """Skips a test if `TIDEMILL_SKIP_SERVERS` names Kafka, and adds its name to the file that `TIDEMILL_SKIPPED` names."""
    if "kafka" not in map(str.strip, os.environ.get("TIDEMILL_SKIP_SERVERS", "").split(",")):
        return
    if os.environ.get("TIDEMILL_SKIPPED"):
        with open(os.environ["TIDEMILL_SKIPPED"], "a", encoding="utf-8") as file:
            file.write(f"{test}: no kafka\n")
    pytest.skip("TIDEMILL_SKIP_SERVERS names kafka")


def jars() -> Path:
    """The folder of Kafka's jars."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(os.environ.get("TIDEMILL_SERVERS") or os.path.join(cache, "tidemill/servers")) / "kafka"
    if not (folder / "complete").exists():
        raise RuntimeError("Kafka is not installed: run scripts/install-servers, or set TIDEMILL_SKIP_SERVERS=kafka")
    return folder


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class KafkaBroker:
    """Runs from `with` to its end; its data is in a folder of its own, which goes with it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tidemill-kafka-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._port, controller = _free_port(), _free_port()
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "listeners": f"CLIENTS://127.0.0.1:{self._port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"CLIENTS://127.0.0.1:{self._port}",
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENTS",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "log.dirs": self._folder / "log",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 3,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "auto.create.topics.enable": "false",
        }
        text = "".join(f"{key}={value}\n" for key, value in settings.items())
        (self._folder / "server.properties").write_text(text)

    @property
    def address(self) -> str:
        """`host:port`, as clients want it."""
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> KafkaBroker:
        try:
            tool = ["kafka.tools.StorageTool", "format", "--standalone", "-t", "dGlkZW1pbGwtdGVzdHMtMQ", "-c"]
            command = self._java(*tool, str(self._folder / "server.properties"))
            made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if made.returncode:
                raise RuntimeError(f"Kafka's storage: {made.stdout}")
            output = self._folder / "output"
            with output.open("wb") as log:
                command = self._java("kafka.Kafka", str(self._folder / "server.properties"))
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            deadline = time.monotonic() + PATIENCE
            while READY not in output.read_text(errors="replace"):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Kafka does not start: {output.read_text(errors='replace')[-4000:]}")
                time.sleep(0.05)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            # Its data goes with it, so it need not end in order.
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Makes a topic."""
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.address})
        for made in admin.create_topics([NewTopic(name, partitions, 1)]).values():
            made.result(PATIENCE)

    def send(self, topic: str, records: Iterable[tuple[str | None, str | None]], partition: int = 0) -> None:
        """Sends pairs of key and value to a partition, and waits until they are there."""
        from confluent_kafka import Producer

        failed: list[object] = []
        producer = Producer({"bootstrap.servers": self.address, "linger.ms": 0})
        for key, value in records:
            told = lambda error, _: failed.append(error) if error else None  # noqa: E731
            producer.produce(topic, key=key, value=value, partition=partition, on_delivery=told)
        if producer.flush(PATIENCE) or failed:
            raise RuntimeError(f"records could not be sent: {failed}")

    def committed(self, group: str, topic: str, partition: int = 0) -> int:
        """What a group has committed; -1001 if nothing."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.address, "group.id": group})
        try:
            return consumer.committed([TopicPartition(topic, partition)], timeout=PATIENCE)[0].offset
        finally:
            consumer.close()

    def _java(self, *arguments: str) -> list[str]:
        home = os.environ.get("JAVA_HOME")
        java = os.path.join(home, "bin/java") if home else "java"
        options = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
        options.append(f"-Dlog4j2.configurationFile={LOGGING}")
        return [java, *options, "-cp", str(jars() / "*"), *arguments]
