"""What is said of PySpark's names that this package does not have."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from typing import Any, NoReturn

__all__ = ["MissingNames"]


class MissingNames(MetaPathFinder):
    """Finds no module: it stands behind all others, and says of modules and names of some packages that they are not in Tidemill."""

    def __init__(self, *packages: str) -> None:
        """Of these packages."""
        self._packages = packages

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        """Raises an ImportError for what is of its packages."""
        if fullname.partition(".")[0] in self._packages:
            _refuse(fullname)


def _refuse(fullname: str) -> NoReturn:
    package, _, name = fullname.rpartition(".")
    if name[:1].isupper():
        # Python looks for a module of that name where `from package import Name` finds none in the package.
        raise ImportError(f"cannot import name {name!r} from {package!r}: it is not in tidemill", name=fullname)
    raise ModuleNotFoundError(f"No module named {fullname!r}: it is not in tidemill", name=fullname)
