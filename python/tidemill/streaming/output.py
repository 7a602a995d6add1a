"""Output operations: what a stream's batches are for. They run on the driver, in every batch, in the order of definition."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..stages import head
from ..text_lines import lines
from .arguments import with_time
from .batch_time import batch_datetime, batch_folder
from .binding import call_site
from .state import StateOperations

if TYPE_CHECKING:
    from .._native import NativeRdd

_RULE = "-" * 43


class OutputOperations(StateOperations):
    """What makes a `DStream` run."""

    def foreachRDD(self, func: Callable[..., Any]) -> None:
        """Calls `func` with each batch's RDD, or with its time (a datetime) and its RDD."""
        call = with_time(func, rdds=1)
        native, wrap = self._base()
        enter = self._ssc._entering_job()

        def run(ms: int, rdd: NativeRdd) -> None:
            enter()
            call(batch_datetime(ms), wrap(rdd))

        native.foreach_rdd(run, "foreachRDD", call_site())

    def pprint(self, num: int = 10) -> None:
        """Prints the time of each batch and its first `num` rows."""

        def show(ms: int, rdd: NativeRdd) -> None:
            rows = [row for partition in rdd.collect(None) for row in partition]
            shown = [_RULE, f"Time: {batch_datetime(ms)}", _RULE, *map(str, rows[:num])]
            if len(rows) > num:
                shown.append("...")
            # As one write, so that what other threads print does not come between.
            sys.stdout.write("\n".join(shown) + "\n\n")
            sys.stdout.flush()

        # No partition has to give more than one row too many; one job brings them all.
        self._then("pprint", head(num + 1))._native().foreach_rdd(show, "pprint", call_site())

    def saveAsTextFiles(self, prefix: str, suffix: str | None = None) -> None:
        """Writes each batch as lines of text into a folder `prefix-TIME.suffix`, TIME in milliseconds.

        A folder that is there, complete, from an earlier run of the same batch stays as it is. What a killed run has left unfinished is
        written again.
        """

        def save(ms: int, rdd: NativeRdd) -> None:
            path = batch_folder(prefix, suffix, ms)
            if _is_free(path):
                rdd.save_as_text_file(path, None)

        self._then("saveAsTextFiles", lines)._native().foreach_rdd(save, "saveAsTextFiles", call_site())


def _is_free(path: str) -> bool:
    """Whether a batch is still to be written there. Parts of one that was not finished are removed."""
    folder = path.removeprefix("file://")
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return True
    unfinished = "_SUCCESS" not in names and all(name == "_temporary" or name.startswith("part-") for name in names)
    if unfinished:
        shutil.rmtree(folder)
    return unfinished
