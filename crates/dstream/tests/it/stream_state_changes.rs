//! A program that was changed goes on from its checkpoint: states are found by name, or the start says what does not fit.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_dstream::input::MemoryStream;
use tidemill_dstream::state_spec::function;
use tidemill_dstream::stream::DStream;
use tidemill_dstream::streaming_context::StreamingContext;
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::clock::ManualClock;
use tidemill_engine::error::Result;
use tidemill_engine::time::Time;

use crate::support::says;

type Numbers = DStream<(u8, u64)>;
type Sums = BTreeMap<&'static str, Vec<(u8, u64)>>;

fn sum(values: Vec<u64>, state: Option<u64>) -> Option<u64> {
    Some(values.iter().sum::<u64>() + state.unwrap_or(0))
}

/// Runs a program for one batch of (0, n) on the checkpoint in `folder`; what each of its outputs has at the end.
fn run(
    folder: &Path,
    clock: &ManualClock,
    drop: &str,
    n: u64,
    build: fn(&Numbers, &Show) -> Result<()>,
) -> Result<Sums> {
    let sums = Arc::new(Mutex::new(Sums::new()));
    let input: Mutex<Option<MemoryStream<(u8, u64)>>> = Mutex::new(None);
    let conf = test_conf()
        .set("spark.streaming.checkpoint.directory", folder.display())
        .set("spark.tidemill.state.snapshotDeltas", 2)
        .set("spark.tidemill.checkpoint.drop", drop);
    let show = Show(Arc::clone(&sums));
    let context =
        TestContext::start_on(clock.clone(), conf, Duration::from_secs(1), false, |ssc: &StreamingContext| {
            let (memory, numbers) = ssc.memory_stream()?;
            *input.lock() = Some(memory);
            build(&numbers, &show)
        })?;
    input.into_inner().unwrap().add([(0, n)]);
    context.run_batch();
    context.stop()?;
    let sums = sums.lock().clone();
    Ok(sums)
}

/// Where a program's outputs go.
struct Show(Arc<Mutex<Sums>>);

impl Show {
    fn show(&self, name: &'static str, stream: &DStream<(u8, u64)>) -> Result<()> {
        let sums = Arc::clone(&self.0);
        stream.foreach_rdd(move |rdd| {
            sums.lock().insert(name, rdd.collect()?);
            Ok(())
        })
    }
}

#[test]
fn states_are_found_by_name_or_the_start_says_what_does_not_fit() -> Result<()> {
    type Build = fn(&Numbers, &Show) -> Result<()>;
    let one: Build = |n, out| out.show("x", &n.update_state_by_key(sum));
    let named: Build = |n, out| out.show("x", &n.update_state_by_key(sum).named("x"));
    let both: Build = |n, out| {
        out.show("y", &n.update_state_by_key(sum).named("y"))?;
        out.show("x", &n.update_state_by_key(sum).named("x"))
    };
    let unnamed_two: Build = |n, out| {
        out.show("y", &n.update_state_by_key(sum))?;
        out.show("x", &n.update_state_by_key(sum))
    };
    let old_named: Build = |n, out| {
        out.show("y", &n.update_state_by_key(sum).named("y"))?;
        out.show("x", &n.update_state_by_key(sum).named("update_state_by_key"))
    };
    let partitions: Build = |n, out| out.show("x", &n.update_state_by_key_with(sum, 7, None).named("x"));
    let other_kind: Build = |n, out| {
        let counted = n.map_with_state(function(|key: &u8, _: Option<u64>, state: &mut _| {
            tidemill_dstream::op::state::logic::State::update(state, 1u64);
            (*key, 1)
        }));
        out.show("x", &counted.named("x"))
    };
    let other_value: Build = |n, out| {
        let text = n.update_state_by_key(|values, _: Option<String>| Some(format!("{values:?}"))).named("x");
        out.show("x", &text.map(|(key, text)| (key, text.len() as u64)))
    };
    let same_twice: Build = |n, out| {
        out.show("x", &n.update_state_by_key(sum).named("x"))?;
        out.show("y", &n.map_values(|n| n + 1).update_state_by_key(sum).named("x"))
    };
    let none: Build = |n, out| out.show("x", n);
    // (first program, second program, dropped, what the second one has after 5 and 7 or says)
    type Expected = Result<&'static [(&'static str, u64)], &'static [&'static str]>;
    let cases: [(Build, Build, &str, Expected); 15] = [
        (one, one, "", Ok(&[("x", 12)])),
        (named, named, "", Ok(&[("x", 12)])),
        (named, both, "", Ok(&[("x", 12), ("y", 7)])),
        (both, both, "", Ok(&[("x", 12), ("y", 12)])),
        (both, named, "", Err(&["\"y\"", "update_state_by_key", "spark.tidemill.checkpoint.drop=y"])),
        (both, named, "y", Ok(&[("x", 12)])),
        (one, unnamed_two, "", Err(&["one update_state_by_key more", "`named`", "\"update_state_by_key\""])),
        (one, old_named, "", Ok(&[("x", 12), ("y", 7)])),
        // The checkpoint's number of partitions stays.
        (named, partitions, "", Ok(&[("x", 12)])),
        (named, other_kind, "", Err(&["\"x\"", "it is of update_state_by_key, not of map_with_state"])),
        (named, other_kind, "x", Ok(&[("x", 1)])),
        (
            named,
            other_value,
            "",
            Err(&["\"x\"", "its values are u64, not alloc::string::String", "stream_state_changes.rs"]),
        ),
        (named, other_value, "x", Ok(&[("x", 3)])),
        (named, same_twice, "", Err(&["\"x\""])),
        (named, none, "x", Ok(&[("x", 7)])),
    ];
    for (n, (first, second, dropped, expected)) in cases.into_iter().enumerate() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(Time::from_millis(0)));
        run(folder.path(), &clock, "", 5, first)?;
        match (run(folder.path(), &clock, dropped, 7, second), expected) {
            (Ok(sums), Ok(expected)) => {
                let expected: Sums = expected.iter().map(|(name, sum)| (*name, vec![(0, *sum)])).collect();
                assert_eq!(sums, expected, "case {n}");
            }
            (Err(error), Err(parts)) => says(&error, parts),
            (got, expected) => panic!("case {n}: {got:?}, expected {expected:?}"),
        }
    }
    Ok(())
}

#[test]
fn a_state_that_comes_back_after_it_was_dropped_begins_anew() -> Result<()> {
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(Time::from_millis(0)));
    let with = |n: &Numbers, out: &Show| out.show("x", &n.update_state_by_key(sum).named("x"));
    let without = |n: &Numbers, out: &Show| out.show("n", n);
    run(folder.path(), &clock, "", 5, with)?;
    run(folder.path(), &clock, "", 6, with)?;
    run(folder.path(), &clock, "x", 7, without)?;
    assert_eq!(run(folder.path(), &clock, "", 8, with)?["x"], [(0, 8)]);
    assert_eq!(run(folder.path(), &clock, "", 9, with)?["x"], [(0, 17)]);
    Ok(())
}
