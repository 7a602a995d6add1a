"""What streams take from the core, and how they hold what is native behind it."""

from __future__ import annotations

from .._native import NativeContext, NativeRdd
from ..callsite import CallSite, call_site
from ..closure import check_closure
from ..context import SparkContext
from ..partitioner import portable_hash
from ..rdd import RDD
from ..resultiterable import ResultIterable
from ..storagelevel import StorageLevel, checked_level

__all__ = [
    "RDD",
    "CallSite",
    "ResultIterable",
    "SparkContext",
    "StorageLevel",
    "call_site",
    "check_closure",
    "checked_level",
    "native_context",
    "native_rdd",
    "portable_hash",
    "wrap_rdd",
]


def native_context(sc: SparkContext) -> NativeContext:
    """The engine's context behind a SparkContext."""
    return sc._native


def native_rdd(rdd: RDD) -> NativeRdd:
    """The engine's RDD behind an RDD, with all its operators registered."""
    return rdd._native()


def wrap_rdd(native: NativeRdd, sc: SparkContext, site: CallSite) -> RDD:
    """An RDD of the user's over one of the engine's; `site` is where its stream was defined."""
    return RDD(native, sc, site=site)
