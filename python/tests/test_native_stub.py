"""What `_native.pyi` says of the extension module is so."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tidemill
from tidemill import _native

STUB = ast.parse(Path(tidemill.__file__).with_name("_native.pyi").read_text(encoding="utf-8"))


def functions(body: list[ast.stmt], owner: Any) -> Iterator[tuple[Any, ast.FunctionDef]]:
    """Each function of the stub with what has it; constructors and other methods that Python has itself do not say what they take."""
    for node in body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("__"):
            yield owner, node
        elif isinstance(node, ast.ClassDef):
            yield from functions(node.body, getattr(owner, node.name))


FUNCTIONS = list(functions(STUB.body, _native))


@pytest.mark.parametrize(("owner", "said"), FUNCTIONS, ids=lambda value: getattr(value, "name", ""))
def test_arguments(owner: Any, said: ast.FunctionDef) -> None:
    def default(node: ast.expr | None) -> Any:
        return inspect.Parameter.empty if node is None else ast.literal_eval(node)

    arguments = said.args.args
    defaults = [None] * (len(arguments) - len(said.args.defaults)) + list(said.args.defaults)
    expected = [(argument.arg, default(node)) for argument, node in zip(arguments, defaults, strict=True)]
    found = inspect.signature(getattr(owner, said.name)).parameters.values()
    assert [(parameter.name, parameter.default) for parameter in found] == expected
