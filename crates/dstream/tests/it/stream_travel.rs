//! What of a program travels, and what stays on the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::testing::{StreamTest, TestContext, test_conf};
use tidemill_engine::error::Result;

const SECOND: Duration = Duration::from_secs(1);

/// How many plans traveled and stayed in a batch of a program, and its rows.
fn batch(build: impl Fn(DStream<i32>, Arc<Mutex<Vec<i32>>>) -> Result<()>) -> Result<((u64, u64), Vec<i32>)> {
    let (input, rows) = (Mutex::new(None), Arc::new(Mutex::new(Vec::new())));
    let context = TestContext::start(test_conf(), SECOND, true, |ssc| {
        let (memory, stream) = ssc.memory_stream()?;
        *input.lock() = Some(memory);
        build(stream, Arc::clone(&rows))
    })?;
    input.lock().as_ref().unwrap().add([1, 2]);
    context.run_batch();
    let counts = context.traveled();
    context.stop()?;
    let mut rows = rows.lock().clone();
    rows.sort();
    Ok((counts, rows))
}

#[test]
fn closures_of_the_graph_travel() -> Result<()> {
    let build = |s: DStream<i32>, rows: Arc<Mutex<Vec<i32>>>| {
        s.map(|n| n + 1).filter(|n| *n > 0).foreach_rdd(move |rdd| {
            rows.lock().extend(rdd.collect()?);
            Ok(())
        })
    };
    assert_eq!(batch(build)?, ((1, 0), vec![2, 3]));
    Ok(())
}

#[test]
fn actions_on_the_rdd_of_a_batch_travel() -> Result<()> {
    let build = |s: DStream<i32>, rows: Arc<Mutex<Vec<i32>>>| {
        s.foreach_rdd(move |rdd| {
            rows.lock().push(rdd.count()? as i32);
            rows.lock().extend(rdd.take(10)?);
            Ok(())
        })
    };
    let ((traveled, stayed), rows) = batch(build)?;
    assert!(traveled >= 2 && stayed == 0, "{traveled} {stayed}");
    assert_eq!(rows, [1, 2, 2]);
    Ok(())
}

#[test]
fn closures_of_an_output_operation_s_body_stay_on_the_driver() -> Result<()> {
    let build = |s: DStream<i32>, rows: Arc<Mutex<Vec<i32>>>| {
        s.map(|n| n + 1).foreach_rdd(move |rdd| {
            rows.lock().extend(rdd.map(|n| n * 10).collect()?);
            rows.lock().extend(rdd.collect()?);
            Ok(())
        })
    };
    assert_eq!(batch(build)?, ((1, 1), vec![2, 3, 20, 30]));
    Ok(())
}

#[test]
fn operators_that_only_the_driver_has_made_stay_there() -> Result<()> {
    // No closure of the program's, but a type that the graph does not know.
    let build = |s: DStream<i32>, rows: Arc<Mutex<Vec<i32>>>| {
        s.foreach_rdd(move |rdd| {
            let more = rdd.context().parallelize([(7u8, 8u16)]);
            rows.lock().extend(more.union(&more).collect()?.into_iter().map(|(a, _)| i32::from(a)));
            Ok(())
        })
    };
    assert_eq!(batch(build)?, ((0, 1), vec![7, 7]));
    Ok(())
}

#[test]
fn closures_of_transform_are_learned_where_they_arrive() -> Result<()> {
    let runs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&runs);
    let build = move |s: DStream<i32>, rows: Arc<Mutex<Vec<i32>>>| {
        let count = Arc::clone(&count);
        let tenfold = s.transform_with_time(move |rdd, time| {
            count.fetch_add(1, Ordering::SeqCst);
            let factor = time.as_millis() as i32 / 100;
            // A type and operators that only this function makes.
            let pairs = rdd.context().parallelize([(2i32, 'x')]);
            rdd.map(move |n| (n, n * factor)).join(&pairs).map(|(_, (n, _))| n)
        });
        tenfold.foreach_rdd(move |rdd| {
            rows.lock().extend(rdd.collect()?);
            Ok(())
        })
    };
    assert_eq!(batch(build)?, ((1, 0), vec![20]));
    assert_eq!(runs.load(Ordering::SeqCst), 2, "once on the driver, once where the plan arrived");
    Ok(())
}

#[test]
fn a_transform_of_builtins_alone_is_learned_too() -> Result<()> {
    StreamTest::new(|_, s: DStream<i32>| {
        Ok(s.transform(|rdd| {
            let other = rdd.context().parallelize([(1u8, 2u8)]);
            other.union(&other).coalesce(1)
        }))
    })
    .batches([(vec![1], vec![(1, 2), (1, 2)]), (vec![], vec![(1, 2), (1, 2)])])
    .run()
}

#[test]
fn two_graphs_that_differ_are_refused() -> Result<()> {
    let builds = AtomicUsize::new(0);
    let error = TestContext::start(test_conf(), SECOND, true, |ssc| {
        let (_, s) = ssc.memory_stream::<i32>()?;
        let first = builds.fetch_add(1, Ordering::SeqCst) == 0;
        if first { s.map(|n| n).print() } else { s.filter(|_| true).print() }
    });
    let text = error.err().unwrap().to_string();
    assert!(text.contains("two different graphs"), "{text}");
    Ok(())
}

#[test]
fn a_test_whose_plans_stay_says_so_unless_that_is_allowed() -> Result<()> {
    let test = || {
        // Made anew for each context, and so never the same.
        let made = Arc::new(AtomicUsize::new(0));
        StreamTest::new(move |_, s: DStream<i32>| {
            let made = made.fetch_add(1, Ordering::SeqCst);
            Ok(if made == 0 { s.map(|n| n) } else { s.filter(|_| true) })
        })
        .batches([(vec![1], vec![1])])
    };
    assert!(test().run().is_err());
    test().stay().run()
}
