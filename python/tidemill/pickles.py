"""Pickles of the program's objects.

cloudpickle would copy a class of the program's main script into every pickle of one of its objects, and reading such a pickle sets the
class back to what it was then. So classes there are pickled by name, as all that can be imported is. Functions travel to workers with
copies of these classes (`main_classes`), so that the names are known there.

What outlives the process has the main script's functions by name, too: of states, of their keys, and of what a receiver's log holds. Another
run of the program finds its own there.
"""

from __future__ import annotations

import io
import sys
import types
from typing import Any

import cloudpickle

_PROTOCOL = 5


def dumps(obj: Any) -> bytes:
    """The pickle of an object, for this process and its workers."""
    buffer = io.BytesIO()
    _Pickler(buffer, _PROTOCOL).dump(obj)
    return buffer.getvalue()


def dumps_lasting(obj: Any) -> bytes:
    """The pickle of an object, for another run of the program, too."""
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
        return dumps_lasting(obj)


def _pickled(obj: Any, *, fast: bool) -> bytes:
    buffer = io.BytesIO()
    pickler = _LastingPickler(buffer, _PROTOCOL)
    pickler.fast = fast
    pickler.dump(obj)
    return buffer.getvalue()


def main_classes() -> dict[str, bytes]:
    """The classes of the main script, each pickled by its value: for a process that has another main script.

    Raises where one can't be pickled: objects of it can't be read there.
    """
    named = vars(sys.modules["__main__"]).copy()
    classes = {
        name: value for name, value in named.items() if isinstance(value, type) and value.__module__ == "__main__"
    }
    return {name: cloudpickle.dumps(value, _PROTOCOL) for name, value in classes.items()}


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and _is_named_in_main(obj):
            return NotImplemented
        return super().reducer_override(obj)


class _LastingPickler(cloudpickle.Pickler):  # type: ignore[misc]
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
