"""Batches in, batches out: what the tests of streams have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from tidemill.streaming import DStream, StreamingContext

# Seconds between batches, and how long anything may take before a test fails.
INTERVAL = 0.05
PATIENCE = 60.0


def eventually(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Waits until `condition` gives something true, and gives that."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"{what} did not come about within {PATIENCE:g} s")


def wait_for(ssc: StreamingContext, condition: Callable[[], Any], what: str = "the condition") -> None:
    """Waits until the condition holds; an error of the stream is raised here."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if ssc.awaitTerminationOrTimeout(0.005):
            raise AssertionError("the stream has stopped")
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {PATIENCE:g} s")


def collected(stream: DStream) -> list[list[Any]]:
    """A list that grows by the rows of each batch."""
    batches: list[list[Any]] = []
    stream.foreachRDD(lambda rdd: batches.append(rdd.collect()))
    return batches


def run(
    sc: Any,
    program: Callable[..., DStream],
    *inputs: Iterable[Any],
    batches: int | None = None,
    checkpoint: Any = None,
    interval: float = INTERVAL,
) -> list[list[Any]]:
    """What `program` makes of queues of batches, batch by batch: as many as the longest queue has, or `batches`."""
    ssc = StreamingContext(sc, interval)
    if checkpoint is not None:
        ssc.checkpoint(str(checkpoint))
    queues = [list(queue) for queue in inputs]
    wanted = max(map(len, queues)) if batches is None else batches
    seen = collected(program(*(ssc.queueStream(queue) for queue in queues)))
    ssc.start()
    try:
        wait_for(ssc, lambda: len(seen) >= wanted, f"batch {wanted}")
    finally:
        ssc.stop(stopSparkContext=False)
    return seen[:wanted]


def by_key(batches: list[list[Any]]) -> list[list[Any]]:
    """Each batch in order of its rows, where the order is not promised."""
    return [sorted(batch, key=repr) for batch in batches]
