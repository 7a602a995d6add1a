"""Output operations."""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from streaming_batches import INTERVAL, collected, eventually, wait_for

from tidemill.streaming import StreamingContext
from tidemill.streaming.batch_time import batch_folder
from tidemill.streaming.util import rddToFileName


def started(sc, program, batches, interval=INTERVAL):
    """Runs until there was a batch for each of these, and one more."""
    ssc = StreamingContext(sc, interval)
    stream = ssc.queueStream(batches)
    program(stream)
    done = collected(stream)
    ssc.start()
    try:
        wait_for(ssc, lambda: len(done) > len(batches))
    finally:
        ssc.stop(False)


def test_pprint(sc, capsys):
    started(sc, lambda s: s.pprint(3), [["a", ("b", 1)], [1, 2, 3, 4], [1, 2, 3]])
    printed = capsys.readouterr().out.split("\n\n")
    rule = "-" * 43
    times = []
    for block, rows in zip(printed, (["a", "('b', 1)"], ["1", "2", "3", "..."], ["1", "2", "3"], []), strict=False):
        lines = block.split("\n")
        assert (lines[0], lines[2], lines[3:]) == (rule, rule, rows)
        times.append(re.fullmatch(r"Time: (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?)", lines[1]).group(1))
    assert times == sorted(times)
    assert datetime.fromisoformat(times[0]).year >= 2024


def test_pprint_of_whole_seconds(sc, capsys):
    started(sc, lambda s: s.pprint(), [range(11)], interval=1)
    lines = capsys.readouterr().out.split("\n")
    assert re.fullmatch(r"Time: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", lines[1])
    assert lines[3:15] == [*map(str, range(10)), "...", ""]


def test_foreach_rdd_by_number_of_arguments(sc):
    plain, timed = [], []

    class Both:
        def keep(self, time, rdd):
            timed.append((time, rdd.collect()))

    def program(stream):
        stream.foreachRDD(lambda rdd: plain.append(rdd.collect()))
        stream.foreachRDD(Both().keep)

    started(sc, program, [[1], [2]])
    assert plain[:2] == [[1], [2]]
    assert [rows for _, rows in timed[:2]] == [[1], [2]]
    assert all(isinstance(time, datetime) for time, _ in timed)
    assert timed[1][0] - timed[0][0] == timed[2][0] - timed[1][0]


def test_outputs_run_in_order(sc):
    seen = []

    # A lambda with a default has two arguments, as in PySpark: it gets time and RDD, so the name is taken by hand.
    def named(name):
        return lambda rdd: seen.append(name)

    def by_hand(stream):
        for name in "abc":
            stream.foreachRDD(named(name))

    started(sc, by_hand, [[1], [2]])
    assert "".join(seen[:6]) == "abcabc"


def test_foreach_rdd_may_do_what_rdds_do(sc):
    totals = []

    def look(rdd):
        words = rdd.flatMap(str.split).map(lambda w: (w, 1)).reduceByKey(lambda a, b: a + b)
        totals.append((rdd.count(), words.sortByKey().collect(), words.isEmpty(), rdd.take(1)))
        assert rdd.context is sc

    started(sc, lambda s: s.foreachRDD(look), [["b a", "a"]])
    assert totals[0] == (2, [("a", 2), ("b", 1)], False, ["b a"])


def test_foreach_rdd_sees_the_local_properties_of_the_start(sc):
    seen = []
    sc.setLocalProperty("spark.scheduler.pool", "mine")
    try:
        started(sc, lambda s: s.foreachRDD(lambda rdd: seen.append(sc.getLocalProperty("spark.scheduler.pool"))), [[1]])
    finally:
        sc.setLocalProperty("spark.scheduler.pool", None)
    assert seen[0] == "mine"


def test_save_as_text_files(sc, tmp_path):
    prefix = str(tmp_path / "out")
    started(sc, lambda s: s.saveAsTextFiles(prefix, "txt"), [["a", 1, ("b", 2), b"bytes"], []])
    folders = sorted(tmp_path.glob("out-*.txt"))
    assert re.fullmatch(r"out-\d{13}\.txt", folders[0].name)
    lines = [line for part in sorted(folders[0].glob("part-*")) for line in part.read_text().splitlines()]
    assert lines == ["a", "1", "('b', 2)", "bytes"]
    assert (folders[0] / "_SUCCESS").exists()
    assert (folders[1] / "_SUCCESS").exists()


@pytest.mark.parametrize("finished", [True, False])
def test_files_of_an_earlier_run_of_the_batch(sc, tmp_path, finished):
    """Complete ones stay as they are; what a killed run has left is written again."""
    times = []

    def get_in_the_way(time, rdd):
        if not times:
            folder = tmp_path / f"out-{round(time.timestamp() * 1000)}"
            folder.mkdir()
            (folder / "part-00000").write_text("earlier\n")
            if finished:
                (folder / "_SUCCESS").touch()
        times.append(time)

    def program(stream):
        stream.foreachRDD(get_in_the_way)
        stream.saveAsTextFiles(str(tmp_path / "out"))

    started(sc, program, [["now"]])
    first = min(tmp_path.glob("out-*"))
    text = "".join(part.read_text() for part in first.glob("part-*"))
    assert text == ("earlier\n" if finished else "now\n")


def test_names_of_folders():
    assert batch_folder("counts", None, 1000) == "counts-1000"
    assert batch_folder("counts", "txt", 1000) == "counts-1000.txt"
    assert batch_folder(None, "txt", 1000) == "1000.txt"
    moment = datetime(2024, 5, 6, 7, 8, 9, 123456)
    assert rddToFileName("counts", "txt", moment) == f"counts-{int(moment.timestamp())}123.txt"
    assert rddToFileName("counts", None, 1000) == "counts-1000"


def test_the_first_error_of_an_output_is_raised(sc):
    ssc = StreamingContext(sc, INTERVAL)
    others = []
    stream = ssc.queueStream([[1]])
    stream.foreachRDD(lambda rdd: 1 / 0)
    stream.foreachRDD(lambda rdd: others.append(rdd.collect()))
    ssc.start()
    with pytest.raises(Exception, match="ZeroDivisionError") as caught:
        ssc.awaitTermination(60)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "foreachRDD at test_streaming_output.py" in str(caught.value)
    # Other outputs of the batch run all the same.
    assert eventually(lambda: others)[0] == [1]
    ssc.stop(False)


def test_an_error_in_a_stage_names_its_operators(sc):
    ssc = StreamingContext(sc, INTERVAL)
    ssc.queueStream([["1", "x"]]).map(int).filter(lambda n: n > 0).pprint()
    ssc.start()
    with pytest.raises(Exception, match="invalid literal for int") as caught:
        ssc.awaitTermination(60)
    assert isinstance(caught.value.__cause__, ValueError)
    assert "map, filter, pprint at test_streaming_output.py" in str(caught.value)
    ssc.stop(False)
