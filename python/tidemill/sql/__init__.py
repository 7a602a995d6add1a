"""A small part of `pyspark.sql`: enough for a stream's batch to be asked in SQL.

What is promised, and nothing else: `SparkSession.builder ... getOrCreate()`, `spark.createDataFrame(rdd or rows, names)` of rows,
tuples, dicts or `Row`s, `rdd.toDF(names)`, `df.createOrReplaceTempView(name)`, `spark.sql(query)`, and of what that gives `show`,
`collect`, `count`, `columns` and `toPandas`. There are no column expressions, no functions module, no readers and writers,
and no Structured Streaming.

Queries are in the SQL of DataFusion, which runs them in this process: `pip install tidemill[sql]`.
"""

from .dataframe import DataFrame
from .row import Row
from .spark_session import SparkSession

__all__ = ["DataFrame", "Row", "SparkSession"]
