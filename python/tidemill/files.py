"""Files that tasks find by name."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from typing import ClassVar

from .errors import PySparkRuntimeError
from .input_paths import local_path

__all__ = ["AddedFiles", "SparkFiles"]

_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")


class SparkFiles:
    """Where the files of `SparkContext.addFile` are.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "factor.txt")
    >>> _ = open(path, "w").write("100")
    >>> sc.addFile(path)
    >>> sc.parallelize([1, 2]).map(lambda x: x * int(open(SparkFiles.get("factor.txt")).read())).collect()
    [100, 200]
    """

    _added: ClassVar[AddedFiles | None] = None

    @classmethod
    def get(cls, filename: str) -> str:
        """The path of a file that was added."""
        return os.path.abspath(os.path.join(cls.getRootDirectory(), filename))

    @classmethod
    def getRootDirectory(cls) -> str:
        """The folder of all of them."""
        if cls._added is None:
            raise PySparkRuntimeError("there is no folder of added files without an active SparkContext")
        return cls._added.root


class AddedFiles:
    """The files and archives that were added to a context, in a folder that goes with it."""

    def __init__(self) -> None:
        """Nothing yet; the folder is made when it is needed."""
        self._root: str | None = None
        self.files: list[str] = []
        self.archives: list[str] = []
        SparkFiles._added = self

    @property
    def root(self) -> str:
        """The folder."""
        if self._root is None:
            self._root = tempfile.mkdtemp(prefix="tidemill-files-")
        return self._root

    def add(self, path: str, recursive: bool = False) -> str:
        """Copies a file, or with `recursive` a folder, and gives the copy's path."""
        source = _fetched(path)
        target = os.path.join(self.root, os.path.basename(source.rstrip("/")))
        if os.path.isdir(source):
            if not recursive:
                raise PySparkRuntimeError(f"Added file {path} is a directory and recursive is not turned on.")
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
        _note(path, self.files)
        return target

    def add_archive(self, path: str) -> None:
        """Unpacks an archive into a folder, which has the name after `#`, or that of the archive."""
        location, _, name = path.partition("#")
        source = _fetched(location)
        shutil.unpack_archive(source, os.path.join(self.root, name or os.path.basename(source)))
        _note(path, self.archives)

    def remove(self) -> None:
        """Removes the folder."""
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
        if SparkFiles._added is self:
            SparkFiles._added = None


def is_uri(path: str) -> bool:
    """Whether a path says where it is: `file:/a`, `https://host/a`."""
    return _URI.match(path) is not None


def _note(path: str, paths: list[str]) -> None:
    """Adds a path to those that are told to the user, as a URI, if it is not there yet."""
    uri = path if is_uri(path) else f"file:{os.path.abspath(path)}"
    if uri not in paths:
        paths.append(uri)


def _fetched(path: str) -> str:
    """A local path of a file that may be elsewhere."""
    if path.startswith(("http://", "https://", "ftp://")):
        # Slow to import, and seldom needed.
        import urllib.parse
        import urllib.request

        name = os.path.basename(urllib.parse.urlparse(path).path)
        target = os.path.join(tempfile.mkdtemp(prefix="tidemill-fetched-"), name)
        urllib.request.urlretrieve(path, target)
        return target
    local = local_path(path)
    if not os.path.exists(local):
        raise FileNotFoundError(f"Added file {path} does not exist")
    return local
