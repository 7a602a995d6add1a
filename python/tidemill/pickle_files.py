"""Folders of pickled items: what `saveAsPickleFile` and checkpoints of RDDs write, and what `pickleFile` reads.

A folder has one file `part-00000`... for each partition, and `_SUCCESS` when it is complete. A file is one pickle after the
other, each a list of items. The format is our own: Spark's are Hadoop sequence files. Pickles run code when they are read:
read only what you trust.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import cloudpickle

from .errors import folder_exists

_SUCCESS = "_SUCCESS"


def begin_folder(path: str) -> None:
    """Makes the folder, which must not be there."""
    try:
        os.makedirs(path)
    except FileExistsError:
        raise folder_exists(path) from None


def write_part(path: str, split: int, items: Iterator[Any], batch_size: int) -> None:
    """Writes a partition's file, which has its name when it is complete."""
    part = os.path.join(path, f"part-{split:05d}")
    unfinished = os.path.join(path, f".part-{split:05d}.unfinished")
    with open(unfinished, "wb") as file:
        while batch := list(islice(items, batch_size)):
            file.write(_pickled(batch))
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, part)


def finish_folder(path: str) -> None:
    """Says that all partitions are there."""
    with open(os.path.join(path, _SUCCESS), "wb"):
        pass


def parts_of(path: str) -> list[str]:
    """The files of the partitions, in their order."""
    return sorted(os.path.join(path, name) for name in os.listdir(path) if name.startswith("part-"))


def read_parts(_: int, paths: Iterable[str]) -> Iterator[Any]:
    """The items of files of partitions: a stage."""
    return chain.from_iterable(chain.from_iterable(map(_lists, paths)))


def _lists(path: str) -> Iterator[list[Any]]:
    with open(path, "rb") as file:
        while True:
            try:
                yield pickle.load(file)
            except EOFError:
                return


def _pickled(batch: list[Any]) -> bytes:
    try:
        return pickle.dumps(batch, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError):
        # What has no name to be found by, a function in a function say, is pickled by value.
        return cloudpickle.dumps(batch, pickle.HIGHEST_PROTOCOL)
