//! Sorting and sampling.

use std::collections::HashMap;

use tidemill_dstream::context::SparkContext;
use tidemill_dstream::rdd::Rdd;

use crate::support::{check, check_sorted, collect, context, says, strings};

/// Numbers in an order that has nothing to do with their size.
fn mixed(rows: u64) -> impl Iterator<Item = u64> + Clone {
    (0..rows).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20)
}

#[test]
fn rows_are_sorted_over_all_partitions() {
    for rows in [0, 1, 2, 100, 10_000] {
        let mut expected: Vec<u64> = mixed(rows).collect();
        expected.sort();
        for (before, after) in [(1, 1), (1, 4), (3, 1), (4, 4), (7, 20), (3, 0)] {
            let name = format!("{rows} rows from {before} to {after}");
            check(&name, expected.iter().copied(), |sc| {
                sc.parallelize_in(mixed(rows), before).sort_by_in(|n| *n, true, after)
            });
            check(&name, expected.iter().rev().copied(), |sc| {
                sc.parallelize_in(mixed(rows), before).sort_by_in(|n| *n, false, after)
            });
        }
        check("sort_by", expected.iter().copied(), |sc| sc.parallelize_in(mixed(rows), 3).sort_by(|n| *n));
    }
}

#[test]
fn sorted_partitions_are_ranges_of_about_equal_size() {
    let sc = context();
    let sizes = |rdd: Rdd<u64>| rdd.glom().collect().unwrap().iter().map(Vec::len).collect::<Vec<_>>();
    let even = sizes(sc.parallelize_in(mixed(20_000), 4).sort_by_in(|n| *n, true, 8));
    assert!(even.len() == 8 && even.iter().all(|size| (1000..5000).contains(size)), "{even:?}");
    // Nearly all rows in one partition: its sample has the weight of all of them.
    let skewed = sc.parallelize_in(mixed(20_000), 1).union(&sc.parallelize_in(mixed(9), 3));
    let skewed = sizes(skewed.sort_by_in(|n| *n, true, 4));
    assert!(skewed.iter().all(|size| (1000..10_000).contains(size)), "{skewed:?}");
    // Fewer keys than partitions: the rest is empty, and nothing is lost.
    for ascending in [true, false] {
        let few = sc.parallelize_in((0..1000).map(|n| n % 3), 4).sort_by_in(|n| *n, ascending, 9);
        assert_eq!(few.num_partitions(), 9);
        let rows = few.collect().unwrap();
        assert_eq!(rows.len(), 1000);
        assert!(rows.windows(2).all(|pair| if ascending { pair[0] <= pair[1] } else { pair[0] >= pair[1] }));
    }
    let same = sizes(sc.parallelize_in(vec![7u64; 1000], 4).sort_by_in(|n| *n, true, 4));
    assert_eq!(same.iter().sum::<usize>(), 1000);
}

#[test]
fn equal_keys_stay_in_their_order() {
    let rows: Vec<(u64, u64)> = mixed(5000).map(|n| n % 10).zip(0..).collect();
    for ascending in [true, false] {
        let mut expected = rows.clone();
        expected.sort_by_key(|(key, n)| (if ascending { *key } else { 9 - *key }, *n));
        check("sort_by_key_in", expected.clone(), |sc| sc.parallelize_in(rows.clone(), 5).sort_by_key_in(ascending, 4));
        check("sort_by_in", expected, |sc| sc.parallelize_in(rows.clone(), 5).sort_by_in(|row| row.0, ascending, 3));
    }
    check("sort_by_key", strings(&["b", "c", "a"]), |sc| {
        sc.parallelize_in([(3, "a"), (1, "b"), (2, "c")].map(|(n, s)| (n, s.to_string())), 3).sort_by_key().values()
    });
    check("behind a shuffle", (0..100).map(|n| (n, 1)), |sc| {
        sc.parallelize_in(0..100, 3).map(|n| (n, 1)).reduce_by_key(|a, b| a + b).sort_by_key()
    });
    check("twice", (0..100).rev(), |sc| sc.parallelize_in(0..100, 3).sort_by(|n| *n).sort_by_in(|n| *n, false, 2));
}

#[test]
fn sorting_waits_for_an_action() {
    let sc = context();
    let computed = sc.accumulator(0);
    let tasks = computed.clone();
    let rdd = sc.parallelize_in(0..10, 2).map_partitions(move |rows| {
        tasks.add(1);
        rows
    });
    let (sorted, numbered) = (rdd.sort_by(|n| -n), rdd.zip_with_index());
    assert_eq!(computed.value(), 0);
    assert_eq!(sorted.first().unwrap(), 9);
    assert_eq!(computed.value(), 4, "once for the sample, once for the rows");
    assert_eq!(numbered.collect().unwrap().last(), Some(&(9, 9)));
    assert_eq!(computed.value(), 8);
}

#[test]
fn samples_are_the_same_for_the_same_seed() {
    let rows = |sc: &SparkContext| sc.parallelize_in(0..10_000, 4);
    for (replace, fraction) in
        [(false, 0.0), (false, 0.1), (false, 1.0), (true, 0.1), (true, 3.0), (true, 600.0 / 64.0)]
    {
        let name = format!("sample {replace} {fraction}");
        let one = collect(&name, |sc| rows(sc).sample(replace, fraction, 7));
        check(&name, one.clone(), |sc| rows(sc).sample(replace, fraction, 7));
        let expected = 10_000.0 * fraction;
        assert!((one.len() as f64 - expected).abs() <= expected * 0.1, "{name}: {} rows", one.len());
        assert!(one.is_sorted(), "{name}: in order");
        let distinct = one.windows(2).filter(|pair| pair[0] != pair[1]).count() + usize::from(!one.is_empty());
        assert_eq!(distinct == one.len(), !replace || one.len() < 2, "{name}: rows occur once without replacement");
        if fraction == 0.1 {
            assert_ne!(one, collect(&name, |sc| rows(sc).sample(replace, fraction, 8)), "{name}: another seed");
        }
    }
    for (replace, fraction) in [(false, 1.1), (false, -0.1), (true, -1.0), (true, f64::INFINITY), (true, f64::NAN)] {
        let error = rows(&context()).sample(replace, fraction, 1).count().unwrap_err();
        says(&error, &["fraction", "must be at least 0"]);
    }
}

#[test]
fn splits_share_the_rows_out() {
    let sc = context();
    let rdd = sc.parallelize_in(0..10_000, 3);
    for weights in [&[1.0][..], &[1.0, 1.0], &[0.1, 0.3, 0.6], &[5.0, 0.0, 5.0], &[1e-9, 1e9]] {
        let splits = rdd.random_split(weights, 3).unwrap();
        let mut all = Vec::new();
        for (weight, split) in weights.iter().zip(&splits) {
            let rows = split.collect().unwrap();
            let expected = 10_000.0 * weight / weights.iter().sum::<f64>();
            assert!((rows.len() as f64 - expected).abs() < 300.0, "{weights:?}: {} for {weight}", rows.len());
            all.extend(rows);
        }
        all.sort();
        assert_eq!(all, (0..10_000).collect::<Vec<_>>(), "{weights:?}");
    }
    for part in 0..2 {
        let expected = rdd.random_split(&[1.0, 2.0], 5).unwrap()[part].collect().unwrap();
        check("random_split", expected, |sc| {
            sc.parallelize_in(0..10_000, 3).random_split(&[1.0, 2.0], 5).unwrap().swap_remove(part)
        });
    }
    for weights in [&[][..], &[0.0], &[-1.0, 2.0], &[f64::NAN], &[f64::INFINITY, 1.0]] {
        says(&rdd.random_split(weights, 1).map(drop).unwrap_err(), &["weights must be at least 0"]);
    }
}

#[test]
fn keys_are_sampled_by_their_own_fractions() {
    let fractions = || HashMap::from([("a".to_string(), 0.0), ("b".to_string(), 0.2), ("c".to_string(), 1.0)]);
    let rows = |sc: &SparkContext| {
        let keys = ["a", "b", "c", "d"].map(String::from);
        sc.parallelize_in((0..8000).map(move |n| (keys[n % 4].clone(), n)), 4)
    };
    for replace in [false, true] {
        let sample = collect("sample_by_key", |sc| rows(sc).sample_by_key(replace, fractions(), 1));
        let count = |key: &str| sample.iter().filter(|row| row.0 == key).count();
        assert_eq!((count("a"), count("d")), (0, 0));
        assert!((300..500).contains(&count("b")), "{}", count("b"));
        assert!(if replace { (1800..2200).contains(&count("c")) } else { count("c") == 2000 }, "{}", count("c"));
    }
    let wrong = HashMap::from([("a".to_string(), f64::INFINITY)]);
    says(&rows(&context()).sample_by_key(true, wrong, 1).count().unwrap_err(), &["fraction inf"]);
}

#[test]
fn a_sample_taken_has_the_size_that_was_asked_for() {
    let sc = context();
    for partitions in [1, 3, 20] {
        let rdd = sc.parallelize_in(0..100, partitions);
        for (replace, n, expected) in
            [(false, 0, 0), (false, 10, 10), (false, 100, 100), (false, 200, 100), (true, 10, 10), (true, 300, 300)]
        {
            let sample = rdd.take_sample(replace, n, 5).unwrap();
            assert_eq!(sample.len(), expected, "{replace} {n}");
            assert_eq!(sample, rdd.take_sample(replace, n, 5).unwrap());
            assert!(sample.iter().all(|n| (0..100).contains(n)));
            let mut distinct = sample.clone();
            distinct.sort();
            distinct.dedup();
            assert!(replace || distinct.len() == expected, "{replace} {n}");
            assert!(n < 10 || !sample.is_sorted(), "{replace} {n}: in random order");
        }
    }
    // Each row is as likely as any other: 400 samples of 5 of 10.
    let rdd = sc.parallelize_in(0..10usize, 3);
    for replace in [false, true] {
        let mut seen = [0; 10];
        (0..400).for_each(|seed| rdd.take_sample(replace, 5, seed).unwrap().iter().for_each(|n| seen[*n] += 1));
        assert!(seen.iter().all(|count| (150..250).contains(count)), "{replace}: {seen:?}");
    }
    check_sorted("nothing of it is left behind", 0..10, |sc| sc.parallelize_in(0..10, 3));
}
