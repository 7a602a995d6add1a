"""`spark.read.text`, with which programs begin that go on with RDDs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidemill import SparkContext
from tidemill.errors import AnalysisException
from tidemill.sql import DataFrame, Row, SparkSession


@pytest.fixture
def spark(sc: SparkContext) -> SparkSession:
    return SparkSession.builder.getOrCreate()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("to be\nor not\n")
    (tmp_path / "b.txt").write_text("to be")
    return tmp_path


LINES = [Row(value="to be"), Row(value="or not")]
READS: list[tuple[str, Callable[[SparkSession, Path], DataFrame], list[Row]]] = [
    ("file", lambda spark, texts: spark.read.text(str(texts / "a.txt")), LINES),
    ("files", lambda spark, texts: spark.read.text([f"{texts}/a.txt", f"file:{texts}/b.txt"]), [*LINES, LINES[0]]),
    ("folder", lambda spark, texts: spark.read.text(str(texts)), [*LINES, LINES[0]]),
    ("pattern", lambda spark, texts: spark.read.text(f"{texts}/b*"), LINES[:1]),
    ("whole", lambda spark, texts: spark.read.text(f"{texts}/a.txt", wholetext=True), [Row(value="to be\nor not\n")]),
]


@pytest.mark.parametrize(("read", "rows"), [row[1:] for row in READS], ids=[row[0] for row in READS])
def test_rows_of_text(spark: SparkSession, texts: Path, read: Any, rows: list[Row]) -> None:
    frame = read(spark, texts)
    assert frame.rdd.collect() == frame.collect() == rows
    assert frame.rdd.map(lambda row: (row[0], row.value, row["value"])).collect() == [3 * row for row in rows]
    assert (frame.columns, frame.count()) == (["value"], len(rows))


def test_text_in_a_query(spark: SparkSession, texts: Path) -> None:
    spark.read.text(str(texts)).createOrReplaceTempView("lines")
    answer = spark.sql("select value, count(*) as n from lines group by value order by value")
    assert answer.collect() == answer.rdd.collect() == [Row(value="or not", n=1), Row(value="to be", n=2)]


@pytest.mark.parametrize("wholetext", [False, True])
def test_text_that_is_not_there(spark: SparkSession, tmp_path: Path, wholetext: bool) -> None:
    with pytest.raises(AnalysisException, match="nowhere"):
        spark.read.text(str(tmp_path / "nowhere"), wholetext)


def test_rdds_need_no_packages(sc: SparkContext, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datafusion", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    spark = SparkSession(sc)
    assert spark.sparkContext.parallelize([1, 2]).sum() == 3
    assert spark.read.text(str(texts / "a.txt")).rdd.map(lambda row: row[0]).collect() == ["to be", "or not"]
    with pytest.raises(ImportError, match=r"pip install 'tidemill\[sql\]'"):
        spark.sql("select 1")
