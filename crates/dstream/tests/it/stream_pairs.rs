//! Operations by key within single batches.

use std::sync::Arc;

use tidemill_dstream::op::partition::{Partitioner, Partitioning};
use tidemill_dstream::stream::DStream;
use tidemill_dstream::testing::StreamTest;
use tidemill_engine::error::Result;

type Pair = (String, i32);

fn pairs(rows: &[(&str, i32)]) -> Vec<Pair> {
    rows.iter().map(|(key, value)| ((*key).to_string(), *value)).collect()
}

/// The same key in both halves of the batch, a key in one, none.
fn input() -> [Vec<Pair>; 3] {
    [pairs(&[("a", 1), ("b", 2), ("c", 3), ("a", 4)]), pairs(&[]), pairs(&[("a", 5)])]
}

/// Everything to the last partition.
struct Last(usize);

impl Partitioner<String> for Last {
    fn partitions(&self) -> usize {
        self.0
    }

    fn partition(&self, _: &String) -> usize {
        self.0 - 1
    }
}

/// Each way to say where the result goes.
fn placements() -> Vec<fn() -> Partitioning<String>> {
    vec![|| Partitioning::Default, || 1.into(), || 5.into(), || Arc::new(Last(3)).into()]
}

/// Runs a test on the input, with keys `k` made of `String` in the output.
fn check<U>(build: impl Fn(DStream<Pair>) -> Result<DStream<U>> + 'static, output: [Vec<U>; 3]) -> Result<()>
where
    U: tidemill_engine::chunk::Data + std::fmt::Debug + PartialEq,
{
    StreamTest::new(move |_, s| build(s)).batches(input().into_iter().zip(output)).run()
}

fn key<V>(key: &str, value: V) -> (String, V) {
    (key.to_string(), value)
}

#[test]
fn reduce_by_key() -> Result<()> {
    let output = [pairs(&[("a", 5), ("b", 2), ("c", 3)]), vec![], pairs(&[("a", 5)])];
    check(|s| Ok(s.reduce_by_key(|a, b| a + b)), output.clone())?;
    for place in placements() {
        check(move |s| Ok(s.reduce_by_key_with(|a, b| a + b, place())), output.clone())?;
    }
    Ok(())
}

#[test]
fn group_by_key_keeps_the_order_of_values() -> Result<()> {
    let output = [vec![key("a", vec![1, 4]), key("b", vec![2]), key("c", vec![3])], vec![], vec![key("a", vec![5])]];
    check(|s| Ok(s.group_by_key()), output.clone())?;
    for place in placements() {
        check(move |s| Ok(s.group_by_key_with(place())), output.clone())?;
    }
    Ok(())
}

#[test]
fn combine_by_key() -> Result<()> {
    let create = |v: i32| v.to_string();
    let value = |c: String, v: i32| format!("{c}+{v}");
    let merge = |a: String, b: String| format!("{a}|{b}");
    let output = |a: &str| {
        [vec![key("a", a.into()), key("b", "2".into()), key("c", "3".into())], vec![], vec![key("a", "5".into())]]
    };
    // The two values of "a" lie in two partitions: combined there, and then together; or moved, and then combined.
    check(move |s| Ok(s.combine_by_key(create, value, merge)), output("1|4"))?;
    for place in placements() {
        check(move |s| Ok(s.combine_by_key_with(create, value, merge, place(), true)), output("1|4"))?;
        check(move |s| Ok(s.combine_by_key_with(create, value, merge, place(), false)), output("1+4"))?;
    }
    Ok(())
}

#[test]
fn partition_by_places_equal_keys_together() -> Result<()> {
    for (place, partitions) in placements().into_iter().zip([2, 1, 5, 3]) {
        check(
            move |s| Ok(s.partition_by(place()).glom().map(|rows| rows.len()).reduce(|a, b| a + b)),
            [vec![4], vec![0], vec![1]],
        )?;
        check(
            move |s| Ok(s.partition_by(place()).glom().map(|_| 1).reduce(|a, b| a + b)),
            [vec![partitions], vec![partitions], vec![partitions]],
        )?;
    }
    let last = |s: DStream<Pair>| {
        Ok(s.partition_by(Arc::new(Last(3))).map_partitions_with_index(|p, rows| rows.map(move |r| (p, r.1))))
    };
    check(last, [vec![(2, 1), (2, 2), (2, 3), (2, 4)], vec![], vec![(2, 5)]])
}

#[test]
fn map_values_and_flat_map_values() -> Result<()> {
    let tenfold = [pairs(&[("a", 10), ("b", 20), ("c", 30), ("a", 40)]), vec![], pairs(&[("a", 50)])];
    check(|s| Ok(s.map_values(|v| v * 10)), tenfold)?;
    let counted = [
        pairs(&[("a", 0), ("b", 0), ("b", 1), ("c", 0), ("c", 1), ("c", 2), ("a", 0), ("a", 1), ("a", 2), ("a", 3)]),
        vec![],
    ];
    let [first, second] = counted;
    check(
        |s| Ok(s.flat_map_values(|v| 0..v)),
        [first, second, pairs(&[("a", 0), ("a", 1), ("a", 2), ("a", 3), ("a", 4)])],
    )
}

/// The other side of joins: "a" twice, "d" alone, and nothing of "b".
fn other(s: &DStream<Pair>) -> DStream<(String, String)> {
    s.flat_map(|(k, v)| match (k.as_str(), v) {
        ("a", 1) => vec![key("a", "x".to_string()), key("d", "y".to_string())],
        ("a", 4) => vec![key("a", "z".to_string())],
        ("c", _) => vec![key("c", "w".to_string())],
        _ => vec![],
    })
}

#[test]
fn cogroup() -> Result<()> {
    let s = |text: &[&str]| text.iter().map(|t| (*t).to_string()).collect::<Vec<_>>();
    let output = [
        vec![
            key("a", (vec![1, 4], s(&["x", "z"]))),
            key("b", (vec![2], s(&[]))),
            key("c", (vec![3], s(&["w"]))),
            key("d", (vec![], s(&["y"]))),
        ],
        vec![],
        vec![key("a", (vec![5], s(&[])))],
    ];
    check(|s| Ok(s.cogroup(&other(&s))), output.clone())?;
    for place in placements() {
        check(move |s| Ok(s.cogroup_with(&other(&s), place())), output.clone())?;
    }
    Ok(())
}

#[test]
fn join() -> Result<()> {
    let row = |k, v, w: &str| key(k, (v, w.to_string()));
    let output = [
        vec![row("a", 1, "x"), row("a", 1, "z"), row("a", 4, "x"), row("a", 4, "z"), row("c", 3, "w")],
        vec![],
        vec![],
    ];
    check(|s| Ok(s.join(&other(&s))), output.clone())?;
    for place in placements() {
        check(move |s| Ok(s.join_with(&other(&s), place())), output.clone())?;
    }
    Ok(())
}

#[test]
fn left_outer_join() -> Result<()> {
    let row = |k, v, w: Option<&str>| key(k, (v, w.map(String::from)));
    let matched = [row("a", 1, Some("x")), row("a", 1, Some("z")), row("a", 4, Some("x")), row("a", 4, Some("z"))];
    let first = [&matched[..], &[row("c", 3, Some("w")), row("b", 2, None)]].concat();
    let output = [first, vec![], vec![row("a", 5, None)]];
    check(|s| Ok(s.left_outer_join(&other(&s))), output.clone())?;
    for place in placements() {
        check(move |s| Ok(s.left_outer_join_with(&other(&s), place())), output.clone())?;
    }
    Ok(())
}

#[test]
fn right_outer_join() -> Result<()> {
    let row = |k, v: Option<i32>, w: &str| key(k, (v, w.to_string()));
    let matched = [row("a", Some(1), "x"), row("a", Some(1), "z"), row("a", Some(4), "x"), row("a", Some(4), "z")];
    let output = [[&matched[..], &[row("c", Some(3), "w"), row("d", None, "y")]].concat(), vec![], vec![]];
    check(|s| Ok(s.right_outer_join(&other(&s))), output.clone())?;
    for place in placements() {
        check(move |s| Ok(s.right_outer_join_with(&other(&s), place())), output.clone())?;
    }
    Ok(())
}

#[test]
fn full_outer_join() -> Result<()> {
    let row = |k, v: Option<i32>, w: Option<&str>| key(k, (v, w.map(String::from)));
    let both = |v, w| row("a", Some(v), Some(w));
    let matched = [both(1, "x"), both(1, "z"), both(4, "x"), both(4, "z")];
    let rest = [row("c", Some(3), Some("w")), row("b", Some(2), None), row("d", None, Some("y"))];
    let output = [[&matched[..], &rest].concat(), vec![], vec![row("a", Some(5), None)]];
    check(|s| Ok(s.full_outer_join(&other(&s))), output.clone())?;
    for place in placements() {
        check(move |s| Ok(s.full_outer_join_with(&other(&s), place())), output.clone())?;
    }
    Ok(())
}

#[test]
fn word_count() -> Result<()> {
    let lines = |rows: &[&str]| rows.iter().map(|row| (*row).to_string()).collect::<Vec<_>>();
    StreamTest::new(|_, s: DStream<String>| {
        let words = s.flat_map(|line: String| line.split(' ').map(String::from).collect::<Vec<_>>());
        Ok(words.map(|word| (word, 1)).reduce_by_key(|a, b| a + b))
    })
    .batches([
        (lines(&["to be or", "not to be"]), pairs(&[("to", 2), ("be", 2), ("or", 1), ("not", 1)])),
        (lines(&[]), vec![]),
        (lines(&["be"]), pairs(&[("be", 1)])),
    ])
    .run()
}
