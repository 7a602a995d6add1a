"""py4j's names of errors, for programs that catch them.

PySpark hears of the engine's errors through py4j, from a JVM. Here they come from the engine itself, and are `TidemillError`s.
"""

from __future__ import annotations

from .errors import TidemillError

__all__ = ["Py4JError", "Py4JJavaError"]


class EngineException:
    """What `error.java_exception` is: what the engine says, in Java's words."""

    def __init__(self, error: TidemillError) -> None:
        """Of this error."""
        self._error = error

    def getMessage(self) -> str:
        """The text."""
        return str(self._error)

    toString = __str__ = getMessage


Py4JError = Py4JJavaError = TidemillError


def give_errors_java_names() -> None:
    """Gives errors of the engine what programs look at in py4j's."""
    TidemillError.java_exception = property(EngineException)  # type: ignore[attr-defined]
