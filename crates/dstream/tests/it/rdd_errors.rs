//! What goes wrong says whose fault it is and where, and leaves the context usable.

use tidemill_dstream::context::SparkContext;
use tidemill_engine::error::{Error, ErrorKind};

use crate::support::{context, says};

/// The line that this macro stands on, as it appears in messages, with the result of an expression on it.
macro_rules! here {
    ($result:expr) => {
        (format!("{}:{}", file!(), line!()), $result.map(drop))
    };
}

#[test]
fn a_panic_in_a_closure_names_the_operator_and_the_line() {
    let sc = context();
    let numbers = sc.parallelize_in(0..10, 3);
    let pairs = numbers.map(|n| (n, n));
    let boom = |n: i32| -> i32 { if n >= 0 { panic!("boom at {n}") } else { n } };
    #[rustfmt::skip]
    let cases = [
        ("map", here!(numbers.map(boom).collect())),
        ("map", here!(numbers.map(boom).count())),
        ("filter", here!(numbers.filter(move |n| boom(*n) > 0).collect())),
        ("flat_map", here!(numbers.flat_map(move |n| vec![boom(n)]).collect())),
        ("map_partitions", here!(numbers.map_partitions(move |rows| rows.map(boom)).collect())),
        ("map_partitions_with_index", here!(numbers.map_partitions_with_index(move |_, rows| rows.map(boom)).collect())),
        ("map_values", here!(pairs.map_values(boom).collect())),
        ("flat_map_values", here!(pairs.flat_map_values(move |n| Some(boom(n))).collect())),
        ("map", here!(numbers.key_by(move |n| boom(*n)).collect())),
        ("map", here!(numbers.map(|n| n / (n - n)).collect())),
        ("reduce_by_key", here!(numbers.map(|n| (0, n)).reduce_by_key(move |a, _| boom(a)).collect())),
        ("combine_by_key", here!(pairs.combine_by_key(boom, |a, _| a, |a, _| a).collect())),
        ("aggregate_by_key", here!(pairs.aggregate_by_key(0, move |_, n| boom(n), |a, _| a).collect())),
        ("sort_by", here!(numbers.sort_by(move |n| boom(*n)).collect())),
        ("sort_by", here!(numbers.sort_by_in(move |n| boom(*n), true, 1).collect())),
        ("foreach", here!(numbers.foreach(move |n| { boom(n); }))),
        ("reduce", here!(numbers.reduce(move |a, _| boom(a)))),
        ("reduce", here!(sc.parallelize_in(0..2, 2).reduce(move |a, _| boom(a)))),
        ("aggregate", here!(numbers.aggregate(0, move |_, n| boom(n), |a, _| a))),
        ("aggregate", here!(numbers.aggregate(0, |a, _| a, move |a, _| boom(a)))),
        ("tree_aggregate", here!(numbers.tree_aggregate(0, |a, _| a, move |a, _| boom(a), 2))),
        ("zip_partitions", here!(numbers.zip_partitions(&numbers, move |a, _| a.map(boom)).collect())),
        ("flat_map_values", here!(pairs.join(&pairs).flat_map_values(move |(a, _)| Some(boom(a))).collect())),
        ("map", here!(numbers.map(|n| n.to_string()).text().map(move |_| boom(1)).collect())),
        ("count", here!(numbers.map(|n| n.to_string()).text().filter(move |_| boom(1) > 0).count())),
        ("reduce_by_key", here!(numbers.map(|n| n.to_string()).text().reduce_by_key(move |_| boom(1), |a, _| a).count())),
    ];
    for (name, (place, result)) in cases {
        let error = result.expect_err(name);
        let text = error.to_string();
        assert!(text.contains(&place), "{name}: {place} is not in {text}");
        assert!(text.contains(name) && (text.contains("boom at") || text.contains("divide by zero")), "{name}: {text}");
        assert_eq!(error.kind(), ErrorKind::Usage, "{name}");
        assert_eq!(numbers.count().unwrap(), 10, "after {name}");
    }
}

#[test]
fn an_action_inside_of_a_closure_is_refused() {
    let sc = context();
    let (inner, outer) = (sc.parallelize(0..3), sc.parallelize(0..3));
    let rdd = inner.clone();
    let counted = outer.map(move |n| rdd.count().map_err(|error: Error| error.to_string()).map(|count| count + n));
    for message in counted.collect().unwrap() {
        assert!(message.unwrap_err().contains("SPARK-5063"));
    }
    let rdd = inner.clone();
    let error = outer.map(move |n| rdd.count().unwrap() + n).collect().unwrap_err();
    says(&error, &["map at", file!(), "SPARK-5063"]);
    assert_eq!(inner.count().unwrap(), 3);
}

#[test]
fn a_stopped_context_runs_nothing() {
    let sc = context();
    let rdd = sc.parallelize(0..3);
    let same = sc.clone();
    sc.stop();
    sc.stop();
    assert!(same.is_stopped());
    for result in [
        rdd.count().map(drop),
        rdd.collect().map(drop),
        rdd.take(1).map(drop),
        rdd.foreach(|_| ()),
        sc.empty_rdd::<i32>().collect().map(drop),
        rdd.map(|n| (n, n)).lookup(&1).map(drop),
    ] {
        let error = result.unwrap_err();
        says(&error, &["Cannot call methods on a stopped SparkContext"]);
        assert_eq!(error.kind(), ErrorKind::Usage);
    }
    assert!(rdd.to_local_iterator().next().unwrap().is_err());
}

#[test]
fn a_failed_job_ends_the_tasks_that_are_left() {
    let sc = SparkContext::new("local[1]", "test").unwrap();
    let done = sc.accumulator(0);
    let rows = done.clone();
    let failing = sc.parallelize_in(0..1_000_000, 2).map(move |n| {
        assert!(n >= 500_000, "the first partition fails");
        rows.add(1);
        n
    });
    says(&failing.count().unwrap_err(), &["the first partition fails"]);
    let after = done.value();
    assert!(after < 500_000, "{after} rows of the other partition");
    assert_eq!(sc.parallelize(0..3).count().unwrap(), 3);
    assert_eq!(done.value(), after, "nothing of it runs on");
}

#[test]
fn a_failure_is_told_by_everything_above_it() {
    let sc = context();
    let wrong = sc.range(0, 1, 0, 1);
    let message = &["step cannot be 0"];
    says(&wrong.map(|n| n).collect().unwrap_err(), message);
    says(&wrong.union(&sc.range(0, 1, 1, 1)).count().unwrap_err(), message);
    says(&wrong.key_by(|n| *n).group_by_key().take(1).unwrap_err(), message);
    says(&wrong.sort_by_in(|n| *n, true, 3).collect().unwrap_err(), message);
    says(&wrong.repartition(3).zip_with_index().collect().unwrap_err(), message);
    says(&wrong.zip(&sc.range(0, 1, 1, 3)).count().unwrap_err(), &["same number of partitions"]);
    assert_eq!(wrong.count().unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn masters_that_cannot_be_used_are_refused() {
    for master in ["local[0]", "local[x]", "spark://host:7077", ""] {
        assert!(SparkContext::new(master, "test").is_err(), "{master}");
    }
    assert_eq!(SparkContext::new("local[3]", "three").unwrap().default_parallelism(), 3);
}
