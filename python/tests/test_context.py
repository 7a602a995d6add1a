"""The life of a context, what it says of itself, and what it was told."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidemill import InheritableThread, SparkConf, SparkContext, SparkFiles, inheritable_thread_target
from tidemill.serializers import MarshalSerializer


@pytest.fixture(autouse=True)
def _no_context() -> Iterator[None]:
    """These tests make contexts of their own."""
    yield
    if SparkContext._active_spark_context is not None:
        SparkContext._active_spark_context.stop()


def test_one_at_a_time() -> None:
    first = SparkContext("local[2]", "first")
    with pytest.raises(
        ValueError,
        match=r"Cannot run multiple SparkContexts at once; existing SparkContext\(app=first, master=local\[2\]\)",
    ):
        SparkContext("local", "second")
    with pytest.raises(ValueError, match=r"created by __init__ at .*test_context\.py:\d+"):
        SparkContext("local", "second")
    assert SparkContext._active_spark_context is first
    assert SparkContext.getOrCreate() is first
    first.stop()
    first.stop()
    assert SparkContext._active_spark_context is None
    second = SparkContext.getOrCreate(SparkConf().setMaster("local[1]").setAppName("second"))
    assert second is not first and (second.appName, second.master) == ("second", "local[1]")


def test_a_failure_to_start_leaves_nothing_behind() -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 (what the engine raises)
        SparkContext("nonsense:7077", "none")
    with pytest.raises(FileNotFoundError):
        SparkContext("local", "none", pyFiles=["/nowhere.py"])
    assert SparkContext._active_spark_context is None


def test_with_statement_stops_it() -> None:
    with pytest.raises(KeyError):
        with SparkContext("local", "with") as sc:
            raise KeyError
    assert SparkContext._active_spark_context is None
    with pytest.raises(RuntimeError, match="Cannot call methods on a stopped SparkContext"):
        sc.parallelize([1])


def test_a_stopped_context_does_nothing_more() -> None:
    sc = SparkContext("local", "stopped")
    rdd = sc.parallelize([1])
    sc.stop()
    actions = [
        rdd.collect,
        lambda: rdd.map(str),
        lambda: sc.textFile("x"),
        lambda: sc.broadcast(1),
        lambda: sc.emptyRDD(),
        sc.range,
    ]
    for action in actions[:-1]:
        with pytest.raises(RuntimeError, match="stopped SparkContext"):
            action()  # type: ignore[operator]


def test_what_it_says_of_itself() -> None:
    before = int(time.time() * 1000)
    with SparkContext("local[3]", "says", environment={"A": "1"}, serializer=MarshalSerializer(), batchSize=5) as sc:
        assert repr(sc) == "<SparkContext master=local[3] appName=says>"
        assert (sc.defaultParallelism, sc.defaultMinPartitions) == (3, 2)
        assert before <= sc.startTime <= int(time.time() * 1000)
        assert sc.applicationId.startswith("local-") and sc.getConf().get("spark.app.id") == sc.applicationId
        assert sc.version.split(".")[0] == "4" and sc.uiWebUrl is None and sc.resources == {}
        assert sc.sparkUser() and sc.environment == {"A": "1"}
        assert sc.pythonVer == f"{sys.version_info[0]}.{sys.version_info[1]}"
        sc.setLogLevel("warn")
        with pytest.raises(ValueError, match="Supplied level LOUD did not match one of"):
            sc.setLogLevel("LOUD")


def test_settings() -> None:
    conf = SparkConf().setMaster("local[2]").setAppName("settings").set("spark.x", 1)
    with SparkContext(conf=conf) as sc:
        assert (
            dict(sc.getConf().getAll()).items()
            >= {"spark.master": "local[2]", "spark.app.name": "settings", "spark.x": "1"}.items()
        )
        sc.getConf().set("spark.x", 2)
        conf.set("spark.x", 3)
        assert sc.getConf().get("spark.x") == "1"
    with SparkContext("local[1]", "arguments hold", conf=conf) as sc:
        assert (sc.master, sc.appName) == ("local[1]", "arguments hold")
    assert conf.get("spark.master") == "local[2]"


def test_defaults_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SparkConf, "_defaults", {})
    SparkContext.setSystemProperty("spark.default.parallelism", "3")
    assert SparkContext.getSystemProperty("spark.default.parallelism") == "3"
    assert SparkConf().get("spark.default.parallelism") == "3" and not SparkConf(False).contains(
        "spark.default.parallelism"
    )
    with SparkContext("local", "defaults") as sc:
        assert sc.defaultParallelism == 3


def test_default_number_of_partitions() -> None:
    pairs = [(n, n) for n in range(20)]
    with SparkContext("local[2]", "default") as sc:
        assert sc.parallelize(pairs).getNumPartitions() == 2
        assert sc.parallelize(pairs, 7).groupByKey().getNumPartitions() == 7
        assert sc.parallelize(pairs, 7).join(sc.parallelize(pairs, 3)).getNumPartitions() == 7
    with SparkContext("local[2]", "default", conf=SparkConf().set("spark.default.parallelism", 3)) as sc:
        assert sc.defaultParallelism == sc.parallelize(pairs).getNumPartitions() == 3
        assert sc.parallelize(pairs, 7).reduceByKey(min).getNumPartitions() == 3
        assert sc.parallelize(pairs, 7).cogroup(sc.parallelize(pairs, 5)).getNumPartitions() == 3


RANGES: list[tuple[tuple[int, ...], range]] = [
    ((5,), range(5)),
    ((2, 4), range(2, 4)),
    ((1, 7, 2), range(1, 7, 2)),
    ((5, 0, -2), range(5, 0, -2)),
    ((3, 3), range(0)),
]


def test_collections() -> None:
    with SparkContext("local[2]", "collections") as sc:
        for arguments, expected in RANGES:
            for slices in (None, 1, 4):
                assert sc.range(*arguments, numSlices=slices).collect() == list(expected)
        for items in ([1, 2, 3], (1, 2, 3), range(3), "abc", {1: 2}, iter([1, 2]), (n for n in range(4))):
            copy = list(items) if not isinstance(items, Iterator) else None
            found = sc.parallelize(items, 2).collect()
            assert copy is None or found == copy
        assert sc.parallelize((n for n in range(4)), 3).glom().collect() == [[0], [1], [2, 3]]
        assert sc.range(10**12, numSlices=4).take(2) == [0, 1], "ranges are not listed"
        assert sc.emptyRDD().getNumPartitions() == 0 and sc.emptyRDD().collect() == []


def test_added_files(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner.txt").write_text("inner")
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr("packed.txt", "packed")
    with SparkContext("local[2]", "files") as sc:
        sc.addFile(str(tmp_path / "data.txt"))
        sc.addFile(f"file://{tmp_path}/folder", recursive=True)
        sc.addArchive(f"{tmp_path}/pack.zip#pack")
        read = lambda name: Path(SparkFiles.get(name)).read_text()  # noqa: E731
        names = ["data.txt", "folder/inner.txt", "pack/packed.txt"]
        assert sc.parallelize(names, 2).map(read).collect() == ["hello", "inner", "packed"]
        assert sc.listFiles == [f"file:{tmp_path}/data.txt", f"file://{tmp_path}/folder"]
        assert sc.listArchives == [f"file:{tmp_path}/pack.zip#pack"]
        with pytest.raises(RuntimeError, match="is a directory and recursive is not turned on"):
            sc.addFile(str(tmp_path / "folder"))
        with pytest.raises(FileNotFoundError):
            sc.addFile(str(tmp_path / "nowhere"))
        root = SparkFiles.getRootDirectory()
        assert os.path.isdir(root)
    assert not os.path.exists(root)
    with pytest.raises(RuntimeError, match="without an active SparkContext"):
        SparkFiles.getRootDirectory()


def test_added_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "tide_single.py").write_text("VALUE = 1")
    (tmp_path / "tide_argument.py").write_text("VALUE = 3")
    with zipfile.ZipFile(tmp_path / "modules.zip", "w") as archive:
        archive.writestr("tide_zipped.py", "VALUE = 2")

    def value(name: str) -> Any:
        return __import__(name).VALUE

    with SparkContext("local[2]", "modules", pyFiles=[str(tmp_path / "tide_argument.py")]) as sc:
        sc.addPyFile(str(tmp_path / "tide_single.py"))
        sc.addPyFile(str(tmp_path / "modules.zip"))
        names = ["tide_single", "tide_zipped", "tide_argument"]
        assert sc.parallelize(names, 2).map(value).collect() == [1, 2, 3]


def test_a_module_that_is_added_within_a_tick_of_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of modules looks as it did when it was last looked into."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("tide_first", "tide_second"):
        (tmp_path / f"{name}.py").write_text(f"NAME = {name!r}")
    with SparkContext("local", "modules") as sc:
        sc.addPyFile(str(tmp_path / "tide_first.py"))
        assert __import__("tide_first").NAME == "tide_first"
        root, copy = SparkFiles.getRootDirectory(), shutil.copyfile
        before = os.stat(root).st_mtime_ns

        def copy_at_once(source: str, target: str) -> str:
            copied = copy(source, target)
            os.utime(root, ns=(before, before))
            return copied

        monkeypatch.setattr(shutil, "copyfile", copy_at_once)
        sc.addPyFile(str(tmp_path / "tide_second.py"))
        assert __import__("tide_second").NAME == "tide_second"


def test_local_properties_belong_to_a_thread() -> None:
    with SparkContext("local[2]", "threads") as sc:
        sc.setLocalProperty("pool", "fast")
        seen: list[Any] = []

        def look() -> None:
            seen.append(sc.getLocalProperty("pool"))

        for thread in (
            threading.Thread(target=look),
            threading.Thread(target=inheritable_thread_target(look)),
            InheritableThread(look),
            InheritableThread(look, session=None),
        ):
            thread.start()
            thread.join()
        assert seen == [None, "fast", "fast", "fast"]
        sc.setLocalProperty("pool", None)
        assert sc.getLocalProperty("pool") is None


def test_checkpoint_folder(tmp_path: Path) -> None:
    with SparkContext("local", "folder") as sc:
        assert sc.getCheckpointDir() is None
        sc.setCheckpointDir(f"file://{tmp_path}/a")
        folder = Path(sc.getCheckpointDir() or "")
        assert folder.is_dir() and folder.parent == tmp_path / "a"
