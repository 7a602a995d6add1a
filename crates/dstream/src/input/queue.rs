//! `queue_stream`: RDDs that the program puts into a queue.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tidemill_engine::chunk::Data;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::source::{InputInfo, Offset, OffsetRange, Source, SourceBatch};
use tidemill_engine::time::Time;

use crate::dataset::Dataset;
use crate::op::narrow::decode_values;
use crate::op::partition::{pass, union};
use crate::rdd::Rdd;
use crate::stream::DStream;
use crate::streaming_context::StreamingContext;

/// A queue of RDDs; may be added to while the stream runs. Clones are the same queue.
pub struct RddQueue<T>(Arc<Mutex<Queue<T>>>);

struct Queue<T> {
    /// The number of the first RDD in `rdds`.
    first: u64,
    rdds: VecDeque<Rdd<T>>,
}

impl<T> Clone for RddQueue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Data> Default for RddQueue<T> {
    fn default() -> Self {
        Self::new([])
    }
}

impl<T: Data> RddQueue<T> {
    /// A queue with these RDDs in it.
    pub fn new(rdds: impl IntoIterator<Item = Rdd<T>>) -> Self {
        Self(Arc::new(Mutex::new(Queue { first: 0, rdds: rdds.into_iter().collect() })))
    }

    /// Adds an RDD.
    pub fn push(&self, rdd: Rdd<T>) {
        self.0.lock().rdds.push_back(rdd);
    }
}

/// Offsets count the RDDs that were taken.
struct QueueSource<T> {
    queue: RddQueue<T>,
    one_at_a_time: bool,
    /// What a batch is when the queue is empty.
    default: Dataset,
    union: crate::dataset::Transform<T>,
}

impl<T: Data> Source for QueueSource<T> {
    fn name(&self) -> String {
        "queue".into()
    }

    fn is_replayable(&self) -> bool {
        false
    }

    fn initial_offset(&self) -> Result<Offset> {
        Ok(Offset::count(0))
    }

    fn latest_offset(&self, start: &Offset, _: Time) -> Result<Offset> {
        let queue = self.queue.0.lock();
        let (start, end) = (start.as_count(), queue.first + queue.rdds.len() as u64);
        Ok(Offset::count(if self.one_at_a_time { end.min(start + 1) } else { end }.max(start)))
    }

    fn read(&self, range: &OffsetRange, _: Time) -> Result<SourceBatch> {
        let (start, end) = (range.start.as_count(), range.end.as_count());
        let taken: Vec<Dataset> = {
            let queue = self.queue.0.lock();
            if start < queue.first || end > queue.first + queue.rdds.len() as u64 || end < start {
                return Err(no_checkpoint());
            }
            let places = (start - queue.first) as usize..(end - queue.first) as usize;
            queue.rdds.range(places).map(|rdd| rdd.dataset().clone()).collect()
        };
        let data = match taken.as_slice() {
            [] => self.default.clone(),
            [one] => one.clone(),
            several => self.union.apply(several)?,
        };
        // As in Spark, the number of records is not known without running the RDD.
        Ok(SourceBatch {
            lineage: data.lineage,
            info: InputInfo { name: self.name(), ..InputInfo::default() },
            lost: false,
        })
    }

    fn commit(&self, end: &Offset) -> Result<()> {
        let mut queue = self.queue.0.lock();
        while queue.first < end.as_count() && queue.rdds.pop_front().is_some() {
            queue.first += 1;
        }
        Ok(())
    }

    fn start(&self, start: &Offset, _: Time) -> Result<()> {
        if start.as_count() > 0 {
            return Err(no_checkpoint());
        }
        self.queue.0.lock().first = 0;
        Ok(())
    }
}

/// RDDs that an earlier process took are gone with it.
fn no_checkpoint() -> Error {
    Error::usage(
        "queueStream doesn't support checkpointing. Please don't use queueStream when checkpointing is enabled.",
    )
}

impl StreamingContext {
    /// The RDDs of a queue: one for each batch, or all that are there as one. An empty queue gives an empty RDD of one
    /// partition. Not for programs with a checkpoint: the queue lives in this process.
    #[track_caller]
    pub fn queue_stream<T: Data>(&self, queue: &RddQueue<T>, one_at_a_time: bool) -> Result<DStream<T>> {
        let empty = self.spark_context().parallelize_in([], 1);
        self.queue_stream_or(queue, one_at_a_time, Some(&empty))
    }

    /// [`StreamingContext::queue_stream`], with `default` where the queue is empty; `None` is an RDD without partitions.
    #[track_caller]
    pub fn queue_stream_or<T: Data>(
        &self,
        queue: &RddQueue<T>,
        one_at_a_time: bool,
        default: Option<&Rdd<T>>,
    ) -> Result<DStream<T>> {
        let sc = self.spark_context();
        let default = default.map_or_else(|| sc.empty_rdd::<T>().dataset().clone(), |rdd| rdd.dataset().clone());
        // RDDs that come later travel by these.
        decode_values::<T>(sc.functions());
        pass::<T>(sc.functions());
        let source = QueueSource { queue: queue.clone(), one_at_a_time, default, union: union(sc) };
        self.source_stream("queue_stream", Arc::new(source), |data| data)
    }
}
