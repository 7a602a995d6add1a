"""Kafka, by the names that PySpark had for it up to 2.4.

Settings are those of librdkafka, which are mostly those of Kafka's own clients; the names of Kafka 0.8 (`metadata.broker.list`,
`auto.offset.reset` of `smallest` and `largest`) are understood. There is no ZooKeeper: all is asked of the brokers. Both kinds of
stream read the brokers directly. Which records are in a batch is logged in the checkpoint folder, so that a restart reads the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._native import NativeDStream, NativeRdd
from ..lineage import Step
from ..stages import Stage
from .binding import RDD, CallSite, SparkContext, StorageLevel, call_site, native_context
from .context import StreamingContext
from .dstream import DStream
from .kafka_settings import as_group, brokers_from, client_settings
from .offsets import Broker, OffsetRange, TopicAndPartition

__all__ = ["Broker", "KafkaMessageAndMetadata", "KafkaUtils", "OffsetRange", "TopicAndPartition", "utf8_decoder"]

Decoder = Callable[[bytes | None], Any]
# A record as the engine gives it: topic, partition, offset, timestamp in milliseconds, key, value.
Record = tuple[str, int, int, int, bytes | None, bytes | None]


def utf8_decoder(s: bytes | None) -> str | None:
    """Bytes as text; None stays None."""
    return None if s is None else s.decode("utf-8")


class KafkaMessageAndMetadata:
    """A record, as a `messageHandler` gets it. Key and message are decoded when they are asked for."""

    __slots__ = ("_keyDecoder", "_rawKey", "_rawMessage", "_valueDecoder", "offset", "partition", "timestamp", "topic")

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        key: bytes | None,
        message: bytes | None,
        timestamp: int = -1,
        keyDecoder: Decoder = utf8_decoder,
        valueDecoder: Decoder = utf8_decoder,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.timestamp = timestamp
        self._rawKey = key
        self._rawMessage = message
        self._keyDecoder = keyDecoder
        self._valueDecoder = valueDecoder

    @property
    def key(self) -> Any:
        """The key, decoded; None if there is none."""
        return self._keyDecoder(self._rawKey)

    @property
    def message(self) -> Any:
        """The value, decoded; None if there is none."""
        return self._valueDecoder(self._rawMessage)

    def __str__(self) -> str:
        return f"KafkaMessageAndMetadata(topic: {self.topic}, partition: {self.partition}, offset: {self.offset})"

    __repr__ = __str__


class KafkaUtils:
    """Makes streams and RDDs of Kafka's records."""

    @staticmethod
    def createStream(
        ssc: StreamingContext,
        zkQuorum: str,
        groupId: str,
        topics: dict[str, int],
        kafkaParams: dict[str, Any] | None = None,
        storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2,
        keyDecoder: Decoder = utf8_decoder,
        valueDecoder: Decoder = utf8_decoder,
    ) -> DStream:
        """Pairs of key and value, of topics that a group reads.

        Programs of old name ZooKeeper here. That can't be asked for brokers any more: they are taken from `metadata.broker.list` or
        `bootstrap.servers` of `kafkaParams`, and else **`zkQuorum` is read as brokers**, `host:port` with commas between. The
        numbers of threads in `topics`, and the storage level, say nothing. A new stream begins where the group has committed, or
        else with what comes from then on; batches that are done are committed to the group.
        """
        if not isinstance(topics, dict):
            raise TypeError("topics should be dict")
        settings = client_settings({"bootstrap.servers": brokers_from(zkQuorum), **(kafkaParams or {})})
        native = ssc._native.kafka_direct_stream(list(topics), as_group(settings, groupId), None)
        return KafkaDStream(native, ssc, _pairs(keyDecoder, valueDecoder))

    @staticmethod
    def createDirectStream(
        ssc: StreamingContext,
        topics: list[str],
        kafkaParams: dict[str, Any],
        fromOffsets: dict[TopicAndPartition, int] | None = None,
        keyDecoder: Decoder = utf8_decoder,
        valueDecoder: Decoder = utf8_decoder,
        messageHandler: Callable[[KafkaMessageAndMetadata], Any] | None = None,
    ) -> DStream:
        """Pairs of key and value, or what `messageHandler` makes of each record; a partition for each of Kafka's.

        A new stream begins at `fromOffsets`, or else where `auto.offset.reset` says: at the end of the topics if it says nothing. In
        `foreachRDD` and `transform` of this stream itself, RDDs have `offsetRanges()`.
        """
        if not isinstance(topics, list):
            raise TypeError("topics should be list")
        if not isinstance(kafkaParams, dict):
            raise TypeError("kafkaParams should be dict")
        begin = {(at._topic, at._partition): offset for at, offset in (fromOffsets or {}).items()} or None
        native = ssc._native.kafka_direct_stream(list(topics), client_settings(kafkaParams), begin)
        return KafkaDStream(native, ssc, _decoding(keyDecoder, valueDecoder, messageHandler))

    @staticmethod
    def createRDD(
        sc: SparkContext,
        kafkaParams: dict[str, Any],
        offsetRanges: list[OffsetRange],
        leaders: dict[TopicAndPartition, Broker] | None = None,
        keyDecoder: Decoder = utf8_decoder,
        valueDecoder: Decoder = utf8_decoder,
        messageHandler: Callable[[KafkaMessageAndMetadata], Any] | None = None,
    ) -> RDD:
        """The records of these ranges, a partition for each, read when an action asks. The brokers know their `leaders` themselves."""
        if not isinstance(kafkaParams, dict):
            raise TypeError("kafkaParams should be dict")
        if not isinstance(offsetRanges, list):
            raise TypeError("offsetRanges should be list")
        ranges = [(r.topic, r.partition, r.fromOffset, r.untilOffset) for r in offsetRanges]
        native = native_context(sc).kafka_rdd(client_settings(kafkaParams), ranges)
        decode = _decoding(keyDecoder, valueDecoder, messageHandler)
        return _kafka_rdd(native, sc, decode, call_site(), list(offsetRanges))


class KafkaDStream(DStream[Any]):
    """A stream of Kafka's records, whose RDDs know their offsets."""

    def __init__(self, native: NativeDStream, ssc: StreamingContext, decode: Stage) -> None:
        super().__init__(native, ssc, ("kafka", decode))
        self._decode = decode

    def _base(self) -> tuple[NativeDStream, Callable[[NativeRdd], RDD]]:
        # Offsets are known of the RDD that the engine makes. Rows are decoded on top of it, unless they are kept: those are.
        kept = self.is_cached or self.is_checkpointed
        sc, decode, site = self._sc, None if kept else self._decode, self._site

        def wrap(native: NativeRdd) -> RDD:
            ranges = [OffsetRange(*found) for found in native.offset_ranges() or ()]
            return _kafka_rdd(native, sc, decode, site, ranges)

        return self._native() if kept else self._source, wrap


class KafkaRDD(RDD[Any]):
    """An RDD of Kafka's records."""

    _ranges: list[OffsetRange]

    def offsetRanges(self) -> list[OffsetRange]:
        """Which records are in it: the n-th range is that of the n-th partition."""
        return self._ranges


def _kafka_rdd(
    native: NativeRdd, sc: SparkContext, decode: Stage | None, site: CallSite, ranges: list[OffsetRange]
) -> KafkaRDD:
    """Records, decoded if they are not yet. The stage joins those that the program adds, so that both are one operator."""
    if decode is None:
        rdd = KafkaRDD(native, sc, kind="KafkaRDD", site=site)
    else:
        parents = (RDD(native, sc, site=site),)
        rdd = KafkaRDD(None, sc, parents=parents, step=Step("kafka", decode), kind="KafkaRDD", site=site)
    rdd._ranges = ranges
    return rdd


def _pairs(key: Decoder, value: Decoder) -> Stage:
    if key is utf8_decoder and value is utf8_decoder:
        # The usual case, without two calls for each record.
        return lambda _, records: (
            (k if k is None else k.decode(), v if v is None else v.decode()) for _, _, _, _, k, v in records
        )
    return lambda _, records: ((key(k), value(v)) for _, _, _, _, k, v in records)


def _decoding(key: Decoder, value: Decoder, handler: Callable[[KafkaMessageAndMetadata], Any] | None) -> Stage:
    """The stage that makes rows of records."""
    if handler is None:
        return _pairs(key, value)
    message = KafkaMessageAndMetadata
    return lambda _, records: (
        handler(message(topic, partition, offset, k, v, timestamp, key, value))
        for topic, partition, offset, timestamp, k, v in records
    )
