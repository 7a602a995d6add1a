"""Streams that are cut into batches, as in `pyspark.streaming`.

    >>> from queue import Queue
    >>> from tidemill.streaming import StreamingContext
    >>> ssc, counts = StreamingContext(sc, batchDuration=0.1), Queue()
    >>> words = ssc.queueStream([["to be or", "not to be"]]).flatMap(str.split)
    >>> words.map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b).foreachRDD(lambda rdd: counts.put(rdd.collect()))
    >>> ssc.start()
    >>> sorted(counts.get(timeout=60))
    [('be', 2), ('not', 1), ('or', 1), ('to', 2)]
    >>> ssc.stop(stopSparkContext=False)

| module | what it holds |
|---|---|
| `context` | `StreamingContext`: where streams come from, and the life of a program |
| `dstream` | `DStream`, and its operators by theme in `pairs`, `windows`, `state`, `output` |
| `listener` | `StreamingListener`, and what it is told |
| `kafka` | `KafkaUtils` |
| `state` | `StateSpec` for `mapWithState` |
| `receiver` | `Receiver`, to take data in with code of your own |

The other modules are not for programs.
"""

from .context import StreamingContext
from .dstream import DStream
from .listener import StreamingListener
from .receiver import Receiver
from .state import State, StateSpec

__all__ = ["DStream", "Receiver", "State", "StateSpec", "StreamingContext", "StreamingListener"]
