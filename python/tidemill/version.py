"""Versions."""

from __future__ import annotations

from importlib import metadata

# The version of Spark whose API this package has.
SPARK_API_VERSION = "4.3.0"

try:
    __version__ = metadata.version("tidemill")
except metadata.PackageNotFoundError:  # run from the sources
    __version__ = "0"
