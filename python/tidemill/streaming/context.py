"""`StreamingContext`: where streams come from, and the life of a streaming program."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .._native import NativeRdd, NativeStreamingContext
from ..importing import show_modules_as_they_are
from ..taskcontext import forget_task
from .batch_time import batch_datetime, duration_ms
from .binding import RDD, SparkContext, StorageLevel, call_site, checked_level, native_context, native_rdd
from .dstream import DStream
from .listener import StreamingListener, telling
from .receiver import Receiver, Supervised
from .shutdown import Termination

if TYPE_CHECKING:
    from .._native import NativeDStream

__all__ = ["StreamingContext"]

_NO_RDD = (
    "Transform function must not return null. Return SparkContext.emptyRDD() instead to represent no element as the result of "
    "transformation: sc.emptyRDD() in Python"
)

_SET_ASIDE = (
    "the checkpoint of an earlier run is set aside, in %s, for this run begins anew: StreamingContext.getOrCreate makes contexts that "
    "go on from it"
)

_OBJECT_STORES = ("s3://", "s3a://", "memory:")
# A name that a checkpoint of streams has no use for.
_RDDS = "rdds"


class StreamingContext:
    """The entry to streams: it makes them, starts them and stops them.

    `batchDuration` is the time between batches in seconds; a fraction of one will do, down to 0.001. One context runs at a time in
    a process. `jssc` is for a native context that is there already, and not for programs.
    """

    _activeContext: StreamingContext | None = None
    # All that run, if `spark.driver.allowMultipleContexts` lets more than one. The end of the process stops them; until then they are held here.
    _running: ClassVar[set[StreamingContext]] = set()

    def __init__(
        self,
        sparkContext: SparkContext,
        batchDuration: float | None = None,
        jssc: NativeStreamingContext | None = None,
    ) -> None:
        if sparkContext is None:
            raise ValueError("Spark Streaming cannot be initialized with both SparkContext and checkpoint as null")
        self._sc = sparkContext
        if jssc is None:
            if batchDuration is None:
                raise ValueError("Batch duration for StreamingContext cannot be null")
            jssc = NativeStreamingContext(native_context(sparkContext), duration_ms(batchDuration))
        self._native = jssc
        folder = sparkContext._conf.get("spark.streaming.checkpoint.directory")
        if folder is not None:
            self._keep_rdds_in(folder)
        # Those of the thread that starts the batches: functions that run in them have the same. They hold this object.
        self._properties: dict[str, str] = {}

    @classmethod
    def getOrCreate(cls, checkpointPath: str, setupFunc: Callable[[], StreamingContext]) -> StreamingContext:
        """What `setupFunc` makes, with `checkpointPath` as its checkpoint folder: it goes on where the last run has ended.

        Unlike PySpark, `setupFunc` is called in every run, also where there is a checkpoint: functions stay with the program. States,
        windows and offsets come from the checkpoint. If there may be a SparkContext already, `setupFunc` should take
        that, by `SparkContext.getOrCreate()`.
        """
        made: list[StreamingContext] = []

        def create() -> NativeStreamingContext:
            ssc = _set_up(setupFunc)
            if not isinstance(ssc, StreamingContext):
                raise TypeError(f"setupFunc should return a StreamingContext, not {type(ssc).__name__}")
            ssc.checkpoint(checkpointPath)
            made.append(ssc)
            return ssc._native

        native = NativeStreamingContext.get_or_create(checkpointPath, create)
        made[0]._native = native
        return made[0]

    @classmethod
    def getActive(cls) -> StreamingContext | None:
        """The context that runs; None if there is none."""
        active = cls._activeContext
        if active is not None and active._native.state() != "ACTIVE":
            cls._activeContext = active = None
        return active

    @classmethod
    def getActiveOrCreate(
        cls, checkpointPath: str | None, setupFunc: Callable[[], StreamingContext]
    ) -> StreamingContext:
        """The context that runs, or else what `getOrCreate` gives; without a path, what `setupFunc` makes."""
        if not callable(setupFunc):
            raise TypeError("setupFunc should be callable.")
        active = cls.getActive()
        if active is not None:
            return active
        return setupFunc() if checkpointPath is None else cls.getOrCreate(checkpointPath, setupFunc)

    @property
    def sparkContext(self) -> SparkContext:
        """The context for RDDs."""
        return self._sc

    def start(self) -> None:
        """Starts the batches. Starting a context that runs only warns; one that was stopped can't be started again.

        With `spark.streaming.stopGracefullyOnShutdown` what was received is processed before a program ends that has come to its end, or
        that SIGTERM has told to, unless it handles that itself or starts its stream in another than the main thread.
        """
        self._sc._home.check()
        self._properties.update(self._sc._local_properties.snapshot())
        if self._sc.getCheckpointDir() is not None:
            # All that Spark asks of a program with states.
            self._native.allow_states_in_memory()
        begins = self._native.state() == "INITIALIZED"
        # Not only until this returns: batches run on threads of their own.
        show_modules_as_they_are()
        try:
            self._native.start(call_site())
        finally:
            aside = self._native.checkpoint_set_aside() if begins else None
            if aside is not None:
                logging.getLogger(__name__).warning(_SET_ASIDE, aside)
        StreamingContext._activeContext = self
        StreamingContext._running.add(self)
        atexit.register(_stop_on_shutdown)
        if str(self._sc._conf.get("spark.streaming.stopGracefullyOnShutdown")).lower() == "true":
            _termination.install()

    def awaitTermination(self, timeout: float | None = None) -> None:
        """Waits until the context has stopped, or for `timeout` seconds; raises the first error of a batch.

        Ctrl-C stops the context once what was received is processed, and is raised as KeyboardInterrupt then; a second one does not wait
        for that.
        """
        self._await(timeout)

    def awaitTerminationOrTimeout(self, timeout: float) -> bool:
        """As `awaitTermination`; says whether the context has stopped. As in Spark there is no end to a negative `timeout`."""
        return self._await(timeout)

    def stop(self, stopSparkContext: bool = True, stopGraceFully: bool = False) -> None:
        """Stops the batches, gracefully when all that was received is processed; and the SparkContext, unless that is to stay.

        Stopping twice is no error. Ctrl-C ends the wait for a batch that runs: nobody waits for its end any more, and no other batch begins.
        """
        if not self._sc._home.is_here():
            # What would end belongs to the process that this one was forked from.
            self._forget()
            return
        try:
            self._native.stop(False, stopGraceFully)
        except KeyboardInterrupt:
            # Nor does the end of the process.
            self._forget()
            raise
        finally:
            # A stop that was refused, within a listener say, has changed nothing.
            if self._native.state() == "STOPPED":
                self._forget()
                if stopSparkContext:
                    self._sc.stop()

    def remember(self, duration: float) -> None:
        """Keeps the RDDs of all streams for at least so many seconds, for `slice` and for questions from outside."""
        self._native.remember(duration_ms(duration))

    def checkpoint(self, directory: str | None) -> None:
        """Logs batches and states in this folder, so that `getOrCreate` can go on where this run ends; None for none.

        This run begins anew, as in PySpark: the start sets aside what an earlier one has left there, in a folder `set-aside-1`, and so
        on, within this one, where the last three stay. Checkpoints of RDDs go there, too, to `rdds`, unless the SparkContext has a folder
        for them; as in Spark nobody removes them.
        """
        self._native.checkpoint(directory)
        if directory is not None:
            self._keep_rdds_in(directory)

    def socketTextStream(
        self, hostname: str, port: int, storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2
    ) -> DStream:
        """Lines of UTF-8 from a TCP server. A connection that can't be made, or ends, is made again."""
        return DStream(self._native.socket_text_stream(hostname, port, checked_level(storageLevel).engine_name), self)

    def textFileStream(self, directory: str) -> DStream:
        """Lines of UTF-8 from files that are new in a folder. They must be moved there whole; names that begin with "." do not count."""
        return DStream(self._native.text_file_stream(directory), self)

    def binaryRecordsStream(self, directory: str, recordLength: int) -> DStream:
        """Records of so many bytes from files that are new in a folder."""
        if recordLength < 1:
            raise ValueError(f"a record has at least one byte, not {recordLength}")
        return DStream(self._native.binary_records_stream(directory, recordLength), self)

    def queueStream(
        self,
        rdds: Sequence[RDD | Sequence[Any]],
        oneAtATime: bool = True,
        default: RDD | Sequence[Any] | None = None,
    ) -> DStream:
        """A batch for each RDD, or list of rows, of a list; or one batch for all of them. Then `default` in every batch.

        What is added to the list later is not seen. It can't be read again, so it does not go with a checkpoint.
        """
        queue = [self._rdd(rdd) for rdd in rdds]
        # As in Spark a batch after the end is one partition without rows, so that its count is 0 and not missing.
        after = native_context(self._sc).parallelize([[]]) if default is None else self._rdd(default)
        return DStream(self._native.queue_stream(queue, oneAtATime, after), self)

    def receiverStream(self, receiver: Receiver) -> DStream:
        """The rows that a receiver of your own stores. Not in PySpark."""
        supervised = Supervised(receiver)
        return DStream(self._native.receiver_stream(supervised, type(receiver).__name__), self)

    def transform(self, dstreams: Sequence[DStream], transformFunc: Callable[[list[RDD]], RDD]) -> DStream:
        """The RDD that a function makes of the list of the streams' RDDs, batch by batch: there must be one, as in PySpark."""
        if len({stream._slide_ms() for stream in dstreams}) > 1:
            raise ValueError("Some of the DStreams have different slide durations")

        def transform(_: Any, *rdds: RDD) -> RDD:
            made = transformFunc(list(rdds))
            if made is None:
                raise ValueError(_NO_RDD)
            return made

        return self._transformed(tuple(dstreams), transform)

    def union(self, *dstreams: DStream) -> DStream:
        """The rows of all these streams."""
        if not dstreams:
            raise ValueError("should have at least one DStream to union")
        if len(dstreams) == 1:
            return dstreams[0]
        if len({stream._slide_ms() for stream in dstreams}) > 1:
            raise ValueError("All DStreams should have same slide duration")
        return DStream(self._native.union([stream._native() for stream in dstreams]), self)

    def addStreamingListener(self, streamingListener: StreamingListener) -> None:
        """Tells a listener what happens to batches, outputs and receivers."""
        self._native.add_listener(telling(streamingListener))

    def _transformed(self, streams: tuple[DStream, ...], func: Callable[..., RDD | None]) -> DStream:
        """The stream of the RDDs that `func` makes of a time and the streams' RDDs, at the times of the first one; it has no batch for None."""
        bases = [stream._base() for stream in streams]
        wraps = [wrap for _, wrap in bases]
        enter = self._entering_job()

        def make(ms: int, natives: list[NativeRdd]) -> NativeRdd | None:
            enter()
            made = func(batch_datetime(ms), *(wrap(native) for wrap, native in zip(wraps, natives, strict=True)))
            if made is None:
                return None
            if not isinstance(made, RDD):
                raise TypeError(f"a transform function must return an RDD, not {type(made).__name__}")
            return native_rdd(made)

        natives: list[NativeDStream] = [native.every(streams[0]._slide_ms()) for native, _ in bases]
        return DStream(self._native.transform(natives, make, "transform", call_site()), self)

    def _keep_rdds_in(self, directory: str) -> None:
        """Has checkpoints of RDDs lie in the streams' folder, too, unless there is one for them; they can't in an object store."""
        if self._sc.getCheckpointDir() is None and not directory.startswith(_OBJECT_STORES):
            self._sc._checkpoints.name_folder(os.path.join(directory, _RDDS))

    def _forget(self) -> None:
        """It is not among those that run any more."""
        StreamingContext._running.discard(self)
        if StreamingContext._activeContext is self:
            StreamingContext._activeContext = None

    def _entering_job(self) -> Callable[[], None]:
        """What makes a thread of the engine's the driver's: with the local properties of the thread that called `start`.

        A function that does not hold this context, whose graph holds the function: nobody would free the two.
        """
        local, properties = self._sc._local_properties, self._properties

        def enter() -> None:
            forget_task()
            local.replace(properties)

        return enter

    def _rdd(self, rows: RDD | Sequence[Any]) -> NativeRdd:
        return native_rdd(rows if isinstance(rows, RDD) else self._sc.parallelize(rows))

    def _await(self, timeout: float | None) -> bool:
        self._sc._home.check()
        try:
            wait = None if timeout is None or timeout < 0 else duration_ms(timeout)
            stopped = self._native.await_termination(wait)
        except KeyboardInterrupt:
            self.stop(stopSparkContext=False, stopGraceFully=True)
            raise
        if stopped:
            _termination.wait()
        return stopped


def _set_up(setupFunc: Callable[[], StreamingContext]) -> StreamingContext:
    """What `setupFunc` makes. Where there is a checkpoint PySpark does not call it, and it may not be ready for that."""
    try:
        return setupFunc()
    except ValueError as error:
        if not str(error).startswith("Cannot run multiple SparkContexts"):
            raise
        raise ValueError(
            f"{str(error).rstrip()}; setupFunc is called in every run, also with a checkpoint: use SparkContext.getOrCreate() in it"
        ) from error


def _is_active() -> bool:
    return StreamingContext.getActive() is not None


def _stop_on_shutdown() -> None:
    """Ends the streams of a program that ends: their threads must not call Python while that is taken down."""
    for running in list(StreamingContext._running):
        if running._sc._home.is_here():
            running._native.stop_on_shutdown()


_termination = Termination(_is_active, _stop_on_shutdown)
