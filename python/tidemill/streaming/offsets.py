"""Places and ranges in Kafka's topics."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Broker", "OffsetRange", "TopicAndPartition"]


@dataclass
class OffsetRange:
    """Records of a partition: from `fromOffset`, up to but without `untilOffset`."""

    topic: str
    partition: int
    fromOffset: int
    untilOffset: int

    # Changeable, as in PySpark, and so not to be put into sets.
    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return (
            f"OffsetRange(topic: {self.topic}, partition: {self.partition}, "
            f"range: [{self.fromOffset} -> {self.untilOffset}])"
        )


class TopicAndPartition:
    """A partition of a topic."""

    def __init__(self, topic: str, partition: int) -> None:
        self._topic = topic
        self._partition = partition

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TopicAndPartition) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"TopicAndPartition({self._topic!r}, {self._partition})"

    def _key(self) -> tuple[str, int]:
        return self._topic, self._partition


class Broker:
    """A server of Kafka's. Taken where PySpark took one; the engine finds brokers by itself."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    def __repr__(self) -> str:
        return f"Broker({self._host!r}, {self._port})"
