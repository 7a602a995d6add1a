"""Windows: of single batches, reduced anew, and brought forward with an inverse."""

from __future__ import annotations

import operator

import pytest
from streaming_batches import INTERVAL, by_key, run

from tidemill.streaming import StreamingContext

RANGES = [range(1), range(2), range(3), range(4), range(5), range(6)]


def windows(n):
    """So many intervals in seconds."""
    return round(n * INTERVAL, 6)


def test_window(sc):
    result = run(sc, lambda s: s.window(windows(3)), [[1], [2], [3], [4]], batches=6)
    assert result == [[1], [1, 2], [1, 2, 3], [2, 3, 4], [3, 4], [4]]


def test_window_with_a_slide(sc):
    result = run(sc, lambda s: s.window(windows(3), windows(2)), [[1], [2], [3], [4], [5]], batches=3)
    assert result == [[1, 2], [2, 3, 4], [4, 5]]


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        # Reduced anew: a window without rows gives none.
        (3, [[1], [3], [6], [9], [12], [15], [11], [6], [], []]),
        # Brought forward, from five slides on: such a window gives 0.
        (5, [[1], [3], [6], [10], [15], [20], [18], [15], [11], [6], [0], [0]]),
    ],
)
def test_count_by_window(sc, tmp_path, length, expected):
    program = lambda s: s.countByWindow(windows(length), windows(1))  # noqa: E731
    # Rows that never come: the default of a queue that is at its end has a partition, but no rows.
    assert run(sc, program, RANGES, batches=len(expected), checkpoint=tmp_path) == expected


@pytest.mark.parametrize("length", [3, 5])
def test_count_by_value_and_window(sc, tmp_path, length):
    program = lambda s: s.countByValueAndWindow(windows(length), windows(1))  # noqa: E731
    batches = [["a"], ["a", "b"], [], ["c"]]
    result = by_key(run(sc, program, batches, batches=10, checkpoint=tmp_path))
    assert result[:4] == [[("a", 1)], [("a", 2), ("b", 1)], [("a", 2), ("b", 1)], result[3]]
    assert result[3] == ([("a", 1), ("b", 1), ("c", 1)] if length == 3 else [("a", 2), ("b", 1), ("c", 1)])
    # Values that are in the window no more are gone, not there with a count of 0.
    assert result[9] == []


@pytest.mark.parametrize("length", [3, 5])
def test_group_by_key_and_window_keeps_the_order(sc, tmp_path, length):
    batches = [[("a", 2 * n), ("a", 2 * n + 1)] for n in range(6)]
    program = lambda s: s.groupByKeyAndWindow(windows(length), windows(1)).mapValues(list)  # noqa: E731
    result = run(sc, program, batches, batches=12, checkpoint=tmp_path)
    for n, rows in enumerate(result[: 5 + length]):
        begin, end = max(0, n - length + 1), min(n, 5)
        assert rows == [("a", list(range(2 * begin, 2 * end + 2)))], n
    assert result[11] == []


@pytest.mark.parametrize("inverse", [operator.sub, None, lambda a, b: a - b])
@pytest.mark.parametrize("length", [2, 5])
def test_reduce_by_window(sc, tmp_path, inverse, length):
    program = lambda s: s.reduceByWindow(operator.add, inverse, windows(length), windows(1))  # noqa: E731
    result = run(sc, program, [[1, 2], [3], [4]], batches=4, checkpoint=tmp_path)
    assert result == ([[3], [6], [7], [4]] if length == 2 else [[3], [6], [10], [10]])


def test_reduce_by_key_and_window_without_inverse(sc):
    program = lambda s: s.map(lambda n: (n, 1)).reduceByKeyAndWindow(operator.add, None, windows(5), windows(1)).count()  # noqa: E731
    assert run(sc, program, RANGES) == [[1], [2], [3], [4], [5], [6]]


def test_keys_stay_with_an_inverse_unless_filtered(sc, tmp_path):
    batches = [[("a", 1)], [("b", 1)]]

    def program(keep):
        return lambda s: s.reduceByKeyAndWindow(operator.add, operator.sub, windows(5), windows(1), filterFunc=keep)

    stays = by_key(run(sc, program(None), batches, batches=8, checkpoint=tmp_path / "all"))
    assert stays[1] == [("a", 1), ("b", 1)]
    assert stays[7] == [("a", 0), ("b", 0)]
    gone = by_key(run(sc, program(lambda pair: pair[1] > 0), batches, batches=8, checkpoint=tmp_path / "some"))
    assert gone[1] == [("a", 1), ("b", 1)]
    assert gone[7] == []


def test_a_filter_may_drop_keys_whose_values_are_in_the_window(sc, tmp_path):
    """What leaves the window then is left out, as by the outer join with which PySpark takes away."""
    batches = [[("a", 3), ("b", 9)], [], [("a", 6)]]
    program = lambda s: s.reduceByKeyAndWindow(  # noqa: E731
        operator.add, operator.sub, windows(5), windows(1), 1, lambda pair: pair[1] > 5
    )
    result = by_key(run(sc, program, batches, batches=10, checkpoint=tmp_path))
    both = [("a", 6), ("b", 9)]
    assert result == [[("b", 9)], [("b", 9)], both, both, both, [], [], [], [], []]


def test_short_windows_are_reduced_anew_also_with_an_inverse(sc):
    """So keys without values vanish, and there is no need of a checkpoint."""

    def never(a, b):
        raise AssertionError("a short window has no use for an inverse")

    program = lambda s: s.reduceByKeyAndWindow(operator.add, never, windows(4), windows(1))  # noqa: E731
    result = by_key(run(sc, program, [[("a", 1)], [("b", 1)]], batches=6))
    assert result == [[("a", 1)], *[[("a", 1), ("b", 1)]] * 3, [("b", 1)], []]


def test_inverse_and_anew_give_the_same(sc, tmp_path):
    batches = [[(n * k % 7, n + k) for k in range(20)] for n in range(20)]
    window, slide = windows(6), windows(1)
    forward = lambda s: s.reduceByKeyAndWindow(operator.add, operator.sub, window, slide, 3, lambda p: p[1] != 0)  # noqa: E731
    anew = lambda s: s.reduceByKeyAndWindow(operator.add, None, window, slide)  # noqa: E731
    expected = by_key(run(sc, anew, batches, batches=26))
    assert by_key(run(sc, forward, batches, batches=26, checkpoint=tmp_path)) == expected


def test_windows_of_windows(sc):
    program = lambda s: s.window(windows(2)).count().window(windows(2)).reduce(operator.add)  # noqa: E731
    assert run(sc, program, [[1], [2, 3], [4]], batches=3) == [[1], [4], [6]]


@pytest.mark.parametrize("length", [2, 5])
def test_windows_sorted(sc, tmp_path, length):
    """Sorting runs a job of its own, to find out where to cut, while the batch is put together."""
    batches = [[("a", 1), ("b", 2)], [("a", 3)], [("c", 9)]]

    def program(stream):
        totals = stream.reduceByKeyAndWindow(
            operator.add, operator.sub, windows(length), windows(1), filterFunc=lambda p: p[1] > 0
        )
        return totals.transform(lambda rdd: rdd.sortBy(lambda pair: -pair[1]))

    result = run(sc, program, batches, checkpoint=tmp_path)
    last = [("c", 9), ("a", 3)] if length == 2 else [("c", 9), ("a", 4), ("b", 2)]
    assert result == [[("b", 2), ("a", 1)], [("a", 4), ("b", 2)], last]


@pytest.mark.parametrize("name", ["windowDuration", "slideDuration"])
def test_durations_are_multiples_of_the_batch(sc, name):
    ssc = StreamingContext(sc, 0.5)
    stream = ssc.queueStream([[("a", 1)]])
    durations = {"windowDuration": 2, "slideDuration": 1, name: 1.1}
    text = rf"^{name} must be multiple of the parent dstream's slide \(batch\) duration \(500 ms\)$"
    for operation in (
        lambda: stream.window(**durations),
        lambda: stream.countByWindow(**durations),
        lambda: stream.countByValueAndWindow(**durations),
        lambda: stream.groupByKeyAndWindow(**durations),
        lambda: stream.reduceByWindow(operator.add, operator.sub, **durations),
        lambda: stream.reduceByKeyAndWindow(operator.add, operator.sub, **durations),
    ):
        with pytest.raises(ValueError, match=text):
            operation()
    ssc.stop(False)


def test_long_windows_with_an_inverse_need_a_checkpoint(sc, monkeypatch):
    monkeypatch.setattr(sc._checkpoints, "folder", None)
    ssc = StreamingContext(sc, INTERVAL)
    ssc.queueStream([[1]]).countByWindow(windows(5), windows(1)).pprint()
    with pytest.raises(Exception, match="The checkpoint directory has not been set"):
        ssc.start()
    ssc.stop(False)
