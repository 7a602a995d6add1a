"""Functions in worker processes: the same results, and what becomes of those who fail."""

from __future__ import annotations

import contextlib
import multiprocessing
import operator
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pytest
import streaming_batches
from streaming_batches import eventually

import tidemill
from tidemill import PythonException, SparkConf, SparkContext, SparkFiles, TaskContext, TidemillError
from tidemill.worker_command import worker_command

PLACES = ("driver", "workers", "auto")
Point = namedtuple("Point", "x y")


def context(place: str, cores: int = 2) -> SparkContext:
    """A context whose functions run in this place."""
    active = SparkContext._active_spark_context
    if active is not None:
        active.stop()
    return SparkContext(f"local[{cores}]", "workers", conf=SparkConf().set("tidemill.python.functions", place))


@pytest.fixture
def sc() -> Iterator[SparkContext]:
    """All functions run in workers."""
    with context("workers") as made:
        yield made


def pids(sc: SparkContext, partitions: int = 4) -> set[int]:
    """The processes that functions run in."""
    return set(sc.parallelize(range(partitions), partitions).map(lambda _: os.getpid()).collect())


def gone(pid: int) -> bool:
    """Whether there is no such process."""
    return not Path(f"/proc/{pid}").exists()


def slow(n: int) -> int:
    """Costs some microseconds."""
    return sum(range(n % 50)) + n


def in_threads(items: Iterator[int]) -> Iterator[int]:
    """Has other threads read the partition."""
    with ThreadPool(2) as pool:
        yield from pool.imap(slow, items)


LINES = ["a b a", "c", "", "b a \ud800", "ä €"] * 700
PROGRAMS: dict[str, Callable[[SparkContext], Any]] = {
    "words": lambda sc: sorted(
        sc.parallelize(LINES, 3)
        .flatMap(lambda line: [word for word in line.split(" ")])
        .map(lambda word: (word, len(word)))
        .reduceByKey(lambda a, b: max(a, b))
        .collect()
    ),
    "in order": lambda sc: sc.parallelize(range(10_000), 3).map(slow).filter(lambda n: n % 3).collect(),
    "a part of a partition": lambda sc: sc.parallelize(range(10_000), 2).mapPartitions(lambda it: [next(it)]).collect(),
    "take": lambda sc: sc.parallelize(range(10_000), 2).map(slow).take(3),
    "nothing": lambda sc: sc.parallelize([], 3).map(slow).collect(),
    "more than came": lambda sc: sc.parallelize([3, 4], 2).flatMap(lambda n: range(n * 1000)).sum(),
    "objects": lambda sc: sc.parallelize(range(9), 2).map(lambda n: Point(n, {n: [None, n / 2, 10**30]})).collect(),
    "read by other threads": lambda sc: sc.parallelize(range(5000), 2).mapPartitions(in_threads).sum(),
    "sorted": lambda sc: sc.parallelize(range(500), 3).map(lambda n: (n * 7 % 100, n)).sortByKey().values().collect(),
    "joined": lambda sc: sorted(
        sc.parallelize(range(50)).map(lambda n: (n % 5, n)).join(sc.parallelize([(1, "x")])).collect()
    ),
    "cached": lambda sc: [rdd.sum() for rdd in [sc.parallelize(range(99), 2).map(slow).cache()] for _ in range(2)],
    "partition numbers": lambda sc: (
        sc.parallelize(range(8), 4).map(lambda _: TaskContext.get().partitionId()).collect()  # type: ignore[union-attr]
    ),
    "aggregated": lambda sc: sc.parallelize(range(99), 4).aggregate([], lambda a, n: [*a, n], operator.add),
    "a default": lambda sc: sc.parallelize(range(3), 2).map(lambda n, by={"k": 2}: n * by["k"]).collect(),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_results_are_the_same_everywhere(program: str) -> None:
    results = []
    for place in PLACES:
        with context(place) as sc:
            results.append(PROGRAMS[program](sc))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(("place", "here"), [("driver", True), ("workers", False), ("auto", True)])
def test_where_small_functions_run(place: str, here: bool) -> None:
    with context(place) as sc:
        assert (os.getpid() in pids(sc)) == here


def test_large_functions_use_this_process_and_a_worker() -> None:
    with context("auto") as sc:
        rdd = sc.parallelize(range(200_000), 2).map(slow).map(lambda _: os.getpid())
        seen = eventually(lambda: next((all for all in [set(rdd.collect())] if len(all) == 2), None), "a worker")
        assert os.getpid() in seen


def test_one_core_has_no_workers() -> None:
    with context("auto", cores=1) as sc:
        assert set(sc.parallelize(range(200_000), 2).map(slow).map(lambda _: os.getpid()).collect()) == {os.getpid()}


def test_a_place_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="is 'moon': it can be auto, driver or workers"):
        context("moon")
    assert SparkContext._active_spark_context is None


def test_accumulators(sc: SparkContext) -> None:
    class Listed(tidemill.AccumulatorParam[Any]):
        def zero(self, value: Any) -> Any:
            return []

        def addInPlace(self, value1: Any, value2: Any) -> Any:
            value1.extend(value2)
            return value1

    count, listed = sc.accumulator(5), sc.accumulator([0], Listed())
    for _ in range(2):
        sc.parallelize(range(1, 100), 4).foreach(lambda n: (count.add(1), listed.add([n])))
    assert count.value == 5 + 2 * 99
    assert sorted(listed.value) == [0, *sorted([*range(1, 100)] * 2)]

    def fails(n: int) -> None:
        count.add(1000)
        raise ValueError(n)

    with pytest.raises(PythonException):
        sc.parallelize([1], 1).foreach(fails)
    assert count.value == 5 + 2 * 99 + 1000
    with pytest.raises(PythonException, match=r"Accumulator\.value cannot be accessed inside tasks"):
        sc.parallelize([1], 1).foreach(lambda _: count.value)


def test_broadcast_values_come_once_and_go(sc: SparkContext) -> None:
    class Counted:
        def __reduce__(self) -> Any:
            return str, ("made by a worker",)

    value: Any = sc.broadcast(Counted())
    rdd = sc.parallelize(range(4), 4)
    seen = rdd.map(lambda _: (os.getpid(), id(value.value), value.value))
    first, again = set(seen.collect()), set(seen.collect())
    assert {text for _, _, text in first} == {"made by a worker"} and isinstance(value.value, Counted)
    assert len({pid for pid, _, _ in first | again}) == len(first | again)
    value.unpersist()
    assert {text for _, _, text in seen.collect()} == {"made by a worker"}
    value.destroy()
    with pytest.raises(PythonException, match="after it was destroyed"):
        seen.collect()


def test_an_exception_comes_back_and_the_worker_stays(sc: SparkContext) -> None:
    def fails(n: int) -> int:
        if n == 70:
            raise KeyError("seventy")
        return n

    before = pids(sc)
    with pytest.raises(PythonException, match=r"in fails\n") as raised:
        sc.parallelize(range(100), 2).map(fails).collect()
    assert isinstance(raised.value.__cause__, KeyError) and "test_workers.py" in str(raised.value)
    assert "worker.py" not in str(raised.value)
    with pytest.raises(PythonException, match="SystemExit: 7"):
        sc.parallelize([1], 1).map(lambda _: sys.exit(7)).collect()
    assert len(before | pids(sc)) <= 2


@pytest.mark.parametrize(
    ("end", "said"),
    [(lambda _: os._exit(3), "exit status: 3"), (lambda _: os.kill(os.getpid(), signal.SIGKILL), "signal: 9")],
)
def test_a_worker_that_ends_fails_its_task_only(sc: SparkContext, end: Callable[[int], None], said: str) -> None:
    with pytest.raises(TidemillError, match=rf"foreach at test_workers.py:.*worker that ran it ended \({said}"):
        sc.parallelize(range(2), 1).foreach(end)
    assert sc.parallelize(range(100), 4).map(slow).count() == 100


def test_what_cannot_travel_stays(sc: SparkContext, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lock = threading.Lock()
    assert sc.parallelize([1], 1).map(lambda _: lock and os.getpid()).collect() == [os.getpid()]
    # Pickled by its name, which a worker does not find.
    module = type(sys)("only_here")
    exec("def where(_):\n    import os\n    return os.getpid()", module.__dict__)
    sys.modules["only_here"] = module
    try:
        with pytest.raises(TidemillError, match="can't be read in a Python worker: ModuleNotFoundError.*only_here"):
            sc.parallelize([1], 1).map(module.where).collect()
    finally:
        del sys.modules["only_here"]


def test_functions_find_files_modules_and_properties(sc: SparkContext, tmp_path: Path) -> None:
    pids(sc)
    (tmp_path / "factor.txt").write_text("10")
    (tmp_path / "added_module.py").write_text("def twice(n):\n    return 2 * n\n")
    sc.addFile(str(tmp_path / "factor.txt"))
    sc.addPyFile(str(tmp_path / "added_module.py"))
    sc.setLocalProperty("who", "me")

    def work(n: int) -> Any:
        import added_module  # type: ignore[import-not-found]

        context = TaskContext.get()
        assert context is not None and sys.stdin.read() == ""
        factor = int(Path(SparkFiles.get("factor.txt")).read_text())
        return added_module.twice(n) * factor, context.getLocalProperty("who")

    assert sc.parallelize([1, 2], 2).map(work).collect() == [(20, "me"), (40, "me")]


@pytest.mark.parametrize("action", [lambda rdd: rdd.count(), lambda rdd: rdd.groupBy(lambda x: x).count()])
def test_a_cancelled_job_ends_in_the_middle_of_a_function(sc: SparkContext, tmp_path: Path, action: Any) -> None:
    begun = tmp_path / "begun"

    def sleep(_: int) -> None:
        begun.write_text(str(os.getpid()))
        time.sleep(3600)

    raised: list[BaseException] = []

    def run() -> None:
        sc.setJobGroup("sleepers", "sleep")
        try:
            action(sc.parallelize([1], 1).map(sleep))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    pid = int(eventually(lambda: begun.exists() and begun.read_text(), "the function"))
    sc.cancelJobGroup("sleepers")
    thread.join()
    assert "cancelled" in str(raised[0])
    eventually(lambda: gone(pid), "the worker's end")
    assert pids(sc)


def test_workers_end_with_the_context() -> None:
    with context("workers") as sc:
        running = pids(sc)
    assert running and all(gone(pid) for pid in running)


def test_a_worker_whose_program_is_gone_says_nothing() -> None:
    ours, its = socket.socketpair()
    ours.close()
    done = subprocess.run(worker_command(), stdin=its, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("", "")


PROGRAM = """
import os, time
from tidemill import SparkConf, SparkContext

sc = SparkContext("local[2]", "killed", conf=SparkConf().set("tidemill.python.functions", "workers"))
sc.parallelize(range(2), 1).foreach(lambda n: print("function", os.getpid(), flush=True) if n == 0 else time.sleep(3600))
"""


@contextlib.contextmanager
def started(tmp_path: Path, text: str) -> Iterator[subprocess.Popen[str]]:
    """A program that runs."""
    script = tmp_path / "killed.py"
    script.write_text(text)
    path = os.pathsep.join(filter(None, [str(Path(tidemill.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as program:
        try:
            yield program
        finally:
            program.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_program(tmp_path: Path, how: signal.Signals) -> None:
    with started(tmp_path, PROGRAM) as program:
        assert program.stdout is not None
        word, pid = program.stdout.readline().split()
        assert word == "function" and not gone(int(pid))
        program.send_signal(how)
        program.wait()
        eventually(lambda: gone(int(pid)), "the worker's end")


def test_a_stream_with_state_and_windows(tmp_path: Path) -> None:
    def program(lines: Any) -> Any:
        pairs = lines.flatMap(lambda line: [word for word in line.split(" ")]).map(lambda word: (word, 1))
        states = pairs.updateStateByKey(lambda new, old: sum(new) + (old or 0))
        windows = pairs.reduceByKeyAndWindow(lambda a, b: a + b, lambda a, b: a - b, 1.0, 0.1, 2)
        return states.union(windows.mapValues(lambda n: -n)).transform(lambda rdd: rdd.sortBy(lambda pair: str(pair)))

    batches = [["a b a"], ["b"] * 3000, [], ["c a"]]
    results = []
    for place in PLACES:
        with context(place) as sc:
            results.append(streaming_batches.run(sc, program, batches, checkpoint=tmp_path / place, interval=0.1))
    assert results[0] == results[1] == results[2] and results[0][-1]


GROUP = """
import os, signal, sys, threading, time
from tidemill import SparkConf, SparkContext

def work(n):
    print("function", os.getpid(), flush=True)
    time.sleep(0.5)
    return n

os.setpgid(0, 0)
heard = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: heard.set())
sc = SparkContext("local[2]", "group", conf=SparkConf().set("tidemill.python.functions", "workers"))
result = []
job = threading.Thread(target=lambda: result.extend(sc.parallelize(range(4), 4).map(work).collect()))
job.start()
while not heard.wait(0.01):
    pass
job.join()
print(result, flush=True)
"""


def test_a_signal_to_all_processes_of_the_program_leaves_tasks_alone(tmp_path: Path) -> None:
    with started(tmp_path, GROUP) as program:
        assert program.stdout is not None and program.stdout.readline().startswith("function")
        os.killpg(program.pid, signal.SIGTERM)
        rest, _ = program.communicate(timeout=60)
    assert rest.splitlines()[-1] == "[0, 1, 2, 3]"


def test_processes_that_functions_start_hear_sigterm(sc: SparkContext) -> None:
    def ends(_: int) -> list[int | None]:
        child = subprocess.Popen(["sleep", "3600"])
        forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
        forked.start()
        child.terminate()
        forked.terminate()
        forked.join(30)
        return [child.wait(30), forked.exitcode]

    assert sc.parallelize([1], 1).map(ends).collect() == [[-signal.SIGTERM, -signal.SIGTERM]]


def test_a_signal_to_a_worker_that_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = worker_command()
    ends_first = f'mkdir {tmp_path}/begun 2>/dev/null && kill -TERM $$; exec "$0" "$@"'
    monkeypatch.setattr(tidemill.context, "worker_command", lambda: ["sh", "-c", ends_first, program, *arguments])
    with context("workers") as sc:
        assert sc.parallelize([1], 1).map(slow).collect() == [1]
    assert (tmp_path / "begun").exists()
