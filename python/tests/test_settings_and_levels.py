"""The small classes: settings, storage levels, serializers, samplers, groups."""

from __future__ import annotations

import io
import pickle
import random
from typing import Any

import pytest

from tidemill import MarshalSerializer, SparkConf, StorageLevel
from tidemill.errors import PySparkException, PySparkValueError
from tidemill.input_paths import input_files, local_path
from tidemill.resultiterable import ResultIterable
from tidemill.sampling import RDDRangeSampler, RDDSampler, RDDStratifiedSampler, poisson
from tidemill.serializers import (
    AutoBatchedSerializer,
    AutoSerializer,
    BatchedSerializer,
    CloudPickleSerializer,
    CompressedSerializer,
    CPickleSerializer,
    PickleSerializer,
    UTF8Deserializer,
)


def test_conf() -> None:
    conf = SparkConf(loadDefaults=False)
    assert conf.getAll() == [] and conf.get("a") is None and conf.get("a", "b") == "b" and not conf.contains("a")
    assert conf.set("spark.default.parallelism", 1).setIfMissing("spark.default.parallelism", 2) is conf
    assert conf.get("spark.default.parallelism") == "1"
    conf.setAll([("x", True), ("y", 2.5)]).setMaster("local").setAppName("n").setSparkHome("/h").setExecutorEnv(
        "E", "1"
    )
    conf.setExecutorEnv(pairs=[("F", "2"), ("G", "3")])
    assert dict(conf.getAll()) == {
        "spark.default.parallelism": "1",
        "x": "True",
        "y": "2.5",
        "spark.master": "local",
        "spark.app.name": "n",
        "spark.home": "/h",
        "spark.executorEnv.E": "1",
        "spark.executorEnv.F": "2",
        "spark.executorEnv.G": "3",
    }
    assert conf.toDebugString().splitlines()[0] == "spark.app.name=n"
    for wrong in ({}, {"key": "a", "value": "b", "pairs": [("a", "b")]}):
        with pytest.raises(ValueError, match="either a key and a value, or pairs"):
            conf.setExecutorEnv(**wrong)


LEVELS: list[tuple[str, tuple[bool, bool, bool, bool, int], str, str]] = [
    ("NONE", (False, False, False, False, 1), "Serialized 1x Replicated", "NONE"),
    ("DISK_ONLY", (True, False, False, False, 1), "Disk Serialized 1x Replicated", "DISK_ONLY"),
    ("DISK_ONLY_2", (True, False, False, False, 2), "Disk Serialized 2x Replicated", "DISK_ONLY_2"),
    ("DISK_ONLY_3", (True, False, False, False, 3), "Disk Serialized 3x Replicated", "DISK_ONLY_3"),
    ("MEMORY_ONLY", (False, True, False, False, 1), "Memory Serialized 1x Replicated", "MEMORY_ONLY"),
    ("MEMORY_ONLY_2", (False, True, False, False, 2), "Memory Serialized 2x Replicated", "MEMORY_ONLY_2"),
    ("MEMORY_AND_DISK", (True, True, False, False, 1), "Disk Memory Serialized 1x Replicated", "MEMORY_AND_DISK"),
    ("MEMORY_AND_DISK_2", (True, True, False, False, 2), "Disk Memory Serialized 2x Replicated", "MEMORY_AND_DISK_2"),
    ("OFF_HEAP", (True, True, True, False, 1), "Disk Memory OffHeap Serialized 1x Replicated", "MEMORY_AND_DISK"),
    (
        "MEMORY_AND_DISK_DESER",
        (True, True, False, True, 1),
        "Disk Memory Deserialized 1x Replicated",
        "MEMORY_AND_DISK",
    ),
]


@pytest.mark.parametrize(("name", "fields", "text", "engine_name"), LEVELS)
def test_storage_levels(name: str, fields: Any, text: str, engine_name: str) -> None:
    level = getattr(StorageLevel, name)
    assert (level.useDisk, level.useMemory, level.useOffHeap, level.deserialized, level.replication) == fields
    assert str(level) == text and repr(level) == f"StorageLevel{fields}" and level.engine_name == engine_name
    assert level == StorageLevel(*fields) and hash(level) == hash(StorageLevel(*fields))
    assert level != StorageLevel(*fields[:4], 7)


@pytest.mark.parametrize(
    "serializer",
    [
        CPickleSerializer(),
        PickleSerializer(),
        CloudPickleSerializer(),
        MarshalSerializer(),
        BatchedSerializer(CPickleSerializer(), 2),
        BatchedSerializer(CPickleSerializer()),
        AutoBatchedSerializer(MarshalSerializer()),
        AutoSerializer(),
        CompressedSerializer(CPickleSerializer()),
    ],
    ids=repr,
)
def test_serializers(serializer: Any) -> None:
    items = [1, "zwei", (3.0, None), [4], {"k": b"5"}]
    stream = io.BytesIO()
    serializer.dump_stream(iter(items), stream)
    assert list(serializer.load_stream(io.BytesIO(stream.getvalue()))) == items
    assert serializer == pickle.loads(pickle.dumps(serializer)) and serializer != UTF8Deserializer()
    assert hash(serializer) == hash(pickle.loads(pickle.dumps(serializer)))


def test_a_serializer_that_chooses() -> None:
    serializer = AutoSerializer()
    data = [serializer.dumps(item) for item in (1, StorageLevel.NONE, 2)]
    assert [item[:1] for item in data] == [b"M", b"P", b"P"]
    assert [serializer.loads(item) for item in data] == [1, StorageLevel.NONE, 2]


def test_serializers_of_functions_and_text() -> None:
    assert CloudPickleSerializer().loads(CloudPickleSerializer().dumps(lambda x: x + 1))(1) == 2
    assert UTF8Deserializer().loads(UTF8Deserializer().dumps("ü")) == "ü"


def test_errors_have_no_classes() -> None:
    error = PySparkValueError("no")
    assert isinstance(error, PySparkException) and error.getMessage() == "no"
    assert error.getErrorClass() is error.getCondition() is error.getMessageParameters() is error.getSqlState() is None
    assert error.getQueryContext() == []


def test_result_iterables() -> None:
    values = ResultIterable([1, 2])
    assert len(values) == 2 and list(values) == list(values) == [1, 2] and not ResultIterable([])
    assert list(pickle.loads(pickle.dumps(values))) == [1, 2]


def test_samplers() -> None:
    def sampled(sampler: Any, items: Any = range(1000), split: int = 0) -> list[Any]:
        return list(sampler.func(split, iter(items)))

    assert (
        sampled(RDDSampler(False, 0.3, 1)) == sampled(RDDSampler(False, 0.3, 1)) != sampled(RDDSampler(False, 0.3, 2))
    )
    assert sampled(RDDSampler(False, 0.3, 1)) != sampled(RDDSampler(False, 0.3, 1), split=1)
    low, high = sampled(RDDRangeSampler(0.0, 0.4, 1)), sampled(RDDRangeSampler(0.4, 1.0, 1))
    assert sorted(low + high) == list(range(1000)) and 300 < len(low) < 500
    pairs = [(key, n) for key in "ab" for n in range(500)]
    strata = sampled(RDDStratifiedSampler(False, {"a": 0.0, "b": 0.5}, 1), pairs)
    assert {key for key, _ in strata} == {"b"} and 150 < len(strata) < 350


@pytest.mark.parametrize("mean", [0.0, 0.5, 4.0, 40.0])
def test_poisson(mean: float) -> None:
    generator = random.Random(1)
    numbers = [poisson(generator, mean) for _ in range(2000)]
    assert sum(numbers) / 2000 == pytest.approx(mean, rel=0.1)
    assert sum((n - mean) ** 2 for n in numbers) / 2000 == pytest.approx(mean, rel=0.15)


def test_paths(tmp_path: Any) -> None:
    for name in ("b", "a", "_x", ".y"):
        (tmp_path / name).write_text("")
    (tmp_path / "inner").mkdir()
    both = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert (
        input_files(str(tmp_path))
        == input_files(f"{tmp_path}/[ab]")
        == input_files(f"file:{tmp_path}/a,{tmp_path}/b")
        == both
    )
    assert local_path("C:relative") == "C:relative"
    with pytest.raises(ValueError, match="no file system for s3a:"):
        local_path("s3a://bucket/key")
