//! Transformations of one RDD, and of two that need no key.

use std::collections::BTreeSet;

use tidemill_dstream::context::SparkContext;
use tidemill_dstream::rdd::Rdd;

use crate::support::{check, check_sorted, collect, context, says, shuffles, strings};

#[test]
fn narrow_transformations_over_any_number_of_partitions() {
    for partitions in [1, 2, 3, 7, 40] {
        for rows in [0, 1, 5, 3000] {
            let name = |what: &str| format!("{what} of {rows} rows in {partitions} partitions");
            let numbers = move |sc: &SparkContext| sc.parallelize_in(0..rows, partitions);
            check(&name("map"), (0..rows).map(|n| n * 2), |sc| numbers(sc).map(|n: i32| n * 2));
            check(&name("filter"), (0..rows).filter(|n| n % 3 == 0), |sc| numbers(sc).filter(|n| n % 3 == 0));
            check(&name("flat_map"), (0..rows).flat_map(|n| vec![n; (n % 3) as usize]), |sc| {
                numbers(sc).flat_map(|n| vec![n; (n % 3) as usize])
            });
            check(&name("key_by"), (0..rows).map(|n| (n % 2, n)), |sc| numbers(sc).key_by(|n| n % 2));
            let sums =
                collect(&name("map_partitions"), |sc| numbers(sc).map_partitions(|rows| Some(rows.sum::<i32>())));
            assert_eq!((sums.len(), sums.iter().sum::<i32>()), (partitions, (0..rows).sum()), "{partitions} {rows}");
            let indexed = collect(&name("map_partitions_with_index"), |sc| {
                numbers(sc).map_partitions_with_index(|index, rows| Some((index, rows.count())))
            });
            assert_eq!(
                indexed.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
                (0..partitions).collect::<Vec<_>>()
            );
            assert_eq!(indexed.iter().map(|(_, count)| count).sum::<usize>(), rows as usize);
            let lists = collect(&name("glom"), |sc| numbers(sc).glom());
            assert_eq!(lists.len(), partitions);
            let sizes: Vec<usize> = lists.iter().map(Vec::len).collect();
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "even slices: {sizes:?}");
            assert_eq!(lists.concat(), (0..rows).collect::<Vec<_>>());
        }
    }
}

#[test]
fn an_rdd_without_partitions_goes_through_everything() {
    let empty = |sc: &SparkContext| sc.empty_rdd::<i32>();
    check("map", [], |sc| empty(sc).map(|n| n + 1));
    check("glom", [], |sc| empty(sc).glom());
    check("repartition", [], |sc| empty(sc).repartition(3));
    check("coalesce", [], |sc| empty(sc).coalesce(3));
    check("union", [1, 2], |sc| empty(sc).union(&sc.parallelize([1, 2])));
    check("distinct", [], |sc| empty(sc).distinct());
    check("sort_by", [], |sc| empty(sc).sort_by(|n| *n));
    check("sort_by_in", [], |sc| empty(sc).sort_by_in(|n| *n, false, 3));
    check("zip", [], |sc| empty(sc).zip(&empty(sc)));
    check("zip_with_index", [], |sc| empty(sc).zip_with_index());
    check("zip_with_unique_id", [], |sc| empty(sc).zip_with_unique_id());
    check("cartesian", [], |sc| empty(sc).cartesian(&sc.parallelize([1, 2])));
    check("cartesian", [], |sc| sc.parallelize([1, 2]).cartesian(&empty(sc)));
    check("intersection", [], |sc| empty(sc).intersection(&sc.parallelize([1])));
    check("subtract", [1], |sc| sc.parallelize([1]).subtract(&empty(sc)));
    check("group_by_key", [], |sc| empty(sc).key_by(|n| *n).group_by_key());
    check("join", [], |sc| empty(sc).key_by(|n| *n).join(&sc.parallelize([(1, 2)])));
    check("sample", [], |sc| empty(sc).sample(true, 2.0, 1));
    check("union of none", [], |sc| sc.union::<i32>(&[]));
    assert_eq!(empty(&context()).num_partitions(), 0);
}

#[test]
fn ranges_are_those_of_python() {
    type Case = (i64, i64, i64, &'static [i64]);
    let cases: [Case; 9] = [
        (0, 5, 1, &[0, 1, 2, 3, 4]),
        (0, 0, 1, &[]),
        (5, 0, 1, &[]),
        (0, 10, 3, &[0, 3, 6, 9]),
        (0, 9, 3, &[0, 3, 6]),
        (10, 0, -3, &[10, 7, 4, 1]),
        (0, 10, -1, &[]),
        (i64::MAX - 2, i64::MAX, 1, &[i64::MAX - 2, i64::MAX - 1]),
        (i64::MIN, i64::MAX, i64::MAX, &[i64::MIN, -1, i64::MAX - 1]),
    ];
    for (start, end, step, expected) in cases {
        for partitions in [0, 1, 2, 5] {
            let name = format!("range {start} {end} {step} in {partitions}");
            check(&name, expected.iter().copied(), |sc| sc.range(start, end, step, partitions));
        }
    }
    let sc = context();
    says(&sc.range(0, 5, 0, 2).collect().unwrap_err(), &["step cannot be 0"]);
    assert_eq!(sc.range(0, i64::MAX, 1, 4).take(2).unwrap(), [0, 1], "numbers are made where they are needed");
}

#[test]
fn unions_concatenate_unless_both_are_placed_alike() {
    check("two", [1, 2, 3, 3], |sc| sc.parallelize_in([1, 2], 2).union(&sc.parallelize_in([3, 3], 3)));
    check("many", [1, 2, 3], |sc| sc.union(&[sc.parallelize([1]), sc.parallelize([2]), sc.parallelize([3])]));
    check("itself", [1, 2, 1, 2], |sc| {
        let rdd = sc.parallelize([1, 2]);
        rdd.union(&rdd)
    });
    let sc = context();
    let pairs = |partitions: usize| sc.parallelize_in((0..20).map(|n| (n % 5, n)), 3).partition_by(partitions);
    let (same, other) = (pairs(4).union(&pairs(4)), pairs(4).union(&pairs(3)));
    assert_eq!((same.num_partitions(), other.num_partitions()), (4, 7));
    assert_eq!((shuffles(&same.group_by_key()), shuffles(&other.group_by_key())), (2, 3));
    assert_eq!(same.count_by_key().unwrap()[&3], 8);
    check_sorted("placed alike", (0..20).chain(0..20).map(|n| (n % 5, n)), |sc| {
        let pairs = || sc.parallelize_in((0..20).map(|n| (n % 5, n)), 3).partition_by(4);
        pairs().union(&pairs())
    });
}

#[test]
fn repartition_spreads_and_coalesce_does_not_move() {
    for (before, after) in [(1, 4), (4, 1), (3, 3), (10, 3), (2, 0)] {
        let rows = |sc: &SparkContext| sc.parallelize_in(0..1000, before).repartition(after);
        check_sorted(&format!("repartition {before} to {after}"), 0..1000, rows);
        let sizes: Vec<usize> = rows(&context()).glom().collect().unwrap().iter().map(Vec::len).collect();
        assert_eq!(sizes.len(), after.max(1));
        assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= before, "{before} to {after}: {sizes:?}");
    }
    // Spark: a repartition of few rows in many partitions is not skewed.
    let sizes = context().parallelize_in(0..20, 20).repartition(2).glom().collect().unwrap();
    assert!(sizes.iter().all(|rows| rows.len() == 10), "{sizes:?}");
    for (before, after, expected) in [(4, 2, 2), (4, 9, 4), (5, 2, 2), (3, 0, 1)] {
        let rows = |sc: &SparkContext| sc.parallelize_in(0..100, before).coalesce(after);
        check(&format!("coalesce {before} to {after}"), 0..100, rows);
        let rdd = rows(&context());
        assert_eq!((rdd.num_partitions(), shuffles(&rdd)), (expected, 0));
    }
}

#[test]
fn set_operations_give_each_row_as_often_as_they_should() {
    let left = |sc: &SparkContext| sc.parallelize_in([1, 2, 2, 3, 3, 3], 3);
    let right = |sc: &SparkContext| sc.parallelize_in([3, 4, 2, 2], 2);
    check_sorted("distinct", [1, 2, 3], |sc| left(sc).distinct());
    check_sorted("distinct_in", [1, 2, 3], |sc| left(sc).distinct_in(5));
    check_sorted("intersection", [2, 3], |sc| left(sc).intersection(&right(sc)));
    check_sorted("subtract keeps duplicates", [1], |sc| left(sc).subtract(&right(sc)));
    check_sorted("subtract_with", [4], |sc| right(sc).subtract_with(&left(sc), 4));
    check_sorted("subtract nothing", [1, 2, 2, 3, 3, 3], |sc| left(sc).subtract(&sc.parallelize([9])));
    assert_eq!(left(&context()).distinct_in(5).num_partitions(), 5);
    check_sorted("cartesian", (0..3).flat_map(|a| (5..7).map(move |b| (a, b))), |sc| {
        sc.parallelize_in(0..3, 2).cartesian(&sc.parallelize_in(5..7, 3))
    });
    check_sorted("cartesian of shuffled", (0..3).flat_map(|a| (0..3).map(move |b| (a, b))), |sc| {
        let rows = sc.parallelize_in(0..3, 2).distinct();
        rows.cartesian(&rows)
    });
    assert_eq!(context().parallelize_in(0..3, 2).cartesian(&context().parallelize_in(5..7, 3)).num_partitions(), 6);
    check_sorted("group_by", [(0, vec![0, 2, 4]), (1, vec![1, 3])], |sc| {
        sc.parallelize_in(0..5, 3).group_by(|n| n % 2)
    });
    check_sorted("group_by_with", [(0, vec![0, 2, 4]), (1, vec![1, 3])], |sc| {
        sc.parallelize_in(0..5, 3).group_by_with(|n| n % 2, 4)
    });
}

#[test]
fn zips_need_partitions_of_equal_number_and_size() {
    let numbers = |sc: &SparkContext, rows: i32, partitions| sc.parallelize_in(0..rows, partitions);
    check("zip", (0..10).map(|n| (n, n.to_string())), |sc| {
        numbers(sc, 10, 3).zip(&numbers(sc, 10, 3).map(|n| n.to_string()))
    });
    check("zip_partitions", [(2, 3), (3, 2)], |sc| {
        let (left, right) = (numbers(sc, 5, 2), numbers(sc, 5, 2).coalesce(1).repartition(1));
        let right = right
            .union(&sc.parallelize_in([1, 2], 1))
            .map_partitions_with_index(|index, rows| rows.take(if index == 0 { 3 } else { 2 }).collect::<Vec<_>>());
        left.zip_partitions(&right, |a, b| Some((a.count(), b.count())))
    });
    let sc = context();
    let error = numbers(&sc, 4, 2).zip(&numbers(&sc, 4, 3)).collect().unwrap_err();
    says(&error, &["Can only zip with RDD which has the same number of partitions"]);
    let error = numbers(&sc, 4, 2).zip(&numbers(&sc, 5, 2)).collect().unwrap_err();
    says(&error, &["Can only zip RDDs with same number of elements in each partition"]);
    let error = numbers(&sc, 4, 2).zip_partitions(&numbers(&sc, 4, 3), |a, b| Some((a.count(), b.count()))).count();
    says(&error.unwrap_err(), &["same number of partitions"]);
}

#[test]
fn rows_get_numbers_in_order_or_of_their_own() {
    for (rows, partitions) in [(0, 1), (0, 3), (5, 1), (5, 2), (5, 9), (4000, 3)] {
        let numbers = move |sc: &SparkContext| sc.parallelize_in(0..rows, partitions);
        let name = format!("{rows} rows in {partitions} partitions");
        check(&name, (0..rows).map(|n| (n, n as u64)), |sc| numbers(sc).zip_with_index());
        let ids = collect(&name, |sc| numbers(sc).zip_with_unique_id());
        assert_eq!(ids.iter().map(|(_, id)| id).collect::<BTreeSet<_>>().len(), rows as usize, "{name}");
    }
    check("k, n + k, 2n + k", [(0, 0), (1, 2), (2, 4), (3, 1), (4, 3), (5, 5)], |sc| {
        sc.parallelize_in(0..6, 2).zip_with_unique_id()
    });
    check("behind a shuffle", 0..100, |sc| {
        sc.parallelize_in(0..100, 4).distinct().zip_with_index().map(|(_, index)| index as i32)
    });
    check("uneven", [("a", 0), ("b", 1), ("c", 2)].map(|(row, n)| (row.to_string(), n)), |sc| {
        let rows = sc.parallelize_in(strings(&["a", "b"]), 1);
        sc.union(&[rows, sc.empty_rdd(), sc.parallelize_in(vec![], 2), sc.parallelize_in(strings(&["c"]), 1)])
            .zip_with_index()
    });
}

#[test]
fn pipes_run_one_program_for_each_partition() {
    let lines = |sc: &SparkContext| sc.parallelize_in(strings(&["b", "a", "d", "c"]), 2);
    check("cat", strings(&["b", "a", "d", "c"]), |sc| lines(sc).pipe(&["cat"], &[]));
    check("sort", strings(&["a", "b", "c", "d"]), |sc| lines(sc).pipe(&["sort"], &[]));
    check("environment", strings(&["x", "x"]), |sc| lines(sc).pipe(&["sh", "-c", "echo $WORD"], &[("WORD", "x")]));
    check("stops reading early", strings(&["0"]), |sc| {
        sc.parallelize_in(0..100_000, 1).pipe(&["head", "-n", "1"], &[])
    });
    let large = collect("writes while it reads", |sc| sc.parallelize_in(0..50_000, 1).pipe(&["cat"], &[]));
    assert_eq!(large.len(), 50_000);
    let sc = context();
    says(&lines(&sc).pipe(&["false"], &[]).collect().unwrap_err(), &["pipe to false", "exit status: 1"]);
    says(&lines(&sc).pipe(&["no-such-program"], &[]).count().unwrap_err(), &["pipe to no-such-program"]);
    says(&lines(&sc).pipe(&[], &[]).count().unwrap_err(), &["pipe needs a command"]);
}

#[test]
fn text_is_borrowed_until_it_becomes_rows() {
    let lines = |sc: &SparkContext| sc.parallelize_in(strings(&["a b  a", "", "c\ta"]), 2);
    check("to_strings", strings(&["a b  a", "", "c\ta"]), |sc| lines(sc).text().to_strings());
    check("split_words", strings(&["a", "b", "a", "c", "a"]), |sc| lines(sc).text().split_words().to_strings());
    check("filter", strings(&["b", "c"]), |sc| lines(sc).text().split_words().filter(|word| word != "a").to_strings());
    check("flat_map", strings(&["a", "b", "c"]), |sc| {
        lines(sc)
            .text()
            .flat_map(|line, emit| {
                line.split("  ").next().into_iter().flat_map(|l| l.split_whitespace()).for_each(emit)
            })
            .filter(|word| word.len() == 1)
            .flat_map(|word, emit| {
                if word != "a" || !word.is_empty() {
                    emit(word)
                }
            })
            .map(|word| word.to_string())
            .distinct()
            .sort_by(|word| word.clone())
    });
    check("map", [6, 0, 3], |sc| lines(sc).text().map(str::len));
    let counts = [("a", 3), ("b", 1), ("c", 1)].map(|(word, count)| (word.to_string(), count));
    check_sorted("count_by_value", counts, |sc| lines(sc).text().split_words().count_by_value());
    check_sorted("reduce_by_key", [("a", 13), ("b", 11), ("c", 11)].map(|(w, n)| (w.to_string(), n)), |sc| {
        lines(sc).text().split_words().reduce_by_key(|_| 11, |a: i32, b| a + b - 10)
    });
    let sc = context();
    assert_eq!(lines(&sc).text().count().unwrap(), 3);
    assert_eq!(lines(&sc).text().split_words().count().unwrap(), 5);
    assert_eq!(sc.empty_rdd::<String>().text().count().unwrap(), 0);
    let words = lines(&sc).text().split_words().count_by_value();
    assert_eq!(shuffles(&words), 1);
    // A cached RDD of strings stays what its text is made of.
    let cached = lines(&sc).map(|line| line);
    cached.cache().unwrap();
    assert_eq!(cached.text().split_words().count().unwrap(), 5);
    assert!(cached.text().to_strings().explain().contains("kept 2/2"));
}

#[test]
fn long_chains_do_not_end_the_process() {
    let sc = context();
    let chain = |length| (0..length).fold(sc.parallelize_in(0..10, 2), |rdd, _| rdd.map(|n| n + 1));
    assert_eq!(chain(990).collect().unwrap(), (990..1000).collect::<Vec<_>>());
    says(&chain(3000).count().unwrap_err(), &["operators upon one another are too many"]);
    let union = (0..200).fold(sc.parallelize_in([0], 1), |rdd, n| rdd.union(&sc.parallelize_in([n + 1], 1)));
    assert_eq!(union.collect().unwrap(), (0..=200).collect::<Vec<_>>());
    let shuffled = (0..30).fold(sc.parallelize_in(0..10, 2), |rdd, _| rdd.repartition(2));
    assert_eq!(shuffled.sum().unwrap(), 45);
}

#[test]
fn names_ids_and_explain_are_for_people() {
    let sc = context();
    let rdd = sc.parallelize_in(0..10, 4).map(|n: i32| (n % 2, n)).reduce_by_key(|a, b| a + b);
    assert_eq!(rdd.name(), None);
    rdd.set_name("sums");
    assert_eq!(rdd.name().as_deref(), Some("sums"));
    assert_ne!(rdd.id(), rdd.map(|pair| pair).id());
    let text = rdd.explain();
    assert_eq!(text, rdd.to_debug_string());
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("(4) \"sums\" reduce_by_key at") && lines[0].ends_with(": (i32, i32)"), "{text}");
    assert!(lines[0].contains(file!()), "{text}");
    assert!(lines[1].trim_start() == "(4) read_pairs: (i32, i32)", "{text}");
    assert!(lines[2].trim_start().starts_with("(4) * shuffle by hash of key"), "{text}");
    assert!(lines[3].contains("reduce_by_key at") && lines[4].contains("map at"), "{text}");
    assert!(lines[5].trim_start().starts_with("(4) values: i32"), "{text}");
    assert_eq!(lines.len(), 6, "{text}");
}

#[test]
fn the_context_has_spark_s_defaults() {
    let sc = context();
    assert_eq!((sc.default_parallelism(), sc.default_min_partitions(), sc.app_name()), (2, 2, "test"));
    assert_eq!(sc.parallelize(0..10).num_partitions(), 2);
    assert!(!sc.is_shadow() && !sc.is_stopped());
    let sc = SparkContext::from_conf(crate::support::conf().set("spark.default.parallelism", 5)).unwrap();
    assert_eq!((sc.default_parallelism(), sc.default_min_partitions()), (5, 2));
    let pairs: Rdd<(i32, i32)> = sc.parallelize_in([(1, 1)], 3);
    assert_eq!(pairs.group_by_key().num_partitions(), 5, "spark.default.parallelism decides");
    for (key, value) in
        [("spark.default.parallelism", "x"), ("spark.default.parallelism", "0"), ("spark.master", "mesos")]
    {
        assert!(SparkContext::from_conf(crate::support::conf().set(key, value)).is_err(), "{key}={value}");
    }
    let shadow = SparkContext::shadow(crate::support::conf()).unwrap();
    assert!(shadow.is_shadow());
    says(&shadow.parallelize([1]).collect().unwrap_err(), &["actions run on the driver only"]);
}
