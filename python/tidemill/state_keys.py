"""Which keys of a state are one: what Python's own objects those of other types are equal to.

States keep keys as bytes, so that partitions and checkpoints do not depend on a process's hashes. Two objects that `==` finds equal must then
have the same bytes, which is known of numbers, and of subclasses that compare as Python's own types do: named tuples, enums that are
numbers or text, numpy's numbers, decimals and fractions. A class with an `__eq__` of its own is not looked into: its objects are one key
if all that they hold is the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

# Each with what makes one of an object of a subclass, whatever that overrides.
_PLAIN: dict[type, Callable[[Any], Any]] = {
    int: int.__pos__,
    str: lambda text: str.__getitem__(text, slice(None)),
    tuple: lambda row: tuple(tuple.__iter__(row)),
    float: float.__pos__,
    bytes: lambda data: bytes.__getitem__(data, slice(None)),
    frozenset: lambda items: frozenset(frozenset.__iter__(items)),
}


def plain(key: Any) -> Any:
    """The object of Python's own types that is equal to a key of another type; the key itself if none is known.

    >>> from collections import namedtuple
    >>> plain(namedtuple("Point", "x y")(1, 2)), plain("text"), plain(None)
    ((1, 2), 'text', None)
    >>> from decimal import Decimal
    >>> plain(Decimal("1.00")), plain(Decimal("0.5")), plain(Decimal("0.10"))
    (1, 0.5, Fraction(1, 10))
    """
    kind = type(key)
    for own, make in _PLAIN.items():
        if issubclass(kind, own):
            if kind.__eq__ is own.__eq__ and kind.__hash__ is own.__hash__:
                return key if kind is own else make(key)
            break
    return _of_numpy(_exact(key))


def _of_numpy(key: Any) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(key, (numpy.number, numpy.bool_, numpy.str_)):
        return key
    if isinstance(key, numpy.timedelta64):
        return key
    item = key.item()
    return item if type(item) in (int, float, bool, str) else key


def _exact(key: Any) -> Any:
    """A decimal or a fraction as an integer, a float or a fraction, the first that it is exactly."""
    decimal, fractions = sys.modules.get("decimal"), sys.modules.get("fractions")
    is_decimal = decimal is not None and type(key) is decimal.Decimal and key.is_finite()
    if not is_decimal and not (fractions is not None and type(key) is fractions.Fraction):
        return key
    numerator, denominator = key.as_integer_ratio()
    if denominator == 1:
        return numerator
    try:
        real = numerator / denominator
    except OverflowError:
        real = 0.0
    if real.as_integer_ratio() == (numerator, denominator):
        return real
    if not is_decimal:
        return key
    from fractions import Fraction

    return Fraction(numerator, denominator)
