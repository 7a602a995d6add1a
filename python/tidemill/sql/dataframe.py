"""`DataFrame`: columns with names, or a query over such."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .row import Row

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from ..rdd import RDD
    from .spark_session import SparkSession

__all__ = ["DataFrame"]


class DataFrame:
    """Rows with names for their columns. A query runs when its rows are asked for, each time."""

    def __init__(self, plan: Any, spark: SparkSession, spelling: dict[str, str]) -> None:
        self._plan = plan  # of DataFusion's
        self._spark = spark
        self._spelling = spelling

    @property
    def sparkSession(self) -> SparkSession:
        """What made it."""
        return self._spark

    @property
    def rdd(self) -> RDD[Row]:
        """Its rows as they are now."""
        return self._spark.sparkContext.parallelize(self.collect())

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return [self._spelling.get(name, name) for name in self._plan.schema().names]

    def collect(self) -> list[Row]:
        """All rows."""
        return _rows(self._table())

    def count(self) -> int:
        """The number of rows."""
        return self._plan.count()

    def show(self, n: int = 20, truncate: bool | int = True, vertical: bool = False) -> None:
        """Prints the first `n` rows as a table. Cells are cut after 20 characters, or as many as `truncate` says; False cuts none."""
        if vertical:
            raise NotImplementedError("show(vertical=True) is not there: tidemill.sql is a small part of pyspark.sql")
        width = (20 if truncate else 0) if isinstance(truncate, bool) else truncate
        table = _renamed(self._plan.limit(n + 1).to_arrow_table(), self._spelling)
        cells = [[_cut(name, width) for name in table.column_names]]
        cells += [[_cut(_cell(value), width) for value in row] for row in _rows(table)[:n]]
        widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
        rule = "+" + "".join("-" * width + "+" for width in widths)
        lines = ["|" + "".join(f"{cell:>{width}}|" for cell, width in zip(row, widths, strict=True)) for row in cells]
        more = [f"only showing top {n} row{'' if n == 1 else 's'}"] if table.num_rows > n else []
        print("\n".join([rule, lines[0], rule, *lines[1:], rule, *more]) + "\n", flush=True)

    def toPandas(self) -> pandas.DataFrame:
        """The rows as a DataFrame of pandas, which must be installed."""
        return self._table().to_pandas()

    def createOrReplaceTempView(self, name: str) -> None:
        """Gives it a name for queries of `spark.sql`, in place of what had that name."""
        self._spark._name(self, name)

    def __repr__(self) -> str:
        fields = zip(self.columns, self._plan.schema().types, strict=True)
        return f"DataFrame[{', '.join(f'{name}: {kind}' for name, kind in fields)}]"

    def _table(self) -> pyarrow.Table:
        return _renamed(self._plan.to_arrow_table(), self._spelling)


def _renamed(table: pyarrow.Table, spelling: dict[str, str]) -> pyarrow.Table:
    return table.rename_columns([spelling.get(name, name) for name in table.column_names])


def _rows(table: pyarrow.Table) -> list[Row]:
    make = Row(*table.column_names)
    return [make(*values) for values in zip(*(column.to_pylist() for column in table.columns), strict=True)]


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _cut(text: str, width: int) -> str:
    if not width or len(text) <= width:
        return text
    return text[:width] if width < 4 else text[: width - 3] + "..."
