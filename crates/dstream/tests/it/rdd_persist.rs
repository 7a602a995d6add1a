//! What is kept, where, and until when.

use tidemill_dstream::context::SparkContext;
use tidemill_dstream::rdd::{Accumulator, Rdd};
use tidemill_engine::cache::StorageLevel;

use crate::support::{check_sorted, conf, context, says};

/// An RDD of 4 partitions that counts how often one is computed.
fn counted(sc: &SparkContext) -> (Rdd<String>, Accumulator<usize>) {
    let computed = sc.accumulator(0);
    let tasks = computed.clone();
    let rdd = sc.parallelize_in(0..1000, 4).map_partitions(move |rows| {
        tasks.add(1);
        rows.map(|n| format!("row {n}"))
    });
    (rdd, computed)
}

const LEVELS: [StorageLevel; 5] = [
    StorageLevel::MEMORY_ONLY,
    StorageLevel::MEMORY_ONLY_SER,
    StorageLevel::MEMORY_AND_DISK,
    StorageLevel::MEMORY_AND_DISK_SER,
    StorageLevel::DISK_ONLY,
];

#[test]
fn a_persisted_rdd_is_computed_once_and_gives_the_same_rows() {
    for level in LEVELS {
        let sc = context();
        let (rdd, computed) = counted(&sc);
        let expected = rdd.collect().unwrap();
        computed.set_value(0);
        assert_eq!(rdd.storage_level(), StorageLevel::NONE);
        rdd.persist(level).unwrap();
        assert_eq!((rdd.storage_level(), computed.value()), (level, 0), "nothing runs before an action asks");
        for _ in 0..3 {
            assert_eq!(rdd.collect().unwrap(), expected, "{level:?}");
            assert_eq!(rdd.map(|row| row.len()).reduce(|a, b| a + b).unwrap(), expected.concat().len());
            assert_eq!(rdd.key_by(|row| row.len()).group_by_key().count().unwrap(), 3);
        }
        assert_eq!(computed.value(), 4, "{level:?}");
        assert_eq!(sc.budget().used() > 0, level.use_memory, "{level:?}");
        rdd.unpersist();
        assert_eq!((rdd.storage_level(), sc.budget().used()), (StorageLevel::NONE, 0), "{level:?}");
        assert_eq!(rdd.collect().unwrap(), expected);
        assert_eq!(computed.value(), 8, "{level:?}");
    }
}

#[test]
fn memory_is_limited() {
    for level in LEVELS {
        let sc = SparkContext::from_conf(conf().set("spark.memory.storageBytes", 100)).unwrap();
        let (rdd, computed) = counted(&sc);
        rdd.persist(level).unwrap();
        let rows = rdd.collect().unwrap();
        assert_eq!(computed.value(), 4, "{level:?}: what doesn't fit is not computed twice to find out");
        assert_eq!(rdd.collect().unwrap(), rows, "{level:?}");
        assert_eq!(computed.value(), if level.use_disk { 4 } else { 8 }, "{level:?}");
        assert_eq!(sc.budget().used(), 0, "{level:?}");
    }
    // Room for one of two.
    let sc = SparkContext::from_conf(conf().set("spark.memory.storageBytes", 50_000)).unwrap();
    let ((first, _), (second, _)) = (counted(&sc), counted(&sc));
    first.cache().unwrap();
    second.cache().unwrap();
    assert_eq!((first.count().unwrap(), second.count().unwrap()), (1000, 1000));
    assert!(sc.budget().used() <= 50_000);
    assert!(first.explain().contains("[kept 4/4 in memory, objects]"), "{}", first.explain());
    assert!(!second.explain().contains("kept 4/4"), "{}", second.explain());
    drop(first);
    assert!(sc.budget().used() < 50_000, "an RDD that is gone holds nothing");
    assert!(SparkContext::from_conf(conf().set("spark.memory.storageBytes", "much")).is_err());
}

#[test]
fn what_is_read_again_and_again_may_be_what_does_not_fit() {
    for storage in [10, 1 << 20] {
        let sc = SparkContext::from_conf(conf().set("spark.memory.storageBytes", storage)).unwrap();
        let rows = sc.parallelize_in(0..30, 3).distinct();
        let pairs = rows.cartesian(&rows);
        assert_eq!(pairs.count().unwrap(), 900, "not persisted");
        rows.cache().unwrap();
        assert_eq!(pairs.count().unwrap(), 900, "persisted after");
        assert_eq!(rows.cartesian(&rows).count().unwrap(), 900, "persisted before");
        assert_eq!(rows.sort_by(|n| *n).zip_with_index().count().unwrap(), 30);
        assert_eq!(rows.zip(&rows).count().unwrap(), 30);
    }
}

#[test]
fn several_threads_share_what_is_kept() {
    let sc = context();
    let (rdd, computed) = counted(&sc);
    rdd.cache().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(rdd.map(|row| row.len()).count().unwrap(), 1000));
        }
    });
    assert_eq!(computed.value(), 4);
}

#[test]
fn a_level_is_set_once() {
    let rdd = context().parallelize(0..3);
    rdd.cache().unwrap().cache().unwrap();
    assert_eq!(rdd.storage_level(), StorageLevel::MEMORY_ONLY);
    let error = rdd.persist(StorageLevel::DISK_ONLY).map(drop).unwrap_err();
    says(&error, &["Cannot change storage level of an RDD after it was already assigned a level"]);
    rdd.unpersist().persist(StorageLevel::DISK_ONLY).unwrap();
    assert_eq!(rdd.storage_level(), StorageLevel::DISK_ONLY);
    assert_eq!(rdd.unpersist().unpersist().collect().unwrap(), [0, 1, 2]);
}

#[test]
fn only_what_was_asked_for_is_kept() {
    let sc = context();
    let (rdd, computed) = counted(&sc);
    rdd.cache().unwrap();
    assert_eq!(rdd.take(1).unwrap(), ["row 0"]);
    assert_eq!(computed.value(), 1);
    assert!(rdd.explain().contains("kept 1/4"), "{}", rdd.explain());
    assert_eq!(rdd.count().unwrap(), 1000);
    assert_eq!(computed.value(), 4);
    assert!(rdd.map(|row| row).explain().contains("kept 4/4"));
}

#[test]
fn what_lies_behind_a_shuffle_is_kept_too() {
    let sc = context();
    let (rdd, computed) = counted(&sc);
    let groups = rdd.key_by(|row| row.len()).group_by_key();
    groups.cache().unwrap();
    let joined = groups.join(&groups);
    assert_eq!(joined.count().unwrap(), 3);
    let before = computed.value();
    assert_eq!(groups.count().unwrap(), 3);
    assert_eq!(joined.lookup(&5).unwrap()[0].0.len(), 10);
    let sources = sc.parallelize_in(0..10, 2);
    sources.cache().unwrap();
    assert_eq!(sources.zip(&sources).count().unwrap(), 10);
    assert!(before >= 4);
}

#[test]
fn a_failed_computation_keeps_nothing() {
    let sc = context();
    let fail = sc.accumulator(1);
    let failing = fail.clone();
    let rdd =
        sc.parallelize_in(0..10, 2).map(move |n| if failing.value() == 1 && n == 7 { panic!("not yet") } else { n });
    rdd.cache().unwrap();
    says(&rdd.count().unwrap_err(), &["not yet"]);
    fail.set_value(0);
    assert_eq!(rdd.sum().unwrap(), 45);
    fail.set_value(1);
    assert_eq!(rdd.sum().unwrap(), 45, "kept");
}

#[test]
fn plans_with_kept_partitions_travel() {
    for level in LEVELS {
        check_sorted("persisted", (0..5).map(|n| (n, (20, 20))), |sc| {
            let pairs = sc.parallelize_in((0..100).map(|n| (n % 5, 1)), 3);
            pairs.persist(level).unwrap();
            let sums = pairs.reduce_by_key(|a, b| a + b);
            sums.persist(level).unwrap();
            sums.join(&sums)
        });
    }
}
