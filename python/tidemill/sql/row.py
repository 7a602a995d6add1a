"""`Row`: a tuple whose fields have names."""

from __future__ import annotations

from typing import Any

__all__ = ["Row"]


class Row(tuple):
    """Fields with names: `Row(word="a", total=1)`.

    `Row("word", "total")`, without values, is a maker of rows: called with values it gives a row with these names.

    >>> row = Row(word="a", total=1)
    >>> row.word, row["total"], row[1], "word" in row
    ('a', 1, 1, True)
    >>> Row("word", "total")("b", 2)
    Row(word='b', total=2)
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Row:
        if args and kwargs:
            raise ValueError("Can not use both args and kwargs to create Row")
        if kwargs:
            return _named(tuple(kwargs), kwargs.values())
        return super().__new__(cls, args)

    def __call__(self, *args: Any) -> Row:
        """A row of these values, with the names that this one consists of."""
        if len(args) > len(self):
            raise ValueError(
                f"Can not create Row with fields {tuple(self)}, expected {len(self)} values but got {args}"
            )
        return _named(tuple(self), args)

    def asDict(self, recursive: bool = False) -> dict[str, Any]:
        """The fields as a dict; with `recursive`, also those of rows within."""
        names = self._names()
        if names is None:
            raise TypeError("Cannot convert a Row class into dict")
        return dict(zip(names, map(_plain, self) if recursive else self, strict=False))

    def __contains__(self, item: object) -> bool:
        names = self._names()
        return super().__contains__(item) if names is None else item in names

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, int | slice):
            return super().__getitem__(item)
        return super().__getitem__(self._index(item, KeyError))

    def __getattr__(self, item: str) -> Any:
        if item.startswith("__"):
            raise AttributeError(item)
        return super().__getitem__(self._index(item, AttributeError))

    def __setattr__(self, key: str, value: Any) -> None:
        if key != "__fields__":
            raise RuntimeError("Row is read-only")
        self.__dict__[key] = value

    def __reduce__(self) -> Any:
        names = self._names()
        return (Row, tuple(self)) if names is None else (_named, (names, tuple(self)))

    def __repr__(self) -> str:
        names = self._names()
        if names is None:
            return f"<Row({', '.join(map(repr, self))})>"
        return f"Row({', '.join(f'{name}={value!r}' for name, value in zip(names, self, strict=False))})"

    def _names(self) -> tuple[str, ...] | None:
        return self.__dict__.get("__fields__")

    def _index(self, name: Any, error: type[Exception]) -> int:
        names = self._names() or ()
        if name not in names:
            raise error(name)
        return names.index(name)


def _named(names: tuple[str, ...], values: Any) -> Row:
    row = tuple.__new__(Row, values)
    row.__fields__ = names
    return row


def _plain(value: Any) -> Any:
    """A row within another as a dict; lists and dicts of rows, too."""
    if isinstance(value, Row):
        return value.asDict(recursive=True)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
