"""The exceptions of the package.

What the engine says is a `TidemillError`; a user's function that fails in a task is a `PythonException`, whose `__cause__` is the
exception of the function. Mistakes that are seen on the driver are the classes below, which are at the same time the
built-in exceptions that such mistakes have in Python.
"""

from __future__ import annotations

import pickle
from typing import Any

from ._native import PythonException, TidemillError

__all__ = [
    "AnalysisException",
    "IllegalArgumentException",
    "ParseException",
    "PySparkAttributeError",
    "PySparkException",
    "PySparkNotImplementedError",
    "PySparkRuntimeError",
    "PySparkTypeError",
    "PySparkValueError",
    "PythonException",
    "TidemillError",
]


class PySparkException(Exception):
    """What all mistakes seen on the driver have in common: a text. PySpark's have classes of errors beside it; these have none."""

    def getMessage(self) -> str:
        """The text."""
        return str(self)

    def getCondition(self) -> str | None:
        """None: there are no classes of errors."""
        return None

    def getErrorClass(self) -> str | None:
        """None: there are no classes of errors."""
        return None

    def getMessageParameters(self) -> dict[str, str] | None:
        """None: the text has them in it."""
        return None

    def getSqlState(self) -> str | None:
        """None, as with all errors of Python's in PySpark."""
        return None

    def getQueryContext(self) -> list[Any]:
        """Nothing: it is not known which part of a query is wrong."""
        return []


class PySparkValueError(PySparkException, ValueError):
    """A value that an operation does not take."""


class PySparkTypeError(PySparkException, TypeError):
    """A type that an operation does not take."""


class PySparkAttributeError(PySparkException, AttributeError):
    """A name that is not there."""


class PySparkRuntimeError(PySparkException, RuntimeError, pickle.PicklingError):
    """An operation that can't be done here or now; also a function that can't be sent to tasks."""


class PySparkNotImplementedError(PySparkException, NotImplementedError):
    """Something of the API that this package does not have."""


class AnalysisException(PySparkException):
    """A query that asks for what is not there."""


class ParseException(AnalysisException):
    """A query that is no SQL."""


class JobCancelled(TidemillError, PySparkRuntimeError):
    """The error of an action whose job was cancelled. PySpark has it from the JVM, as it has those of the engine."""


# What has this name in PySpark is a value that the JVM does not take.
IllegalArgumentException = PySparkValueError


def context_in_task() -> PySparkRuntimeError:
    """The error for a function that needs the context of the driver."""
    return PySparkRuntimeError(
        "It appears that you are attempting to reference SparkContext from a broadcast variable, action, or "
        "transformation. SparkContext can only be used on the driver, not in functions that run in tasks. "
        "For more information, see SPARK-5063."
    )


def action_in_task() -> TidemillError:
    """The error for an action on a thread of a task's: what the engine says on the task's own."""
    return TidemillError(
        "It appears that you are attempting to run an action on an RDD from inside a transformation or a task, on a thread that the task has "
        "started. RDD actions can only be invoked by the driver; collect or broadcast the data first (SPARK-5063)"
    )


def folder_exists(path: str) -> TidemillError:
    """The error for a folder that is to be written and is there. Programs look for the name of Hadoop's exception in it."""
    return TidemillError(f"FileAlreadyExistsException: Output directory {path} already exists")


def rdd_in_task() -> PySparkRuntimeError:
    """The error for a function, or a broadcast value, that needs an RDD."""
    return PySparkRuntimeError(
        "It appears that you are attempting to broadcast an RDD or reference an RDD from an action or transformation. "
        "RDD transformations and actions can only be asked for by the driver: collect or broadcast the data of the "
        "inner RDD first, or join the two. For more information, see SPARK-5063."
    )
