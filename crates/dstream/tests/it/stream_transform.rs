//! `transform` and its kin: the driver's function of RDDs, run for every batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidemill_dstream::input::RddQueue;
use tidemill_dstream::node::{Compute, Planning, StreamNode};
use tidemill_dstream::rdd::Rdd;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::testing::{StreamTest, TestContext, test_conf};
use tidemill_engine::error::Result;
use tidemill_engine::time::Time;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn transform_with_closures_that_are_made_for_each_batch() -> Result<()> {
    StreamTest::new(|_, s: DStream<i64>| {
        Ok(s.transform_with_time(|rdd, time| {
            let second = time.as_millis() / 1000;
            rdd.map(move |n| n * second).filter(|n| n % 2 == 0)
        }))
    })
    .batches([(vec![1, 2], vec![2]), (vec![1, 2], vec![2, 4]), (vec![], vec![]), (vec![1], vec![4])])
    .run()
}

#[test]
fn transform_to_another_type_and_through_a_shuffle() -> Result<()> {
    StreamTest::new(|_, s: DStream<i32>| Ok(s.transform(|rdd| rdd.map(|n| (n % 2, n)).reduce_by_key(|a, b| a + b))))
        .batches([(vec![1, 2, 3], vec![(1, 4), (0, 2)]), (vec![], vec![])])
        .run()
}

#[test]
fn transform_of_transform() -> Result<()> {
    StreamTest::new(|_, s: DStream<i32>| {
        Ok(s.transform(|rdd| rdd.map(|n| n + 1)).transform(|rdd| rdd.map(|n| n * 10).union(&rdd)))
    })
    .batches([(vec![1], vec![20, 2]), (vec![2], vec![30, 3])])
    .run()
}

#[test]
fn transform_to_an_empty_rdd_or_to_the_same() -> Result<()> {
    StreamTest::new(|_, s: DStream<i32>| {
        Ok(s.transform_with_time(|rdd, time| if time.as_millis() == 1000 { rdd } else { rdd.context().empty_rdd() }))
    })
    .batches([(vec![1], vec![1]), (vec![2], vec![])])
    .run()
}

#[test]
fn transform_with_another_stream() -> Result<()> {
    StreamTest::new(|_, s: DStream<i32>| {
        let squares = s.map(|n| (n, n * n));
        s.map(|n| (n, 'x')).transform_with(&squares, |a, b, time| {
            let time = time.as_millis();
            a.join(&b).map(move |(n, (_, square))| (time, n, square))
        })
    })
    .batches([(vec![1, 2], vec![(1000, 1, 1), (1000, 2, 4)]), (vec![], vec![]), (vec![3], vec![(3000, 3, 9)])])
    .run()
}

#[test]
fn transform_of_many_streams() -> Result<()> {
    StreamTest::new(|ssc, s: DStream<i32>| {
        let streams = [s.clone(), s.map(|n| n + 1), s.map(|n| n + 2)];
        ssc.transform(&streams, |rdds, _| rdds[0].context().union(&rdds).map(|n| n * 2))
    })
    .batches([(vec![1], vec![2, 4, 6]), (vec![], vec![])])
    .run()
}

#[test]
fn a_transform_that_gives_nothing_has_no_batch() -> Result<()> {
    StreamTest::new(|ssc, s: DStream<i32>| {
        let calls = Arc::new(AtomicUsize::new(0));
        let every_second = move |mut rdds: Vec<Rdd<i32>>, _| {
            (calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(2)).then(|| rdds.remove(0))
        };
        let some = ssc.transform_or_skip(&[s], every_second)?;
        // Nor does it ask what there would be of nothing.
        ssc.transform_or_skip(&[some.map(|n| n * 2)], |rdds, _| rdds.into_iter().next())?.window(2 * SECOND, SECOND)
    })
    .batches([(vec![1], vec![2]), (vec![2], vec![2]), (vec![3], vec![6]), (vec![4], vec![6]), (vec![5], vec![10])])
    .run()
}

#[test]
fn streams_that_slide_differently_are_refused() -> Result<()> {
    let text = "All DStreams should have same slide duration";
    let joined = |build: fn(&DStream<i32>, &DStream<i32>) -> Result<()>| {
        TestContext::start(test_conf(), SECOND, false, |ssc| {
            let (_, s) = ssc.memory_stream::<i32>()?;
            let slow = s.window(2 * SECOND, 2 * SECOND)?;
            build(&s, &slow)?;
            s.print()
        })
        .err()
        .unwrap()
        .to_string()
    };
    assert_eq!(joined(|s, slow| s.transform_with(slow, |a, _, _| a).map(drop)), text);
    assert_eq!(
        joined(|s, slow| s.context().transform(&[s.clone(), slow.clone()], |r, _| r[0].clone()).map(drop)),
        text
    );
    assert_eq!(
        joined(|s, _| s.context().transform(&[], |r: Vec<Rdd<i32>>, _| r[0].clone()).map(drop)),
        "List of DStreams to transform is empty"
    );
    // Joins can't say it themselves: the start does.
    let error = joined(|s, slow| {
        drop(s.map(|n| (n, n)).join(&slow.map(|n| (n, n))));
        Ok(())
    });
    assert!(
        error.starts_with("join at ") && error.contains("stream_transform.rs:") && error.ends_with(text),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_stream_at_the_times_of_another_one() -> Result<()> {
    let (input, seen) = (parking_lot::Mutex::new(None), Arc::new(parking_lot::Mutex::new(Vec::new())));
    let context = TestContext::start(test_conf(), SECOND, false, |ssc| {
        let (rows, s) = ssc.memory_stream::<i32>()?;
        *input.lock() = Some(rows);
        let slow = s.window(2 * SECOND, 2 * SECOND)?;
        for (name, stream) in [("slow", slow.every(SECOND)), ("fast", s.every(2 * SECOND)), ("same", s.every(SECOND))] {
            let seen = Arc::clone(&seen);
            stream.foreach_rdd_with_time(move |rdd, time| {
                seen.lock().push((name, time.as_millis() / 1000, rdd.collect()?));
                Ok(())
            })?;
        }
        Ok(())
    })?;
    for n in 1..=4 {
        input.lock().iter().for_each(|input| input.add([n]));
        context.run_batch();
    }
    let of = |wanted: &str| {
        let seen = seen.lock();
        let found = seen.iter().filter(|(name, ..)| *name == wanted).map(|(_, second, rows)| (*second, rows.clone()));
        found.collect::<Vec<_>>()
    };
    assert_eq!(of("slow"), [(1, vec![]), (2, vec![1, 2]), (3, vec![]), (4, vec![3, 4])]);
    assert_eq!(of("fast"), [(2, vec![2]), (4, vec![4])]);
    assert_eq!(of("same"), (1..=4).map(|n| (n, vec![n as i32])).collect::<Vec<_>>());
    context.stop()
}

struct Never;

impl Compute for Never {
    fn compute(&self, _: &StreamNode, _: Time, _: &Planning<'_>) -> Result<Option<tidemill_dstream::dataset::Dataset>> {
        Ok(None)
    }
}

#[test]
fn transform_needs_an_rdd_of_its_parent() -> Result<()> {
    let context = TestContext::start(test_conf(), SECOND, true, |ssc| {
        let node = ssc.graph().add_node("never", SECOND, vec![], Never);
        DStream::<i32>::from_node(ssc, node).transform(|rdd| rdd).print()
    })?;
    context.run_batch();
    let error = context.stop().unwrap_err();
    assert!(error.message().contains("Couldn't generate RDD from parent at time 1000 ms"), "{error}");
    assert!(error.message().contains("print at ") && error.message().contains("stream_transform.rs:"), "{error}");
    Ok(())
}

#[test]
fn transform_is_asked_once_for_each_batch_however_many_read_it() -> Result<()> {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let context = TestContext::start(test_conf(), SECOND, false, move |ssc| {
        let (count, (_, s)) = (Arc::clone(&count), ssc.memory_stream::<i32>()?);
        let counted = s.transform(move |rdd| {
            count.fetch_add(1, Ordering::SeqCst);
            rdd
        });
        counted.foreach_rdd(|rdd| rdd.collect().map(drop))?;
        counted.map(|n| n + 1).foreach_rdd(|rdd| rdd.collect().map(drop))
    })?;
    (0..3).for_each(|_| {
        context.run_batch();
    });
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    context.stop()
}

#[test]
fn queues_give_one_rdd_a_batch_or_all() -> Result<()> {
    for (one_at_a_time, expected) in [(true, [vec![1], vec![2, 3], vec![]]), (false, [vec![1, 2, 3], vec![], vec![]])] {
        let queue = parking_lot::Mutex::new(RddQueue::<i32>::default());
        let rows = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let context = TestContext::start(test_conf(), SECOND, true, |ssc| {
            let sc = ssc.spark_context();
            let mine = RddQueue::new([sc.parallelize([1])]);
            let all = Arc::clone(&rows);
            ssc.queue_stream(&mine, one_at_a_time)?.map(|n| n).foreach_rdd(move |rdd| {
                all.lock().push((rdd.collect()?, rdd.num_partitions()));
                Ok(())
            })?;
            // The last one built is the one that runs.
            mine.push(sc.parallelize_in([2, 3], 1));
            *queue.lock() = mine;
            Ok(())
        })?;
        (0..3).for_each(|_| {
            context.run_batch();
        });
        queue.lock().push(context.ssc.spark_context().parallelize([9]));
        context.run_batch();
        let rows = rows.lock().clone();
        assert_eq!(rows.iter().map(|(rows, _)| rows.clone()).collect::<Vec<_>>(), [&expected[..], &[vec![9]]].concat());
        // An empty queue gives an RDD of one partition.
        assert_eq!(rows[2], (vec![], 1));
        context.stop()?;
    }
    Ok(())
}

#[test]
fn an_empty_queue_gives_its_default_or_no_partition() -> Result<()> {
    let rows = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let context = TestContext::start(test_conf(), SECOND, false, |ssc| {
        let (default, queue) = (ssc.spark_context().parallelize_in([7], 3), RddQueue::new([]));
        for default in [Some(&default), None] {
            let all = Arc::clone(&rows);
            ssc.queue_stream_or(&queue, true, default)?.foreach_rdd(move |rdd| {
                all.lock().push((rdd.collect()?, rdd.num_partitions()));
                Ok(())
            })?;
        }
        Ok(())
    })?;
    context.run_batch();
    assert_eq!(*rows.lock(), [(vec![7], 3), (vec![], 0)]);
    context.stop()
}

#[test]
fn constant_and_rate_streams() -> Result<()> {
    StreamTest::new(|ssc, _: DStream<i32>| {
        ssc.constant_stream(&ssc.spark_context().parallelize([1, 2]).map(|n| n + 1))
    })
    .batches([(vec![], vec![2, 3]), (vec![], vec![2, 3])])
    .run()?;
    // The first batch has none; 3 a second, every half second.
    StreamTest::new(|ssc, _: DStream<i32>| ssc.rate_stream(3))
        .batch_duration(SECOND / 2)
        .batches([(vec![], vec![]), (vec![], vec![0]), (vec![], vec![1, 2]), (vec![], vec![3]), (vec![], vec![4, 5])])
        .ordered()
        .run()?;
    StreamTest::new(|ssc, _: DStream<i32>| ssc.rate_stream(0)).batches([(vec![], vec![]), (vec![], vec![])]).run()
}

#[test]
fn a_memory_stream_forgets_rows_that_are_done() -> Result<()> {
    let kept = parking_lot::Mutex::new(None);
    let context = TestContext::start(test_conf(), SECOND, false, |ssc| {
        let (input, s) = ssc.memory_stream::<i32>()?;
        *kept.lock() = Some(input);
        s.foreach_rdd_with_time(|rdd, time| {
            rdd.collect()?;
            if time == Time::from_millis(2000) { Err(tidemill_engine::error::Error::data("bad")) } else { Ok(()) }
        })
    })?;
    let input = kept.into_inner().unwrap();
    // Without a checkpoint a batch that failed is over, too.
    for _ in 0..4 {
        input.add(0..10);
        assert_eq!(input.held(), 10);
        context.run_batch();
        assert_eq!(input.held(), 0);
    }
    assert!(context.stop().is_err());
    Ok(())
}
