"""Which runs go on from a checkpoint, and which begin anew."""

from __future__ import annotations

import pytest
from streaming_batches import INTERVAL, by_key, collected, eventually, run, wait_for

from tidemill import SparkConf, SparkContext
from tidemill.streaming import Receiver, StreamingContext


def total(new, before):
    return sum(new) + (before or 0)


class One(Receiver):
    """A row in each run."""

    def onStart(self):
        self.store(("a", 1))


def count_to(ssc, wanted):
    """Runs until the one key has been counted so far."""
    counts = collected(ssc.receiverStream(One()).updateStateByKey(total))
    ssc.start()
    try:
        wait_for(ssc, lambda: counts and dict(counts[-1]) == {"a": wanted})
    finally:
        ssc.stop(stopSparkContext=False, stopGraceFully=True)


def test_a_plain_checkpoint_begins_anew(sc, tmp_path, caplog):
    (tmp_path / "mine").write_text("stays")
    # Another program each time: what an earlier one has left fits none of them.
    programs = [lambda s: s.updateStateByKey(total), lambda s: s.updateStateByKey(total, 3), lambda s: s.countWindow(1)]
    expected = [[("a", 1)], [("a", 1)], [[("a", 1)]]]
    for number, program in enumerate(programs):
        interval = INTERVAL * (number + 1)
        result = by_key(run(sc, program, [[("a", 1)]], checkpoint=tmp_path, interval=interval))
        assert result == [expected[number]]
        aside = [tmp_path / f"set-aside-{n}" for n in range(1, number + 1)]
        assert sorted(tmp_path.glob("set-aside-*")) == aside
        assert all((folder / "metadata").exists() and (folder / "offsets").exists() for folder in aside)
        assert [record.message.split(", for this run")[0] for record in caplog.records] == [
            f"the checkpoint of an earlier run is set aside, in {folder}" for folder in aside
        ]
    assert (tmp_path / "mine").read_text() == "stays"


def test_what_was_set_aside_long_ago_goes(sc, tmp_path, monkeypatch):
    monkeypatch.setattr(sc._checkpoints, "folder", None)
    for _ in range(5):
        run(sc, lambda s: s.updateStateByKey(total), [[("a", 1)]], checkpoint=tmp_path)
    last = {"set-aside-2", "set-aside-3", "set-aside-4"}
    eventually(lambda: {path.name for path in tmp_path.glob("set-aside-*")} == last, "the end of the first one")
    # Nor is there a folder for RDDs, of which none was checkpointed.
    assert not (tmp_path / "rdds").exists()


def test_get_or_create_goes_on(sc, tmp_path, caplog):
    def create():
        ssc = StreamingContext(sc, INTERVAL)
        # As PySpark's own examples do.
        ssc.checkpoint(str(tmp_path))
        return ssc

    count_to(StreamingContext.getOrCreate(str(tmp_path), create), 1)
    count_to(StreamingContext.getActiveOrCreate(str(tmp_path), create), 2)
    assert not caplog.records


def test_a_folder_of_the_settings_goes_on(tmp_path):
    active = SparkContext._active_spark_context
    if active is not None:
        active.stop()
    conf = SparkConf().set("spark.streaming.checkpoint.directory", str(tmp_path))
    with SparkContext("local[2]", "settings", conf=conf) as sc:
        for wanted in (1, 2):
            count_to(StreamingContext(sc, INTERVAL), wanted)


def test_a_checkpoint_in_the_way_that_is_damaged_is_set_aside_too(sc, tmp_path):
    for _ in range(2):
        assert run(sc, lambda s: s.updateStateByKey(total), [[("a", 1)]], checkpoint=tmp_path) == [[("a", 1)]]
        (tmp_path / "metadata").write_bytes(b"damaged")
    assert (tmp_path / "set-aside-1" / "metadata").read_bytes() == b"damaged"


@pytest.mark.parametrize("how", ["program", "settings"])
def test_none_switches_a_checkpoint_off(tmp_path, how):
    active = SparkContext._active_spark_context
    if active is not None:
        active.stop()
    conf = SparkConf()
    if how == "settings":
        conf.set("spark.streaming.checkpoint.directory", str(tmp_path))
    with SparkContext("local[2]", "none", conf=conf) as sc:
        ssc = StreamingContext(sc, INTERVAL)
        if how == "program":
            ssc.checkpoint(str(tmp_path))
        ssc.checkpoint(None)
        seen = collected(ssc.queueStream([[1]]))
        ssc.start()
        wait_for(ssc, lambda: seen)
        ssc.stop(stopSparkContext=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (lambda s: s.updateStateByKey(total), [[("a", 1)], [("a", 3)]]),
        (lambda s: s.countByWindow(5 * INTERVAL, INTERVAL), [[1], [2]]),
    ],
    ids=["states", "windows"],
)
def test_the_folder_of_the_spark_context_is_enough_for_states(sc, tmp_path, monkeypatch, program, expected):
    monkeypatch.setattr(sc._checkpoints, "folder", None)
    sc.setCheckpointDir(str(tmp_path))
    assert run(sc, program, [[("a", 1)], [("a", 2)]]) == expected
    # They are in memory: there is nothing to go on from.
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_rdds_are_checkpointed_in_the_folder_of_the_stream(sc, tmp_path, monkeypatch):
    monkeypatch.setattr(sc._checkpoints, "folder", None)
    files = []

    def cut(rdd):
        doubled = rdd.map(lambda row: row * 2)
        doubled.checkpoint()
        assert doubled.collect() == [2, 4]
        files.append(doubled.getCheckpointFile())

    # The second run sets the first one's checkpoint aside, and not the files of RDDs that are in use.
    for runs in (1, 2):
        ssc = StreamingContext(sc, INTERVAL)
        ssc.checkpoint(str(tmp_path))
        ssc.queueStream([sc.parallelize([1, 2], 1)], default=sc.parallelize([1, 2], 1)).foreachRDD(cut)
        ssc.start()
        wait_for(ssc, lambda runs=runs: len(files) >= runs)
        ssc.stop(stopSparkContext=False)
    assert sc.getCheckpointDir().startswith(str(tmp_path / "rdds"))
    assert all(file.startswith(sc.getCheckpointDir()) for file in files)
    assert sc.pickleFile(files[0]).collect() == [2, 4]


@pytest.mark.parametrize("folder", ["of the program's", None])
def test_when_the_spark_context_keeps_its_folder(sc, tmp_path, monkeypatch, folder):
    """If it has one; and where the streams' is in an object store, which has no place for RDDs."""
    monkeypatch.setattr(sc._checkpoints, "folder", folder)
    ssc = StreamingContext(sc, INTERVAL)
    ssc.checkpoint(str(tmp_path) if folder else "memory:rdds")
    assert sc.getCheckpointDir() == folder
    ssc.stop(stopSparkContext=False)


def test_a_folder_as_a_uri(sc, tmp_path, monkeypatch):
    monkeypatch.setattr(sc._checkpoints, "folder", None)
    ssc = StreamingContext(sc, INTERVAL)
    ssc.checkpoint(f"file://{tmp_path}")
    assert sc.getCheckpointDir().startswith(str(tmp_path / "rdds"))
    ssc.stop(stopSparkContext=False)
