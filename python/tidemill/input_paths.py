"""Which files a path of an input means."""

from __future__ import annotations

import bz2
import glob
import gzip
import os
import re
import zlib
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):/")
_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".deflate": zlib.decompress,
}


def local_path(path: str) -> str:
    """A path without `file:` before it; other file systems are an error.

    >>> local_path("file:///data/a.txt"), local_path("a.txt")
    ('/data/a.txt', 'a.txt')
    """
    for prefix in ("file://", "file:"):
        if path.startswith(prefix):
            return path[len(prefix) :]
    scheme = _SCHEME.match(path)
    if scheme:
        raise ValueError(f"{path}: there is no file system for {scheme[1]}:, only local files can be read and written")
    return path


def input_files(paths: str) -> list[str]:
    """The files that comma-separated paths name: each a file, a folder, or a pattern of either.

    Files whose names begin with a dot or an underscore are no input. A path without a file is an error, as is one that
    isn't there.
    """
    found: list[str] = []
    for path in _split(paths):
        local = local_path(path)
        names = sorted(glob.glob(local)) if glob.has_magic(local) else [local]
        matches = [name for name in names if os.path.exists(name)]
        if not matches:
            said = (
                f"Input Pattern {path} matches 0 files"
                if glob.has_magic(local)
                else f"Input path does not exist: {path}"
            )
            raise FileNotFoundError(said)
        for match in matches:
            found += _files_in(match) if os.path.isdir(match) else [match]
    return [os.path.abspath(path) for path in found]


def _split(paths: str) -> list[str]:
    """Cuts at commas that are not within braces."""
    return [path for path in re.split(r",(?![^{]*\})", paths) if path]


def _files_in(folder: str) -> list[str]:
    names = sorted(name for name in os.listdir(folder) if not name.startswith((".", "_")))
    return [path for name in names if os.path.isfile(path := os.path.join(folder, name))]


def in_slices(items: list[T], slices: int) -> list[list[T]]:
    """Items cut into so many lists of about the same length.

    >>> in_slices([1, 2, 3], 2)
    [[1], [2, 3]]
    """
    count = len(items)
    return [items[count * n // slices : count * (n + 1) // slices] for n in range(slices)]


def whole_file(path: str) -> bytes:
    """The bytes of a file; one with the suffix of a compressed file is decompressed."""
    with open(path, "rb") as file:
        content = file.read()
    decompress = _DECOMPRESS.get(os.path.splitext(path)[1])
    return content if decompress is None else decompress(content)
