"""Where in the user's program an operation was asked for."""

from __future__ import annotations

import os
import sys

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class CallSite(str):
    """A place in the user's program, `script.py:12`, and the public operation that was called there."""

    operation: str
    file: str
    line: int

    def __new__(cls, operation: str, file: str, line: int) -> CallSite:
        """The place in `file`, of which the text has the name without its folders."""
        site = super().__new__(cls, f"{os.path.basename(file)}:{line}")
        site.operation, site.file, site.line = operation, file, line
        return site

    def named(self) -> str:
        """The operation and the place: `map at script.py:12`."""
        return f"{self.operation} at {self}"


def call_site() -> CallSite:
    """The innermost frame outside this package, and the function of this package that it called.

    >>> call_site().operation
    'call_site'
    """
    frame = sys._getframe(1)
    operation = "call_site"
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        operation = frame.f_code.co_name
        frame = frame.f_back
    return CallSite(operation, frame.f_code.co_filename, frame.f_lineno)
