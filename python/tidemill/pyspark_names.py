"""The names under which PySpark programs import what this package has."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

from .missing_names import MissingNames
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
    "errors.exceptions.base": "errors",
    "files": "files",
    "rdd": "rdd",
    "rddsampler": "sampling",
    "resultiterable": "resultiterable",
    "serializers": "serializers",
    "sql.utils": "errors",
    "statcounter": "statcounter",
    "status": "status",
    "storagelevel": "storagelevel",
    "taskcontext": "taskcontext",
    "util": "threads",
}
# Names that programs import from modules of PySpark's other than those where they are at home.
_LENT = {"context": ("RDD", "SparkFiles", "StorageLevel"), "rdd": ("PipelinedRDD", "StorageLevel")}
# Packages whose modules have the names that PySpark's have.
_PACKAGES = ("streaming", "sql")


def install_as_pyspark() -> None:
    """Makes `import pyspark` and `from pyspark.streaming import ...` give this package, in this process from now on.

    What this package does not have, `pyspark.ml` say, can't be imported. Where py4j is not installed, `py4j.protocol` has
    `Py4JError` and `Py4JJavaError`, which are the errors of the engine. Raises an ImportError if another `pyspark` was imported already: part
    of the program would use that.

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
    pyspark.__file__ = ours.__file__
    packages = {name: _package(name) for name in ("pyspark.core", "pyspark.errors", "pyspark.errors.exceptions")}
    errors = importlib.import_module(f"{__package__}.errors")
    packages["pyspark.errors"].__dict__.update({name: getattr(errors, name) for name in errors.__all__})
    packages["pyspark"] = pyspark
    packages.update(_py4j())
    modules = dict(packages)
    for name, own in _MODULES.items():
        modules[f"pyspark.{name}"] = importlib.import_module(f"{__package__}.{own}")
    modules["pyspark.cloudpickle"] = importlib.import_module("cloudpickle")
    for name, lent in _LENT.items():
        for what in lent:
            # Chains of operations are no class of their own here.
            setattr(modules[f"pyspark.{name}"], what, getattr(ours, "RDD" if what == "PipelinedRDD" else what))
    # Ours has the version of the package.
    modules["pyspark.version"] = ModuleType("pyspark.version")
    modules["pyspark.version"].__dict__["__version__"] = SPARK_API_VERSION
    for name in _PACKAGES:
        modules.update(_modules_of(f"{__package__}.{name}", f"pyspark.{name}"))
    pyspark.__dict__["Row"] = importlib.import_module(f"{__package__}.sql.row").Row
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent in packages:
            setattr(packages[parent], child, module)
    sys.modules.update(modules)
    sys.meta_path.append(MissingNames(*(name for name in packages if "." not in name)))


def _package(name: str, doc: str | None = None) -> ModuleType:
    module = ModuleType(name, doc)
    # A package without a folder: what is not in sys.modules can't be imported from it.
    module.__path__ = []
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    return module


def _py4j() -> dict[str, ModuleType]:
    """py4j with its names of errors; nothing where it is installed, for other packages may need all of it."""
    if "py4j" in sys.modules or importlib.util.find_spec("py4j") is not None:
        return {}
    names = importlib.import_module(f"{__package__}.py4j_names")
    names.give_errors_java_names()
    packages = {name: _package(name) for name in ("py4j", "py4j.protocol")}
    packages["py4j.protocol"].__dict__.update({name: getattr(names, name) for name in names.__all__})
    return packages


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
