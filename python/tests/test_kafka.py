"""Kafka, against a real broker."""

from __future__ import annotations

import itertools

import pytest
from kafka_broker import KafkaBroker, skip_if_named
from streaming_batches import collected, eventually, wait_for

from tidemill.streaming import StreamingContext
from tidemill.streaming.kafka import (
    Broker,
    KafkaMessageAndMetadata,
    KafkaUtils,
    OffsetRange,
    TopicAndPartition,
    utf8_decoder,
)
from tidemill.streaming.kafka_settings import client_settings

pytestmark = pytest.mark.slow

_names = itertools.count()


@pytest.fixture(scope="module")
def _broker():
    with KafkaBroker() as broker:
        yield broker


@pytest.fixture
def broker(request):
    skip_if_named(request.node.nodeid)
    return request.getfixturevalue("_broker")


@pytest.fixture
def topic(broker):
    name = f"topic-{next(_names)}"
    broker.create_topic(name, 2)
    return name


@pytest.fixture
def ssc(sc):
    context = StreamingContext(sc, 0.1)
    yield context
    context.stop(stopSparkContext=False)


def earliest(broker):
    return {"metadata.broker.list": broker.address, "auto.offset.reset": "smallest"}


def rows(batches):
    return [row for batch in batches for row in batch]


def test_direct_stream(ssc, broker, topic):
    broker.send(topic, [("k", "eins"), (None, "zwei")], partition=0)
    broker.send(topic, [("l", None)], partition=1)
    stream = KafkaUtils.createDirectStream(ssc, [topic], earliest(broker))
    seen = collected(stream)
    ssc.start()
    wait_for(ssc, lambda: len(rows(seen)) == 3)
    assert sorted(rows(seen), key=repr) == [("k", "eins"), ("l", None), (None, "zwei")]
    broker.send(topic, [("m", "drei")], partition=1)
    wait_for(ssc, lambda: ("m", "drei") in rows(seen))


def test_offset_ranges(ssc, broker, topic):
    broker.send(topic, [("a", str(n)) for n in range(5)], partition=1)
    stream = KafkaUtils.createDirectStream(ssc, [topic], earliest(broker))
    of_output, of_transform, counts = [], [], []

    def look(rdd):
        of_output.extend(rdd.offsetRanges())
        counts.append((rdd.getNumPartitions(), rdd.map(lambda pair: pair[1]).collect()))

    def note(rdd):
        of_transform.extend(rdd.offsetRanges())
        return rdd

    stream.foreachRDD(look)
    seen = collected(stream.transform(note).mapValues(int))
    ssc.start()
    wait_for(ssc, lambda: len(rows(seen)) == 5)
    ssc.stop(False)
    read = OffsetRange(topic, 1, 0, 5)
    assert read in of_output
    assert read in of_transform
    assert sum(r.untilOffset - r.fromOffset for r in of_output) == 5
    assert all(partitions == 2 for partitions, values in counts if values)
    assert rows(values for _, values in counts) == ["0", "1", "2", "3", "4"]
    assert rows(seen) == [("a", n) for n in range(5)]


@pytest.mark.parametrize("keep", [lambda s: s.cache(), lambda s: s.checkpoint(1)], ids=["cache", "checkpoint"])
def test_offset_ranges_of_a_stream_that_is_kept(sc, broker, topic, tmp_path, keep):
    broker.send(topic, [("a", str(n)) for n in range(5)], partition=1)
    decoded = sc.accumulator(0)

    def decode(raw):
        decoded.add(1)
        return raw.decode()

    ssc = StreamingContext(sc, 0.1)
    ssc.checkpoint(str(tmp_path))
    stream = keep(KafkaUtils.createDirectStream(ssc, [topic], earliest(broker), valueDecoder=decode))
    seen = []

    def look(rdd):
        seen.append((rdd.offsetRanges(), rdd.collect()))
        return rdd

    stream.foreachRDD(look)
    collected(stream.transform(look))
    batches = collected(stream)
    ssc.start()
    try:
        wait_for(ssc, lambda: len(rows(batches)) == 5)
    finally:
        ssc.stop(False)
    read = [(ranges, values) for ranges, values in seen if values]
    values = [("a", str(n)) for n in range(5)]
    assert rows(batches) == values
    assert len(read) == 2 and all(OffsetRange(topic, 1, 0, 5) in ranges and found == values for ranges, found in read)
    assert decoded.value == 5


def test_only_the_rdd_of_the_stream_itself_has_ranges(ssc, broker, topic):
    missing = []
    stream = KafkaUtils.createDirectStream(ssc, [topic], earliest(broker))
    stream.map(str).foreachRDD(lambda rdd: missing.append(hasattr(rdd, "offsetRanges")))
    stream.foreachRDD(lambda rdd: missing.append(hasattr(rdd.map(str), "offsetRanges")))
    ssc.start()
    wait_for(ssc, lambda: len(missing) >= 2)
    assert missing[:2] == [False, False]


def test_from_offsets_and_decoders(ssc, broker, topic):
    broker.send(topic, [(str(n), str(n)) for n in range(10)], partition=0)
    begin = {TopicAndPartition(topic, 0): 7, TopicAndPartition(topic, 1): 0}
    decode = lambda raw: -int(raw)  # noqa: E731
    params = {"bootstrap.servers": broker.address}
    seen = collected(KafkaUtils.createDirectStream(ssc, [topic], params, begin, decode, utf8_decoder))
    ssc.start()
    wait_for(ssc, lambda: len(rows(seen)) == 3)
    assert rows(seen) == [(-7, "7"), (-8, "8"), (-9, "9")]


def test_message_handler(ssc, broker, topic):
    broker.send(topic, [("k", "5")], partition=1)

    def handle(record):
        assert isinstance(record, KafkaMessageAndMetadata)
        assert record.timestamp > 1_600_000_000_000
        return record.topic, record.partition, record.offset, record.key, record.message, record._rawMessage

    stream = KafkaUtils.createDirectStream(
        ssc, [topic], earliest(broker), valueDecoder=lambda raw: int(raw), messageHandler=handle
    )
    seen = collected(stream)
    ssc.start()
    wait_for(ssc, lambda: rows(seen))
    assert rows(seen) == [(topic, 1, 0, "k", 5, b"5")]


def test_rdd_of_ranges(sc, broker, topic):
    broker.send(topic, [(None, str(n)) for n in range(10)], partition=0)
    broker.send(topic, [(None, "x"), (None, "y")], partition=1)
    ranges = [OffsetRange(topic, 0, 2, 5), OffsetRange(topic, 1, 1, 2)]
    params = {"metadata.broker.list": broker.address}
    rdd = KafkaUtils.createRDD(sc, params, ranges)
    assert rdd.offsetRanges() == ranges
    assert rdd.glom().collect() == [[(None, "2"), (None, "3"), (None, "4")], [(None, "y")]]
    leaders = {TopicAndPartition(topic, 0): Broker("127.0.0.1", 9092)}
    handled = KafkaUtils.createRDD(sc, params, ranges, leaders, messageHandler=lambda record: record.offset)
    assert handled.collect() == [2, 3, 4, 1]


@pytest.mark.parametrize("named", ["quorum", "metadata.broker.list"])
def test_stream_of_a_group(sc, broker, topic, named):
    """A stream begins where its group has committed: what came while nobody read is there."""
    group = f"group-{next(_names)}"
    quorum = broker.address if named == "quorum" else "zookeeper.invalid:2181/kafka"
    params = None if named == "quorum" else {named: broker.address}
    for n in range(2):
        ssc = StreamingContext(sc, 0.1)
        stream = KafkaUtils.createStream(ssc, quorum, group, {topic: 1}, params)
        seen, batches = collected(stream.map(lambda pair: pair[1])), collected(stream)
        ssc.start()
        try:
            # A new group sees what comes from now on.
            wait_for(ssc, lambda batches=batches: len(batches) > 2)
            broker.send(topic, [(None, f"while it reads {n}")])
            wanted = [f"while it reads {n}"] if n == 0 else ["while nobody reads", f"while it reads {n}"]
            wait_for(ssc, lambda seen=seen, wanted=wanted: rows(seen) == wanted)
            eventually(lambda n=n: broker.committed(group, topic) == 2 * n + 1)
        finally:
            ssc.stop(False, True)
        broker.send(topic, [(None, "while nobody reads")])


def test_nothing_is_lost_or_doubled_over_restarts(sc, broker, topic, tmp_path):
    seen = []

    def program():
        ssc = StreamingContext(sc, 0.1)
        stream = KafkaUtils.createDirectStream(ssc, [topic], earliest(broker))
        stream.map(lambda pair: int(pair[1])).foreachRDD(lambda rdd: seen.extend(rdd.collect()))
        return ssc

    for n in range(3):
        broker.send(topic, [(None, str(10 * n + k)) for k in range(10)], partition=n % 2)
        ssc = StreamingContext.getOrCreate(str(tmp_path), program)
        ssc.start()
        try:
            wait_for(ssc, lambda n=n: len(seen) >= 10 * (n + 1))
        finally:
            ssc.stop(False, True)
    assert sorted(seen) == list(range(30))


def test_types_of_arguments(ssc):
    with pytest.raises(TypeError, match="^topics should be list$"):
        KafkaUtils.createDirectStream(ssc, "topic", {})
    with pytest.raises(TypeError, match="^kafkaParams should be dict$"):
        KafkaUtils.createDirectStream(ssc, ["topic"], "localhost:9092")
    with pytest.raises(TypeError, match="^topics should be dict$"):
        KafkaUtils.createStream(ssc, "localhost:2181", "group", ["topic"])
    with pytest.raises(TypeError, match="^offsetRanges should be list$"):
        KafkaUtils.createRDD(ssc.sparkContext, {"metadata.broker.list": "x:1"}, "none")
    with pytest.raises(ValueError, match="kafkaParams should name the brokers"):
        KafkaUtils.createDirectStream(ssc, ["topic"], {"zookeeper.connect": "localhost:2181"})


def test_settings_of_old():
    old = {
        "metadata.broker.list": "a:1,b:2",
        "auto.offset.reset": "largest",
        "zookeeper.connect": "z:2181",
        "key.deserializer": "org.apache.kafka.common.serialization.StringDeserializer",
        "enable.auto.commit": False,
        "fetch.message.max.bytes": 1000,
        "check.crcs": True,
        "client.id": None,
    }
    assert client_settings(old) == {
        "bootstrap.servers": "a:1,b:2",
        "auto.offset.reset": "latest",
        "max.partition.fetch.bytes": "1000",
        "check.crcs": "true",
    }


def test_places_and_ranges():
    here = OffsetRange("t", 1, 2, 3)
    assert here == OffsetRange("t", 1, 2, 3)
    assert here != OffsetRange("t", 1, 2, 4)
    assert str(here) == "OffsetRange(topic: t, partition: 1, range: [2 -> 3])"
    assert {TopicAndPartition("t", 1): 5}[TopicAndPartition("t", 1)] == 5
    assert TopicAndPartition("t", 1) != TopicAndPartition("t", 2)
    assert (utf8_decoder(None), utf8_decoder("é".encode())) == (None, "é")
