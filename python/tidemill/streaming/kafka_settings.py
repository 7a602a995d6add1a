"""Settings of Kafka's clients: from the names of old programs to those of today."""

from __future__ import annotations

from typing import Any

_RENAMED = {
    "metadata.broker.list": "bootstrap.servers",
    "fetch.message.max.bytes": "max.partition.fetch.bytes",
}
_RESETS = {"smallest": "earliest", "largest": "latest"}
# What said to ZooKeeper, to the old consumer's threads, or to Java's deserializers, has nobody to listen here.
_IGNORED = (
    "auto.commit.",
    "consumer.timeout.ms",
    "dual.commit.enabled",
    "enable.auto.commit",
    "key.deserializer",
    "num.consumer.fetchers",
    "offsets.storage",
    "queued.max.message.chunks",
    "rebalance.",
    "value.deserializer",
    "zk.",
    "zookeeper.",
)


def client_settings(params: dict[str, Any]) -> dict[str, str]:
    """The settings by today's names, as text; those that mean nothing any more are left out.

    >>> client_settings({"metadata.broker.list": "a:9092", "auto.offset.reset": "smallest", "zookeeper.connect": "z:2181"})
    {'bootstrap.servers': 'a:9092', 'auto.offset.reset': 'earliest'}
    """
    settings: dict[str, str] = {}
    for name, value in params.items():
        if value is None or name.startswith(_IGNORED):
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if name == "auto.offset.reset":
            text = _RESETS.get(text, text)
        settings[_RENAMED.get(name, name)] = text
    if not settings.get("bootstrap.servers"):
        raise ValueError("kafkaParams should name the brokers: bootstrap.servers, or metadata.broker.list as of old")
    return settings


def as_group(settings: dict[str, str], group: str) -> dict[str, str]:
    """The settings of a stream that begins where a group has committed, and commits to it."""
    return {**settings, "group.id": group, "enable.auto.commit": "true"}


def brokers_from(quorum: str) -> str:
    """What stands where programs of old named ZooKeeper, as brokers: without a path in ZooKeeper behind it.

    >>> brokers_from("a:9092,b:9092/kafka")
    'a:9092,b:9092'
    """
    return quorum.split("/", 1)[0]
