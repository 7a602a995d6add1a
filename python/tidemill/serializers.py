"""Serializers, as far as programs name them: `SparkContext(serializer=MarshalSerializer())`.

Items are not serialized in one process, and the engine has a form of its own where it needs one, so that the choice makes no
difference. The classes work on their own: `dumps` and `loads`, and streams of length-prefixed objects.
"""

from __future__ import annotations

import marshal
import pickle
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

import cloudpickle

__all__ = [
    "AutoBatchedSerializer",
    "AutoSerializer",
    "BatchedSerializer",
    "CPickleSerializer",
    "CloudPickleSerializer",
    "CompressedSerializer",
    "MarshalSerializer",
    "NoOpSerializer",
    "PickleSerializer",
    "Serializer",
    "UTF8Deserializer",
]

_LENGTH = struct.Struct("!i")


class Serializer:
    """Objects to bytes and back.

    >>> import io
    >>> stream = io.BytesIO()
    >>> MarshalSerializer().dump_stream([1, "two"], stream)
    >>> list(MarshalSerializer().load_stream(io.BytesIO(stream.getvalue())))
    [1, 'two']
    """

    def dumps(self, obj: Any) -> bytes:
        """The bytes of an object."""
        raise NotImplementedError

    def loads(self, obj: bytes) -> Any:
        """The object of bytes."""
        raise NotImplementedError

    def dump_stream(self, iterator: Iterable[Any], stream: IO[bytes]) -> None:
        """Writes objects, each with its length before it."""
        for item in iterator:
            data = self.dumps(item)
            stream.write(_LENGTH.pack(len(data)))
            stream.write(data)

    def load_stream(self, stream: IO[bytes]) -> Iterator[Any]:
        """Reads the objects that `dump_stream` wrote."""
        while prefix := stream.read(_LENGTH.size):
            yield self.loads(stream.read(_LENGTH.unpack(prefix)[0]))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __hash__(self) -> int:
        return hash(repr(self))


class NoOpSerializer(Serializer):
    """Bytes as they are."""

    def dumps(self, obj: bytes) -> bytes:
        """The bytes."""
        return obj

    def loads(self, obj: bytes) -> bytes:
        """The bytes."""
        return obj


class UTF8Deserializer(NoOpSerializer):
    """Text."""

    def dumps(self, obj: str) -> bytes:  # type: ignore[override]
        """The UTF-8 of a text."""
        return obj.encode("utf-8")

    def loads(self, obj: bytes) -> str:  # type: ignore[override]
        """The text of UTF-8."""
        return obj.decode("utf-8")


class CPickleSerializer(Serializer):
    """Pickles."""

    def dumps(self, obj: Any) -> bytes:
        """The pickle of an object."""
        return pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)

    def loads(self, obj: bytes, encoding: str = "bytes") -> Any:
        """The object of a pickle."""
        return pickle.loads(obj, encoding=encoding)


class CloudPickleSerializer(CPickleSerializer):
    """Pickles, also of functions and classes that have no name to be found by."""

    def dumps(self, obj: Any) -> bytes:
        """The pickle of an object."""
        return cloudpickle.dumps(obj, pickle.HIGHEST_PROTOCOL)


PickleSerializer = CPickleSerializer


class MarshalSerializer(Serializer):
    """Python's `marshal`, which knows builtin types only."""

    def dumps(self, obj: Any) -> bytes:
        """The bytes of an object."""
        return marshal.dumps(obj)

    def loads(self, obj: bytes) -> Any:
        """The object of bytes."""
        return marshal.loads(obj)


class AutoSerializer(Serializer):
    """Python's `marshal` where it knows the types, and pickles from the first object on where it does not."""

    def __init__(self) -> None:
        """Nothing is known of the objects yet."""
        self._pickles = False

    def dumps(self, obj: Any) -> bytes:
        """The bytes of an object, after a letter that says how it was done."""
        if not self._pickles:
            try:
                return b"M" + marshal.dumps(obj)
            except ValueError:
                self._pickles = True
        return b"P" + pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)

    def loads(self, obj: bytes) -> Any:
        """The object of bytes."""
        return (marshal if obj[:1] == b"M" else pickle).loads(obj[1:])

    __hash__ = Serializer.__hash__


class CompressedSerializer(Serializer):
    """What another serializer gives, compressed."""

    def __init__(self, serializer: Serializer) -> None:
        """Compresses what this one gives."""
        self.serializer = serializer

    def dumps(self, obj: Any) -> bytes:
        """The bytes of an object."""
        return zlib.compress(self.serializer.dumps(obj), 1)

    def loads(self, obj: bytes) -> Any:
        """The object of bytes."""
        return self.serializer.loads(zlib.decompress(obj))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.serializer!r})"

    __hash__ = Serializer.__hash__


class BatchedSerializer(Serializer):
    """Lists of so many objects, each list serialized by another serializer; all in one list if the size is -1."""

    UNLIMITED_BATCH_SIZE = -1
    UNKNOWN_BATCH_SIZE = 0

    def __init__(self, serializer: Serializer, batchSize: int = UNLIMITED_BATCH_SIZE) -> None:
        """Batches of this serializer."""
        self.serializer = serializer
        self.batchSize = batchSize

    def dump_stream(self, iterator: Iterable[Any], stream: IO[bytes]) -> None:
        """Writes lists of objects."""
        items = list(iterator)
        size = self.batchSize if self.batchSize > 0 else max(len(items), 1)
        self.serializer.dump_stream((items[at : at + size] for at in range(0, len(items), size)), stream)

    def load_stream(self, stream: IO[bytes]) -> Iterator[Any]:
        """Reads the objects of lists."""
        for items in self.serializer.load_stream(stream):
            yield from items

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.serializer!r}, {self.batchSize})"

    __hash__ = Serializer.__hash__


class AutoBatchedSerializer(BatchedSerializer):
    """Lists of objects whose length the serializer chooses."""

    def __init__(self, serializer: Serializer, bestSize: int = 1 << 16) -> None:
        """Batches of about this many bytes."""
        super().__init__(serializer, self.UNKNOWN_BATCH_SIZE)
        self.bestSize = bestSize

    __hash__ = Serializer.__hash__
