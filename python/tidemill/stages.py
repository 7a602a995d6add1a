"""Stages: narrow operations as functions over whole partitions.

A stage takes the number of a partition and an iterator over its items, and gives an iterable of the items that come out. A
chain of operations is a list of stages, which the engine calls as one function, once for a partition. Stages are put together
from C-level iterators and generator expressions, so that an item costs the call of the user's function and little else.

A user's function that leaks a StopIteration, by `next` say, would end a `map` or a `filter` silently: items would be lost. So
functions in Python are called from generator expressions, which turn that into a RuntimeError, at about 10 ns per item.
"""

from __future__ import annotations

import copy
import operator
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from itertools import chain, count, islice, repeat
from operator import itemgetter
from typing import Any

from ._native import (
    Items,
    combine_values,
    group_values,
    known_pairing,
    known_split,
    known_sum,
    list_words,
    sum_words,
)
from .closure import runs_in_c
from .resultiterable import ResultIterable

Stage = Callable[[int, Iterator[Any]], Iterable[Any]]

# Types of which nothing can be changed: such a value can be shared.
UNCHANGING: frozenset[type] = frozenset(
    {
        type(None),
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        range,
        frozenset,
        date,
        datetime,
        time,
        timedelta,
        Decimal,
        Fraction,
    }
)

# Iterators over iterators call each other; after so many a list is made, for Python allows only so many calls within calls.
_DEEPEST = 200


def chained(stages: Iterable[Stage]) -> Stage:
    """One stage that does what `stages` do, one after the other."""
    steps = tuple(fused(tuple(stages)))
    if len(steps) == 1:
        return steps[0]

    def run(split: int, items: Iterator[Any]) -> Iterable[Any]:
        result: Iterable[Any] = items
        for number, step in enumerate(steps):
            # Text that no step has looked at yet stays the engine's, and so does what the last one gives as a whole.
            if number and type(result) is not Items:
                result = iter(result if number % _DEEPEST else list(result))
            result = step(split, result)  # type: ignore[arg-type]
        return result

    return run


class Splitting:
    """`flatMap(lambda line: line.split(separator))`; a separator of None is white space."""

    def __init__(self, f: Callable[[Any], Iterable[Any]], separator: str | None) -> None:
        self._f = f
        self.separator = separator

    def __call__(self, _: int, items: Iterator[Any]) -> Iterable[Any]:
        f = self._f
        return chain.from_iterable(f(item) for item in items)


class Pairing:
    """`map(lambda item: (item, constant))`"""

    def __init__(self, constant: Any) -> None:
        self.constant = constant

    def __call__(self, _: int, items: Iterator[Any]) -> Iterable[Any]:
        return zip(items, repeat(self.constant))


class Summing:
    """The values of each key, added."""

    def __call__(self, _: int, items: Iterator[Any]) -> Iterable[Any]:
        return combine_values(items, None, operator.add)


def words_with_constant(stages: tuple[Stage, ...]) -> tuple[Splitting, int] | None:
    """The parts of stages that are no more than words, paired with a constant integer."""
    match stages:
        case (Splitting() as splitting, Pairing(constant=int() as constant)) if type(constant) is int:
            return splitting, constant
    return None


def fused(stages: tuple[Stage, ...]) -> Iterator[Stage]:
    """The same stages, but that a count of words is one: the engine does that without a call of Python where lines are text."""
    while stages:
        words = words_with_constant(stages[:2]) if len(stages) > 2 and isinstance(stages[2], Summing) else None
        if words is None:
            yield stages[0]
            stages = stages[1:]
        else:
            yield _summed_words(*words, stages[:3])
            stages = stages[3:]


def _summed_words(splitting: Splitting, constant: int, stages: tuple[Stage, ...]) -> Stage:
    def run(split: int, items: Iterator[Any]) -> Iterable[Any]:
        summed = sum_words(items, splitting.separator, constant)
        return _one_by_one(stages, split, items) if summed is None else summed

    run.needs_no_interpreter = True  # type: ignore[attr-defined]
    return run


def listed_words(stages: tuple[Stage, ...]) -> Stage | None:
    """Words with lists of a constant, of stages that give pairs of words and that constant; None of others."""
    words = words_with_constant(stages)
    if words is None:
        return None
    splitting, constant = words

    def run(split: int, items: Iterator[Any]) -> Iterable[Any]:
        listed = list_words(items, splitting.separator, constant)
        return group_values(_one_by_one(stages, split, items)) if listed is None else listed

    run.needs_no_interpreter = True  # type: ignore[attr-defined]
    return run


def _one_by_one(stages: Iterable[Stage], split: int, items: Iterable[Any]) -> Iterable[Any]:
    items = iter(items)
    for step in stages:
        items = iter(step(split, items))
    return items


def mapping(f: Callable[[Any], Any]) -> Stage:
    """`f` of each item."""
    if runs_in_c(f):
        return lambda _, items: map(f, items)
    constant = known_pairing(f)
    if constant is not None:
        return Pairing(constant[0])
    return lambda _, items: (f(item) for item in items)


def flat_mapping(f: Callable[[Any], Iterable[Any]]) -> Stage:
    """All that `f` gives for each item."""
    separator = known_split(f)
    if separator is not None:
        return Splitting(f, separator[0])
    return lambda _, items: chain.from_iterable(f(item) for item in items)


def filtering(f: Callable[[Any], Any]) -> Stage:
    """The items for which `f` holds."""
    if runs_in_c(f):
        return lambda _, items: filter(f, items)
    return lambda _, items: (item for item in items if f(item))


def partition_mapping(f: Callable[[Iterator[Any]], Iterable[Any]]) -> Stage:
    """`f` of the partition's iterator."""
    return lambda _, items: f(items)


def glomming(_: int, items: Iterator[Any]) -> Iterable[list[Any]]:
    """The partition as one list."""
    return [list(items)]


def flattening(_: int, items: Iterator[Iterable[Any]]) -> Iterable[Any]:
    """The items of the items."""
    return chain.from_iterable(items)


# It only takes apart what a partition is kept in, without a function of the program's.
flattening.unpacks = True  # type: ignore[attr-defined]


def first_halves(_: int, items: Iterator[Any]) -> Iterable[Any]:
    """The keys of pairs."""
    return map(itemgetter(0), items)


def second_halves(_: int, items: Iterator[Any]) -> Iterable[Any]:
    """The values of pairs."""
    return map(itemgetter(1), items)


def keying(f: Callable[[Any], Any]) -> Stage:
    """Pairs of `f` of the item and the item."""
    return lambda _, items: ((f(item), item) for item in items)


def value_mapping(f: Callable[[Any], Any]) -> Stage:
    """Pairs with `f` of their values."""
    return lambda _, items: ((key, f(value)) for key, value in items)


def value_flat_mapping(f: Callable[[Any], Iterable[Any]]) -> Stage:
    """A pair for each item that `f` gives for a pair's value."""
    return lambda _, items: ((key, item) for key, value in items for item in f(value))


def head(n: int) -> Stage:
    """The first `n` items; no more are read."""
    return lambda _, items: islice(items, n)


def length(items: Iterable[Any]) -> int:
    """How many items an iterator has; they are used up."""
    counter = count()
    # zip asks the items first, so that the counter has gone one step for each item when they end.
    deque(zip(items, counter), maxlen=0)
    return next(counter)


def counting(_: int, items: Iterator[Any]) -> Iterable[int]:
    """The number of items, also if it is 0."""
    return [length(items)]


def counting_values(_: int, items: Iterator[Any]) -> Iterable[Counter[Any]]:
    """How often each distinct item is there, as one dict."""
    return [Counter(items)]


def distinct_items(_: int, items: Iterator[Any]) -> Iterable[Any]:
    """Each distinct item once, where it was first seen."""
    return dict.fromkeys(items)


def reducing(f: Callable[[Any, Any], Any]) -> Stage:
    """All items reduced to one by `f`; nothing where there are none."""

    def run(_: int, items: Iterator[Any]) -> Iterable[Any]:
        for first in items:
            return [reduce(f, items, first)]
        return []

    return run


def folding(zero: Any, f: Callable[[Any, Any], Any]) -> Stage:
    """All items taken into a copy of `zero` by `f`; `zero` where there are none."""
    fresh = copies_of(zero)
    return lambda _, items: [reduce(f, items, fresh())]


def copies_of(value: Any) -> Callable[[], Any]:
    """A function that gives copies of a value which somebody may change; the value itself where nobody can."""
    if type(value) in UNCHANGING:
        return lambda: value
    return lambda: copy.deepcopy(value)


def combining(create: Callable[[Any], Any] | None, merge: Callable[[Any, Any], Any]) -> Stage:
    """The values of each key combined; `create=None` begins with the first value itself."""
    if create is None and known_sum(merge):
        return Summing()
    return lambda _, items: combine_values(items, create, merge)


def listing(_: int, items: Iterator[Any]) -> Iterable[tuple[Any, list[Any]]]:
    """Pairs of each key and the list of its values."""
    return group_values(items)


def iterable_values(_: int, items: Iterator[Any]) -> Iterable[Any]:
    """Pairs of a key and a list, which programs see as a `ResultIterable`."""
    return ((key, ResultIterable(values)) for key, values in items)


def merging_lists(split: int, items: Iterator[Any]) -> Iterable[Any]:
    """Pairs of each key and all its values, of pairs of a key and a list."""
    # The first list is copied: what came through a shuffle may be read again.
    return iterable_values(split, combine_values(items, list, operator.iadd))