"""Where the partitions of a persisted RDD are kept."""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = ["StorageLevel"]


class StorageLevel:
    """Whether partitions are kept on disk, in memory, off the heap, as objects, and in how many copies.

    >>> print(StorageLevel.MEMORY_AND_DISK_2)
    Disk Memory Serialized 2x Replicated
    >>> StorageLevel.DISK_ONLY
    StorageLevel(True, False, False, False, 1)
    """

    NONE: ClassVar[StorageLevel]
    DISK_ONLY: ClassVar[StorageLevel]
    DISK_ONLY_2: ClassVar[StorageLevel]
    DISK_ONLY_3: ClassVar[StorageLevel]
    MEMORY_ONLY: ClassVar[StorageLevel]
    MEMORY_ONLY_2: ClassVar[StorageLevel]
    MEMORY_AND_DISK: ClassVar[StorageLevel]
    MEMORY_AND_DISK_2: ClassVar[StorageLevel]
    OFF_HEAP: ClassVar[StorageLevel]
    MEMORY_AND_DISK_DESER: ClassVar[StorageLevel]

    def __init__(
        self, useDisk: bool, useMemory: bool, useOffHeap: bool, deserialized: bool, replication: int = 1
    ) -> None:
        """A level of its own; the usual ones are attributes of the class."""
        self.useDisk = useDisk
        self.useMemory = useMemory
        self.useOffHeap = useOffHeap
        self.deserialized = deserialized
        self.replication = replication

    def __repr__(self) -> str:
        return f"StorageLevel({self.useDisk}, {self.useMemory}, {self.useOffHeap}, {self.deserialized}, {self.replication})"

    def __str__(self) -> str:
        words = [
            ("Disk", self.useDisk),
            ("Memory", self.useMemory),
            ("OffHeap", self.useOffHeap),
            ("Deserialized" if self.deserialized else "Serialized", True),
            (f"{self.replication}x Replicated", True),
        ]
        return " ".join(word for word, holds in words if holds)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StorageLevel) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    @property
    def engine_name(self) -> str:
        """What the engine calls it. A process keeps one copy of a partition, so that replication makes no difference."""
        if not (self.useDisk or self.useMemory):
            return "NONE"
        if not self.useDisk:
            name = "MEMORY_ONLY"
        elif not self.useMemory:
            name = "DISK_ONLY"
        else:
            name = "MEMORY_AND_DISK"
        return name if self.replication == 1 else f"{name}_{self.replication}"


def checked_level(level: Any) -> StorageLevel:
    """A storage level that a program gave; a TypeError if it is none."""
    if not isinstance(level, StorageLevel):
        raise TypeError("storageLevel must be of type pyspark.StorageLevel")
    return level


StorageLevel.NONE = StorageLevel(False, False, False, False)
StorageLevel.DISK_ONLY = StorageLevel(True, False, False, False)
StorageLevel.DISK_ONLY_2 = StorageLevel(True, False, False, False, 2)
StorageLevel.DISK_ONLY_3 = StorageLevel(True, False, False, False, 3)
StorageLevel.MEMORY_ONLY = StorageLevel(False, True, False, False)
StorageLevel.MEMORY_ONLY_2 = StorageLevel(False, True, False, False, 2)
StorageLevel.MEMORY_AND_DISK = StorageLevel(True, True, False, False)
StorageLevel.MEMORY_AND_DISK_2 = StorageLevel(True, True, False, False, 2)
StorageLevel.OFF_HEAP = StorageLevel(True, True, True, False, 1)
StorageLevel.MEMORY_AND_DISK_DESER = StorageLevel(True, True, False, True)
