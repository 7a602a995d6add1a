//! Streams that need no outside: numbers at a rate, memory, queues, constants.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::input::{MemoryStream, RddQueue};
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_dstream::testing::{StreamTest, TestContext, test_conf};
use tidemill_engine::time::Time;

use super::source_support::{Batches, Events, Running, SECOND};

#[test]
fn numbers_come_at_their_rate_without_gap() {
    let running = Running::start(&[], |ssc| ssc.rate_stream(3));
    let batches: Vec<Vec<u64>> = (0..4).map(|_| running.next().concat()).collect();
    assert_eq!(batches, [vec![], vec![0, 1, 2], vec![3, 4, 5], vec![6, 7, 8]]);
    // A batch that is late has what its time is due, and the next one goes on.
    running.context.clock().advance(3 * SECOND);
    running.context.ssc.wait_for_batch(Time::from_millis(7000));
    assert_eq!(running.batches.rows(), (0..18).collect::<Vec<u64>>());
    assert_eq!(running.events.records()[1..3], [(2000, 3), (3000, 3)]);
    running.stop();
    let slow = Running::start_at(123_000, &[("spark.default.parallelism", "3")], |ssc| ssc.rate_stream(1));
    (0..8).for_each(|_| drop(slow.next()));
    assert_eq!(slow.batches.rows(), (0..7).collect::<Vec<u64>>());
    assert_eq!(slow.next().len(), 3);
    slow.stop();
    let none = Running::start(&[], |ssc| ssc.rate_stream(0));
    (0..3).for_each(|_| drop(none.next()));
    assert_eq!(none.batches.rows(), [0u64; 0]);
    none.stop();
}

#[test]
fn a_restart_goes_on_counting() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("spark.streaming.checkpoint.directory", folder.path().to_str().unwrap()),
        ("spark.tidemill.recovery.maxMissedBatches", "0"),
    ];
    let mut all = Vec::new();
    for run in 0..3 {
        let running = Running::start_at(run * 10_000, &settings, |ssc| ssc.rate_stream(2));
        (0..3).for_each(|_| drop(running.next()));
        all.extend(running.batches.rows());
        running.stop();
    }
    assert_eq!(all, (0..12).collect::<Vec<u64>>());
}

#[test]
fn memory_goes_on_behind_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let steps = StreamTest::new(|_, numbers| Ok(numbers.map(|n: i32| n * 10)))
        .conf("spark.streaming.checkpoint.directory", folder.path().display())
        .add_data([1, 2])
        .check_batch([10, 20])
        .add_data([3])
        .restart()
        .check_batch([])
        .add_data([4])
        .check_batch([40])
        .restart();
    steps.add_data([5]).add_data([6]).check_batch([50, 60]).run().unwrap();
}

#[test]
fn memory_is_cut_where_the_batch_is_due_and_in_the_default_partitions() {
    let (memory, batches, events) = (Mutex::new(None::<MemoryStream<u64>>), Batches::default(), Events::default());
    let context = TestContext::start(test_conf(), SECOND, true, |ssc| {
        events.listen_to(ssc);
        let (input, stream) = ssc.memory_stream()?;
        *memory.lock() = Some(input);
        batches.collect_from(&stream)
    });
    let (context, memory) = (context.unwrap(), memory.into_inner().unwrap());
    memory.add(0..5);
    memory.add(5..7);
    let time = context.run_batch();
    assert_eq!(batches.at(time), [vec![0, 1, 2], vec![3, 4, 5, 6]]);
    memory.clone().add([7]);
    assert_eq!(batches.at(context.run_batch()).concat(), [7]);
    assert_eq!(batches.at(context.run_batch()).concat(), [0u64; 0]);
    assert_eq!(events.records(), [(1000, 7), (2000, 1), (3000, 0)]);
    context.stop().unwrap();
}

/// The partitions of each batch of a queue: `push` is called before each.
fn queue_batches(
    one_at_a_time: bool,
    default: Option<Option<Vec<u64>>>,
    batches: usize,
    push: impl Fn(&SparkContext, &RddQueue<u64>, usize),
) -> Vec<Vec<Vec<u64>>> {
    let (queue, collected) = (RddQueue::default(), Batches::default());
    // The RDDs of the queue are the driver's own: their plans stay.
    let context = TestContext::start(test_conf(), SECOND, false, |ssc: &StreamingContext| {
        let sc = ssc.spark_context();
        let stream = match &default {
            None => ssc.queue_stream(&queue, one_at_a_time)?,
            Some(default) => {
                let default = default.clone().map(|rows| sc.parallelize_in(rows, 1));
                ssc.queue_stream_or(&queue, one_at_a_time, default.as_ref())?
            }
        };
        collected.collect_from(&stream)
    });
    let context = context.unwrap();
    let times = (0..batches).map(|n| {
        push(context.ssc.spark_context(), &queue, n);
        context.run_batch()
    });
    let result = times.collect::<Vec<_>>().into_iter().map(|time| collected.at(time)).collect();
    context.stop().unwrap();
    result
}

#[test]
fn a_queue_gives_one_rdd_or_all_and_a_default_when_it_is_empty() {
    let three_at_first = |sc: &SparkContext, queue: &RddQueue<u64>, batch: usize| {
        if batch == 0 {
            queue.push(sc.parallelize_in([1, 2], 2));
            queue.push(sc.parallelize_in([3], 1));
            queue.push(sc.parallelize_in([4], 1).map(|n| n * 100));
        }
        if batch == 4 {
            queue.push(sc.parallelize_in([5], 1));
        }
    };
    let empty: Vec<Vec<u64>> = vec![vec![]];
    // An empty queue is an RDD of one empty partition.
    assert_eq!(
        queue_batches(true, None, 5, three_at_first),
        [vec![vec![1], vec![2]], vec![vec![3]], vec![vec![400]], empty.clone(), vec![vec![5]]]
    );
    assert_eq!(
        queue_batches(false, None, 5, three_at_first),
        [vec![vec![1], vec![2], vec![3], vec![400]], empty.clone(), empty.clone(), empty, vec![vec![5]]]
    );
    // One without partitions, where there is to be no default.
    assert_eq!(queue_batches(true, Some(None), 2, |_, _, _| {}), [vec![[0u64; 0]; 0], vec![]]);
    let default = Some(Some(vec![7, 8]));
    assert_eq!(
        queue_batches(false, default, 5, three_at_first)[1..],
        [vec![vec![7, 8]], vec![vec![7, 8]], vec![vec![7, 8]], vec![vec![5]]]
    );
}

#[test]
fn a_queue_can_not_be_read_again_after_a_restart_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = |at: i64, fail: bool| {
        let queue = RddQueue::default();
        let conf = test_conf().set("spark.streaming.checkpoint.directory", folder.path().display());
        let context = TestContext::start_at(Time::from_millis(at), conf, SECOND, false, |ssc| {
            if at == 0 {
                queue.push(ssc.spark_context().parallelize_in([1u64], 1));
            }
            ssc.queue_stream(&queue, true)?.foreach_rdd(move |_| {
                if fail { Err(tidemill_engine::error::Error::usage("not this time")) } else { Ok(()) }
            })
        });
        let ran = context.and_then(|context| {
            context.run_batch();
            context.stop()
        });
        ran.map_err(|error| error.to_string())
    };
    assert!(run(0, true).unwrap_err().contains("not this time"));
    assert!(run(5000, false).unwrap_err().contains("queueStream doesn't support checkpointing"));
}

#[test]
fn a_constant_is_the_same_for_every_batch() {
    let running = Running::start(&[], |ssc| {
        let rdd = ssc.spark_context().parallelize_in([1u64, 2], 2);
        ssc.constant_stream(&rdd)
    });
    assert_eq!([running.next(), running.next()], [vec![vec![1], vec![2]], vec![vec![1], vec![2]]]);
    running.stop();
}

#[test]
fn two_sources_of_a_kind_keep_apart() {
    let sums = std::sync::Arc::new(Mutex::new(BTreeMap::new()));
    let context = TestContext::start(test_conf(), Duration::from_millis(500), true, |ssc| {
        let (one, two) = (ssc.rate_stream(2)?, ssc.rate_stream(4)?);
        let sums = std::sync::Arc::clone(&sums);
        one.map(|n| (0, n)).union(&two.map(|n| (1, n)))?.foreach_rdd_with_time(move |rdd, time| {
            let mut rows = rdd.collect()?;
            rows.sort_unstable();
            sums.lock().insert(time.as_millis(), rows);
            Ok(())
        })
    });
    let context = context.unwrap();
    for _ in 0..3 {
        context.run_batch();
    }
    let rows: Vec<_> = sums.lock().values().cloned().collect();
    assert_eq!(rows, [vec![], vec![(0, 0), (1, 0), (1, 1)], vec![(0, 1), (1, 2), (1, 3)]]);
    context.stop().unwrap();
}
