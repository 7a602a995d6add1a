"""States by key, sessions and windows by count."""

from __future__ import annotations

from collections import namedtuple
from datetime import datetime

import pytest
from streaming_batches import INTERVAL, by_key, collected, run, wait_for

from tidemill import PythonException
from tidemill.streaming import StateSpec, StreamingContext


def total(new, before):
    return sum(new) + (before or 0)


def test_update_state_by_key(sc, tmp_path):
    batches = [[("a", 1), ("b", 2), ("a", 3)], [], [("b", 1), ("c", 1)]]
    result = by_key(run(sc, lambda s: s.updateStateByKey(total), batches, checkpoint=tmp_path))
    assert result == [[("a", 4), ("b", 2)], [("a", 4), ("b", 2)], [("a", 4), ("b", 3), ("c", 1)]]


def test_states_that_are_changed_in_place(sc, tmp_path):
    """What a batch has given stays as it was, also where the function changes the object that it gets."""

    def gather(new, before):
        before = before or []
        before.extend(new)
        return before

    batches = [[("k", n)] for n in range(5)]
    result = run(sc, lambda s: s.updateStateByKey(gather), batches, checkpoint=tmp_path)
    assert result == [[("k", list(range(n + 1)))] for n in range(5)]


def test_none_ends_a_state(sc, tmp_path):
    def three_at_most(new, before):
        count = len(new) + (before or 0)
        return count if count < 3 else None

    batches = [[("a", 0)], [("a", 0)], [("a", 0)], [("a", 0)]]
    result = run(sc, lambda s: s.updateStateByKey(three_at_most), batches, checkpoint=tmp_path)
    assert result == [[("a", 1)], [("a", 2)], [], [("a", 1)]]


def test_states_are_updated_without_values_too(sc, tmp_path):
    def age(new, before):
        return 0 if new else before + 1

    result = run(sc, lambda s: s.updateStateByKey(age, 3), [[("a", 1)], [], [], [("a", 1)]], checkpoint=tmp_path)
    assert result == [[("a", 0)], [("a", 1)], [("a", 2)], [("a", 0)]]


@pytest.mark.parametrize("as_rdd", [True, False])
def test_initial_states(sc, tmp_path, as_rdd):
    initial = [("a", 10), ("z", 1)]
    if as_rdd:
        initial = sc.parallelize(initial)
    program = lambda s: s.updateStateByKey(total, initialRDD=initial)  # noqa: E731
    result = by_key(run(sc, program, [[("a", 1)], [("b", 1)]], checkpoint=tmp_path))
    assert result == [[("a", 11), ("z", 1)], [("a", 11), ("b", 1), ("z", 1)]]


def test_states_need_a_checkpoint(sc, monkeypatch):
    monkeypatch.setattr(sc._checkpoints, "folder", None)
    ssc = StreamingContext(sc, INTERVAL)
    ssc.queueStream([[("a", 1)]]).updateStateByKey(total).pprint()
    with pytest.raises(Exception, match="The checkpoint directory has not been set"):
        ssc.start()
    ssc.stop(False)


def test_an_error_in_an_update_names_its_place(sc, tmp_path):
    with pytest.raises(Exception, match=r"updateStateByKey at test_streaming_state.py:\d+(?s:.*)ZeroDivisionError"):
        run(sc, lambda s: s.updateStateByKey(lambda new, before: 1 // 0), [[("a", 1)]], checkpoint=tmp_path)


def test_map_with_state(sc, tmp_path):
    def running(key, value, state):
        if value < 0:
            state.remove()
            return None
        state.update((state.getOption() or 0) + value)
        return key, state.get()

    ssc = StreamingContext(sc, INTERVAL)
    ssc.checkpoint(str(tmp_path))
    pairs = ssc.queueStream([[("a", 1), ("a", 2), ("b", 5)], [("a", 3)], [("a", -1), ("b", 1)]])
    mapped = pairs.mapWithState(StateSpec.function(running).numPartitions(2).initialState([("b", 100)]))
    rows, snapshots = collected(mapped), collected(mapped.stateSnapshots())
    ssc.start()
    try:
        wait_for(ssc, lambda: len(snapshots) >= 3)
    finally:
        ssc.stop(False)
    assert by_key(rows[:3]) == [[("a", 1), ("a", 3), ("b", 105)], [("a", 6)], [("b", 106)]]
    assert by_key(snapshots[:3]) == [[("a", 3), ("b", 105)], [("a", 6), ("b", 105)], [("b", 106)]]


def test_map_with_state_and_time(sc, tmp_path):
    def stamped(time, key, value, state):
        assert isinstance(time, datetime)
        state.update(time)
        return key, time

    spec = StateSpec.function(stamped)
    result = run(sc, lambda s: s.mapWithState(spec), [[("a", 1)], [("a", 1)]], checkpoint=tmp_path)
    assert result[0][0][1] < result[1][0][1]


def test_keys_time_out(sc, tmp_path):
    def follow(key, value, state):
        if state.isTimingOut():
            return key, "over", state.get()
        state.update(value)
        return None

    spec = StateSpec.function(follow).timeout(3 * INTERVAL)
    result = run(sc, lambda s: s.mapWithState(spec), [[("a", 1)], [("a", 2)]], batches=8, checkpoint=tmp_path)
    assert [row for batch in result for row in batch] == [("a", "over", 2)]


def test_mistakes_with_states(sc, tmp_path):
    texts = []

    def mistaken(key, value, state):
        for steps in (
            [state.get],
            [lambda: state.update(1), state.remove, lambda: state.update(2)],
            [state.remove],
        ):
            try:
                for step in steps:
                    step()
            except Exception as error:
                texts.append(str(error))
        return key

    result = run(sc, lambda s: s.mapWithState(StateSpec.function(mistaken)), [[("a", 1)]], checkpoint=tmp_path)
    assert result == [["a"]]
    assert "State is not set" in texts[0]
    assert "Cannot update the state after it has been removed" in texts[1]
    assert "Cannot remove the state that has already been removed" in texts[2]


def test_sessions(sc):
    # a: 1 and 2 with one batch between them, which is within the gap; 3 comes later.
    batches = [[("a", 1)], [], [("a", 2)], [], [], [], [], [("a", 3)]]
    result = run(sc, lambda s: s.sessionWindow(2 * INTERVAL), batches, batches=14)
    sessions = [row for batch in result for row in batch]
    assert [(key, values) for key, (_, _, values) in sessions] == [("a", [1, 2]), ("a", [3])]
    assert [end - start for _, (start, end, _) in sessions] == [round(2000 * INTERVAL), 0]


def test_windows_by_count(sc):
    batches = [[1, 2], [3], [], [4, 5, 6, 7]]
    tumbling = run(sc, lambda s: s.countWindow(3), [sc.parallelize(batch, 1) for batch in batches])
    assert tumbling == [[], [[1, 2, 3]], [], [[4, 5, 6]]]
    sliding = run(sc, lambda s: s.countWindow(3, 2), [sc.parallelize(batch, 1) for batch in batches])
    assert sliding == [[[1, 2]], [], [], [[2, 3, 4], [4, 5, 6]]]


def test_states_go_on_after_a_restart(sc, tmp_path):
    """Another context on the same folder, as another process would make it; numbers come through a folder that is read again."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    counts = []

    def program():
        ssc = StreamingContext(sc, INTERVAL)
        words = ssc.textFileStream(str(inbox)).map(lambda word: (word, 1))
        words.updateStateByKey(total).foreachRDD(lambda rdd: counts.append(dict(rdd.collect())))
        return ssc

    for n in range(1, 4):
        ssc = StreamingContext.getOrCreate(str(tmp_path / "checkpoint"), program)
        before = len(counts)
        ssc.start()
        try:
            # A file must not look older than the stream: file systems' clocks go in steps of milliseconds.
            wait_for(ssc, lambda before=before: len(counts) > before)
            part = tmp_path / f"part-{n}"
            part.write_text("word\n" * n)
            part.rename(inbox / part.name)
            wait_for(ssc, lambda n=n: counts[-1] == {"word": n * (n + 1) // 2})
        finally:
            ssc.stop(False, True)


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    "keys",
    [
        # Equal keys of which a pickle could tell that they came about differently.
        [Point("a b", "a b"), Point("".join(["a", " b"]), "".join(["a ", "b"]))],
        [frozenset([8, 16, 0]), frozenset([0, 16, 8])],
        [("a", frozenset({"x", "y"})), ("a", frozenset({"y", "x"}))],
        [2**80, 2**80],
    ],
    ids=["named tuple", "frozen set", "frozen set in a tuple", "large number"],
)
def test_equal_keys_are_one_key(sc, tmp_path, keys):
    batches = [[(key, 1)] for key in keys]
    result = run(sc, lambda s: s.updateStateByKey(total), batches, checkpoint=tmp_path)
    assert result == [[(keys[0], 1)], [(keys[0], 2)]]
    assert type(result[1][0][0]) is type(keys[0])


def test_outputs_have_objects_of_their_own(sc, tmp_path):
    """What one output does to its objects is not seen by another one, nor by later batches."""
    ssc = StreamingContext(sc, INTERVAL)
    ssc.checkpoint(str(tmp_path))
    batches = ssc.queueStream([[("k", [n])] for n in range(4)])
    kept = batches.cache()
    windows = batches.countWindow(2, 1)
    for stream in (kept, windows):
        stream.map(lambda row: (row[0][1] if type(row) is list else row[1]).append("changed")).foreachRDD(lambda rdd: rdd.count())
    seen, windowed = collected(kept), collected(windows)
    ssc.start()
    try:
        wait_for(ssc, lambda: len(windowed) >= 4)
    finally:
        ssc.stop(stopSparkContext=False)
    assert seen[:4] == [[("k", [n])] for n in range(4)]
    assert windowed[:4] == [[[("k", [0])]], *([[("k", [n - 1]), ("k", [n])]] for n in range(1, 4))]


def fails(*_):
    raise LookupError("nothing there")


@pytest.mark.parametrize(
    "program",
    [
        lambda s: s.updateStateByKey(fails),
        lambda s: s.mapWithState(StateSpec.function(fails)),
        lambda s: s.reduceByKeyAndWindow(fails, fails, 5 * INTERVAL, INTERVAL),
    ],
    ids=["updateStateByKey", "mapWithState", "reduceByKeyAndWindow"],
)
def test_the_exception_of_a_state_is_the_cause(sc, tmp_path, program):
    with pytest.raises(PythonException, match=r"(?s)the function of .*fails.*nothing there") as raised:
        run(sc, program, [[("k", 1), ("k", 2)]] * 3, checkpoint=tmp_path)
    assert isinstance(raised.value.__cause__, LookupError)
