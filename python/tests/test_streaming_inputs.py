"""Where streams come from."""

from __future__ import annotations

import os
import time

import pytest
from lines_server import LinesServer
from streaming_batches import INTERVAL, collected, wait_for

from tidemill import StorageLevel
from tidemill.streaming import StreamingContext


@pytest.fixture
def ssc(sc):
    context = StreamingContext(sc, INTERVAL)
    yield context
    context.stop(stopSparkContext=False)


def test_socket(ssc):
    with LinesServer() as server:
        lines = ssc.socketTextStream(server.host, server.port, StorageLevel.MEMORY_AND_DISK_2)
        seen = collected(lines.map(str.upper))
        ssc.start()
        server.send("one", "zwei drei", "", "vierté")
        wait_for(ssc, lambda: sum(map(len, seen)) >= 4)
        assert [line for batch in seen for line in batch] == ["ONE", "ZWEI DREI", "", "VIERTÉ"]


def test_text_files(ssc, tmp_path):
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    seen = collected(ssc.textFileStream(str(inbox)))
    ssc.start()
    wait_for(ssc, lambda: seen)
    for name, text in (("a.txt", "eins\nzwei\n"), (".hidden", "no\n"), ("b.txt", "drei")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).rename(inbox / name)
        if name != ".hidden":
            lines = text.split()
            wait_for(ssc, lambda lines=lines: lines in seen, name)
    assert sorted(line for batch in seen for line in batch) == ["drei", "eins", "zwei"]


def test_binary_records(ssc, tmp_path):
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    seen = collected(ssc.binaryRecordsStream(str(inbox), 4))
    ssc.start()
    wait_for(ssc, lambda: seen)
    (tmp_path / "records").write_bytes(b"abcdefgh\0\1\2\3")
    os.rename(tmp_path / "records", inbox / "records")
    wait_for(ssc, lambda: any(seen))
    assert [record for batch in seen for record in batch] == [b"abcd", b"efgh", b"\0\1\2\3"]


def test_queue_all_at_once(ssc):
    seen = collected(ssc.queueStream([[1], [2, 3], [4]], oneAtATime=False))
    ssc.start()
    wait_for(ssc, lambda: len(seen) >= 2)
    assert seen[:2] == [[1, 2, 3, 4], []]


@pytest.mark.parametrize("as_rdd", [True, False])
def test_queue_with_a_default(sc, ssc, as_rdd):
    default = sc.parallelize([7, 8]) if as_rdd else [7, 8]
    seen = collected(ssc.queueStream([sc.parallelize([1]), [2]], default=default))
    ssc.start()
    wait_for(ssc, lambda: len(seen) >= 4)
    assert seen[:4] == [[1], [2], [7, 8], [7, 8]]


def test_a_queue_of_nothing(ssc):
    seen = collected(ssc.queueStream([]).count())
    ssc.start()
    wait_for(ssc, lambda: seen)
    assert seen[0] == [0]


def test_what_is_added_to_a_queue_is_not_seen(ssc):
    queue = [[1]]
    seen = collected(ssc.queueStream(queue))
    queue.append([2])
    ssc.start()
    wait_for(ssc, lambda: len(seen) >= 2)
    assert seen[:2] == [[1], []]


def test_batches_at_whole_multiples_of_the_interval(sc):
    times = []
    ssc = StreamingContext(sc, 0.1)
    ssc.queueStream([]).foreachRDD(lambda when, rdd: times.append(when))
    ssc.start()
    try:
        wait_for(ssc, lambda: len(times) >= 3)
    finally:
        ssc.stop(False)
    milliseconds = [round(when.timestamp() * 1000) for when in times]
    assert all(ms % 100 == 0 for ms in milliseconds)
    assert milliseconds == list(range(milliseconds[0], milliseconds[-1] + 1, 100))
    assert abs(milliseconds[0] / 1000 - time.time()) < 60
