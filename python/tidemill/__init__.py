"""Spark Streaming's Python API over an engine in Rust: RDDs, DStreams, and their contexts.

    >>> from tidemill import SparkContext
    >>> sc = SparkContext.getOrCreate()
    >>> sc.parallelize(["to be or", "not to be"]).flatMap(str.split).countByValue()["be"]
    2

Names, arguments and results are those of PySpark. A program that imports `pyspark` runs as it is by `python -m tidemill
program.py`, or after `install_as_pyspark()`. Streams are in `tidemill.streaming`.
"""

from __future__ import annotations

from .accumulators import Accumulator, AccumulatorParam
from .broadcast import Broadcast
from .conf import SparkConf
from .context import SparkContext
from .errors import PythonException, TidemillError
from .files import SparkFiles
from .pyspark_names import install_as_pyspark
from .rdd import RDD, portable_hash
from .serializers import CPickleSerializer, MarshalSerializer
from .status import SparkJobInfo, SparkStageInfo, StatusTracker
from .storagelevel import StorageLevel
from .taskcontext import TaskContext
from .threads import InheritableThread, inheritable_thread_target
from .version import __version__

__all__ = [
    "RDD",
    "Accumulator",
    "AccumulatorParam",
    "Broadcast",
    "CPickleSerializer",
    "InheritableThread",
    "MarshalSerializer",
    "PythonException",
    "SparkConf",
    "SparkContext",
    "SparkFiles",
    "SparkJobInfo",
    "SparkStageInfo",
    "StatusTracker",
    "StorageLevel",
    "TaskContext",
    "TidemillError",
    "__version__",
    "inheritable_thread_target",
    "install_as_pyspark",
    "portable_hash",
]
