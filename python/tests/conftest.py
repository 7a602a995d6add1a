"""What all tests have: a context, `sc`, which the tests of a file share as long as none of them stops it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tidemill import SparkContext
from tidemill.streaming import StreamingContext


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in the background of a shell. Programs that tests start would ignore it, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _stop_stream() -> None:
    """A test that failed leaves a stream that runs: the next one can start its own."""
    running = StreamingContext.getActive()
    if running is not None:
        running.stop(stopSparkContext=False)


@pytest.fixture
def sc() -> Iterator[SparkContext]:
    """The active context, or a new one with four cores; its thread begins without local properties."""
    context = SparkContext._active_spark_context or SparkContext("local[4]", "tests")
    context._local_properties.replace({})
    yield context
    _stop_stream()


@pytest.fixture(scope="module", autouse=True)
def _one_context_for_each_file() -> Iterator[None]:
    yield
    _stop_stream()
    if SparkContext._active_spark_context is not None:
        SparkContext._active_spark_context.stop()
