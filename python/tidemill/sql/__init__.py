"""A small part of `pyspark.sql`: enough for a stream's batch to be asked in SQL.

What is promised, and nothing else: `SparkSession.builder ... getOrCreate()`, `spark.createDataFrame(rdd or rows, names)` of rows,
tuples, dicts or `Row`s, `rdd.toDF(names)`, `spark.read.text(path)`, `df.createOrReplaceTempView(name)`, `spark.sql(query)`, and of what
that gives `show`, `collect`, `count`, `columns`, `rdd` and `toPandas`. There are no column expressions, no functions module, no other
readers, no writers, and no Structured Streaming.

Queries are in the SQL of DataFusion, which runs them in this process: `pip install tidemill[sql]`. `spark.sparkContext` and
`spark.read.text(path).rdd` do without.
"""

from .dataframe import DataFrame
from .row import Row
from .spark_session import SparkSession

__all__ = ["DataFrame", "Row", "SparkSession"]
