"""`python -m tidemill program.py`: runs a PySpark program as it is.

    python -m tidemill --master 'local[4]' --conf spark.default.parallelism=8 program.py its arguments
    python -m tidemill -m package.module its arguments

Options are those of `spark-submit`. Settings on the command line are defaults: what the program sets itself holds.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from types import ModuleType

from .conf import SparkConf
from .files import is_uri
from .pyspark_names import install_as_pyspark

# Options of spark-submit that make no difference here: those that have a value, and those that have none.
_WITHOUT_EFFECT = (
    "--class",
    "--deploy-mode",
    "--driver-class-path",
    "--driver-cores",
    "--driver-java-options",
    "--driver-library-path",
    "--driver-memory",
    "--executor-cores",
    "--executor-memory",
    "--exclude-packages",
    "--jars",
    "--keytab",
    "--num-executors",
    "--packages",
    "--principal",
    "--proxy-user",
    "--queue",
    "--repositories",
    "--total-executor-cores",
)
_FLAGS_WITHOUT_EFFECT = ("--supervise",)
# Options that name files which every context has from its start, and the settings that do so.
_ADDED = {"files": "spark.files", "archives": "spark.archives"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tidemill", description="Runs a PySpark program.", allow_abbrev=False)
    parser.add_argument("--master", help="how many tasks run at a time: local, local[4], local[*] (default)")
    parser.add_argument("--name", help="the program's name")
    parser.add_argument(
        "--conf", "-c", action="append", default=[], metavar="KEY=VALUE", help="a setting; may be repeated"
    )
    parser.add_argument("--properties-file", metavar="PATH", help="a file of settings, a line for each: key and value")
    parser.add_argument(
        "--py-files", default="", metavar="PATHS", help="modules and archives to import from, with commas between"
    )
    parser.add_argument(
        "--files", default="", metavar="PATHS", help="files that SparkFiles.get finds, with commas between"
    )
    parser.add_argument(
        "--archives", default="", metavar="PATHS", help="archives to unpack beside them, each to the name after #"
    )
    parser.add_argument("--verbose", "-v", action="store_true", help="says which settings the program begins with")
    for option in _WITHOUT_EFFECT:
        parser.add_argument(option, help=argparse.SUPPRESS)
    for option in _FLAGS_WITHOUT_EFFECT:
        parser.add_argument(option, help=argparse.SUPPRESS, action="store_true")
    parser.add_argument("-m", action="store_true", dest="module", help="PROGRAM is a module's name, as with python -m")
    parser.add_argument("program", metavar="PROGRAM", help="the program's file")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="the program's arguments")
    return parser


def _settings(parser: argparse.ArgumentParser, options: argparse.Namespace) -> dict[str, str]:
    """The settings that the program begins with; options hold against the file."""
    settings: dict[str, str] = {}
    if options.properties_file:
        with open(options.properties_file, encoding="utf-8") as file:
            for line in map(str.strip, file):
                if line and not line.startswith("#"):
                    key, _, value = line.replace("=", " ", 1).partition(" ")
                    settings[key] = value.strip()
    for setting in options.conf:
        key, equals, value = setting.partition("=")
        if not equals:
            parser.error(f"--conf takes KEY=VALUE, not {setting!r}")
        settings[key] = value
    if options.master:
        settings["spark.master"] = options.master
    if options.name:
        settings["spark.app.name"] = options.name
    for option, key in _ADDED.items():
        paths = list(filter(None, vars(options)[option].split(",")))
        if paths:
            # The program may have gone to another folder when its context starts.
            settings[key] = ",".join(path if is_uri(path) else os.path.abspath(path) for path in paths)
    settings.setdefault("spark.app.name", os.path.basename(options.program))
    return settings


def main(words: list[str]) -> None:
    """Runs the program that the words name."""
    parser = _parser()
    options = parser.parse_args(words)
    given = vars(options)
    for option in (*_WITHOUT_EFFECT, *_FLAGS_WITHOUT_EFFECT):
        if given[option[2:].replace("-", "_")]:
            print(f"tidemill: {option} makes no difference here", file=sys.stderr)
    SparkConf._defaults.update(_settings(parser, options))
    if options.verbose:
        print(SparkConf().toDebugString(), file=sys.stderr)
    install_as_pyspark()
    for path in filter(None, options.py_files.split(",")):
        importable = path if path.endswith((".zip", ".egg")) else os.path.dirname(path)
        sys.path.insert(1, os.path.abspath(importable))
    sys.argv[:] = [options.program, *options.arguments]
    if options.module:
        # Where `python -m` looks first, it stands already.
        runpy.run_module(options.program, run_name="__main__", alter_sys=True)
    else:
        _run_file(options.program)


def _run_file(path: str) -> None:
    """Runs a file as the main module, which stays that: functions are pickled by its name."""
    sys.path[0] = os.path.dirname(os.path.abspath(path))
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        sys.exit(f"python -m tidemill: can't open file {path!r}: {error.strerror}")
    module = ModuleType("__main__")
    module.__file__ = path
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)


if __name__ == "__main__":
    main(sys.argv[1:])
