"""Holds the Python package against PySpark: the same jobs (`jobs.py`), one engine after the other, on this machine.

    python python/benches/compare.py                       # with a release build of the package in this environment
    python python/benches/compare.py --only tidemill --lines 20000

PySpark is installed once into the user's cache; it needs a JDK 17. Lines have 10 words, by Zipf's law out of 50,000. Memory is
that of the whole tree of processes, as PSS, which counts a page that several of them share once. Take ratios of one run only.

Most of what PySpark's workers do in a small batch is not the job: since Python 3.10, `importlib.invalidate_caches()`, which they call for
each task, reads the directories of PySpark's zip archives anew. That is what its users have, too, so it is left as it is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from process_memory import tree_bytes

PYSPARK = "4.0.1"
WORDS = 50_000
WORDS_PER_LINE = 10
SMALL = 1_000
HERE = Path(__file__).parent


class Measured(NamedTuple):
    """What a run of a job has shown."""

    result: dict[str, float]
    first_s: float
    peak_mb: float


def pyspark_python() -> str:
    """The interpreter of an environment with PySpark in it, which is made if need be."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    venv = (
        Path(cache) / "tidemill/bench/python" / f"pyspark-{PYSPARK}-{sys.version_info.major}.{sys.version_info.minor}"
    )
    python = venv / "bin/python"
    # The mark is written last: an installation that was interrupted is made anew.
    if not (venv / "complete").exists():
        print(f"installing pyspark {PYSPARK} (several hundred megabytes) into {venv}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"pyspark=={PYSPARK}"]
        subprocess.run(pip, check=True)
        (venv / "complete").touch()
    return str(python)


def write_lines(path: Path, count: int) -> None:
    """The same lines in every run."""
    weights = list(itertools.accumulate(1 / rank for rank in range(1, WORDS + 1)))
    names = [f"word{rank}" for rank in range(1, WORDS + 1)]
    chosen = random.Random(7)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            file.write(" ".join(chosen.choices(names, cum_weights=weights, k=WORDS_PER_LINE)) + "\n")


def run(engine: str, job: str, lines: Path, options: list[str]) -> Measured:
    """Runs a job in a process of its own; once more if it fails, for PySpark's driver sometimes loses its JVM."""
    for said in (run_once(engine, job, lines, options) for _ in range(2)):
        if isinstance(said, Measured):
            return said
        print(f"{engine}: {job} failed:\n{said}", file=sys.stderr)
    sys.exit(f"{engine}: {job} failed twice")


def run_once(engine: str, job: str, lines: Path, options: list[str]) -> Measured | str:
    """What was measured, or what the job said instead."""
    start = [pyspark_python()] if engine == "pyspark" else [sys.executable, "-m", "tidemill"]
    command = [*start, str(HERE / "jobs.py"), job, "--input", str(lines), *options]
    environment = {**os.environ, "PYTHONPATH": "" if engine == "pyspark" else os.environ.get("PYTHONPATH", "")}
    with tempfile.TemporaryFile("w+") as errors:
        began, peak, ended = time.time(), 0, threading.Event()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)

        def watch() -> None:
            nonlocal peak
            while not ended.wait(0.1):
                peak = max(peak, tree_bytes(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        first, result = 0.0, None
        for line in process.stdout or ():
            if line.startswith("FIRST "):
                first = float(line.split()[1]) - began
            elif line.startswith("{"):
                result = json.loads(line)
        ended.set()
        watcher.join()
        code = process.wait()
        if result is None:
            errors.seek(0)
            # Without the places in Java, which are many.
            said = [line for line in errors if not line.startswith("\tat ")]
            return f"ended with code {code}\n{''.join(said[:40])}"
        if code:
            print(f"{engine}: {job} ended with code {code} after its result", file=sys.stderr)
    return Measured(result, first, peak / 2**20)


def main() -> None:
    """Runs all jobs and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000, help="lines of a large batch")
    parser.add_argument("--batches", type=int, default=20, help="large batches that count")
    parser.add_argument("--small-batches", type=int, default=200, help="small batches that count")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--only", choices=["pyspark", "tidemill"])
    options = parser.parse_args()
    engines = [options.only] if options.only else ["pyspark", "tidemill"]
    cores = ["--cores", str(options.cores)]
    large = [*cores, "--batches", str(options.batches), "--warmup", "5"]
    small = [*cores, "--batches", str(options.small_batches), "--warmup", "100", "--interval", "0.05"]
    # Far behind its schedule PySpark's states fail: their lineage is cut by a checkpoint each 10 s, and overflows the stack before.
    state = {"large": [*large, "--interval", "2"], "small": [*cores, "--batches", "60", "--warmup", "30", "--interval", "1"]}
    table: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        inputs = {"large": Path(folder) / "large.txt", "small": Path(folder) / "small.txt"}
        write_lines(inputs["large"], options.lines)
        write_lines(inputs["small"], SMALL)
        for job, size in itertools.product(("wordcount", "update_state"), ("large", "small")):
            settings = state if job == "update_state" else {"large": large, "small": small}
            runs = {engine: run(engine, job, inputs[size], settings[size]) for engine in engines}
            if len({(m.result["keys"], m.result["total"] % m.result["lines"]) for m in runs.values()}) > 1:
                sys.exit(f"the engines do not agree on {job}: {[m.result for m in runs.values()]}")
            if size == "large":
                rows = {f"{job}, lines/s": lambda m: f"{m.result['lines_per_s']:,}"}
            else:
                rows = {f"{job}, {SMALL:,} lines, median ms": lambda m: f"{m.result['median_ms']:.2f}"}
            rows[f"  peak memory, MiB ({size})"] = lambda m: f"{m.peak_mb:,.0f}"
            if (job, size) == ("wordcount", "small"):
                rows["  start of process to first result, s"] = lambda m: f"{m.first_s:.2f}"
            for name, shown in rows.items():
                table.setdefault(f"{job}{name}" if name[0] == " " else name, {}).update(
                    {engine: shown(measured) for engine, measured in runs.items()}
                )
    width = max(map(len, table))
    print(" " * width, *(f"{engine:>12}" for engine in engines))
    for name, cells in table.items():
        print(f"{name:<{width}}", *(f"{cells[engine]:>12}" for engine in engines))


if __name__ == "__main__":
    main()
