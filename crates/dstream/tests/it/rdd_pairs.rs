//! Operations by key: what they give, how rows are placed, and when nothing moves.

use std::sync::Arc;

use tidemill_dstream::context::SparkContext;
use tidemill_dstream::op::partition::{PartitionBy, Partitioner};
use tidemill_dstream::rdd::Rdd;

use crate::support::{check, check_sorted, collect, context, says, shuffles};

type Pairs = Rdd<(i32, i32)>;

fn pairs(sc: &SparkContext, partitions: usize) -> Pairs {
    sc.parallelize_in([(1, 10), (2, 20), (1, 11), (3, 30), (1, 12), (2, 21)], partitions)
}

#[test]
fn values_are_combined_by_key() {
    for partitions in [1, 2, 5, 12] {
        let pairs = |sc: &SparkContext| pairs(sc, partitions);
        let name = |what: &str| format!("{what} of {partitions} partitions");
        check_sorted(&name("reduce_by_key"), [(1, 33), (2, 41), (3, 30)], |sc| pairs(sc).reduce_by_key(|a, b| a + b));
        let groups = [(1, vec![10, 11, 12]), (2, vec![20, 21]), (3, vec![30])];
        check_sorted(&name("group_by_key"), groups.clone(), |sc| pairs(sc).group_by_key());
        check_sorted(&name("group_by_key_with"), groups, |sc| pairs(sc).group_by_key_with(4));
        check_sorted(&name("fold_by_key"), [(1, 33), (2, 41), (3, 30)], |sc| pairs(sc).fold_by_key(0, |a, b| a + b));
        check_sorted(&name("fold_by_key_with"), [(1, 12), (2, 21), (3, 30)], |sc| {
            pairs(sc).fold_by_key_with(0, |a, b| a.max(b), 2)
        });
        check_sorted(&name("aggregate_by_key"), [(1, (33, 3)), (2, (41, 2)), (3, (30, 1))], |sc| {
            let seq = |(sum, count): (i32, i32), value| (sum + value, count + 1);
            pairs(sc).aggregate_by_key((0, 0), seq, |a, b| (a.0 + b.0, a.1 + b.1))
        });
        for map_side in [true, false] {
            let expected = [(1, vec![10, 11, 12]), (2, vec![20, 21]), (3, vec![30])];
            check_sorted(&name("combine_by_key"), expected, |sc| {
                let append = |mut list: Vec<i32>, value| {
                    list.push(value);
                    list
                };
                pairs(sc).combine_by_key_with(|value| vec![value], append, |a, b| [a, b].concat(), 3, map_side)
            });
        }
        check_sorted(&name("map_values"), [(1, 11), (2, 21), (1, 12), (3, 31), (1, 13), (2, 22)], |sc| {
            pairs(sc).map_values(|value| value + 1)
        });
        check(&name("flat_map_values"), [(3, 30), (3, -30)], |sc| {
            pairs(sc).flat_map_values(|value| if value == 30 { vec![value, -value] } else { vec![] })
        });
        check(&name("keys"), [1, 2, 1, 3, 1, 2], |sc| pairs(sc).keys());
        check(&name("values"), [10, 20, 11, 30, 12, 21], |sc| pairs(sc).values());
    }
    check_sorted("combine_by_key", [(1, 3), (2, 2), (3, 1)], |sc| {
        pairs(sc, 2).combine_by_key(|_| 1, |count, _| count + 1, |a, b| a + b)
    });
}

#[test]
fn groups_are_in_the_order_of_the_partitions_that_they_come_from() {
    let rows = (0..20_000).map(|n| (n % 3, n));
    let groups = collect("large groups", |sc| sc.parallelize_in(rows.clone(), 8).group_by_key());
    assert_eq!(groups.len(), 3);
    for (key, group) in groups {
        assert_eq!(group, (0..20_000).filter(|n| n % 3 == key).collect::<Vec<_>>(), "key {key}");
    }
}

#[test]
fn a_map_side_combine_moves_one_value_for_each_key_and_partition() {
    let sc = context();
    let (created, merged) = (sc.accumulator(0), sc.accumulator(0));
    let (create, merge) = (created.clone(), merged.clone());
    let combined = sc.parallelize_in((0..100).map(|n| (n % 2, n)), 4).combine_by_key(
        move |value| {
            create.add(1);
            value
        },
        |a, b| a + b,
        move |a, b| {
            merge.add(1);
            a + b
        },
    );
    assert_eq!(combined.count().unwrap(), 2);
    assert_eq!((created.value(), merged.value()), (8, 6), "2 keys in 4 partitions");
}

#[test]
fn joins_have_or_lack_a_side() {
    let left = |sc: &SparkContext| sc.parallelize_in([(1, 'a'), (2, 'b'), (2, 'c'), (3, 'd')], 3);
    let right = |sc: &SparkContext| sc.parallelize_in([(2, 20), (2, 21), (3, 30), (4, 40)], 2);
    let both = [(2, ('b', 20)), (2, ('b', 21)), (2, ('c', 20)), (2, ('c', 21)), (3, ('d', 30))];
    let inner = both.to_vec();
    check_sorted("join", inner.clone(), |sc| left(sc).join(&right(sc)));
    check_sorted("join_with", inner, |sc| left(sc).join_with(&right(sc), 5));
    let expected = both.iter().map(|(k, (v, w))| (*k, (*v, Some(*w)))).chain([(1, ('a', None))]).collect::<Vec<_>>();
    check_sorted("left_outer_join", expected.clone(), |sc| left(sc).left_outer_join(&right(sc)));
    check_sorted("left_outer_join_with", expected, |sc| left(sc).left_outer_join_with(&right(sc), 1));
    let expected = both.iter().map(|(k, (v, w))| (*k, (Some(*v), *w))).chain([(4, (None, 40))]).collect::<Vec<_>>();
    check_sorted("right_outer_join", expected.clone(), |sc| left(sc).right_outer_join(&right(sc)));
    check_sorted("right_outer_join_with", expected, |sc| left(sc).right_outer_join_with(&right(sc), 7));
    let full = both.iter().map(|(k, (v, w))| (*k, (Some(*v), Some(*w))));
    let expected = full.chain([(1, (Some('a'), None)), (4, (None, Some(40)))]).collect::<Vec<_>>();
    check_sorted("full_outer_join", expected.clone(), |sc| left(sc).full_outer_join(&right(sc)));
    check_sorted("full_outer_join_with", expected, |sc| left(sc).full_outer_join_with(&right(sc), 2));
    let groups = [
        (1, (vec!['a'], vec![])),
        (2, (vec!['b', 'c'], vec![20, 21])),
        (3, (vec!['d'], vec![30])),
        (4, (vec![], vec![40])),
    ];
    check_sorted("cogroup", groups.clone(), |sc| left(sc).cogroup(&right(sc)));
    check_sorted("cogroup_with", groups.clone(), |sc| left(sc).cogroup_with(&right(sc), 9));
    check_sorted("group_with", groups.map(|(k, (v, w))| (k, (v, w.clone(), w))), |sc| {
        left(sc).group_with(&right(sc), &right(sc))
    });
    check_sorted("subtract_by_key", [(1, 'a')], |sc| left(sc).subtract_by_key(&right(sc)));
    check_sorted("subtract_by_key_with", [(4, 40)], |sc| right(sc).subtract_by_key_with(&left(sc), 2));
    check("join with nothing", [], |sc| left(sc).join(&sc.empty_rdd::<(i32, i32)>()));
    check_sorted("join with itself", [(1, ('a', 'a')), (3, ('d', 'd'))], |sc| {
        let few = left(sc).filter(|(key, _)| *key != 2);
        few.join(&few)
    });
}

#[test]
fn nothing_moves_that_lies_right() {
    let sc = context();
    let placed = pairs(&sc, 3).partition_by(4);
    let reduced = pairs(&sc, 3).reduce_by_key_with(|a, b| a + b, 4);
    assert_eq!((placed.num_partitions(), reduced.num_partitions()), (4, 4));
    let custom: Arc<dyn Partitioner<i32>> = Arc::new(PartitionBy::new(4, |key: &i32| *key as usize));
    let by_custom = pairs(&sc, 3).partition_by(Arc::clone(&custom));
    let cases = [
        ("partition_by again", shuffles(&placed.partition_by(4)), 1),
        ("another number of partitions", shuffles(&placed.partition_by(5)), 2),
        ("reduce_by_key", shuffles(&placed.reduce_by_key(|a, b| a + b)), 1),
        ("group_by_key", shuffles(&placed.group_by_key()), 1),
        (
            "keeps its place",
            shuffles(&placed.filter(|_| true).map_values(|v| v).flat_map_values(Some).group_by_key()),
            1,
        ),
        ("samples keep it", shuffles(&placed.sample(false, 0.5, 1).group_by_key()), 1),
        ("so does the caller's word", shuffles(&placed.map_partitions_with(|_, rows| rows, true).group_by_key()), 1),
        ("and not without it", shuffles(&placed.map_partitions_with(|_, rows| rows, false).group_by_key()), 2),
        ("map may change keys", shuffles(&placed.map(|pair| pair).group_by_key()), 2),
        ("join of two that lie alike", shuffles(&placed.join(&reduced)), 2),
        ("join with one that does not", shuffles(&placed.join(&pairs(&sc, 3))), 2),
        ("join, then by key", shuffles(&placed.join(&reduced).group_by_key()), 2),
        ("cogroup of three", shuffles(&placed.group_with(&reduced, &placed)), 3),
        ("by another number", shuffles(&placed.join_with(&reduced, 7)), 4),
        ("custom: the same partitioner", shuffles(&by_custom.partition_by(Arc::clone(&custom))), 1),
        ("custom: by default its own", shuffles(&by_custom.reduce_by_key(|a, b| a + b)), 1),
        ("custom: join with itself", shuffles(&by_custom.join(&by_custom)), 2),
        ("custom against hash: hash", shuffles(&by_custom.join(&placed)), 3),
        ("sorted in place", shuffles(&by_custom.repartition_and_sort_within_partitions(Arc::clone(&custom))), 1),
        ("and stays", shuffles(&pairs(&sc, 2).repartition_and_sort_within_partitions(3).group_by_key()), 1),
    ];
    for (name, shuffles, expected) in cases {
        assert_eq!(shuffles, expected, "{name}");
    }
    check_sorted("in place", [(1, 33), (2, 41), (3, 30)], |sc| {
        pairs(sc, 3).partition_by(4).reduce_by_key(|a, b| a + b)
    });
    check_sorted("both in place", [(1, (33, 33)), (2, (41, 41)), (3, (30, 30))], |sc| {
        let (left, right) = (pairs(sc, 3).partition_by(4), pairs(sc, 2).partition_by(4));
        left.reduce_by_key(|a, b| a + b).join(&right.reduce_by_key(|a, b| a + b))
    });
}

#[test]
fn the_default_partitioner_is_spark_s() {
    let sc = context();
    let of = |partitions: usize| pairs(&sc, partitions);
    let cases = [
        ("the largest input", of(3).join(&of(5)).num_partitions(), 5),
        ("one that is placed", of(3).partition_by(4).join(&of(6)).num_partitions(), 4),
        ("the largest placed", of(3).partition_by(4).join(&of(3).partition_by(2)).num_partitions(), 4),
        ("not a placed one with a tenth or less", of(3).partition_by(2).join(&of(20)).num_partitions(), 20),
        ("but with more", of(3).partition_by(2).join(&of(19)).num_partitions(), 2),
        ("of none", sc.empty_rdd::<(i32, i32)>().group_by_key().num_partitions(), 1),
    ];
    for (name, partitions, expected) in cases {
        assert_eq!(partitions, expected, "{name}");
    }
}

#[test]
fn partitioners_place_keys() {
    let by_value = || Arc::new(PartitionBy::new(3, |key: &i32| *key as usize));
    check("partition_by", [vec![(3, 30)], vec![(1, 10), (1, 11), (1, 12)], vec![(2, 20), (2, 21)]], |sc| {
        pairs(sc, 2).partition_by(by_value()).glom()
    });
    check("reduce_by_key_with", [vec![(3, 30)], vec![(1, 33)], vec![(2, 41)]], |sc| {
        pairs(sc, 2).reduce_by_key_with(|a, b| a + b, by_value()).glom()
    });
    check("repartition_and_sort", [vec![(0, 4), (3, 2), (3, 3), (9, 1)], vec![(1, 5)], vec![(5, 0)]], |sc| {
        let rows = sc.parallelize_in([(5, 0), (9, 1), (3, 2), (3, 3), (0, 4), (1, 5)], 3);
        rows.repartition_and_sort_within_partitions(by_value()).glom()
    });
    struct Wrong;
    impl Partitioner<i32> for Wrong {
        fn partitions(&self) -> usize {
            2
        }
        fn partition(&self, _: &i32) -> usize {
            2
        }
    }
    let error = pairs(&context(), 2).partition_by(Arc::new(Wrong)).collect().unwrap_err();
    says(&error, &["a partitioner of i32 named partition 2, but has 2"]);
    // Keys by hash: each lies in one partition only.
    let parts = context().parallelize_in((0..500).map(|n| (n % 50, n)), 5).partition_by(7).glom().collect().unwrap();
    for key in 0..50 {
        let holders = parts.iter().filter(|part| part.iter().any(|(k, _)| *k == key)).count();
        assert_eq!(holders, 1, "key {key}");
    }
}

#[test]
fn keys_of_many_types_meet() {
    check_sorted("strings", [("".to_string(), 2), ("é".to_string(), 1)], |sc| {
        sc.parallelize_in(["", "é", ""].map(|key| (key.to_string(), 1)), 3).reduce_by_key(|a, b| a + b)
    });
    check_sorted("tuples of options", [((None, 1u8), 2), ((Some(1i64), 1), 1)], |sc| {
        sc.parallelize_in([((None, 1u8), 1), ((Some(1i64), 1), 1), ((None, 1), 1)], 2).reduce_by_key(|a, b| a + b)
    });
    check("unit", [((), 6)], |sc| sc.parallelize_in([((), 1), ((), 2), ((), 3)], 3).reduce_by_key(|a, b| a + b));
}

#[test]
fn pairs_become_maps_on_the_driver() {
    let sc = context();
    let rdd = pairs(&sc, 3);
    let sorted = |map: tidemill_dstream::op::pair::KeyMap<i32, i32>| {
        let mut rows: Vec<_> = map.into_iter().collect();
        rows.sort();
        rows
    };
    assert_eq!(sorted(rdd.collect_as_map().unwrap()), [(1, 12), (2, 21), (3, 30)], "the last value stays");
    assert_eq!(sorted(rdd.reduce_by_key_locally(|a, b| a + b).unwrap()), [(1, 33), (2, 41), (3, 30)]);
    let counts = rdd.count_by_key().unwrap();
    assert_eq!((counts.len(), counts[&1], counts[&2], counts[&3]), (3, 3, 2, 1));
    assert!(sc.empty_rdd::<(i32, i32)>().collect_as_map().unwrap().is_empty());
}

#[test]
fn lookup_reads_one_partition_where_it_can() {
    let sc = context();
    for (name, rdd, read) in [
        ("unplaced", pairs(&sc, 3), 3),
        ("by hash", pairs(&sc, 3).partition_by(4), 1),
        ("custom", pairs(&sc, 3).partition_by(Arc::new(PartitionBy::new(4, |key: &i32| *key as usize))), 4),
    ] {
        let tasks = sc.accumulator(0);
        let seen = tasks.clone();
        let counted = rdd.map_partitions_with(
            move |_, rows| {
                seen.add(1);
                rows
            },
            true,
        );
        assert_eq!(counted.lookup(&1).unwrap(), [10, 11, 12], "{name}");
        assert_eq!(tasks.value(), read, "{name}");
        assert_eq!(rdd.lookup(&9).unwrap(), Vec::<i32>::new(), "{name}");
    }
}
