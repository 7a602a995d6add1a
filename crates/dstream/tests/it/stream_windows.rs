//! Windows over the batches of a while.

use std::time::Duration;

use tidemill_dstream::op::partition::PartitionBy;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::testing::{StreamTest, TestContext, test_conf};
use tidemill_engine::cache::StorageLevel;
use tidemill_engine::error::Result;

use std::sync::Arc;

const SECOND: Duration = Duration::from_secs(1);

fn s(seconds: u32) -> Duration {
    SECOND * seconds
}

/// Numbers 1, 2, 3 ..., one in each batch, and the rows that the stream has then.
fn numbers<const N: usize>(
    build: impl Fn(DStream<i32>) -> Result<DStream<i32>> + 'static,
    output: [&[i32]; N],
) -> Result<()> {
    StreamTest::new(move |_, s| build(s))
        .batches(output.iter().enumerate().map(|(n, rows)| (vec![n as i32 + 1], rows.to_vec())))
        .ordered()
        .run()
}

#[test]
fn a_window_holds_the_last_batches() -> Result<()> {
    numbers(|n| n.window(s(1), s(1)), [&[1], &[2], &[3]])?;
    numbers(|n| n.window(s(2), s(1)), [&[1], &[1, 2], &[2, 3], &[3, 4]])?;
    numbers(|n| n.window(s(4), s(1)), [&[1], &[1, 2], &[1, 2, 3], &[1, 2, 3, 4], &[2, 3, 4, 5], &[3, 4, 5, 6]])
}

#[test]
fn a_window_slides_by_more_than_a_batch() -> Result<()> {
    numbers(|n| n.window(s(2), s(2)), [&[], &[1, 2], &[], &[3, 4], &[], &[5, 6]])?;
    numbers(|n| n.window(s(4), s(2)), [&[], &[1, 2], &[], &[1, 2, 3, 4], &[], &[3, 4, 5, 6]])?;
    // Batches between windows are in none.
    numbers(|n| n.window(s(1), s(3)), [&[], &[], &[3], &[], &[], &[6]])?;
    numbers(|n| n.window(s(3), s(2)), [&[], &[1, 2], &[], &[2, 3, 4], &[], &[4, 5, 6]])
}

#[test]
fn a_window_of_a_window() -> Result<()> {
    let twice = |n: DStream<i32>| n.window(s(2), s(1))?.window(s(2), s(1));
    numbers(twice, [&[1], &[1, 1, 2], &[1, 2, 2, 3], &[2, 3, 3, 4]])?;
    let slower = |n: DStream<i32>| n.window(s(2), s(2))?.map(|n| n * 10).window(s(4), s(4));
    numbers(slower, [&[], &[], &[], &[10, 20, 30, 40], &[], &[], &[], &[50, 60, 70, 80]])
}

#[test]
fn arguments_of_windows_are_whole_multiples() -> Result<()> {
    let context = TestContext::start(test_conf(), s(1), true, |ssc| {
        let (_, n) = ssc.memory_stream::<i32>()?;
        let ms = Duration::from_millis;
        let error = |window, slide| n.window(window, slide).err().map(|e| e.message().to_string()).unwrap_or_default();
        let text = |what: &str, given: u32| {
            format!(
                "The {what} duration of windowed DStream ({given} ms) must be a multiple of the slide duration of parent \
                 DStream (1000 ms)"
            )
        };
        assert_eq!(error(ms(1500), ms(1000)), text("window", 1500));
        assert_eq!(error(ms(2000), ms(500)), text("slide", 500));
        assert_eq!(error(ms(0), ms(1000)), text("window", 0));
        assert_eq!(error(ms(1000), ms(0)), text("slide", 0));
        assert!(n.window(s((1 << 20) - 1), s(1)).is_ok());
        assert!(error(s(1 << 20), s(1)).starts_with("a window of 1048576 batches is too long"));
        let slow = n.window(s(2), s(2))?;
        let error = slow.window(s(3), s(2)).err().unwrap();
        assert!(error.message().ends_with("parent DStream (2000 ms)"), "{error}");
        let pairs = n.map(|n| (n, n));
        assert!(n.reduce_by_window(|a, b| a + b, ms(1500), s(1)).is_err());
        assert!(n.count_by_window(ms(1500), s(1)).is_err());
        assert!(n.count_by_value_and_window(ms(1500), s(1)).is_err());
        assert!(pairs.reduce_by_key_and_window(|a, b| a + b, s(1), ms(1)).is_err());
        assert!(pairs.group_by_key_and_window(s(1), ms(1)).is_err());
        n.print()
    })?;
    context.stop()
}

#[test]
fn reduce_by_window() -> Result<()> {
    let sums = |window, slide| move |n: DStream<i32>| n.reduce_by_window(|a, b| a + b, window, slide);
    numbers(sums(s(2), s(1)), [&[1], &[3], &[5], &[7]])?;
    numbers(sums(s(4), s(2)), [&[], &[3], &[], &[10], &[], &[18]])?;
    StreamTest::new(|_, n: DStream<i32>| n.reduce_by_window(|a, b| a.max(b), s(2), s(1)))
        .batches([(vec![], vec![]), (vec![3, 1], vec![3]), (vec![], vec![3]), (vec![], vec![]), (vec![2], vec![2])])
        .run()
}

#[test]
fn count_by_window_is_zero_when_the_window_empties() -> Result<()> {
    StreamTest::new(|_, n: DStream<i32>| n.count_by_window(s(2), s(1)))
        .batches([
            (vec![], vec![0u64]),
            (vec![1, 2], vec![2]),
            (vec![3], vec![3]),
            (vec![], vec![1]),
            (vec![], vec![0]),
            (vec![], vec![0]),
            (vec![4], vec![1]),
        ])
        .run()
}

#[test]
fn count_by_value_and_window_drops_what_has_left() -> Result<()> {
    let batches = [
        (vec!['a', 'b', 'a'], vec![('a', 2u64), ('b', 1)]),
        (vec!['b'], vec![('a', 2), ('b', 2)]),
        (vec!['c'], vec![('b', 1), ('c', 1)]),
        (vec![], vec![('c', 1)]),
        (vec![], vec![]),
    ];
    StreamTest::new(|_, n: DStream<char>| n.count_by_value_and_window(s(2), s(1))).batches(batches.clone()).run()?;
    StreamTest::new(|_, n: DStream<char>| n.count_by_value_and_window_with(s(2), s(1), 3)).batches(batches).run()
}

#[test]
fn group_by_key_and_window_keeps_the_order_of_arrival() -> Result<()> {
    let batches = || {
        [
            (vec![('a', 1), ('b', 1), ('a', 2), ('a', 3)], vec![('a', vec![1, 2, 3]), ('b', vec![1])]),
            (vec![('a', 4)], vec![('a', vec![1, 2, 3, 4]), ('b', vec![1])]),
            (vec![('b', 2), ('a', 0)], vec![('a', vec![4, 0]), ('b', vec![2])]),
            (vec![], vec![('a', vec![0]), ('b', vec![2])]),
            (vec![], vec![]),
        ]
    };
    type Pairs = DStream<(char, i32)>;
    StreamTest::new(|_, p: Pairs| p.group_by_key_and_window(s(2), s(1))).batches(batches()).run()?;
    StreamTest::new(|_, p: Pairs| p.group_by_key_and_window_with(s(2), s(1), 1)).batches(batches()).run()?;
    // Placed before already: nothing moves, the order stays.
    StreamTest::new(|_, p: Pairs| p.partition_by(2).group_by_key_and_window(s(2), s(1))).batches(batches()).run()?;
    let all = Arc::new(PartitionBy::new(4, |_: &char| 3));
    StreamTest::new(move |_, p: Pairs| p.group_by_key_and_window_with(s(2), s(1), Arc::clone(&all)))
        .batches(batches())
        .run()
}

#[test]
fn reduce_by_key_and_window_over_a_long_run() -> Result<()> {
    let value = |batch: i64, key: i64| batch * 10 + key;
    // Key k is in every (k + 1)-th batch.
    let keys = |batch: i64| (0..4i64).filter(move |key| batch % (key + 1) == 0);
    for (window, slide) in [(3, 1), (4, 2), (1, 3)] {
        let input = move |batch: i64| keys(batch).map(move |key| (key, value(batch, key)));
        let output = move |batch: i64| {
            let held = (batch - window + 1).max(1)..=batch;
            (0..4i64).filter_map(move |key| {
                let mut values = held.clone().filter(|b| b % (key + 1) == 0).map(|b| value(b, key)).peekable();
                (batch % slide == 0 && values.peek().is_some()).then(|| (key, values.sum::<i64>()))
            })
        };
        let (w, every) = (s(window as u32), s(slide as u32));
        StreamTest::new(move |_, p: DStream<(i64, i64)>| p.reduce_by_key_and_window(|a, b| a + b, w, every))
            .batches((1..=40).map(|batch| (input(batch), output(batch))))
            .run()?;
        StreamTest::new(move |_, p: DStream<(i64, i64)>| p.reduce_by_key_and_window_with(|a, b| a + b, w, every, 5))
            .batches((1..=12).map(|batch| (input(batch), output(batch))))
            .run()?;
    }
    Ok(())
}

#[test]
fn a_window_keeps_its_batches_and_nobody_else_does() -> Result<()> {
    let kept = parking_lot::Mutex::new(None);
    let context = TestContext::start(test_conf(), s(1), false, |ssc| {
        let (input, n) = ssc.memory_stream::<i32>()?;
        let windowed = n.window(s(3), s(1))?;
        assert_eq!((n.node().storage(), windowed.node().storage()), (StorageLevel::NONE, StorageLevel::NONE));
        windowed.foreach_rdd(|rdd| rdd.collect().map(drop))?;
        *kept.lock() = Some((input, n));
        Ok(())
    })?;
    let (input, n) = kept.into_inner().unwrap();
    for _ in 0..12 {
        input.add(0..10);
        context.run_batch();
    }
    let states = context.ssc.graph().states();
    assert_eq!(states.iter().map(|state| state.cell.rows()).collect::<Vec<_>>(), [30]);
    let known = n.node().generated().iter().filter(|(_, data)| data.is_some()).count();
    assert!(known <= 1, "{known}");
    assert_eq!((input.held(), context.ssc.spark_context().budget().used()), (0, 0));
    context.stop()
}

#[test]
fn an_rdd_that_the_program_persisted_is_the_program_s_to_forget() -> Result<()> {
    let context = TestContext::start(test_conf(), s(1), false, |ssc| {
        let mine = ssc.spark_context().parallelize([1, 2]);
        mine.cache()?;
        let constant = ssc.constant_stream(&mine)?;
        let yours = ssc.constant_stream(&ssc.spark_context().parallelize([3]))?;
        constant.window(s(2), s(1))?.union(&yours.window(s(2), s(1))?)?.foreach_rdd(move |rdd| {
            assert_eq!(mine.storage_level(), StorageLevel::MEMORY_ONLY);
            assert!(rdd.collect()?.iter().all(|n| [1, 2, 3].contains(n)));
            Ok(())
        })
    })?;
    (0..8).for_each(|_| {
        context.run_batch();
    });
    context.stop()
}
