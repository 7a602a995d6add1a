"""Programs that import `pyspark`, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import tidemill

# Where the package is not installed, it lies here.
SOURCES = str(Path(tidemill.__file__).parents[1])


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def output(*arguments: str, folder: Path) -> list[str]:
    done = python(*arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


PROGRAM = """
import sys
from operator import add

from pyspark import SparkConf, SparkContext
import helper_module


class Word:
    def __init__(self, text):
        self.text = text


if __name__ == "__main__":
    sc = SparkContext(conf=SparkConf().setIfMissing("spark.app.name", "no"))
    words = sc.parallelize([Word("a"), Word("b"), Word("a")], 2)
    print(sorted(words.map(lambda word: (word.text, 1)).reduceByKey(add).collect()))
    print(sc.master, sc.appName, sc.defaultParallelism, sc.getConf().get("spark.x"))
    print(sys.argv, helper_module.HERE, __file__)
    print(sc.parallelize([Word("c")]).map(type).collect()[0] is Word)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "helper_module.py").write_text("HERE = 'beside the program'")
    (folder / "count.py").write_text(PROGRAM)
    return folder / "count.py"


def test_runs_a_program_as_it_is(program: Path, tmp_path: Path) -> None:
    settings = [
        "--master",
        "local[3]",
        "--name",
        "counting",
        "--conf",
        "spark.x=1=2",
        "-c",
        "spark.default.parallelism=5",
    ]
    lines = output("-m", "tidemill", *settings, "programs/count.py", "--flag", "x", folder=tmp_path)
    assert lines == [
        "[('a', 2), ('b', 1)]",
        "local[3] counting 5 1=2",
        "['programs/count.py', '--flag', 'x'] beside the program programs/count.py",
        "True",
    ]


def test_defaults_of_a_program(program: Path, tmp_path: Path) -> None:
    lines = output("-m", "tidemill", str(program), folder=tmp_path)
    assert lines[1] == f"local[*] count.py {os.cpu_count()} None"


def test_settings_from_a_file(program: Path, tmp_path: Path) -> None:
    (tmp_path / "settings").write_text(
        "# comment\nspark.x one\nspark.master=local[2]\n\nspark.default.parallelism   7\n"
    )
    lines = output(
        "-m", "tidemill", "--properties-file", "settings", "--conf", "spark.x=two", str(program), folder=tmp_path
    )
    assert lines[1] == "local[2] count.py 7 two"


def test_runs_a_module(program: Path, tmp_path: Path) -> None:
    lines = output("-m", "tidemill", "--master", "local[2]", "-m", "count", "argument", folder=program.parent)
    assert lines[0] == "[('a', 2), ('b', 1)]" and "'argument'] beside the program" in lines[2]


def test_py_files(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "elsewhere.py").write_text("VALUE = 5")
    (tmp_path / "main.py").write_text("import elsewhere; print(elsewhere.VALUE)")
    assert output("-m", "tidemill", "--py-files", "lib/elsewhere.py", "main.py", folder=tmp_path) == ["5"]


def test_files_and_archives(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / "data" / name).write_text(name)
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "data", "c.txt")
    (tmp_path / "main.py").write_text(
        "import os; from pyspark import SparkContext, SparkFiles; os.chdir('data'); sc = SparkContext('local')\n"
        "print([open(SparkFiles.get(name)).read() for name in ('a.txt', 'b.txt', 'unpacked/c.txt')])\n"
        "print([os.path.basename(path) for path in sc.listFiles + sc.listArchives])"
    )
    options = ["--files", "data/a.txt,data/b.txt", "--archives", "packed.zip#unpacked"]
    assert output("-m", "tidemill", *options, "main.py", folder=tmp_path) == [
        "['a.txt', 'b.txt', 'c.txt']",
        "['a.txt', 'b.txt', 'packed.zip#unpacked']",
    ]


def test_options_without_effect_are_named(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print('ran')")
    options = {
        "--driver-memory": "2g",
        "--packages": "a:b:1",
        "--driver-class-path": "a.jar",
        "--driver-library-path": "lib",
        "--principal": "me",
        "--keytab": "mine",
        "--proxy-user": "you",
    }
    words = [word for option in options.items() for word in option]
    done = python("-m", "tidemill", *words, "--supervise", "main.py", folder=tmp_path)
    assert done.stdout == "ran\n"
    assert sorted(line for line in done.stderr.splitlines() if line.startswith("tidemill: ")) == sorted(
        f"tidemill: {option} makes no difference here" for option in [*options, "--supervise"]
    )


WRONG_CALLS: list[tuple[list[str], str]] = [
    (["nowhere.py"], "can't open file 'nowhere.py'"),
    ([], "the following arguments are required: PROGRAM"),
    (["--conf", "novalue", "x.py"], "--conf takes KEY=VALUE"),
    (["--nonsense", "x.py"], "unrecognized arguments: --nonsense"),
]


@pytest.mark.parametrize(("arguments", "text"), WRONG_CALLS)
def test_wrong_calls(tmp_path: Path, arguments: list[str], text: str) -> None:
    done = python("-m", "tidemill", *arguments, folder=tmp_path)
    assert done.returncode != 0 and text in done.stderr and "Traceback" not in done.stderr


def test_the_exit_code_is_the_program_s(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "import sys; from pyspark import SparkContext; sc = SparkContext('local'); sys.exit(3)"
    )
    assert python("-m", "tidemill", "main.py", folder=tmp_path).returncode == 3
    (tmp_path / "main.py").write_text(
        "from pyspark import SparkContext\nsc = SparkContext('local')\nraise KeyError('own')"
    )
    done = python("-m", "tidemill", "main.py", folder=tmp_path)
    assert done.returncode == 1 and "KeyError: 'own'" in done.stderr and 'main.py", line 3' in done.stderr


IMPORTS = """
from pyspark import SparkContext, SparkConf, RDD, StorageLevel, SparkFiles, TaskContext, Broadcast, Accumulator, AccumulatorParam
from pyspark import InheritableThread, inheritable_thread_target, StatusTracker, SparkJobInfo, SparkStageInfo, MarshalSerializer
import pyspark
import pyspark.rdd, pyspark.context, pyspark.conf, pyspark.storagelevel, pyspark.accumulators, pyspark.broadcast
import pyspark.statcounter, pyspark.resultiterable, pyspark.taskcontext, pyspark.files, pyspark.serializers, pyspark.rddsampler
from pyspark.rdd import RDD as R, portable_hash, Partitioner, BoundedFloat
from pyspark.core.rdd import RDD as R2, PipelinedRDD
from pyspark.context import RDD as R3, SparkConf as SC2, SparkFiles as SF2
from pyspark.core.context import SparkContext as S2
from pyspark.context import SparkContext as S3
from pyspark.storagelevel import StorageLevel
from pyspark.statcounter import StatCounter
from pyspark.resultiterable import ResultIterable
from pyspark.accumulators import AddingAccumulatorParam
from pyspark.errors import PySparkException, PySparkValueError, PySparkTypeError, PySparkRuntimeError
from pyspark.util import inheritable_thread_target
from pyspark.cloudpickle import dumps
from pyspark.streaming import StreamingContext, DStream, StreamingListener
from pyspark.streaming.context import StreamingContext as C
from pyspark.streaming.dstream import DStream as D
from pyspark.streaming.listener import StreamingListener as L
from pyspark.streaming.kafka import KafkaUtils
from pyspark import Row
from pyspark.errors import AnalysisException, IllegalArgumentException, ParseException
from pyspark.errors.exceptions.base import AnalysisException as A
from pyspark.serializers import AutoSerializer, CompressedSerializer
from pyspark.sql import Row as Row2
from pyspark.sql.utils import AnalysisException as A2
from pyspark.streaming.util import rddToFileName
import pyspark.errors.exceptions.base as base
import pyspark.version
import importlib.util
assert R is R2 is R3 is PipelinedRDD is RDD and SC2 is SparkConf and SF2 is SparkFiles
assert S2 is S3 is SparkContext and C is StreamingContext and D is DStream and L is StreamingListener
assert pyspark.__version__.startswith("4.") and pyspark.rdd.RDD is RDD and pyspark.core.rdd is pyspark.rdd
assert Row is Row2 and A is A2 is AnalysisException is base.AnalysisException and issubclass(ParseException, A)
assert pyspark.version.__version__ == pyspark.__version__ and importlib.util.find_spec("pyspark").name == "pyspark"
assert not hasattr(pyspark, "SQLContext") and not hasattr(pyspark.errors, "captured")
for missing in MISSING:
    package, _, name = missing.rpartition(".")
    try:
        exec(f"from {package} import {name}" if name[0].isupper() else f"import {missing}")
    except ImportError as error:
        assert error.name == missing and str(error).endswith(": it is not in tidemill"), (missing, error)
        assert isinstance(error, ModuleNotFoundError) != name[0].isupper(), missing
    else:
        raise AssertionError(missing)
print("imported")
"""


MISSING = [
    "pyspark.ml",
    "pyspark.pandas",
    "pyspark.nothing",
    "pyspark.shuffle",
    "pyspark.profiler",
    "pyspark.streaming.kinesis",
    "pyspark.errors.exceptions.captured",
    "pyspark.SQLContext",
    "pyspark.BarrierTaskContext",
    "pyspark.BasicProfiler",
    "pyspark.errors.StreamingQueryException",
]


def test_names_that_programs_import(tmp_path: Path) -> None:
    program = f"MISSING = {MISSING}\n{IMPORTS}"
    (tmp_path / "main.py").write_text(program)
    assert output("-m", "tidemill", "main.py", folder=tmp_path) == ["imported"]
    twice = "import tidemill; tidemill.install_as_pyspark(); tidemill.install_as_pyspark()\n"
    assert output("-c", twice + program, folder=tmp_path) == ["imported"]


PY4J = """
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkContext

sc = SparkContext("local[2]")
try:
    sc.parallelize([1]).map(lambda n: n // 0).collect()
except Py4JJavaError as error:
    print("ZeroDivisionError" in error.java_exception.toString(), isinstance(error, Py4JError))
for missing in ("import py4j.java_gateway", "from py4j.protocol import Py4JNetworkError"):
    try:
        exec(missing)
    except ImportError as error:
        print(error)
"""


def test_errors_by_the_names_of_py4j(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(PY4J)
    assert output("-m", "tidemill", "main.py", folder=tmp_path) == [
        "True True",
        "No module named 'py4j.java_gateway': it is not in tidemill",
        "cannot import name 'Py4JNetworkError' from 'py4j.protocol': it is not in tidemill",
    ]


def test_a_py4j_that_is_installed_stays(tmp_path: Path) -> None:
    (tmp_path / "py4j.py").write_text("protocol = 'its own'")
    (tmp_path / "main.py").write_text("import tidemill; tidemill.install_as_pyspark(); import py4j; print(py4j.protocol)")
    assert output("main.py", folder=tmp_path) == ["its own"]


def test_another_pyspark_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pyspark.py").write_text("")
    program = textwrap.dedent("""
        import pyspark, tidemill
        try:
            tidemill.install_as_pyspark()
        except ImportError as error:
            print(error)
    """)
    (line,) = output("-c", program, folder=tmp_path)
    assert line.startswith("pyspark is imported already, from ") and "pyspark.py" in line
    assert "install_as_pyspark() before anything imports it" in line


def test_a_program_that_ends_without_stopping_its_context(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "from tidemill import SparkContext\nsc = SparkContext('local[2]', 'x')\nprint(sc.range(5).map(str).cache().count())"
    )
    for _ in range(3):
        assert output("main.py", folder=tmp_path) == ["5"]
