"""Users' functions: what they capture, and the bytes as which they can travel.

A function is pickled when the operation that takes it is defined. In this process the function itself is called; the bytes
are kept with the operation, so that it can be sent to executors. A function that captures what lives on the driver only (a
context, an RDD) is an error at once: the pickler asks those objects, and they refuse (`__reduce__`). What else can't be
pickled, a lock or a connection, is allowed: such a function has no bytes and stays in this process.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import cloudpickle

from .errors import PySparkRuntimeError

_PROTOCOL = 5
_C_FUNCTIONS = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)
# Not attrgetter and methodcaller, which run properties and methods of the items' own.
_C_CALLABLES = (operator.itemgetter,)

F = TypeVar("F")


class Closure(NamedTuple):
    """The functions of an operation, and their pickled form, or None where there is none."""

    functions: tuple[Any, ...]
    payload: bytes | None


def capture(*functions: Any) -> Closure:
    """Pickles the functions of one operation. Raises if they need the driver's context or an RDD.

    >>> capture(len).payload is not None
    True
    >>> import threading
    >>> lock = threading.Lock()
    >>> capture(lambda x: lock).payload is None
    True
    """
    try:
        return Closure(functions, cloudpickle.dumps(functions, _PROTOCOL))
    except PySparkRuntimeError:
        raise
    except Exception:
        # The pickler stopped at the first thing it could not do; what it did not come to is looked at here.
        _refuse_driver_objects(functions)
        return Closure(functions, None)


def check_closure(function: F) -> F:
    """The function, if it may run in tasks."""
    capture(function)
    return function


def _refuse_driver_objects(functions: Iterable[Any]) -> None:
    seen: set[int] = set()
    waiting: list[Any] = list(functions)
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        refuse = getattr(type(value), "_refuse_to_travel", None)
        if refuse is not None:
            raise refuse()
        if isinstance(value, types.FunctionType):
            waiting.extend(_references(value))
        elif isinstance(value, types.MethodType):
            waiting += [value.__func__, value.__self__]
        elif type(value) in (list, tuple, set):
            waiting.extend(value)
        elif type(value) is dict:
            waiting.extend(value.values())


def _references(function: types.FunctionType) -> Iterable[Any]:
    """What a function holds in its cells and defaults, and the globals that its code names."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # the cell is not filled yet
            continue
    yield from function.__defaults__ or ()
    codes: list[types.CodeType] = [function.__code__]
    while codes:
        code = codes.pop()
        codes.extend(constant for constant in code.co_consts if isinstance(constant, types.CodeType))
        for name in code.co_names:
            if name in function.__globals__:
                yield function.__globals__[name]


def runs_in_c(function: Callable[..., Any]) -> bool:
    """Whether a call runs no Python code of the user's, so that it can be given to C-level iterators.

    A Python function may leak a StopIteration, by `next` say. `map` takes that for the end of the data; a generator
    expression makes it an error. Builtin functions don't leak any.

    >>> runs_in_c(len), runs_in_c(lambda x: x), runs_in_c(next)
    (True, False, False)
    """
    if function is next:
        return False
    if isinstance(function, type):
        return function.__module__ == "builtins"
    return isinstance(function, _C_FUNCTIONS + _C_CALLABLES)
