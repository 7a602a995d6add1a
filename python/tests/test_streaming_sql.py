"""Batches asked in SQL."""

from __future__ import annotations

import pickle
import sys

import pytest
from streaming_batches import INTERVAL, wait_for

from tidemill.errors import AnalysisException, ParseException
from tidemill.sql import Row, SparkSession
from tidemill.streaming import StreamingContext


@pytest.fixture
def spark(sc):
    return SparkSession.builder.getOrCreate()


def test_batches_as_tables(sc):
    answers = []

    def ask(rdd):
        if rdd.isEmpty():
            return
        spark = SparkSession.builder.config(conf=rdd.context.getConf()).getOrCreate()
        spark.createDataFrame(rdd.map(lambda word: Row(word=word))).createOrReplaceTempView("words")
        answers.append(spark.sql("select word, count(*) as total from words group by word order by word").collect())

    ssc = StreamingContext(sc, INTERVAL)
    ssc.queueStream([["b", "a", "b"], ["c"]]).foreachRDD(ask)
    ssc.start()
    try:
        wait_for(ssc, lambda: len(answers) == 2)
    finally:
        ssc.stop(False)
    assert answers == [[Row(word="a", total=1), Row(word="b", total=2)], [Row(word="c", total=1)]]
    assert answers[0][1].word == "b"


def test_one_in_a_process(sc, spark):
    assert SparkSession.builder.appName("other").config("spark.x", True).getOrCreate() is spark
    assert SparkSession.getActiveSession() is spark
    assert spark.sparkContext is sc


@pytest.mark.parametrize(
    ("rows", "names", "columns"),
    [
        ([("a", 1)], ["word", "n"], ["word", "n"]),
        ([("a", 1)], None, ["_1", "_2"]),
        ([("a", 1)], ["word"], ["word", "_2"]),
        ([{"word": "a", "n": 1}], None, ["word", "n"]),
        ([Row(word="a", n=1)], None, ["word", "n"]),
        ([Row(word="a", n=1)], ["x", "y"], ["x", "y"]),
        ([["a", 1]], ("x", "y"), ["x", "y"]),
    ],
)
def test_names_of_columns(sc, spark, rows, names, columns):
    for data in (rows, sc.parallelize(rows)):
        frame = spark.createDataFrame(data, names)
        assert frame.columns == columns
        assert [tuple(row) for row in frame.collect()] == [("a", 1)]
        assert frame.count() == 1
    assert sc.parallelize(rows).toDF(names).columns == sc.parallelize(rows).toDF(names, sampleRatio=0.5).columns == columns


def test_show(spark, capsys):
    frame = spark.createDataFrame([("a", 1, None), ("b" * 25, 22, True)], ["word", "n", "flag"])
    frame.show()
    cut = "b" * 17 + "..."
    assert capsys.readouterr().out == (
        "+--------------------+---+----+\n"
        "|                word|  n|flag|\n"
        "+--------------------+---+----+\n"
        "|                   a|  1|NULL|\n"
        f"|{cut}| 22|true|\n"
        "+--------------------+---+----+\n\n"
    )
    frame.show(1, truncate=False)
    assert capsys.readouterr().out == (
        "+----+---+----+\n|word|  n|flag|\n+----+---+----+\n|   a|  1|NULL|\n+----+---+----+\nonly showing top 1 row\n\n"
    )


def test_names_in_any_case(spark):
    spark.createDataFrame([("a", 1), ("b", 2)], ["Word", "N"]).createOrReplaceTempView("Mixed")
    assert spark.sql("SELECT WORD, `n` FROM mixed WHERE n > 1").collect() == [Row(Word="b", N=2)]
    assert spark.sql("select * from MIXED").columns == ["Word", "N"]


@pytest.mark.parametrize(
    ("query", "kind"),
    [("SELEKT 1", ParseException), ("SELECT * FROM nowhere", AnalysisException), ("SELECT nothing", AnalysisException)],
)
def test_wrong_queries(spark, query, kind):
    with pytest.raises(AnalysisException) as raised:
        spark.sql(query)
    assert type(raised.value) is kind


def test_what_there_is_not(sc, spark, monkeypatch):
    with pytest.raises(ValueError, match="RDD is empty"):
        spark.createDataFrame(sc.emptyRDD(), ["a"])
    with pytest.raises(ValueError, match="can not infer schema from empty dataset"):
        spark.createDataFrame([], ["a"])
    with pytest.raises(TypeError, match="Can not infer schema for type: <class 'int'>"):
        spark.createDataFrame([1, 2])
    with pytest.raises(TypeError, match="the values of column _1 are not of one type"):
        spark.createDataFrame([(1,), ("a",)])
    with pytest.raises(NotImplementedError, match="small part of pyspark.sql"):
        spark.createDataFrame([(1,)], "a int")
    monkeypatch.setitem(sys.modules, "datafusion", None)
    with pytest.raises(ImportError, match=r"pip install 'tidemill\[sql\]'"):
        SparkSession(sc).sql("select 1")


def test_rows():
    row = Row(word="a", inner=Row(n=1))
    assert (row.word, row["word"], row[0], "word" in row, "x" in row) == ("a", "a", "a", True, False)
    assert row == ("a", (1,))
    assert repr(row) == "Row(word='a', inner=Row(n=1))"
    assert row.asDict() == {"word": "a", "inner": (1,)}
    assert row.asDict(recursive=True) == {"word": "a", "inner": {"n": 1}}
    again = pickle.loads(pickle.dumps(row))
    assert (again, again.inner.n, repr(again)) == (row, 1, repr(row))
    maker = Row("word", "n")
    assert repr(maker) == "<Row('word', 'n')>"
    assert maker("b", 2).n == 2
    with pytest.raises(AttributeError, match="missing"):
        _ = row.missing
    with pytest.raises(KeyError, match="missing"):
        _ = row["missing"]
    with pytest.raises(RuntimeError, match="Row is read-only"):
        row.word = "b"
    with pytest.raises(ValueError, match="both args and kwargs"):
        Row(1, a=2)
    with pytest.raises(ValueError, match="expected 2 values"):
        maker(1, 2, 3)
