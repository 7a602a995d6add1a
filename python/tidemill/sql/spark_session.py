"""`SparkSession`: where data gets names, and queries are asked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ..conf import SparkConf
from ..context import SparkContext
from ..errors import AnalysisException, ParseException
from ..rdd import RDD
from .columns import table_of
from .dataframe import DataFrame
from .reader import DataFrameReader

__all__ = ["SparkSession"]


class Builder:
    """Settings of a `SparkSession` that is to be made, or found: there is one in a process."""

    def __init__(self) -> None:
        self._settings: dict[str, str] = {}

    def appName(self, name: str) -> Builder:
        """The name of the program."""
        return self.config("spark.app.name", name)

    def master(self, master: str) -> Builder:
        """Where it runs: `local[4]`."""
        return self.config("spark.master", master)

    def config(self, key: str | None = None, value: Any = None, conf: SparkConf | None = None) -> Builder:
        """A setting, or all of a SparkConf."""
        if conf is not None:
            self._settings.update(conf.getAll())
        elif key is not None:
            self._settings[key] = str(value).lower() if isinstance(value, bool) else str(value)
        return self

    def getOrCreate(self) -> SparkSession:
        """The one that is there, or a new one, on the SparkContext that is there or a new one."""
        active = SparkSession.getActiveSession()
        if active is not None:
            return active
        conf = SparkConf()
        for key, value in self._settings.items():
            conf.set(key, value)
        return SparkSession(SparkContext.getOrCreate(conf))


class _Builders:
    """A new builder each time it is asked for, so that no settings are left over from the last one."""

    def __get__(self, instance: object, owner: type) -> Builder:
        return Builder()


class SparkSession:
    """Gives RDDs and rows names, and answers queries over them: see `tidemill.sql` for what is there."""

    builder = _Builders()
    _instantiated: SparkSession | None = None

    def __init__(self, sparkContext: SparkContext) -> None:
        self._sc = sparkContext
        # Columns are found in any case: views have them in lower case, and results as they were spelled.
        self._spelling: dict[str, str] = {}
        SparkSession._instantiated = self
        RDD.toDF = _to_df  # type: ignore[attr-defined]

    @classmethod
    def getActiveSession(cls) -> SparkSession | None:
        """The one that is there; None if there is none."""
        found = cls._instantiated
        return found if found is not None and found._sc is SparkContext._active_spark_context else None

    @cached_property
    def _engine(self) -> Any:
        """DataFusion: only what is asked in SQL needs it."""
        return _engine()

    @property
    def read(self) -> DataFrameReader:
        """Reads files of text: `spark.read.text(path)`."""
        return DataFrameReader(self)

    @property
    def sparkContext(self) -> SparkContext:
        """The context for RDDs."""
        return self._sc

    def createDataFrame(self, data: RDD | Sequence[Any], schema: Sequence[str] | None = None) -> DataFrame:
        """A DataFrame of the rows of an RDD or a list: tuples, lists, dicts or `Row`s. `schema` is the names of the columns.

        The rows of an RDD are brought here at once. Types are those of the values; columns must be of one type each.
        """
        if schema is not None and (isinstance(schema, str) or not all(isinstance(name, str) for name in schema)):
            raise NotImplementedError("a schema is a list of names here: tidemill.sql is a small part of pyspark.sql")
        if isinstance(data, RDD):
            rows = data.collect()
            if not rows:
                raise ValueError("RDD is empty")
        else:
            rows = data if isinstance(data, list) else list(data)
        return DataFrame(self._engine.from_arrow(table_of(rows, schema)), self, {})

    def sql(self, sqlQuery: str) -> DataFrame:
        """The answer to a query over what has a name, in the SQL of DataFusion."""
        engine = self._engine
        try:
            answer = engine.sql(sqlQuery)
        except Exception as error:
            text = str(error)
            raise (ParseException if "ParserError" in text else AnalysisException)(text) from error
        return DataFrame(answer, self, dict(self._spelling))

    def stop(self) -> None:
        """Stops the SparkContext."""
        SparkSession._instantiated = None
        self._sc.stop()

    def __enter__(self) -> SparkSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _name(self, frame: DataFrame, name: str) -> None:
        """Makes a DataFrame a view. Its rows are computed now: a batch's data is not there for ever."""
        table, view = frame._table(), name.lower()
        lower = [column.lower() for column in table.column_names]
        if len(set(lower)) == len(lower):
            self._spelling.update(zip(lower, table.column_names, strict=True))
            table = table.rename_columns(lower)
        if self._engine.table_exist(view):
            self._engine.deregister_table(view)
        self._engine.register_record_batches(view, [table.to_batches()])


def _to_df(rdd: RDD, schema: Sequence[str] | None = None, sampleRatio: float | None = None) -> DataFrame:
    """A DataFrame of the rows of an RDD: see `SparkSession.createDataFrame`. All rows are looked at for types, whatever `sampleRatio` says."""
    return SparkSession.builder.getOrCreate().createDataFrame(rdd, schema)


def _engine() -> Any:
    try:
        from datafusion import SessionConfig, SessionContext
    except ImportError as error:
        raise ImportError(
            "tidemill.sql needs the packages datafusion and pyarrow: pip install 'tidemill[sql]'"
        ) from error
    # Backquotes stand around names, as in Spark.
    return SessionContext(SessionConfig().set("datafusion.sql_parser.dialect", "databricks"))
