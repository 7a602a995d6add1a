//! Actions: what they return, and how little they compute for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidemill_dstream::context::SparkContext;
use tidemill_dstream::rdd::{Histogram, Rdd, StatCounter};

use crate::support::{context, says, strings};

/// Calls `test` with an RDD of `rows`, in several numbers of partitions.
fn each_layout(rows: std::ops::Range<i32>, test: impl Fn(&Rdd<i32>, &str)) {
    let sc = context();
    for partitions in [1, 2, 7, 30] {
        test(&sc.parallelize_in(rows.clone(), partitions), &format!("{rows:?} in {partitions}"));
    }
    let shuffled = sc.parallelize_in(rows.clone(), 3).sort_by_in(|n| *n, true, 4);
    test(&shuffled, &format!("{rows:?} sorted"));
}

#[test]
fn rows_come_to_the_driver_in_order() {
    each_layout(0..100, |rdd, name| {
        let expected: Vec<i32> = (0..100).collect();
        assert_eq!(rdd.collect().unwrap(), expected, "{name}");
        assert_eq!(rdd.count().unwrap(), 100, "{name}");
        assert!(!rdd.is_empty().unwrap(), "{name}");
        assert_eq!(rdd.first().unwrap(), 0, "{name}");
        for n in [0, 1, 2, 50, 99, 100, 101, usize::MAX] {
            assert_eq!(rdd.take(n).unwrap(), expected[..n.min(100)], "{name} take {n}");
        }
        let iterated: Vec<i32> = rdd.to_local_iterator().map(Result::unwrap).collect();
        assert_eq!(iterated, expected, "{name}");
    });
}

#[test]
fn none_of_no_rows() {
    let sc = context();
    let message = "Can not reduce() empty RDD";
    for rdd in [sc.empty_rdd::<i32>(), sc.parallelize_in([], 3), sc.parallelize(0..9).filter(|_| false)] {
        assert_eq!(rdd.collect().unwrap(), Vec::<i32>::new());
        assert_eq!((rdd.count().unwrap(), rdd.is_empty().unwrap()), (0, true));
        assert_eq!(rdd.take(5).unwrap(), Vec::<i32>::new());
        says(&rdd.first().unwrap_err(), &["RDD is empty"]);
        says(&rdd.reduce(|a, b| a + b).unwrap_err(), &[message]);
        says(&rdd.tree_reduce(|a, b| a + b, 2).unwrap_err(), &[message]);
        says(&rdd.max().unwrap_err(), &[message]);
        says(&rdd.min_by_key(|n| *n).unwrap_err(), &[message]);
        assert_eq!(rdd.fold(0, |a, b| a + b).unwrap(), 0);
        assert_eq!(rdd.sum().unwrap(), 0);
        assert_eq!(rdd.top(3).unwrap(), Vec::<i32>::new());
        assert_eq!(rdd.take_sample(true, 3, 1).unwrap(), Vec::<i32>::new());
        assert_eq!(rdd.to_local_iterator().count(), 0);
        assert!(rdd.count_by_value().unwrap().is_empty());
        rdd.foreach(|_| panic!("there is no row")).unwrap();
    }
}

#[test]
fn take_computes_as_few_partitions_as_it_can() {
    // Rows per partition, how many are asked for, how many partitions that reads: rounds of 1, 4, 16 ...
    let cases: [(&[i32], usize, usize); 7] = [
        (&[5, 5, 5, 5], 3, 1),
        (&[5, 5, 5, 5], 5, 1),
        (&[5, 5, 5, 5], 6, 4),
        (&[0, 0, 1, 0, 0, 0, 0], 1, 5),
        (&[0; 30], 1, 30),
        (&[1; 30], 5, 5),
        (&[1; 30], 6, 21),
    ];
    let sc = context();
    for (sizes, n, read) in cases {
        let computed = sc.accumulator(0);
        let (tasks, sizes_there) = (computed.clone(), sizes.to_vec());
        let rdd = sc.parallelize_in(0..sizes.len(), sizes.len()).map_partitions_with_index(move |partition, _| {
            tasks.add(1);
            0..sizes_there[partition]
        });
        assert_eq!(rdd.take(n).unwrap().len(), n.min(sizes.iter().sum::<i32>() as usize), "{n} of {sizes:?}");
        assert_eq!(computed.value(), read, "{n} of {sizes:?}");
    }
    // Of partitions put together, no more than are needed either.
    let computed = sc.accumulator(0);
    let tasks = computed.clone();
    let parts = sc.parallelize_in(0..8, 4).map_partitions(move |rows| {
        tasks.add(1);
        rows
    });
    assert_eq!(parts.coalesce(1).take(3).unwrap(), [0, 1, 2]);
    assert_eq!(computed.value(), 2);
    // Within a partition, no more than a few chunks.
    let rows = sc.accumulator(0u64);
    let seen = rows.clone();
    let counted = sc.range(0, 10_000_000, 1, 2).map(move |n| {
        seen.add(1);
        n
    });
    assert_eq!(counted.take(2).unwrap(), [0, 1]);
    assert!(rows.value() < 10_000, "{} rows for 2", rows.value());
}

#[test]
fn a_local_iterator_computes_a_partition_when_it_gets_there() {
    let sc = context();
    let computed = sc.accumulator(0);
    let tasks = computed.clone();
    let rdd = sc.parallelize_in(0..8, 4).map_partitions(move |rows| {
        tasks.add(1);
        rows
    });
    let mut rows = rdd.to_local_iterator();
    assert_eq!(computed.value(), 0);
    assert_eq!(rows.next().unwrap().unwrap(), 0);
    assert_eq!(computed.value(), 1);
    assert_eq!(rows.map(Result::unwrap).sum::<i32>(), 28);
    assert_eq!(computed.value(), 4);
    // A shuffle runs once, and what was kept of it is given back.
    let shuffled = rdd.map(|n| (n, n)).reduce_by_key_with(|a, b| a + b, 5);
    computed.set_value(0);
    let rows = shuffled.to_local_iterator();
    assert!(sc.budget().used() > 0);
    assert_eq!(rows.count(), 8);
    assert_eq!((computed.value(), sc.budget().used()), (4, 0));
    let failing = sc.parallelize_in(0..4, 2).map(|n| 1 / (n - 3));
    assert_eq!(failing.to_local_iterator().map(|row| row.is_ok()).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(failing.map(|n| (n, n)).group_by_key().to_local_iterator().filter(Result::is_err).count(), 1);
}

#[test]
fn rows_are_reduced_to_one() {
    each_layout(1..101, |rdd, name| {
        assert_eq!(rdd.reduce(|a, b| a + b).unwrap(), 5050, "{name}");
        assert_eq!(rdd.fold(0, |a, b| a + b).unwrap(), 5050, "{name}");
        assert_eq!(rdd.sum().unwrap(), 5050, "{name}");
        let counted = rdd.aggregate((0, 0), |(sum, count), n| (sum + n, count + 1), |a, b| (a.0 + b.0, a.1 + b.1));
        assert_eq!(counted.unwrap(), (5050, 100), "{name}");
        for depth in [1, 2, 3, 10] {
            let list = |mut list: Vec<i32>, n| {
                list.push(n);
                list
            };
            let lists = rdd.tree_aggregate(Vec::new(), list, |a, b| [a, b].concat(), depth).unwrap();
            assert_eq!(lists, (1..101).collect::<Vec<_>>(), "{name}, depth {depth}: in order");
            assert_eq!(rdd.tree_reduce(|a, b| a + b, depth).unwrap(), 5050, "{name}, depth {depth}");
        }
        assert_eq!((rdd.max().unwrap(), rdd.min().unwrap()), (100, 1), "{name}");
        assert_eq!(rdd.max_by_key(|n| n % 10).unwrap() % 10, 9, "{name}");
        assert_eq!(rdd.min_by_key(|n| (n - 42).abs()).unwrap(), 42, "{name}");
    });
    let sc = context();
    // As Spark: the zero goes into each partition and once more into the result.
    assert_eq!(sc.parallelize_in(0..4, 4).fold(1, |a, b| a + b).unwrap(), 6 + 5);
    assert_eq!(sc.parallelize_in(strings(&["a", "b", "c"]), 2).reduce(|a, b| a + &b).unwrap(), "abc", "in order");
    says(&sc.parallelize([1]).tree_aggregate(0, |a, b| a + b, |a, b| a + b, 0).unwrap_err(), &["at least 1 but got 0"]);
    assert_eq!(sc.parallelize([(1, 'a'), (1, 'b')]).max_by_key(|row| row.0).unwrap(), (1, 'b'));
    assert_eq!(sc.parallelize([(1, 'a'), (1, 'b')]).min_by_key(|row| row.0).unwrap(), (1, 'a'));
}

#[test]
fn the_largest_and_the_smallest_are_in_order() {
    let sc = context();
    let rows: Vec<i32> = (0..1000).map(|n| n * 7919 % 1000).collect();
    for partitions in [1, 3, 40] {
        let rdd = sc.parallelize_in(rows.clone(), partitions);
        for n in [0, 1, 3, 1000, 2000] {
            assert_eq!(rdd.take_ordered(n).unwrap(), (0..1000).take(n).collect::<Vec<_>>());
            assert_eq!(rdd.top(n).unwrap(), (0..1000).rev().take(n).collect::<Vec<_>>());
            assert_eq!(rdd.top_by(n, |n| -n).unwrap(), (0..1000).take(n).collect::<Vec<_>>());
            assert_eq!(rdd.take_ordered_by(n, |n| -n).unwrap(), (0..1000).rev().take(n).collect::<Vec<_>>());
        }
    }
    assert_eq!(sc.parallelize([2, 1, 2, 1]).top(3).unwrap(), [2, 2, 1], "equal rows count");
}

#[test]
fn values_are_counted() {
    let counts = context().parallelize_in(strings(&["a", "b", "a", "a"]), 3).count_by_value().unwrap();
    assert_eq!((counts.len(), counts["a"], counts["b"]), (2, 3, 1));
}

#[test]
fn closures_run_on_every_row_and_partition() {
    let sc = context();
    let (rows, partitions) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (row, partition) = (Arc::clone(&rows), Arc::clone(&partitions));
    let rdd = sc.parallelize_in(0..10, 4);
    rdd.foreach(move |n| {
        row.fetch_add(n, Ordering::Relaxed);
    })
    .unwrap();
    rdd.foreach_partition(move |rows| {
        partition.fetch_add(rows.count() * 10 + 1, Ordering::Relaxed);
    })
    .unwrap();
    assert_eq!((rows.load(Ordering::Relaxed), partitions.load(Ordering::Relaxed)), (45, 104));
    let computed = sc.accumulator(0);
    let tasks = computed.clone();
    let job = |partitions: &[usize]| {
        let tasks = tasks.clone();
        let count = move |rows: std::vec::IntoIter<usize>| {
            tasks.add(1);
            Some(rows.count())
        };
        sc.run_job(&rdd, count, partitions)
    };
    assert_eq!(job(&[3, 0]).unwrap(), [[3], [2]]);
    assert_eq!(computed.value(), 2);
    assert_eq!(job(&[]).unwrap(), Vec::<Vec<usize>>::new());
    says(&job(&[4]).unwrap_err(), &["partition 4 is not one of the RDD's 4"]);
}

#[test]
fn variables_are_shared_with_tasks() {
    let sc = context();
    let (table, total) = (sc.broadcast(vec![10, 20, 30]), sc.accumulator(0));
    let (there, sum) = (table.clone(), total.clone());
    let mapped = sc.parallelize_in(0..3usize, 3).map(move |n| {
        sum.add(1);
        there.value().unwrap()[n]
    });
    assert_eq!(mapped.collect().unwrap(), [10, 20, 30]);
    assert_eq!(total.value(), 3);
    mapped.count().unwrap();
    assert_eq!(total.value(), 6, "a task that runs again adds again");
    table.unpersist();
    assert_eq!(table.value().unwrap().len(), 3);
    table.destroy();
    says(&table.value().unwrap_err(), &["Attempted to use a Broadcast after it was destroyed"]);
    says(&mapped.collect().unwrap_err(), &["map at", "after it was destroyed"]);
    let list = sc.accumulator_by(Vec::new(), |list: &mut Vec<i32>, more| list.extend(more));
    let there = list.clone();
    sc.parallelize(0..5).foreach(move |n| there.add(vec![n])).unwrap();
    let mut rows = list.value();
    rows.sort();
    assert_eq!(rows, [0, 1, 2, 3, 4]);
}

fn numbers(sc: &SparkContext, rows: &[f64]) -> Rdd<f64> {
    sc.parallelize_in(rows.to_vec(), 3)
}

#[test]
fn numbers_have_moments() {
    let sc = context();
    let rows = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
    let rdd = numbers(&sc, &rows);
    let stats = rdd.stats().unwrap();
    assert_eq!((stats.count(), stats.min(), stats.max(), stats.mean(), stats.sum()), (8, 2.0, 9.0, 5.0, 40.0));
    let close = |what: &str, a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{what}: {a} and not {b}");
    close("variance", rdd.variance().unwrap(), 4.0);
    close("stdev", rdd.stdev().unwrap(), 2.0);
    close("sample variance", rdd.sample_variance().unwrap(), 32.0 / 7.0);
    close("sample stdev", rdd.sample_stdev().unwrap(), (32.0f64 / 7.0).sqrt());
    close("stats", stats.variance() + stats.stdev() + stats.sample_variance() + stats.sample_stdev(), {
        4.0 + 2.0 + 32.0 / 7.0 + (32.0f64 / 7.0).sqrt()
    });
    assert_eq!((rdd.mean().unwrap(), rdd.sum().unwrap()), (5.0, 40.0));
    let none = numbers(&sc, &[]).stats().unwrap();
    assert_eq!((none.count(), none.mean(), none.sum()), (0, 0.0, 0.0));
    assert_eq!((none.min(), none.max()), (f64::INFINITY, f64::NEG_INFINITY));
    assert!(none.variance().is_nan() && none.sample_variance().is_nan());
    assert!(StatCounter::default().merge(1.0).sample_stdev().is_nan());
    let merged = StatCounter::default().merge(1.0).merge_stats(StatCounter::default().merge(3.0));
    assert_eq!((merged.mean(), merged.variance(), merged.count()), (2.0, 1.0, 2));
    assert_eq!(merged.merge_stats(StatCounter::default()), StatCounter::default().merge_stats(merged));
    let spoiled = numbers(&sc, &[1.0, f64::NAN, 2.0]).stats().unwrap();
    assert!(spoiled.max().is_nan() && spoiled.min().is_nan() && spoiled.mean().is_nan(), "as in Java");
}

#[test]
fn histograms_have_spark_s_borders() {
    let sc = context();
    let of = |rows: &[f64], borders: &[f64]| numbers(&sc, rows).histogram_of(borders.to_vec()).map(|h| h.counts);
    // Spark's DoubleRDDSuite and pyspark's test_histogram.
    type Case = (&'static [f64], &'static [f64], &'static [u64]);
    let cases: [Case; 10] = [
        (&[], &[0.0, 10.0], &[0]),
        (&[], &[0.0, 4.0, 10.0], &[0, 0]),
        (&[1.0, 2.0, 3.0, 4.0], &[0.0, 10.0], &[4]),
        (&[1.0, 2.0, 3.0, 4.0], &[0.0, 4.0, 10.0], &[3, 1]),
        (&[10.01, -0.01], &[0.0, 10.0], &[0]),
        (&[10.01, -0.01], &[0.0, 4.0, 10.0], &[0, 0]),
        (&[0.0, 5.0, 10.0, 20.0], &[0.0, 5.0, 10.0], &[1, 2]),
        (&[1.0, 2.0, 3.0, 5.0, 6.0], &[0.0, 5.0, 10.0], &[3, 2]),
        (&[-0.01, 0.0, 1.0, 199.0, 200.0, 200.1], &[0.0, 4.0, 5.0, 20.0, 200.0], &[2, 0, 0, 2]),
        (&[1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY], &[0.0, 2.0], &[1]),
    ];
    for (rows, borders, counts) in cases {
        assert_eq!(of(rows, borders).unwrap(), counts, "{rows:?} in {borders:?}");
    }
    for borders in [&[][..], &[1.0], &[2.0, 1.0], &[1.0, 1.0], &[1.0, f64::NAN]] {
        says(&of(&[1.0], borders).unwrap_err(), &["buckets should"]);
    }
    let even = |rows: &[f64], buckets| numbers(&sc, rows).histogram(buckets);
    let expect = |borders: &[f64], counts: &[u64]| Histogram { borders: borders.to_vec(), counts: counts.to_vec() };
    assert_eq!(even(&[1.0, 2.0, 3.0, 4.0], 2).unwrap(), expect(&[1.0, 2.5, 4.0], &[2, 2]));
    assert_eq!(even(&[1.0, 2.0, 3.0, 4.0], 1).unwrap(), expect(&[1.0, 4.0], &[4]));
    assert_eq!(even(&[1.0, 1.0], 5).unwrap(), expect(&[1.0, 1.0], &[2]));
    let fifty: Vec<f64> = (0..=50).map(f64::from).collect();
    assert_eq!(even(&fifty, 5).unwrap(), expect(&[0.0, 10.0, 20.0, 30.0, 40.0, 50.0], &[10, 10, 10, 10, 11]));
    says(&even(&[1.0], 0).unwrap_err(), &["number of buckets must be >= 1"]);
    for rows in [&[][..], &[1.0, f64::NAN], &[1.0, f64::INFINITY], &[f64::NEG_INFINITY]] {
        says(&even(rows, 2).unwrap_err(), &["Histogram on either an empty RDD or RDD containing +/-infinity or NaN"]);
    }
}
