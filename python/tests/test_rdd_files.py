"""Files as RDDs, and RDDs as files."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidemill import SparkContext, TidemillError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("a1\na2\n")
    (tmp_path / "b.txt").write_text("b1\n\nb3")
    (tmp_path / "c.log").write_text("ü\r\n")
    (tmp_path / "_hidden").write_text("hidden\n")
    (tmp_path / ".hidden").write_text("hidden\n")
    (tmp_path / "z.gz").write_bytes(gzip.compress(b"z1\nz2\n"))
    return tmp_path


LINES: list[tuple[str, list[str]]] = [
    ("a.txt", ["a1", "a2"]),
    ("b.txt", ["b1", "", "b3"]),
    ("c.log", ["ü"]),
    ("z.gz", ["z1", "z2"]),
    ("*.txt", ["a1", "a2", "b1", "", "b3"]),
    ("[ac].*", ["a1", "a2", "ü"]),
    ("{a,b}.txt", ["a1", "a2", "b1", "", "b3"]),
    ("b.txt,a.txt", ["a1", "a2", "b1", "", "b3"]),
    ("", ["a1", "a2", "b1", "", "b3", "ü", "z1", "z2"]),
]


@pytest.mark.parametrize("scheme", ["", "file:", "file://"])
@pytest.mark.parametrize(("paths", "lines"), LINES, ids=[row[0] or "folder" for row in LINES])
def test_textFile(sc: SparkContext, folder: Path, paths: str, lines: list[str], scheme: str) -> None:
    # A comma within braces is no end of a path.
    parts = [paths] if "{" in paths else paths.split(",")
    name = ",".join(f"{scheme}{folder}/{path}" for path in parts)
    for partitions in (None, 1, 3):
        rdd = sc.textFile(name, partitions)
        assert sorted(rdd.collect()) == sorted(lines)
        assert rdd.name() == name


def test_textFile_of_bytes(sc: SparkContext, folder: Path) -> None:
    assert sc.textFile(str(folder / "c.log"), use_unicode=False).collect() == ["ü".encode()]


def test_textFile_cuts_large_files_at_lines(sc: SparkContext, tmp_path: Path) -> None:
    lines = [f"line {n} {'x' * (n % 50)}" for n in range(2000)]
    (tmp_path / "large.txt").write_text("\n".join(lines))
    rdd = sc.textFile(str(tmp_path / "large.txt"), 7)
    assert rdd.getNumPartitions() >= 2 and rdd.collect() == lines


def test_textFile_that_is_not_there(sc: SparkContext, tmp_path: Path) -> None:
    with pytest.raises((TidemillError, OSError), match="nowhere"):
        sc.textFile(str(tmp_path / "nowhere")).collect()


TEXTS: list[tuple[str, dict[str, str]]] = [
    ("a.txt", {"a.txt": "a1\na2\n"}),
    ("*.txt", {"a.txt": "a1\na2\n", "b.txt": "b1\n\nb3"}),
    ("{a,b}.txt", {}),
    ("z.gz", {"z.gz": "z1\nz2\n"}),
    ("", {"a.txt": "a1\na2\n", "b.txt": "b1\n\nb3", "c.log": "ü\r\n", "z.gz": "z1\nz2\n"}),
]


@pytest.mark.parametrize(("path", "texts"), [row for row in TEXTS if row[1]])
def test_wholeTextFiles(sc: SparkContext, folder: Path, path: str, texts: dict[str, str]) -> None:
    for partitions in (None, 1, 10):
        rdd = sc.wholeTextFiles(f"{folder}/{path}", partitions)
        assert dict(rdd.collect()) == {f"file:{folder}/{name}": text for name, text in texts.items()}
        assert 1 <= rdd.getNumPartitions() <= len(texts)
    as_bytes = sc.wholeTextFiles(f"file:{folder}/{path}", use_unicode=False).values().collect()
    assert as_bytes == [(folder / name).read_bytes() if name != "z.gz" else b"z1\nz2\n" for name in texts]


def test_binaryFiles(sc: SparkContext, folder: Path) -> None:
    assert dict(sc.binaryFiles(f"{folder}/*.gz").collect()) == {f"file:{folder}/z.gz": (folder / "z.gz").read_bytes()}


def test_bz2(sc: SparkContext, tmp_path: Path) -> None:
    (tmp_path / "a.bz2").write_bytes(bz2.compress(b"one\ntwo\n"))
    assert sc.wholeTextFiles(str(tmp_path)).values().collect() == ["one\ntwo\n"]


def test_binaryRecords(sc: SparkContext, tmp_path: Path) -> None:
    (tmp_path / "1").write_bytes(bytes(range(40)))
    (tmp_path / "2").write_bytes(b"")
    (tmp_path / "3").write_bytes(b"abcd")
    expected = [bytes(range(n, n + 4)) for n in range(0, 40, 4)] + [b"abcd"]
    assert sc.binaryRecords(str(tmp_path), 4).collect() == expected
    with pytest.raises(ValueError, match="3 bytes: 1 bytes are left over"):
        sc.binaryRecords(str(tmp_path / "1"), 3)
    with pytest.raises(ValueError, match="at least one byte"):
        sc.binaryRecords(str(tmp_path), 0)


@pytest.mark.parametrize("read", [SparkContext.wholeTextFiles, SparkContext.binaryFiles, SparkContext.pickleFile])
def test_inputs_that_are_not_there(sc: SparkContext, tmp_path: Path, read: Callable[..., Any]) -> None:
    with pytest.raises(FileNotFoundError, match="Input path does not exist: .*nowhere"):
        read(sc, str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="Input Pattern .* matches 0 files"):
        read(sc, str(tmp_path / "no*"))
    with pytest.raises(ValueError, match="no file system for hdfs:"):
        read(sc, "hdfs://host/data")


def test_saveAsTextFile(sc: SparkContext, tmp_path: Path) -> None:
    path = tmp_path / "out"
    sc.parallelize([1, "zwölf", "drei".encode(), None, (4, "x")], 2).saveAsTextFile(str(path))
    assert sorted(name for name in os.listdir(path) if not name.startswith(".")) == [
        "_SUCCESS",
        "part-00000",
        "part-00001",
    ]
    assert (path / "part-00000").read_text() + (path / "part-00001").read_text() == "1\nzwölf\ndrei\nNone\n(4, 'x')\n"
    assert sc.textFile(str(path)).collect() == ["1", "zwölf", "drei", "None", "(4, 'x')"]


@pytest.mark.parametrize("save", ["saveAsTextFile", "saveAsPickleFile"])
def test_a_folder_that_is_there_is_not_written(sc: SparkContext, tmp_path: Path, save: str) -> None:
    with pytest.raises(TidemillError, match="FileAlreadyExistsException: Output directory .* already exists"):
        getattr(sc.parallelize([1]), save)(f"file:{tmp_path}")


def test_saveAsTextFile_of_bytes_that_are_no_text(sc: SparkContext, tmp_path: Path) -> None:
    sc.parallelize([b"a\xffb", "z\u00fc".encode()], 1).saveAsTextFile(str(tmp_path / "out"))
    assert sc.textFile(str(tmp_path / "out")).collect() == ["a\N{REPLACEMENT CHARACTER}b", "z\u00fc"]


CODECS: list[tuple[str, str, Callable[[bytes], bytes]]] = [
    ("org.apache.hadoop.io.compress.GzipCodec", ".gz", gzip.decompress),
    ("gzip", ".gz", gzip.decompress),
    ("org.apache.hadoop.io.compress.DefaultCodec", ".deflate", zlib.decompress),
]


@pytest.mark.parametrize(("codec", "suffix", "decompress"), CODECS)
def test_saveAsTextFile_compressed(
    sc: SparkContext, tmp_path: Path, codec: str, suffix: str, decompress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "out"
    sc.parallelize(["a", "b"], 1).saveAsTextFile(str(path), codec)
    (part,) = path.glob("part-*")
    assert part.suffix == suffix and decompress(part.read_bytes()) == b"a\nb\n"
    assert sc.textFile(str(path)).collect() == ["a", "b"]


def test_saving_nothing(sc: SparkContext, tmp_path: Path) -> None:
    sc.parallelize([], 2).saveAsTextFile(str(tmp_path / "text"))
    sc.emptyRDD().saveAsPickleFile(str(tmp_path / "pickles"))
    assert sc.textFile(str(tmp_path / "text")).collect() == sc.pickleFile(str(tmp_path / "pickles")).collect() == []


class Point:
    """A class of this module."""

    def __init__(self, x: int) -> None:
        self.x = x


@pytest.mark.parametrize("batch_size", [1, 3, 0])
def test_pickle_files(sc: SparkContext, tmp_path: Path, batch_size: int) -> None:
    items = [1, "zwei", (3.0, None), {"k": [4]}, b"5", {6}]
    path = str(tmp_path / "out")
    sc.parallelize(items, 3).saveAsPickleFile(path, batch_size)
    assert sc.pickleFile(path).glom().collect() == [items[0:2], items[2:4], items[4:6]]
    assert sorted(map(str, sc.pickleFile(path, 5).collect())) == sorted(map(str, items))
    assert sc.pickleFile(path, 5).getNumPartitions() == 5


def test_pickle_files_of_classes_and_functions(sc: SparkContext, tmp_path: Path) -> None:
    class Local(Point):
        pass

    sc.parallelize([Point(1), Local(2)], 1).saveAsPickleFile(str(tmp_path / "out"))
    assert sc.pickleFile(str(tmp_path / "out")).map(lambda point: point.x).collect() == [1, 2]
