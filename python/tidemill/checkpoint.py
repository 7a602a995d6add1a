"""Checkpoints of RDDs: their items in files, and their lineage cut."""

from __future__ import annotations

import os
import threading
import uuid
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import pickle_files
from .errors import PySparkRuntimeError
from .input_paths import local_path
from .stages import Stage

if TYPE_CHECKING:
    from .context import SparkContext
    from .lineage import Lineage

_BATCH_SIZE = 1000


class Checkpoints:
    """The RDDs of a context that asked to be checkpointed, and the folder that their files go to."""

    def __init__(self, ctx: SparkContext) -> None:
        """None yet."""
        self._ctx = ctx
        self._lock = threading.RLock()
        self._waiting: weakref.WeakSet[Lineage[Any]] = weakref.WeakSet()
        self._local: weakref.WeakSet[Lineage[Any]] = weakref.WeakSet()
        self.folder: str | None = None

    def set_folder(self, path: str) -> None:
        """Makes a folder for this program below `path`."""
        os.makedirs(self.name_folder(path))

    def name_folder(self, path: str) -> str:
        """Has a folder for this program below `path`, which the first checkpoint makes."""
        self.folder = os.path.join(local_path(path), str(uuid.uuid4()))
        return self.folder

    def ask(self, rdd: Lineage[Any]) -> None:
        """Has the RDD written after the next job that it takes part in."""
        if self.folder is None:
            raise PySparkRuntimeError(
                "Checkpoint directory has not been set in the SparkContext: call sc.setCheckpointDir(path) first"
            )
        self._waiting.add(rdd)

    def ask_local(self, rdd: Lineage[Any]) -> None:
        """Has the lineage of a persisted RDD cut after the next job that it takes part in."""
        self._local.add(rdd)

    def after_job(self, rdd: Lineage[Any]) -> None:
        """Writes the RDDs that were waiting and that this one is made of."""
        if not self._waiting and not self._local:
            return
        with self._lock:
            for ancestor in list(rdd._ancestors()):
                if ancestor in self._waiting:
                    self._waiting.discard(ancestor)
                    self._write(ancestor)
                elif ancestor in self._local:
                    self._local.discard(ancestor)
                    ancestor._checkpoint_done = True
                    ancestor._parents = ()

    def _write(self, rdd: Lineage[Any]) -> None:
        assert self.folder is not None
        path = os.path.join(self.folder, f"rdd-{rdd._id}")
        write_items(rdd, path, _BATCH_SIZE, "checkpoint")
        written = self.read(path)
        rdd._written = written._native()
        if not rdd.is_cached:
            rdd._pin(rdd._written)
        rdd._checkpoint_file = path
        rdd._checkpoint_done = True
        rdd._parents = (written,)

    def read(self, path: str) -> Lineage[Any]:
        """The items of a folder that was written, in the partitions that they had."""
        if not os.path.isdir(path):
            raise FileNotFoundError(f"Input path does not exist: {path}")
        files = pickle_files.parts_of(path)
        return self._ctx._parallelized([[file] for file in files], pickle_files.read_parts, "CheckpointRDD")


def write_items(rdd: Lineage[Any], path: str, batch_size: int, name: str) -> None:
    """Writes the items of an RDD to a new folder."""
    path = os.path.abspath(local_path(path))
    pickle_files.begin_folder(path)

    def write(split: int, items: Iterator[Any]) -> list[Any]:
        pickle_files.write_part(path, split, items, batch_size)
        return []

    stage: Stage = write
    rdd.ctx._jobs.run(rdd, stage, None, name)
    pickle_files.finish_folder(path)
