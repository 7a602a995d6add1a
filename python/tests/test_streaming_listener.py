"""What listeners are told."""

from __future__ import annotations

import pytest
from streaming_batches import INTERVAL, collected, eventually, wait_for

from tidemill.streaming import Receiver, StreamingContext, StreamingListener


class Everything(StreamingListener):
    """Writes down all that it is told, by the method's name."""

    def __init__(self):
        self.told = []
        for name in dir(StreamingListener):
            if name.startswith("on"):
                setattr(self, name, self._keep(name))

    def _keep(self, name):
        return lambda event: self.told.append((name, event))

    def events(self, name):
        return [event for told, event in self.told if told == name]


@pytest.fixture
def ssc(sc):
    context = StreamingContext(sc, INTERVAL)
    yield context
    context.stop(stopSparkContext=False)


def test_events_of_batches(ssc):
    listener = Everything()
    ssc.addStreamingListener(listener)
    stream = ssc.queueStream([[1, 2], [3]])
    collected(stream)
    collected(stream.map(str))
    ssc.start()
    wait_for(ssc, lambda: len(listener.events("onBatchCompleted")) >= 2)
    ssc.stop(False)
    assert listener.told[0][0] == "onStreamingStarted"
    assert listener.told[0][1].time() > 0
    times = [event.batchInfo().batchTime().milliseconds() for event in listener.events("onBatchCompleted")]
    assert times == sorted(times)
    of_first = [
        name
        for name, event in listener.told
        if (hasattr(event, "batchInfo") and event.batchInfo().batchTime().milliseconds() == times[0])
        or (
            hasattr(event, "outputOperationInfo") and event.outputOperationInfo().batchTime().milliseconds() == times[0]
        )
    ]
    assert of_first == [
        "onBatchSubmitted",
        "onBatchStarted",
        "onOutputOperationStarted",
        "onOutputOperationCompleted",
        "onOutputOperationStarted",
        "onOutputOperationCompleted",
        "onBatchCompleted",
    ]


def test_which_inputs_a_batch_tells_of(ssc, tmp_path):
    """As in Spark: those from outside, and not queues."""
    listener = Everything()
    ssc.addStreamingListener(listener)
    streams = [ssc.queueStream([[1, 2], [3]]), ssc.textFileStream(str(tmp_path)), ssc.queueStream([["a"]])]
    collected(ssc.union(*streams))
    ssc.start()
    wait_for(ssc, lambda: listener.events("onBatchCompleted"))
    ssc.stop(False)
    for name in ("onBatchSubmitted", "onBatchStarted", "onBatchCompleted"):
        inputs = listener.events(name)[0].batchInfo().streamIdToInputInfo()
        assert {stream: info.inputStreamId() for stream, info in inputs.items()} == {1: 1}


def test_what_is_not_known_yet_is_minus_one(ssc):
    listener = Everything()
    ssc.addStreamingListener(listener)
    collected(ssc.queueStream([[1, 2]]))
    ssc.start()
    wait_for(ssc, lambda: listener.events("onBatchCompleted"))
    ssc.stop(False)
    info = listener.events("onBatchSubmitted")[0].batchInfo()
    assert info.submissionTime() > 0
    unknown = [
        info.processingStartTime(),
        info.processingEndTime(),
        info.schedulingDelay(),
        info.processingDelay(),
        info.totalDelay(),
    ]
    assert unknown == [-1] * 5
    operation = listener.events("onOutputOperationStarted")[0].outputOperationInfo()
    assert operation.startTime() > 0
    assert (operation.endTime(), operation.failureReason()) == (-1, None)
    info = listener.events("onBatchCompleted")[0].batchInfo()
    assert info.processingEndTime() >= info.processingStartTime() >= info.submissionTime() > 0
    assert info.totalDelay() >= max(info.schedulingDelay(), info.processingDelay()) >= 0


def test_outputs_and_their_failures(ssc):
    listener = Everything()
    ssc.addStreamingListener(listener)
    stream = ssc.queueStream([[1]])
    stream.foreachRDD(lambda rdd: 1 / 0)
    stream.pprint()
    ssc.start()
    done = eventually(lambda: listener.events("onBatchCompleted"))[0]
    operations = done.batchInfo().outputOperationInfos()
    assert sorted(operations) == [0, 1]
    failed = operations[0]
    assert failed.id() == 0
    assert failed.name().startswith("foreachRDD at test_streaming_listener.py:")
    assert "ZeroDivisionError" in failed.failureReason()
    assert operations[1].failureReason() is None
    assert operations[1].description()
    assert operations[1].endTime() >= operations[1].startTime() > 0


def test_records_and_receivers(ssc):
    class Three(Receiver):
        def onStart(self):
            self.storeMany([1, 2, 3])
            self.reportError("three is all there is", ValueError("no four"))

    listener = Everything()
    ssc.addStreamingListener(listener)
    collected(ssc.receiverStream(Three()))
    ssc.start()

    def received():
        return [e.batchInfo() for e in listener.events("onBatchCompleted") if e.batchInfo().numRecords()]

    wait_for(ssc, received)
    ssc.stop(False)
    info = received()[0]
    assert info.numRecords() == 3
    (stream,) = info.streamIdToInputInfo()
    of_stream = info.streamIdToInputInfo()[stream]
    assert (of_stream.inputStreamId(), of_stream.numRecords()) == (stream, 3)
    assert of_stream.metadata() == {}
    started = listener.events("onReceiverStarted")[0].receiverInfo()
    assert (started.streamId(), started.name(), started.active()) == (stream, "Three", True)
    assert (started.lastErrorMessage(), started.lastError(), started.lastErrorTime()) == ("", "", -1)
    error = listener.events("onReceiverError")[0].receiverInfo()
    assert error.lastErrorMessage() == "three is all there is"
    assert "no four" in error.lastError()
    assert error.lastErrorTime() > 0
    assert listener.events("onReceiverStopped")[0].receiverInfo().active() is False


def test_a_listener_that_fails_stops_nothing(ssc, caplog):
    class Bad(StreamingListener):
        def onBatchCompleted(self, batchCompleted):
            raise ValueError("a bad listener")

    good = Everything()
    ssc.addStreamingListener(Bad())
    ssc.addStreamingListener(good)
    collected(ssc.queueStream([[1]]))
    ssc.start()
    wait_for(ssc, lambda: len(good.events("onBatchCompleted")) >= 2)
    assert "onBatchCompleted of Bad failed" in caplog.text


def test_a_listener_need_not_be_of_the_class(ssc):
    class Other:
        def __init__(self):
            self.completed = 0

        def onBatchCompleted(self, batchCompleted):
            self.completed += 1

    other = Other()
    ssc.addStreamingListener(other)
    collected(ssc.queueStream([[1]]))
    ssc.start()
    wait_for(ssc, lambda: other.completed)
