"""`SparkContext`: the door to the engine."""

from __future__ import annotations

import atexit
import getpass
import importlib
import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, ClassVar, NoReturn, TypeVar

from . import process, serializers
from ._native import NativeContext
from .accumulators import Accumulator, AccumulatorParam, new_accumulator
from .broadcast import Broadcast
from .callsite import CallSite, call_site
from .checkpoint import Checkpoints
from .conf import SparkConf
from .context_inputs import InputFunctions
from .context_jobs import JobFunctions
from .errors import PySparkRuntimeError, context_in_task, rdd_in_task
from .files import AddedFiles
from .jobs import Jobs
from .lineage import Lineage
from .version import SPARK_API_VERSION
from .worker_command import worker_command

T = TypeVar("T")

__all__ = ["SparkContext"]

_DEFAULT_SERIALIZER = serializers.CPickleSerializer()
_LOG_LEVELS = {
    "ALL": logging.NOTSET,
    "TRACE": logging.DEBUG,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
    "OFF": logging.CRITICAL + 10,
}


class SparkContext(InputFunctions, JobFunctions):
    """The engine as a program holds it: it makes RDDs, shared values, and runs jobs. A process has one at a time.

    It can be used in a `with` statement, which stops it at the end.

    >>> sc.parallelize([1, 2, 3]).map(lambda x: x * x).sum()
    14
    """

    _active_spark_context: ClassVar[SparkContext | None] = None
    _lock: ClassVar[threading.RLock] = threading.RLock()
    # Names of PySpark's that programs reset between tests. There is no JVM.
    _gateway: ClassVar[Any] = None
    _jvm: ClassVar[Any] = None

    PACKAGE_EXTENSIONS = (".zip", ".egg", ".jar")

    _refuse_to_travel = staticmethod(context_in_task)

    def __init__(
        self,
        master: str | None = None,
        appName: str | None = None,
        sparkHome: str | None = None,
        pyFiles: Sequence[str] | None = None,
        environment: dict[str, Any] | None = None,
        batchSize: int = 0,
        serializer: Any = _DEFAULT_SERIALIZER,
        conf: SparkConf | None = None,
        gateway: Any = None,
        jsc: Any = None,
        profiler_cls: Any = None,
        udf_profiler_cls: Any = None,
        memory_profiler_cls: Any = None,
    ) -> None:
        """Starts the engine.

        `master` says how many tasks run at a time: `local` one, `local[4]` four, `local[*]`, the default, as many as there are
        cores. `pyFiles` are added as by `addPyFile`, and what the settings `spark.files` and `spark.archives` name as by `addFile` and
        `addArchive`; `environment` is kept in `environment`. `batchSize`, `serializer`,
        `sparkHome`, `gateway`, `jsc` and the profilers are what PySpark takes, and make no difference here.
        """
        if process.is_worker:
            raise context_in_task()
        self._callsite = call_site()
        self._conf = SparkConf() if conf is None else SparkConf(loadDefaults=False, values=dict(conf.getAll()))
        for key, value in (("spark.master", master), ("spark.app.name", appName), ("spark.home", sparkHome)):
            if value:
                self._conf.set(key, value)
        self.master: str = self._conf.setIfMissing("spark.master", "local[*]").get("spark.master", "")
        self.appName: str = self._conf.setIfMissing("spark.app.name", "pyspark-shell").get("spark.app.name", "")
        self.sparkHome = self._conf.get("spark.home")
        self.environment = dict(environment or {})
        self.serializer = serializer
        self.pythonExec = os.environ.get("PYSPARK_PYTHON", sys.executable)
        self.pythonVer = f"{sys.version_info.major}.{sys.version_info.minor}"
        with SparkContext._lock:
            SparkContext._refuse_second(self.appName, self.master)
            self._native = NativeContext(self.master, self.appName, dict(self._conf.getAll()))
            self._native.run_functions(self._conf.get("tidemill.python.functions", "auto") or "auto", worker_command())
            SparkContext._active_spark_context = self
        self._stopped = False
        self._rdd_ids = itertools.count()
        self._lineage_lock = threading.RLock()
        self._lineage_version = 0
        self._jobs = Jobs()
        self._home = self._jobs.home
        self._checkpoints = Checkpoints(self)
        self._added = AddedFiles()
        self.startTime = int(time.time() * 1000)
        self.applicationId = self._conf.setIfMissing("spark.app.id", f"local-{self.startTime}").get("spark.app.id", "")
        try:
            for path in pyFiles or ():
                self.addPyFile(path)
            for path in self._paths("spark.files"):
                self.addFile(path)
            for path in self._paths("spark.archives"):
                self.addArchive(path)
        except Exception:
            self.stop()
            raise

    @classmethod
    def _refuse_second(cls, name: str, master: str) -> None:
        active = cls._active_spark_context
        if active is not None:
            site: CallSite = active._callsite
            raise ValueError(
                "Cannot run multiple SparkContexts at once; existing SparkContext"
                f"(app={active.appName}, master={active.master}) created by {site.operation} at {site.file}:{site.line} "
            )

    @classmethod
    def _ensure_initialized(cls, instance: Any = None, gateway: Any = None, conf: Any = None) -> None:
        """Does nothing: PySpark starts its JVM here."""

    @classmethod
    def getOrCreate(cls, conf: SparkConf | None = None) -> SparkContext:
        """The context that is there, or a new one.

        >>> SparkContext.getOrCreate() is sc
        True
        """
        with cls._lock:
            return cls._active_spark_context or cls(conf=conf or SparkConf())

    def stop(self) -> None:
        """Stops the engine. Doing so again does nothing, nor does it in a process that was forked: the engine is not there."""
        if not self._home.is_here():
            return
        with SparkContext._lock:
            if self._stopped:
                return
            self._stopped = True
            if SparkContext._active_spark_context is self:
                SparkContext._active_spark_context = None
        self._jobs.cancel(lambda job: True, "because SparkContext was shut down")
        self._native.stop()
        self._added.remove()

    def __enter__(self) -> SparkContext:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<SparkContext master={self.master} appName={self.appName}>"

    def __reduce__(self) -> NoReturn:
        raise context_in_task()

    def _check_alive(self) -> None:
        if self._stopped:
            raise PySparkRuntimeError("Cannot call methods on a stopped SparkContext: make a new one")
        self._home.check()

    def _paths(self, key: str) -> list[str]:
        """The paths of a setting that has commas between them."""
        return [path for path in map(str.strip, (self._conf.get(key) or "").split(",")) if path]

    def _next_rdd_id(self) -> int:
        return next(self._rdd_ids)

    @classmethod
    def setSystemProperty(cls, key: str, value: str) -> None:
        """Gives every `SparkConf` and context that is made from now on a setting."""
        SparkConf._defaults[key] = str(value)

    @classmethod
    def getSystemProperty(cls, key: str) -> str | None:
        """A setting that every new `SparkConf` has, or None."""
        return SparkConf._defaults.get(key)

    @property
    def version(self) -> str:
        """The version of Spark whose API this is. That of the package is `tidemill.__version__`."""
        return SPARK_API_VERSION

    @property
    def defaultParallelism(self) -> int:
        """How many partitions an RDD has if nobody says: `spark.default.parallelism`, or as many as tasks run at a time."""
        self._check_alive()
        asked = self._conf.get("spark.default.parallelism")
        return self._native.default_parallelism() if asked is None else int(asked)

    @property
    def uiWebUrl(self) -> str | None:
        """None: there is no web page."""
        return None

    @property
    def resources(self) -> dict[str, Any]:
        """Resources beside cores: there are none."""
        return {}

    def sparkUser(self) -> str:
        """The user who runs the program."""
        return os.environ.get("SPARK_USER") or getpass.getuser()

    def getConf(self) -> SparkConf:
        """A copy of the settings."""
        return SparkConf(loadDefaults=False, values=dict(self._conf.getAll()))

    def setLogLevel(self, logLevel: str) -> None:
        """Sets the level of the package's loggers: ALL, DEBUG, ERROR, FATAL, INFO, OFF, TRACE or WARN."""
        level = _LOG_LEVELS.get(logLevel.upper())
        if level is None:
            raise ValueError(f"Supplied level {logLevel} did not match one of: {','.join(sorted(_LOG_LEVELS))}")
        logging.getLogger("tidemill").setLevel(level)

    def broadcast(self, value: T) -> Broadcast[T]:
        """A value for tasks to share.

        >>> sc.broadcast([1, 2, 3]).value
        [1, 2, 3]
        """
        self._check_alive()
        if isinstance(value, SparkContext):
            raise context_in_task()
        if isinstance(value, Lineage):
            raise rdd_in_task()
        return Broadcast(value)

    def accumulator(self, value: T, accum_param: AccumulatorParam[T] | None = None) -> Accumulator[T]:
        """A value for tasks to add to. `accum_param` says how, for what is no number.

        >>> total = sc.accumulator(0)
        >>> sc.parallelize(range(5)).foreach(total.add)
        >>> total.value
        10
        """
        return new_accumulator(value, accum_param)

    def setCheckpointDir(self, dirName: str) -> None:
        """Sets the folder for checkpoints of RDDs; each program makes one of its own in it."""
        self._checkpoints.set_folder(dirName)

    def getCheckpointDir(self) -> str | None:
        """The folder that this program's checkpoints go to, or None."""
        return self._checkpoints.folder

    def addFile(self, path: str, recursive: bool = False) -> None:
        """Copies a file to where tasks find it by name: see `SparkFiles`. With `recursive` it may be a folder."""
        self._check_alive()
        self._added.add(path, recursive)

    def addPyFile(self, path: str) -> None:
        """Adds a module, or an archive of modules (`.zip`, `.egg`), that functions can import."""
        self._check_alive()
        copy = self._added.add(path)
        importable = copy if copy.endswith(self.PACKAGE_EXTENSIONS) else os.path.dirname(copy)
        if importable not in sys.path:
            sys.path.insert(1, importable)
        # A folder that was looked into a moment ago is not looked into again.
        importlib.invalidate_caches()

    def addArchive(self, path: str) -> None:
        """Unpacks an archive to where tasks find it, under the name after `#`."""
        self._check_alive()
        self._added.add_archive(path)

    @property
    def listFiles(self) -> list[str]:
        """The files that were added."""
        return list(self._added.files)

    @property
    def listArchives(self) -> list[str]:
        """The archives that were added."""
        return list(self._added.archives)


# Handlers are called in the reverse order: streams are stopped, then contexts, and then threads leave the interpreter.
atexit.register(process.leave)


@atexit.register
def _stop_active() -> None:
    context = SparkContext._active_spark_context
    if context is not None:
        context.stop()
