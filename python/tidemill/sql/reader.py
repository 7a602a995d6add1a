"""`spark.read.text`: lines of files, for programs that go on with their RDD."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import AnalysisException
from ..input_paths import input_files
from ..rdd import RDD
from .dataframe import DataFrame
from .row import Row

if TYPE_CHECKING:
    from .spark_session import SparkSession

__all__ = ["DataFrameReader"]

_COLUMN = "value"


class DataFrameReader:
    """What `spark.read` is. It reads text, and nothing else."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark

    def text(self, paths: str | Sequence[str], wholetext: bool = False) -> DataFrame:
        """The lines of files as rows of one column, `value`; with `wholetext`, each file is a row. Paths are as in `sc.textFile`."""
        sc = self._spark.sparkContext
        joined = paths if isinstance(paths, str) else ",".join(paths)
        try:
            input_files(joined)
        except FileNotFoundError as error:
            # As in Spark, where a DataFrame of files looks for them when it is made.
            raise AnalysisException(str(error)) from error
        return _TextFrame(sc.wholeTextFiles(joined).values() if wholetext else sc.textFile(joined), self._spark)


class _TextFrame(DataFrame):
    """Lines, which only a query needs to have as a table."""

    def __init__(self, lines: RDD[str], spark: SparkSession) -> None:
        self._lines, self._spark, self._spelling = lines, spark, {}

    @property
    def rdd(self) -> RDD[Row]:
        """Its rows, read when they are needed."""
        return self._lines.map(Row(_COLUMN))

    @property
    def columns(self) -> list[str]:
        """The one column."""
        return [_COLUMN]

    def count(self) -> int:
        """The number of lines."""
        return self._lines.count()

    @cached_property
    def _plan(self) -> Any:  # type: ignore[override]
        import pyarrow

        values = pyarrow.array(self._lines.collect(), pyarrow.string())
        return self._spark._engine.from_arrow(pyarrow.table({_COLUMN: values}))
