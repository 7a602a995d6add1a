"""Settings of a program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, overload

__all__ = ["SparkConf"]


class SparkConf:
    """Settings by name. All values are texts: others are turned into one.

    `python -m tidemill` and `SparkContext.setSystemProperty` give settings that every new `SparkConf` begins with.

    >>> conf = SparkConf().setMaster("local[2]").setAppName("count").set("spark.default.parallelism", 1)
    >>> conf.get("spark.default.parallelism"), conf.get("spark.ui.enabled", "false")
    ('1', 'false')
    >>> print(conf.toDebugString())
    spark.app.name=count
    spark.default.parallelism=1
    spark.master=local[2]
    """

    _defaults: ClassVar[dict[str, str]] = {}

    def __init__(
        self,
        loadDefaults: bool = True,
        _jvm: Any = None,
        _jconf: Any = None,
        *,
        values: Mapping[str, str] | None = None,
    ) -> None:
        """Settings, without those of the command line if `loadDefaults` is false; `values` are there from the beginning."""
        self._conf: dict[str, str] = {**(self._defaults if loadDefaults else {}), **(values or {})}

    def set(self, key: str, value: Any) -> SparkConf:
        """Sets one."""
        self._conf[key] = str(value)
        return self

    def setIfMissing(self, key: str, value: Any) -> SparkConf:
        """Sets one that is not set."""
        self._conf.setdefault(key, str(value))
        return self

    def setMaster(self, value: str) -> SparkConf:
        """Sets where tasks run: `local`, `local[4]`, `local[*]`."""
        return self.set("spark.master", value)

    def setAppName(self, value: str) -> SparkConf:
        """Sets the name of the program."""
        return self.set("spark.app.name", value)

    def setSparkHome(self, value: str) -> SparkConf:
        """Sets `spark.home`, which nothing here needs."""
        return self.set("spark.home", value)

    def setExecutorEnv(
        self, key: str | None = None, value: str | None = None, pairs: list[tuple[str, str]] | None = None
    ) -> SparkConf:
        """Sets an environment variable for executors, or several. Tasks in this process have its own environment."""
        if (key is None) == (pairs is None):
            raise ValueError("setExecutorEnv() takes either a key and a value, or pairs")
        for name, text in pairs if pairs is not None else [(key, value)]:
            self.set(f"spark.executorEnv.{name}", text)
        return self

    def setAll(self, pairs: Iterable[tuple[str, Any]]) -> SparkConf:
        """Sets several."""
        for key, value in pairs:
            self.set(key, value)
        return self

    @overload
    def get(self, key: str) -> str | None: ...
    @overload
    def get(self, key: str, defaultValue: str) -> str: ...
    @overload
    def get(self, key: str, defaultValue: None) -> str | None: ...

    def get(self, key: str, defaultValue: str | None = None) -> str | None:
        """A setting, or `defaultValue` if it is not set."""
        return self._conf.get(key, defaultValue)

    def getAll(self) -> list[tuple[str, str]]:
        """All settings."""
        return list(self._conf.items())

    def contains(self, key: str) -> bool:
        """Whether one is set."""
        return key in self._conf

    def toDebugString(self) -> str:
        """All settings, a line for each, by name."""
        return "\n".join(f"{key}={value}" for key, value in sorted(self._conf.items()))
