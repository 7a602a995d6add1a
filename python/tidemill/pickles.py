"""Pickles that outlive the process: of states, of their keys, and of what a receiver's log holds.

What has a name in the program's main script is pickled by that name, as all that can be imported is: another run of the program finds its
own class there. cloudpickle alone would copy such a class into the pickle, and a restart would have two of it. Functions that run in worker
processes are another matter: a worker has another main script, so what goes there has copies.
"""

from __future__ import annotations

import io
import sys
import types
from typing import Any

import cloudpickle

_PROTOCOL = 5


def dumps(obj: Any) -> bytes:
    """The pickle of an object."""
    return _pickled(obj, fast=False)


def dumps_key(obj: Any) -> bytes:
    """The pickle of a key: equal objects that came about differently have the same.

    So it has no memo, for that tells which parts are the same object. But for what can't do without: a class that has no name, which names
    itself within its own copy, or an object that holds itself.
    """
    try:
        return _pickled(obj, fast=True)
    except Exception:
        # What can't be pickled at all says so here.
        return dumps(obj)


def _pickled(obj: Any, *, fast: bool) -> bytes:
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, _PROTOCOL)
    pickler.fast = fast
    pickler.dump(obj)
    return buffer.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, types.FunctionType)) and _is_named_in_main(obj):
            return NotImplemented
        how = super().reducer_override(obj)
        if self.fast and how is not NotImplemented:
            raise ValueError("a copy of a class or a function needs the memo")
        return how


def _is_named_in_main(obj: Any) -> bool:
    if getattr(obj, "__module__", None) != "__main__":
        return False
    found: Any = sys.modules.get("__main__")
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj
