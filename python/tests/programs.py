"""Programs that run as processes of their own, because they end, are interrupted or forked."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import tidemill

# Where the package is not installed, it lies here.
_SOURCES = str(Path(tidemill.__file__).parents[1])

# Seconds after which a program hangs.
PATIENCE = 120

# What programs have at hand. Functions run in the program's own process, where they see what it sets.
_BEGIN = """
import os, signal, sys, threading, time
from tidemill import SparkConf, SparkContext
from tidemill.streaming import Receiver, StreamingContext, StreamingListener

def context(**settings):
    conf = SparkConf().set("tidemill.python.functions", "driver")
    for key, value in settings.items():
        conf.set(key.replace("_", "."), value)
    return SparkContext("local[2]", "program", conf=conf)

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
"""


def command(tmp_path: Path, program: str, begin: str = _BEGIN) -> dict[str, Any]:
    """The arguments with which `subprocess` runs a program."""
    script = tmp_path / "program.py"
    script.write_text(begin + textwrap.dedent(program))
    path = os.pathsep.join(filter(None, [_SOURCES, os.environ.get("PYTHONPATH")]))
    return {"args": [sys.executable, str(script)], "text": True, "env": {**os.environ, "PYTHONPATH": path}}


def run(tmp_path: Path, program: str, begin: str = _BEGIN) -> subprocess.CompletedProcess[str]:
    """What a program has written, and its exit status."""
    return subprocess.run(**command(tmp_path, program, begin), capture_output=True, timeout=PATIENCE, check=False)
