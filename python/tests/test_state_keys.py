"""Keys of states are one where Python finds them equal; users see the first of them."""

from __future__ import annotations

import enum
import operator
from collections import namedtuple
from decimal import Decimal
from fractions import Fraction

import numpy
import pytest
from streaming_batches import INTERVAL, collected, run, wait_for

from tidemill.streaming import Receiver, StateSpec, StreamingContext

Point = namedtuple("Point", "x y")


class Level(enum.IntEnum):
    LOW = 1


class Color(str, enum.Enum):
    RED = "red"


class Text(str):
    pass


EQUAL = [
    (1, True),
    (True, 1.0),
    (1.0, 1),
    (0.0, -0.0),
    (-0.0, 0),
    (False, 0.0),
    ((1, "x"), (1.0, "x")),
    (("x", (True, None)), ("x", (1, None))),
    (frozenset([1, 2.5]), frozenset([2.5, True])),
    (2**80, float(2**80)),
    (float(2**63), 2**63),
    (-(2.0**63), -(2**63)),
    (Decimal("1.0"), Decimal("1.00")),
    (Decimal("2.00"), 2),
    (Decimal("0.5"), Fraction(1, 2)),
    (0.5, Fraction(1, 2)),
    (Decimal("0.1"), Fraction(1, 10)),
    (Level.LOW, 1),
    (Color.RED, "red"),
    (Text("a"), "a"),
    (Point(1, 2), (1.0, 2)),
    (numpy.int64(3), 3),
    (numpy.float32(0.5), 0.5),
    (numpy.bool_(True), True),
    (numpy.str_("a"), "a"),
]
DIFFERENT = [(1, "1"), (1, 1.5), (b"a", "a"), ("a", ("a",)), (0.1, Decimal("0.1")), (2**80, 2**80 + 1), (1e300, 10**300)]


def total(new, before):
    return sum(new) + (before or 0)


def running(key, value, state):
    state.update((state.getOption() or 0) + value)
    return key, state.get()


def windows(stream, keep=None):
    return stream.reduceByKeyAndWindow(operator.add, operator.sub, 5 * INTERVAL, INTERVAL, 3, keep)


def kind(key):
    """What tells equal keys apart."""
    return type(key), repr(key)


@pytest.mark.parametrize("keys", EQUAL, ids=repr)
def test_equal_keys_are_one_key(sc, tmp_path, keys):
    first, other = keys
    assert first == other and hash(first) == hash(other)
    asked = []

    def keep(pair):
        asked.append(kind(pair[0]))
        return True

    batches = [[(first, 1)], [(other, 1), (first, 1)]]
    programs = {
        "states": (lambda s: s.updateStateByKey(total, 3), [[(first, 1)], [(first, 3)]]),
        "windows": (lambda s: windows(s, keep), [[(first, 1)], [(first, 3)]]),
        "map": (lambda s: s.mapWithState(StateSpec.function(running)), [[(first, 1)], [(first, 2), (first, 3)]]),
        "sessions": (
            lambda s: s.sessionWindow(2 * INTERVAL).mapValues(lambda session: session[2]),
            [*[[]] * 4, [(first, [1, 1, 1])]],
        ),
    }
    for name, (program, expected) in programs.items():
        result = run(sc, program, batches, batches=len(expected), checkpoint=tmp_path / name)
        assert result == expected, name
        assert {kind(key) for batch in result for key, _ in batch} == {kind(first)}, name
    assert set(asked) == {kind(first)}


@pytest.mark.parametrize("keys", DIFFERENT, ids=repr)
def test_other_keys_are_two(sc, tmp_path, keys):
    first, other = keys
    assert first != other
    program = lambda s: s.updateStateByKey(total)  # noqa: E731
    (result,) = run(sc, program, [[(first, 1), (other, 2)]], checkpoint=tmp_path)
    assert dict(result) == {first: 1, other: 2}


@pytest.mark.parametrize(
    "keys",
    [(True, 1), (1.0, 1), (Decimal("1.0"), 1.0), (Point(1, 2), (1, 2)), ((1, "x"), (True, "x"))],
    ids=repr,
)
def test_a_restart_shows_the_first_key(sc, tmp_path, keys):
    waiting, seen = list(keys), []

    class Keys(Receiver):
        def onStart(self):
            self.store((waiting.pop(0), 1))

    def program():
        ssc = StreamingContext(sc, INTERVAL)
        seen.append(collected(ssc.receiverStream(Keys()).updateStateByKey(total)))
        return ssc

    for wanted in (1, 2):
        ssc = StreamingContext.getOrCreate(str(tmp_path), program)
        counts = seen[-1]
        ssc.start()
        wait_for(ssc, lambda counts=counts, wanted=wanted: counts and counts[-1] == [(keys[0], wanted)])
        ssc.stop(stopSparkContext=False, stopGraceFully=True)
        assert kind(counts[-1][0][0]) == kind(keys[0])
