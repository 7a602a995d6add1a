"""Listeners: who hears of batches, output operations and receivers.

A listener is told on a thread of its own, one event after the other. Events come from PySpark's Java side there, so what they say is
behind methods: `completed.batchInfo().processingDelay()`. Delays and moments are milliseconds; -1 where there is none yet,
and None where there is no description, or no failure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .batch_time import Time

Info = dict[str, Any]


class StreamingListener:
    """To be derived from: override what you want to hear of, and add it with `ssc.addStreamingListener`."""

    def onStreamingStarted(self, streamingStarted: StreamingListenerStreamingStarted) -> None:
        """The stream runs."""

    def onReceiverStarted(self, receiverStarted: StreamingListenerReceiverStarted) -> None:
        """A receiver runs."""

    def onReceiverError(self, receiverError: StreamingListenerReceiverError) -> None:
        """A receiver has reported an error."""

    def onReceiverStopped(self, receiverStopped: StreamingListenerReceiverStopped) -> None:
        """A receiver has ended."""

    def onBatchSubmitted(self, batchSubmitted: StreamingListenerBatchSubmitted) -> None:
        """A batch has jobs, which wait to run."""

    def onBatchStarted(self, batchStarted: StreamingListenerBatchStarted) -> None:
        """The first job of a batch begins."""

    def onBatchCompleted(self, batchCompleted: StreamingListenerBatchCompleted) -> None:
        """The last job of a batch has ended."""

    def onOutputOperationStarted(self, outputOperationStarted: StreamingListenerOutputOperationStarted) -> None:
        """An output operation of a batch begins."""

    def onOutputOperationCompleted(self, outputOperationCompleted: StreamingListenerOutputOperationCompleted) -> None:
        """An output operation of a batch has ended."""


class _Told:
    """What the engine told, behind methods."""

    __slots__ = ("_info",)

    def __init__(self, info: Info) -> None:
        self._info = info

    def _number(self, name: str) -> int:
        value = self._info.get(name)
        return -1 if value is None else value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._info!r})"


class StreamInputInfo(_Told):
    """What one input stream gave to a batch."""

    def inputStreamId(self) -> int:
        """The number of the stream."""
        return self._number("inputStreamId")

    def numRecords(self) -> int:
        """Its records; 0 for streams that do not count before they read, such as files and queues."""
        return self._info.get("numRecords") or 0

    def metadata(self) -> dict[str, Any]:
        """More about the input, for programs."""
        return self._info.get("metadata") or {}

    def metadataDescription(self) -> str | None:
        """More about the input, for people: files, offsets."""
        return self._info.get("metadataDescription")


class OutputOperationInfo(_Told):
    """An output operation within a batch."""

    def batchTime(self) -> Time:
        """The time of its batch."""
        return Time(self._number("batchTime"))

    def id(self) -> int:
        """Its number within the program."""
        return self._number("id")

    def name(self) -> str:
        """What it is, and where in the program."""
        return self._info.get("name") or ""

    def description(self) -> str:
        """Where it is in the program."""
        return self._info.get("description") or ""

    def startTime(self) -> int:
        """When it began."""
        return self._number("startTime")

    def endTime(self) -> int:
        """When it ended."""
        return self._number("endTime")

    def failureReason(self) -> str | None:
        """Why it failed; None if it did not."""
        return self._info.get("failureReason")


class BatchInfo(_Told):
    """A batch, as far as it had come with the event."""

    def batchTime(self) -> Time:
        """Its time."""
        return Time(self._number("batchTime"))

    def streamIdToInputInfo(self) -> dict[int, StreamInputInfo]:
        """What the input streams gave to it, by their numbers."""
        inputs = self._info.get("streamIdToInputInfo") or {}
        return {stream: StreamInputInfo(info) for stream, info in inputs.items()}

    def submissionTime(self) -> int:
        """When its jobs were made."""
        return self._number("submissionTime")

    def processingStartTime(self) -> int:
        """When its first job began."""
        return self._number("processingStartTime")

    def processingEndTime(self) -> int:
        """When its last job ended."""
        return self._number("processingEndTime")

    def schedulingDelay(self) -> int:
        """From submission to the first job's begin."""
        return self._number("schedulingDelay")

    def processingDelay(self) -> int:
        """From the first job's begin to the last one's end."""
        return self._number("processingDelay")

    def totalDelay(self) -> int:
        """From submission to the last job's end."""
        return self._number("totalDelay")

    def schedulingDelayMicros(self) -> int:
        """`schedulingDelay` in microseconds, for batches that take less than milliseconds. Not in PySpark, as the next two."""
        return self._number("schedulingDelayMicros")

    def processingDelayMicros(self) -> int:
        """`processingDelay` in microseconds."""
        return self._number("processingDelayMicros")

    def totalDelayMicros(self) -> int:
        """`totalDelay` in microseconds."""
        return self._number("totalDelayMicros")

    def numRecords(self) -> int:
        """The records of all its input streams."""
        return sum(info.numRecords() for info in self.streamIdToInputInfo().values())

    def outputOperationInfos(self) -> dict[int, OutputOperationInfo]:
        """Its output operations, by their numbers."""
        operations = self._info.get("outputOperationInfos") or {}
        return {number: OutputOperationInfo(info) for number, info in operations.items()}


class ReceiverInfo(_Told):
    """A receiver, as it is."""

    def streamId(self) -> int:
        """The number of the stream that it feeds."""
        return self._number("streamId")

    def name(self) -> str:
        """Its name."""
        return self._info.get("name") or ""

    def active(self) -> bool:
        """Whether it runs."""
        return bool(self._info.get("active"))

    def location(self) -> str:
        """The machine that it runs on."""
        return self._info.get("location") or ""

    def executorId(self) -> str:
        """The process that it runs in."""
        return self._info.get("executorId") or ""

    def lastErrorMessage(self) -> str:
        """What it last reported; empty before that."""
        return self._info.get("lastErrorMessage") or ""

    def lastError(self) -> str:
        """The error behind that; empty if there is none."""
        return self._info.get("lastError") or ""

    def lastErrorTime(self) -> int:
        """When it last reported an error."""
        return self._number("lastErrorTime")


class StreamingListenerStreamingStarted(_Told):
    """The stream runs."""

    def time(self) -> int:
        """Since when."""
        return self._number("time")


class _OfBatch(_Told):
    def batchInfo(self) -> BatchInfo:
        """The batch."""
        return BatchInfo(self._info.get("batchInfo", self._info))


class StreamingListenerBatchSubmitted(_OfBatch):
    """A batch has jobs."""


class StreamingListenerBatchStarted(_OfBatch):
    """The first job of a batch begins."""


class StreamingListenerBatchCompleted(_OfBatch):
    """The last job of a batch has ended."""


class _OfOutput(_Told):
    def outputOperationInfo(self) -> OutputOperationInfo:
        """The output operation."""
        return OutputOperationInfo(self._info.get("outputOperationInfo", self._info))


class StreamingListenerOutputOperationStarted(_OfOutput):
    """An output operation begins."""


class StreamingListenerOutputOperationCompleted(_OfOutput):
    """An output operation has ended."""


class _OfReceiver(_Told):
    def receiverInfo(self) -> ReceiverInfo:
        """The receiver."""
        return ReceiverInfo(self._info.get("receiverInfo", self._info))


class StreamingListenerReceiverStarted(_OfReceiver):
    """A receiver runs."""


class StreamingListenerReceiverError(_OfReceiver):
    """A receiver has reported an error."""


class StreamingListenerReceiverStopped(_OfReceiver):
    """A receiver has ended."""


_EVENTS: dict[str, type[_Told]] = {
    "onStreamingStarted": StreamingListenerStreamingStarted,
    "onReceiverStarted": StreamingListenerReceiverStarted,
    "onReceiverError": StreamingListenerReceiverError,
    "onReceiverStopped": StreamingListenerReceiverStopped,
    "onBatchSubmitted": StreamingListenerBatchSubmitted,
    "onBatchStarted": StreamingListenerBatchStarted,
    "onBatchCompleted": StreamingListenerBatchCompleted,
    "onOutputOperationStarted": StreamingListenerOutputOperationStarted,
    "onOutputOperationCompleted": StreamingListenerOutputOperationCompleted,
}


def telling(listener: StreamingListener) -> Callable[[str, Info], None]:
    """The function that the engine calls for each event. What a listener raises is logged: it stops neither batches nor others."""

    def tell(event: str, info: Info) -> None:
        heard, method = _EVENTS.get(event), getattr(listener, event, None)
        if heard is None or method is None:
            return
        try:
            method(heard(info))
        # SystemExit, too: this is not the thread whose program it would end.
        except BaseException:
            logging.getLogger(__name__).exception("%s of %s failed", event, type(listener).__name__)

    return tell
