//! Operations on single batches: batches in, batches out.

use tidemill_dstream::node::{Compute, Planning, StreamNode};
use tidemill_dstream::op::partition::PartitionBy;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::testing::{StreamTest, TestContext, test_conf};
use tidemill_engine::error::Result;
use tidemill_engine::time::Time;

use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A stream that never has an RDD.
struct Never;

impl Compute for Never {
    fn compute(&self, _: &StreamNode, _: Time, _: &Planning<'_>) -> Result<Option<tidemill_dstream::dataset::Dataset>> {
        Ok(None)
    }
}

#[test]
fn map() -> Result<()> {
    StreamTest::new(|_, s| Ok(s.map(|n: i32| n.to_string())))
        .batches([(vec![1, 2, 3], vec!["1", "2", "3"]), (vec![], vec![]), (vec![4], vec!["4"])].map(owned))
        .ordered()
        .run()
}

fn owned<T>((input, output): (T, Vec<&str>)) -> (T, Vec<String>) {
    (input, output.into_iter().map(String::from).collect())
}

#[test]
fn flat_map() -> Result<()> {
    StreamTest::new(|_, s| Ok(s.flat_map(|n: u32| 0..n)))
        .batches([(vec![2, 0, 3], vec![0, 1, 0, 1, 2]), (vec![0], vec![]), (vec![1], vec![0])])
        .ordered()
        .run()
}

#[test]
fn filter() -> Result<()> {
    StreamTest::new(|_, s| Ok(s.filter(|n: &i32| n % 2 == 0)))
        .batches([(vec![1, 2, 3, 4], vec![2, 4]), (vec![5, 7], vec![]), (vec![6], vec![6])])
        .ordered()
        .run()
}

#[test]
fn glom_has_a_list_for_each_partition_also_for_empty_ones() -> Result<()> {
    StreamTest::new(|_, s: DStream<i32>| Ok(s.glom()))
        .batches([(vec![1, 2, 3, 4], vec![vec![1, 2], vec![3, 4]]), (vec![], vec![vec![], vec![]])])
        .ordered()
        .run()
}

#[test]
fn map_partitions_sees_each_partition_once() -> Result<()> {
    StreamTest::new(|_, s: DStream<i32>| Ok(s.map_partitions(|rows| [rows.sum::<i32>()])))
        .batches([(vec![1, 2, 3, 4], vec![3, 7]), (vec![], vec![0, 0])])
        .ordered()
        .run()
}

#[test]
fn map_partitions_with_index_numbers_them() -> Result<()> {
    StreamTest::new(|_, s: DStream<i32>| Ok(s.map_partitions_with_index(|p, rows| rows.map(move |n| (p, n)))))
        .batches([(vec![7, 8], vec![(0, 7), (1, 8)]), (vec![], vec![])])
        .ordered()
        .run()
}

#[test]
fn repartition_moves_every_row_and_loses_none() -> Result<()> {
    for partitions in [1usize, 2, 5] {
        StreamTest::new(move |_, s: DStream<i32>| Ok(s.repartition(partitions).glom().map(|rows| rows.len())))
            .add_data(0..10)
            .check_batch(vec![10 / partitions; partitions])
            .check_batch(vec![0; partitions])
            .run()?;
    }
    StreamTest::new(|_, s: DStream<i32>| Ok(s.repartition(5))).add_data(0..100).check_batch(0..100).run()
}

#[test]
fn union_of_two_streams() -> Result<()> {
    StreamTest::new(|_, s: DStream<i32>| s.union(&s.map(|n| n * 10)))
        .batches([(vec![1, 2], vec![1, 2, 10, 20]), (vec![], vec![]), (vec![3], vec![3, 30])])
        .ordered()
        .run()
}

#[test]
fn union_of_many_of_one_and_of_none() -> Result<()> {
    StreamTest::new(|ssc, s: DStream<i32>| ssc.union(&[s.clone(), s.clone(), s.map(|n| -n)]))
        .batches([(vec![1], vec![1, 1, -1]), (vec![], vec![])])
        .run()?;
    let context = TestContext::start(test_conf(), SECOND, true, |ssc| {
        let (_, s) = ssc.memory_stream::<i32>()?;
        let one = ssc.union(std::slice::from_ref(&s))?;
        assert_eq!(one.node().id, s.node().id);
        let message = |result: Result<DStream<i32>>| result.err().map(|e| e.message().to_string()).unwrap_or_default();
        assert_eq!(message(ssc.union(&[])), "List of DStreams to union is empty");
        let slow = s.window(2 * SECOND, 2 * SECOND)?;
        assert_eq!(message(s.union(&slow)), "All DStreams should have same slide duration");
        assert_eq!(message(ssc.union(&[s.clone(), slow])), "All DStreams should have same slide duration");
        s.print()
    })?;
    context.stop()
}

#[test]
fn union_with_a_stream_of_another_context_is_refused() -> Result<()> {
    let context = || {
        let sc = tidemill_dstream::context::SparkContext::from_conf(test_conf())?;
        tidemill_dstream::streaming_context::StreamingContext::new(&sc, SECOND)
    };
    let (one, two) = (context()?, context()?);
    let ((_, a), (_, b)) = (one.memory_stream::<i32>()?, two.memory_stream::<i32>()?);
    let text = "All DStreams should belong to the same StreamingContext";
    assert_eq!(a.union(&b).err().unwrap().message(), text);
    assert_eq!(one.union(&[b]).err().unwrap().message(), text);
    Ok(())
}

#[test]
fn union_needs_an_rdd_of_every_parent() -> Result<()> {
    let context = TestContext::start(test_conf(), SECOND, true, |ssc| {
        let (_, s) = ssc.memory_stream::<i32>()?;
        let node = ssc.graph().add_node("never", SECOND, vec![], Never);
        s.union(&DStream::from_node(ssc, node))?.print()
    })?;
    context.run_batch();
    let error = context.ssc.await_termination_or_timeout(Duration::ZERO).unwrap_err();
    assert!(error.message().ends_with("Could not generate RDD from a parent for unifying at time 1000 ms"), "{error}");
    assert!(context.stop().is_err());
    Ok(())
}

#[test]
fn a_stream_without_rdds_has_no_jobs() -> Result<()> {
    StreamTest::new(|ssc, _: DStream<i32>| {
        let node = ssc.graph().add_node("never", SECOND, vec![], Never);
        Ok(DStream::<i32>::from_node(ssc, node).map(|n| n + 1).count())
    })
    .batches([(vec![1], vec![]), (vec![], vec![])])
    .run()
}

#[test]
fn count_is_always_one_row() -> Result<()> {
    StreamTest::new(|_, s: DStream<i32>| Ok(s.count()))
        .batches([(vec![1, 2, 3], vec![3u64]), (vec![], vec![0]), (vec![4], vec![1])])
        .run()
}

#[test]
fn reduce_is_one_row_or_none() -> Result<()> {
    StreamTest::new(|_, s: DStream<i32>| Ok(s.reduce(|a, b| a + b)))
        .batches([(vec![1, 2, 3], vec![6]), (vec![], vec![]), (vec![4], vec![4])])
        .run()
}

#[test]
fn operations_on_rdds_without_partitions() -> Result<()> {
    let empty = |s: DStream<i32>| s.transform(|rdd| rdd.context().empty_rdd::<i32>());
    StreamTest::new(move |_, s: DStream<i32>| Ok(empty(s).count())).batches([(vec![1], vec![0u64])]).run()?;
    StreamTest::new(move |_, s: DStream<i32>| Ok(empty(s).reduce(|a, b| a + b))).batches([(vec![1], vec![])]).run()?;
    StreamTest::new(move |_, s: DStream<i32>| Ok(empty(s).count_by_value())).batches([(vec![1], vec![])]).run()?;
    StreamTest::new(move |_, s: DStream<i32>| Ok(empty(s).repartition(3))).batches([(vec![1], vec![])]).run()?;
    StreamTest::new(move |_, s: DStream<i32>| s.union(&empty(s.clone()))).batches([(vec![1], vec![1])]).run()?;
    StreamTest::new(move |_, s: DStream<i32>| empty(s).window(2 * SECOND, SECOND)).batches([(vec![1], vec![])]).run()
}

#[test]
fn count_by_value() -> Result<()> {
    let batches = [(vec!["a", "a", "b"], vec![("a", 2u64), ("b", 1)]), (vec![], vec![]), (vec!["b"], vec![("b", 1)])];
    let batches = batches.map(|(input, output)| {
        (input.into_iter().map(String::from).collect::<Vec<_>>(), output.into_iter().map(|(k, n)| (k.to_string(), n)))
    });
    StreamTest::new(|_, s: DStream<String>| Ok(s.count_by_value())).batches(batches.clone()).run()?;
    StreamTest::new(|_, s: DStream<String>| Ok(s.count_by_value_with(5))).batches(batches.clone()).run()?;
    let by_length = Arc::new(PartitionBy::new(3, |key: &String| key.len()));
    StreamTest::new(move |_, s: DStream<String>| Ok(s.count_by_value_with(Arc::clone(&by_length))))
        .batches(batches)
        .run()
}

#[test]
fn text_streams_lend_their_pieces() -> Result<()> {
    let lines = |rows: &[&str]| rows.iter().map(|row| (*row).to_string()).collect::<Vec<_>>();
    let input = [lines(&["a b a", "", "c  a"]), lines(&[])];
    let words = |s: DStream<String>| s.text().split_words();
    StreamTest::new(move |_, s| Ok(words(s).to_strings()))
        .batches([(input[0].clone(), lines(&["a", "b", "a", "c", "a"])), (input[1].clone(), vec![])])
        .ordered()
        .run()?;
    StreamTest::new(move |_, s| Ok(words(s).filter(|w| w != "a").map(|w| w.len() as u64 + 10)))
        .batches([(input[0].clone(), vec![11, 11]), (input[1].clone(), vec![])])
        .run()?;
    StreamTest::new(|_, s: DStream<String>| Ok(s.text().flat_map(|line, emit| line.split(' ').for_each(emit)).count()))
        .batches([(input[0].clone(), vec![7u64]), (input[1].clone(), vec![0])])
        .run()?;
    let counts = [("a".to_string(), 3u64), ("b".to_string(), 1), ("c".to_string(), 1)];
    StreamTest::new(move |_, s| Ok(words(s).count_by_value()))
        .batches([(input[0].clone(), counts.to_vec()), (input[1].clone(), vec![])])
        .run()?;
    StreamTest::new(move |_, s| Ok(words(s).reduce_by_key(|w| w.len() as u64, |a, b| a + b)))
        .batches([(input[0].clone(), counts.to_vec()), (input[1].clone(), vec![])])
        .run()
}

#[test]
fn many_operations_in_a_row_and_many_rows() -> Result<()> {
    StreamTest::new(|_, s: DStream<u64>| {
        Ok(s.map(|n| n + 1).filter(|n| n % 2 == 0).flat_map(|n| [n, n]).repartition(3).count())
    })
    .batches((0..30u64).map(|batch| (0..batch * 1000, vec![batch * 1000])))
    .run()
}

#[test]
fn a_stream_knows_its_context_and_its_slide() -> Result<()> {
    let context = TestContext::start(test_conf(), SECOND, true, |ssc| {
        let (_, s) = ssc.memory_stream::<i32>()?;
        assert_eq!((s.slide_duration(), s.context().batch_duration()), (SECOND, SECOND));
        assert_eq!(s.window(4 * SECOND, 2 * SECOND)?.map(|n| n).slide_duration(), 2 * SECOND);
        s.print()
    })?;
    context.stop()
}
