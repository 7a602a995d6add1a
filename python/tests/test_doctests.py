"""Every example in the documentation of the package runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

import tidemill
from tidemill import SparkContext, SparkFiles, StorageLevel

# Queries in SQL need packages that may not be there; they have tests of their own.
_NAMES = sorted(
    info.name
    for info in pkgutil.walk_packages(tidemill.__path__, "tidemill.")
    if not info.name.endswith(("__main__", "_native")) and not info.name.startswith("tidemill.sql")
)
# The number of examples is checked, so that they can't be lost unseen.
_AT_LEAST = 120


def _examples(module: ModuleType) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]


@pytest.mark.parametrize("name", _NAMES)
def test_examples(sc: SparkContext, name: str) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    failures: list[str] = []
    for test in _examples(importlib.import_module(name)):
        test.globs.update(sc=sc, SparkContext=SparkContext, SparkFiles=SparkFiles, StorageLevel=StorageLevel)
        runner.run(test, out=failures.append)
        sc._local_properties.replace({})
    assert not failures, "".join(failures)


def test_there_are_examples() -> None:
    assert sum(len(_examples(importlib.import_module(name))) for name in _NAMES) >= _AT_LEAST
