"""Operators on pairs, batch by batch."""

from __future__ import annotations

import operator

import pytest
from streaming_batches import INTERVAL, by_key, run

from tidemill.streaming import StreamingContext

PAIRS = [[("a", 1), ("b", 1), ("a", 2)], [], [("c", 3), ("a", 4), ("c", 5), ("c", 6)]]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (lambda s: s.reduceByKey(operator.add), [[("a", 3), ("b", 1)], [], [("a", 4), ("c", 14)]]),
        (lambda s: s.reduceByKey(lambda a, b: max(a, b), 1), [[("a", 2), ("b", 1)], [], [("a", 4), ("c", 6)]]),
        (
            lambda s: s.combineByKey(lambda v: [v], lambda c, v: [*c, v], lambda c, d: c + d),
            [[("a", [1, 2]), ("b", [1])], [], [("a", [4]), ("c", [3, 5, 6])]],
        ),
        (lambda s: s.groupByKey().mapValues(list), [[("a", [1, 2]), ("b", [1])], [], [("a", [4]), ("c", [3, 5, 6])]]),
        (lambda s: s.groupByKey(1).mapValues(len), [[("a", 2), ("b", 1)], [], [("a", 1), ("c", 3)]]),
        (lambda s: s.mapValues(lambda v: v * 10), [[("a", 10), ("a", 20), ("b", 10)], [], [("a", 40), ("c", 30), ("c", 50), ("c", 60)]]),
        (lambda s: s.flatMapValues(lambda v: [v] * (v % 2)), [[("a", 1), ("b", 1)], [], [("c", 3), ("c", 5)]]),
        (lambda s: s.partitionBy(3), [sorted(batch) for batch in PAIRS]),
    ],
    ids=lambda case: None,
)  # fmt: skip
def test_pairs(sc, program, expected):
    assert by_key(run(sc, program, PAIRS)) == expected


def test_reduce_by_key_then_map(sc):
    """What follows a shuffle joins its last stage."""
    words = [["to be or", "not to be"], ["be"]]
    program = lambda s: (  # noqa: E731
        s.flatMap(str.split)
        .map(lambda word: (word, 1))
        .reduceByKey(lambda a, b: a + b)
        .filter(lambda p: p[1] > 1)
        .map(str)
    )
    assert by_key(run(sc, program, words)) == [["('be', 2)", "('to', 2)"], []]


def test_partition_by_a_function(sc):
    def program(s):
        return s.partitionBy(4, lambda key: key * 3).glom()

    assert run(sc, program, [[(0, "x"), (1, "y"), (2, "z"), (3, "w")]]) == [
        [[(0, "x")], [(3, "w")], [(2, "z")], [(1, "y")]]
    ]


JOINS = {
    "join": [[("a", (1, "x")), ("a", (1, "y")), ("a", (2, "x")), ("a", (2, "y"))], [("k", (9, None))]],
    "leftOuterJoin": [
        [("a", (1, "x")), ("a", (1, "y")), ("a", (2, "x")), ("a", (2, "y")), ("b", (3, None))],
        [("k", (9, None))],
    ],
    "rightOuterJoin": [
        [("a", (1, "x")), ("a", (1, "y")), ("a", (2, "x")), ("a", (2, "y")), ("c", (None, "z"))],
        [("k", (9, None))],
    ],
    "fullOuterJoin": [
        [("a", (1, "x")), ("a", (1, "y")), ("a", (2, "x")), ("a", (2, "y")), ("b", (3, None)), ("c", (None, "z"))],
        [("k", (9, None))],
    ],
}


@pytest.mark.parametrize("name", JOINS)
@pytest.mark.parametrize("partitions", [None, 1, 5])
def test_joins(sc, name, partitions):
    left = [[("a", 1), ("b", 3), ("a", 2)], [("k", 9)]]
    right = [[("a", "x"), ("c", "z"), ("a", "y")], [("k", None)]]
    assert by_key(run(sc, lambda a, b: getattr(a, name)(b, partitions), left, right)) == JOINS[name]


def test_cogroup(sc):
    left = [[("a", 1), ("a", 2), ("b", 3)]]
    right = [[("a", "x"), ("c", "z")]]
    program = lambda a, b: a.cogroup(b).mapValues(lambda groups: tuple(map(list, groups)))  # noqa: E731
    assert by_key(run(sc, program, left, right)) == [[("a", ([1, 2], ["x"])), ("b", ([3], [])), ("c", ([], ["z"]))]]


def test_a_stream_joined_with_itself(sc):
    program = lambda s: s.join(s.mapValues(lambda v: -v))  # noqa: E731
    assert by_key(run(sc, program, [[("a", 1), ("b", 2)]])) == [[("a", (1, -1)), ("b", (2, -2))]]


def slow(stream):
    """Two batches at a time."""
    return stream.window(2 * INTERVAL, 2 * INTERVAL)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (lambda s: s.join(slow(s)), [[], [("a", (2, 1)), ("a", (2, 2))], [], [("b", (4, 3)), ("b", (4, 4))]]),
        (lambda s: slow(s).join(s), [[("a", (1, 2)), ("a", (2, 2))], [("b", (3, 4)), ("b", (4, 4))]]),
        (lambda s: s.leftOuterJoin(slow(s)).count(), [[1], [2], [1], [2]]),
        (lambda s: s.rightOuterJoin(slow(s)).count(), [[0], [2], [0], [2]]),
        (
            lambda s: s.cogroup(slow(s)).map(lambda pair: (pair[0], *map(list, pair[1]))),
            [[("a", [1], [])], [("a", [2], [1, 2])], [("b", [3], [])], [("b", [4], [3, 4])]],
        ),
        (lambda s: s.transformWith(lambda a, b: a.values().union(b.values()), slow(s)), [[1], [2, 1, 2], [3], [4, 3, 4]]),
        (lambda s: slow(s).transformWith(lambda a, b: a.values().union(b.values()), s), [[1, 2, 2], [3, 4, 4]]),
    ],
    ids=lambda case: None,
)  # fmt: skip
def test_streams_that_slide_differently(sc, program, expected):
    """At the times of the left one; where the right one has no batch, it has no rows."""
    batches = [[("a", 1)], [("a", 2)], [("b", 3)], [("b", 4)]]
    assert run(sc, program, batches, batches=len(expected)) == expected


def test_many_streams_need_equal_slides(sc):
    ssc = StreamingContext(sc, INTERVAL)
    stream = ssc.queueStream([[("a", 1)]])
    with pytest.raises(ValueError, match="^Some of the DStreams have different slide durations$"):
        ssc.transform([stream, slow(stream)], lambda rdds: rdds[0])
    ssc.stop(False)


def test_keys_of_all_kinds(sc):
    keys = [None, 1, -1, "word", ("a", 1), (None, (2.5, "b")), b"bytes", 2**80, 3.25]
    batch = [(key, 1) for key in keys] * 3
    result = run(sc, lambda s: s.reduceByKey(operator.add, 4), [batch])
    assert dict(result[0]) == dict.fromkeys(keys, 3)


def test_pairs_are_asked_for(sc):
    with pytest.raises(Exception, match="pairs"):
        run(sc, lambda s: s.reduceByKey(operator.add), [[1, 2]])
