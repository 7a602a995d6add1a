"""What a function of the user's wants: RDDs only, or the time of the batch before them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

_COUNTS = {1: "one or two", 2: "two or three"}


def with_time(func: Callable[..., Any], rdds: int) -> Callable[..., Any]:
    """`func` as a function of the time and so many RDDs, whether it asks for the time or not."""
    wanted = arguments(func)
    if wanted == rdds:
        return lambda _, *batch: func(*batch)
    # One that takes any number gets all there is.
    if wanted in (rdds + 1, None):
        return func
    raise AssertionError(f"func should take {_COUNTS[rdds]} arguments")


def arguments(func: Callable[..., Any]) -> int | None:
    """How many arguments a function has, defaults included, as PySpark counts them; None if it takes any number."""
    if isinstance(func, FunctionType):
        code = func.__code__
        return None if not code.co_argcount and code.co_flags & inspect.CO_VARARGS else code.co_argcount
    if isinstance(func, MethodType):
        bound = arguments(func.__func__)
        return None if bound is None else bound - 1
    try:
        parameters = list(inspect.signature(func).parameters.values())
    except (TypeError, ValueError):
        # A function in C that does not say. Most of them take what they are for.
        return 1
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_any = not positional and any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return None if takes_any else len(positional)
