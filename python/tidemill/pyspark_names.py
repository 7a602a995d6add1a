"""The names under which PySpark programs import what this package has."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from types import ModuleType

from .version import SPARK_API_VERSION

__all__ = ["install_as_pyspark"]

# PySpark's modules, and ours that have their names.
_MODULES = {
    "accumulators": "accumulators",
    "broadcast": "broadcast",
    "conf": "conf",
    "context": "context",
    "core.broadcast": "broadcast",
    "core.conf": "conf",
    "core.context": "context",
    "core.files": "files",
    "core.rdd": "rdd",
    "core.status": "status",
    "errors": "errors",
    "files": "files",
    "rdd": "rdd",
    "rddsampler": "sampling",
    "resultiterable": "resultiterable",
    "serializers": "serializers",
    "statcounter": "statcounter",
    "status": "status",
    "storagelevel": "storagelevel",
    "taskcontext": "taskcontext",
    "util": "threads",
}
# Packages whose modules have the names that PySpark's have.
_PACKAGES = ("streaming", "sql")


def install_as_pyspark() -> None:
    """Makes `import pyspark` and `from pyspark.streaming import ...` give this package, in this process from now on.

    What this package does not have, `pyspark.ml` say, can't be imported. Raises an ImportError if another `pyspark` was imported
    already: part of the program would use that.

    >>> install_as_pyspark()
    >>> from pyspark import SparkContext
    >>> SparkContext.__module__
    'tidemill.context'
    """
    there = sys.modules.get("pyspark")
    if there is not None:
        if getattr(there, "__tidemill__", False):
            return
        raise ImportError(
            f"pyspark is imported already, from {getattr(there, '__file__', 'somewhere else')}: "
            "call tidemill.install_as_pyspark() before anything imports it"
        )
    ours = importlib.import_module(__package__)
    pyspark = _package("pyspark", ours.__doc__)
    pyspark.__dict__.update({name: getattr(ours, name) for name in ours.__all__})
    pyspark.__dict__.update(__tidemill__=True, __version__=SPARK_API_VERSION, __all__=list(ours.__all__))
    modules = {"pyspark": pyspark, "pyspark.core": _package("pyspark.core", None)}
    for name, own in _MODULES.items():
        modules[f"pyspark.{name}"] = importlib.import_module(f"{__package__}.{own}")
    modules["pyspark.cloudpickle"] = importlib.import_module("cloudpickle")
    for name in _PACKAGES:
        modules.update(_modules_of(f"{__package__}.{name}", f"pyspark.{name}"))
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent in ("pyspark", "pyspark.core"):
            setattr(modules[parent], child, module)
    sys.modules.update(modules)


def _package(name: str, doc: str | None) -> ModuleType:
    module = ModuleType(name, doc)
    # A package without a folder: what is not in sys.modules can't be imported from it.
    module.__path__ = []
    return module


def _modules_of(own: str, name: str) -> dict[str, ModuleType]:
    """A package of ours and its modules, under the names of PySpark's; none if something that it needs is not installed."""
    try:
        package = importlib.import_module(own)
        modules = {name: package}
        for info in pkgutil.iter_modules(package.__path__):
            modules[f"{name}.{info.name}"] = importlib.import_module(f"{own}.{info.name}")
        return modules
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == __package__:
            raise
        return {}
