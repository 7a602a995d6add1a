//! Streams with state. Every script runs straight, and with a restart after every batch: the same rows must come out.

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidemill_dstream::op::partition::{PartitionBy, Partitioning};
use tidemill_dstream::op::state::logic::{Session, State};
use tidemill_dstream::state_spec::{function, function_with_time};
use tidemill_dstream::stream::DStream;
use tidemill_dstream::testing::{StreamTest, TestContext, test_conf};
use tidemill_engine::chunk::Data;
use tidemill_engine::error::Result;
use tidemill_engine::time::Time;

use crate::support::says;

const FOLDER: &str = "spark.streaming.checkpoint.directory";

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn t(seconds: i64) -> Time {
    Time::from_millis(seconds * 1000)
}

/// Runs a script straight, with restarts, and with restarts and a snapshot for every change.
fn script<T: Data, U: Data + Debug + PartialEq>(test: impl Fn() -> StreamTest<T, U>) -> Result<()> {
    for (restarts, deltas) in [(false, 500), (true, 500), (true, 1), (false, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let test = test().conf(FOLDER, folder.path().display()).conf("spark.tidemill.state.snapshotDeltas", deltas);
        let test = if restarts { test.restart_after_each_batch() } else { test };
        test.run().map_err(|error| error.context(format!("restarts {restarts}, snapshot after {deltas} changes")))?;
    }
    Ok(())
}

fn pairs<V: Clone>(text: &str, value: V) -> Vec<(String, V)> {
    text.split_whitespace().map(|key| (key.to_string(), value.clone())).collect()
}

fn counts(text: &str) -> Vec<(String, i64)> {
    let split = |pair: &str| pair.split_once('=').map(|(key, n)| (key.to_string(), n.parse().unwrap()));
    text.split_whitespace().filter_map(split).collect()
}

type Words = DStream<(String, i64)>;

/// Spark's table: a word a row, the sums after each batch.
const SUMS: [(&str, &str); 6] = [
    ("a", "a=1"),
    ("a b", "a=2 b=1"),
    ("a b c", "a=3 b=2 c=1"),
    ("a b", "a=4 b=3 c=1"),
    ("a", "a=5 b=3 c=1"),
    ("", "a=5 b=3 c=1"),
];

fn sum(values: Vec<i64>, state: Option<i64>) -> Option<i64> {
    Some(values.iter().sum::<i64>() + state.unwrap_or(0))
}

#[test]
fn every_form_of_update_state_by_key_sums() -> Result<()> {
    type Form = fn(&Words) -> DStream<(String, i64)>;
    let forms: [Form; 5] = [
        |words| words.update_state_by_key(sum),
        |words| words.update_state_by_key_with(sum, 3, None),
        |words| words.update_state_by_key_with_time(|_, _, values, state| sum(values, state), 1, None),
        |words| {
            let each = |_, keys: tidemill_dstream::op::state::update::Keys<String, i64, i64>| {
                keys.filter_map(|(key, values, state)| sum(values, state).map(|sum| (key, sum)))
            };
            words.update_state_by_key_iter(each, 2, None)
        },
        |words| {
            let by_length = std::sync::Arc::new(PartitionBy::new(2, |key: &String| key.len()));
            words.update_state_by_key_with(sum, Partitioning::from(by_length), None)
        },
    ];
    for form in forms {
        let rows = SUMS.iter().map(|(input, output)| (pairs(input, 1), counts(output)));
        script(|| StreamTest::new(move |_, words| Ok(form(&words))).batches(rows.clone()))?;
    }
    Ok(())
}

#[test]
fn an_initial_state_is_there_once() -> Result<()> {
    let table = [("a", "a=2 c=2"), ("a b", "a=3 b=1 c=2"), ("a b c", "a=4 b=2 c=3"), ("", "a=4 b=2 c=3")];
    let rows = table.iter().map(|(input, output)| (pairs(input, 1), counts(output)));
    script(|| {
        StreamTest::new(|ssc, words: Words| {
            // The first state of a key counts.
            let initial = ssc.spark_context().parallelize(counts("a=1 c=2 a=7"));
            Ok(words.update_state_by_key_with(sum, 2, Some(initial)))
        })
        .batches(rows.clone())
    })
}

#[test]
fn a_key_lives_until_its_function_gives_none() -> Result<()> {
    // The number of batches in a row without a value; at three the key goes.
    let idle = |values: Vec<i64>, state: Option<i64>| match (values.is_empty(), state) {
        (false, _) => Some(0),
        (true, Some(n)) if n < 2 => Some(n + 1),
        (true, _) => None,
    };
    let table = [
        ("a", "a=0"),
        ("b", "a=1 b=0"),
        ("b", "a=2 b=0"),
        ("", "b=1"),
        ("a", "a=0 b=2"),
        ("", "a=1"),
        ("", "a=2"),
        ("", ""),
        ("", ""),
    ];
    let rows = table.iter().map(|(input, output)| (pairs(input, 1), counts(output)));
    script(|| StreamTest::new(move |_, words: Words| Ok(words.update_state_by_key(idle))).batches(rows.clone()))
}

#[test]
fn the_iterator_form_gives_the_whole_new_state() -> Result<()> {
    // Only keys with new values stay; what has a key `drop` is dropped.
    let form = |words: &Words| {
        let only_new = |_, keys: tidemill_dstream::op::state::update::Keys<String, i64, i64>| {
            keys.filter(|(key, values, _)| !values.is_empty() && key != "drop")
                .map(|(key, values, state)| (key, values.len() as i64 + state.unwrap_or(0)))
        };
        words.update_state_by_key_iter(only_new, 2, None)
    };
    let table = [("a b", "a=1 b=1"), ("a drop", "a=2"), ("b", "b=1"), ("", "")];
    let rows = table.iter().map(|(input, output)| (pairs(input, 1), counts(output)));
    script(|| StreamTest::new(move |_, words: Words| Ok(form(&words))).batches(rows.clone()))
}

#[test]
fn update_functions_see_time_and_key_and_values_in_order() -> Result<()> {
    let form = |words: &Words| {
        let show = |time: Time, key: &String, values: Vec<i64>, state: Option<String>| {
            Some(format!("{}{key}@{}:{values:?} ", state.unwrap_or_default(), time.as_millis() / 1000))
        };
        words.update_state_by_key_with_time(show, 2, None)
    };
    let a = |n| ("a".to_string(), n);
    script(|| {
        StreamTest::new(move |_, words: Words| Ok(form(&words)))
            .add_data([a(3), a(1), a(2)])
            .check_batch([("a".to_string(), "a@1:[3, 1, 2] ".to_string())])
            .check_batch([("a".to_string(), "a@1:[3, 1, 2] a@2:[] ".to_string())])
    })
}

#[test]
fn a_stream_of_states_is_a_stream_like_others() -> Result<()> {
    // Upon one another, in windows, joined with themselves, read by several.
    let table = [("a", 1), ("a b", 4), ("c", 7)];
    let rows = table.iter().map(|(input, total)| (pairs(input, 1), [*total]));
    script(|| {
        StreamTest::new(|_, words: Words| {
            let sums = words.update_state_by_key(sum);
            let doubled = sums.join(&sums).map_values(|(a, b)| a + b);
            let totals = doubled
                .map(|(_, n)| ((), n / 2))
                .update_state_by_key(|now: Vec<i64>, _: Option<i64>| Some(now.iter().sum()));
            let windowed = sums.window(s(2), s(1))?.count();
            windowed.foreach_rdd(|rdd| rdd.collect().map(drop))?;
            sums.print()?;
            // The sums of all keys are 1, 3 and 4; each with that of the batch before.
            let before = totals.window(s(2), s(1))?.map(|(_, n)| n).reduce(|a, b| a + b);
            Ok(before)
        })
        .batches(rows.clone())
    })
}

/// The running count of each key, and how often it was seen.
#[expect(clippy::ptr_arg, reason = "the key type of the stream")]
fn count_up(key: &String, value: Option<i64>, state: &mut State<i64>) -> (String, i64) {
    let sum = state.get_option().copied().unwrap_or(0) + value.unwrap_or(0);
    state.update(sum);
    (key.clone(), sum)
}

#[test]
fn map_with_state_maps_every_value_and_keeps_states() -> Result<()> {
    let table = [
        ("a", "a=1", "a=1"),
        ("a b", "a=2 b=1", "a=2 b=1"),
        ("a b c a", "a=3 b=2 c=1 a=4", "a=4 b=2 c=1"),
        ("", "", "a=4 b=2 c=1"),
    ];
    let mapped = table.iter().map(|(input, output, _)| (pairs(input, 1), counts(output)));
    script(|| {
        StreamTest::new(|_, words: Words| Ok((*words.map_with_state(function(count_up))).clone()))
            .batches(mapped.clone())
    })?;
    let states = table.iter().map(|(input, _, states)| (pairs(input, 1), counts(states)));
    script(|| {
        StreamTest::new(|ssc, words: Words| {
            let spec = function(count_up).num_partitions(3).initial_state(ssc.spark_context().parallelize(counts("")));
            Ok(words.map_with_state(spec).state_snapshots())
        })
        .batches(states.clone())
    })?;
    script(|| {
        StreamTest::new(|ssc, words: Words| {
            let initial = ssc.spark_context().parallelize(counts("a=5 z=1"));
            let counted = words.map_with_state(function(count_up).initial_state(initial));
            counted.print()?;
            Ok(counted.state_snapshots())
        })
        .add_data(pairs("a b", 1))
        .check_batch(counts("a=6 b=1 z=1"))
        .check_batch(counts("a=6 b=1 z=1"))
    })
}

#[test]
fn a_state_can_be_looked_at_and_removed() -> Result<()> {
    // 0 removes, a negative value only looks.
    let f = |_, key: &String, value: Option<i64>, state: &mut State<i64>| {
        let before = state.get_option().copied();
        match value {
            Some(0) if state.exists() => state.remove(),
            Some(n) if n > 0 => state.update(n),
            _ => {}
        }
        before.map(|before| (key.clone(), before))
    };
    let row = |key: &str, n: i64| (key.to_string(), n);
    script(|| {
        StreamTest::new(move |_, words: Words| Ok((*words.map_with_state(function_with_time(f))).clone()))
            .add_data([row("a", -1), row("a", 7), row("b", 0)])
            .check_batch([])
            .add_data([row("a", -1), row("a", 0), row("a", 3)])
            .check_batch([row("a", 7), row("a", 7)])
            .add_data([row("a", 0), row("a", -1)])
            .check_batch([row("a", 3)])
            .add_data([row("a", -1)])
            .check_batch([])
    })
}

#[test]
fn keys_time_out_with_the_batch_in_which_they_fall_due() -> Result<()> {
    let f = |time: Time, key: &String, value: Option<i64>, state: &mut State<i64>| match value {
        Some(value) => {
            state.update(state.get_option().copied().unwrap_or(0) + value);
            None
        }
        None => {
            assert!(state.is_timing_out());
            Some(format!("{key}={} at {}", state.get(), time.as_millis() / 1000))
        }
    };
    // Silent for longer than 2 s: touched at 1 s, a key goes at 4 s.
    let table: [(&str, &[&str]); 9] = [
        ("a b", &[]),
        ("b", &[]),
        ("", &[]),
        ("c", &["a=1 at 4"]),
        ("c", &["b=2 at 5"]),
        ("a", &[]),
        ("", &[]),
        ("", &["c=2 at 8"]),
        ("", &["a=1 at 9"]),
    ];
    let rows = table.map(|(input, out)| (pairs(input, 1), out.iter().map(|row| row.to_string()).collect::<Vec<_>>()));
    script(|| {
        StreamTest::new(move |_, words: Words| Ok((*words.map_with_state(function_with_time(f).timeout(s(2)))).clone()))
            .batches(rows.clone())
    })
}

#[test]
fn misuse_of_a_state_is_an_error_that_says_so() {
    type F = fn(&mut State<i64>);
    let cases: [(F, &str); 4] = [
        (|state| assert!(*state.get() > 0), "State is not set"),
        (
            |state| {
                state.remove();
                state.update(1);
            },
            "Cannot update the state after it has been removed",
        ),
        (
            |state| {
                state.remove();
                state.remove();
            },
            "Cannot remove the state that has already been removed",
        ),
        (
            |state| match state.is_timing_out() {
                true => state.update(1),
                false => state.update(2),
            },
            "Cannot update the state that is timing out",
        ),
    ];
    for (misuse, text) in cases {
        let folder = tempfile::tempdir().unwrap();
        let error = StreamTest::new(move |_, words: Words| {
            let spec = function(move |_: &String, _, state: &mut State<i64>| misuse(state)).timeout(s(1));
            Ok((*words.map_with_state(spec)).clone())
        })
        .conf(FOLDER, folder.path().display())
        .add_data(pairs("a", 1))
        .advance()
        .advance()
        .advance()
        .check_batch([])
        .run()
        .unwrap_err();
        says(&error, &["map_with_state at ", "stream_state.rs", text]);
    }
}

#[test]
fn a_window_with_an_inverse_is_the_window_without() -> Result<()> {
    let input = |batch: i64| -> Vec<(i64, i64)> {
        (0..5).filter(|key| batch % (key + 1) == 0).flat_map(|key| [(key, batch), (key, 1)]).collect()
    };
    for (window, slide) in [(1, 1), (2, 1), (4, 2), (3, 1), (2, 4), (6, 3)] {
        let output = move |batch: i64| -> Vec<(i64, i64)> {
            let within = (batch - window + 1).max(1)..=batch;
            let sum = |key: i64| within.clone().flat_map(input).filter(|(k, _)| *k == key).map(|(_, n)| n).sum::<i64>();
            let all = (0..5).map(|key| (key, sum(key))).filter(|(_, sum)| *sum != 0);
            if batch % slide == 0 { all.collect() } else { Vec::new() }
        };
        let rows = (1..=14).map(|batch| (input(batch), output(batch)));
        let (w, every) = (s(window as u64), s(slide as u64));
        script(|| {
            StreamTest::new(move |_, p: DStream<(i64, i64)>| {
                let some = Some(|(_, sum): &(i64, i64)| *sum != 0);
                p.reduce_by_key_and_window_inverse_with(|a, b| a + b, |a, b| a - b, w, every, 3, some)
            })
            .batches(rows.clone())
        })?;
    }
    Ok(())
}

#[test]
fn without_a_filter_keys_stay_with_what_is_left() -> Result<()> {
    // Spark's bigReduceInput and its output: window 2 s, slide 1 s.
    let table = [
        ("a", "a=1"),
        ("a b", "a=2 b=1"),
        ("a b c", "a=2 b=2 c=1"),
        ("a b", "a=2 b=2 c=1"),
        ("a", "a=2 b=1 c=0"),
        ("", "a=1 b=0 c=0"),
        ("a", "a=1 b=0 c=0"),
        ("a b", "a=2 b=1 c=0"),
        ("a b c", "a=2 b=2 c=1"),
        ("a b", "a=2 b=2 c=1"),
        ("a", "a=2 b=1 c=0"),
        ("", "a=1 b=0 c=0"),
    ];
    let rows = table.iter().map(|(input, output)| (pairs(input, 1), counts(output)));
    script(|| {
        StreamTest::new(|_, p: Words| p.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, s(2), s(1)))
            .batches(rows.clone())
    })
}

#[test]
fn an_inverse_without_what_it_takes_away_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = StreamTest::new(|_, p: Words| {
        let none = Some(|_: &(String, i64)| false);
        p.reduce_by_key_and_window_inverse_with(|a, b| a + b, |a, b| a - b, s(2), s(1), 1, none)
    })
    .conf(FOLDER, folder.path().display())
    .add_data(pairs("a", 1))
    .advance()
    .advance()
    .check_batch([])
    .run()
    .unwrap_err();
    says(&error, &["Neither previous window has value for key, nor new values found."]);
}

#[test]
fn a_lenient_inverse_leaves_out_what_its_filter_has_dropped() -> Result<()> {
    // "At least 3": a is dropped while its values are in the window, and comes again without them.
    let table = [("a", ""), ("a b b b", "b=3"), ("a a a", "a=3 b=3"), ("", ""), ("", ""), ("a a a", "a=3")];
    let rows = table.iter().map(|(input, output)| (pairs(input, 1), counts(output)));
    script(|| {
        StreamTest::new(|_, p: Words| {
            let some = Some(|(_, count): &(String, i64)| *count >= 3);
            p.reduce_by_key_and_window_inverse_lenient(|a, b| a + b, |a, b| a - b, s(2), s(1), 1, some)
        })
        .batches(rows.clone())
    })
}

#[test]
fn counts_of_windows_survive_restarts() -> Result<()> {
    let table: [(&[i32], u64, &[(i32, u64)]); 5] = [
        (&[1, 1, 2], 3, &[(1, 2), (2, 1)]),
        (&[2], 4, &[(1, 2), (2, 2)]),
        (&[], 1, &[(2, 1)]),
        (&[], 0, &[]),
        (&[7], 1, &[(7, 1)]),
    ];
    let counted = table.map(|(input, count, _)| (input.to_vec(), [count]));
    script(|| StreamTest::new(|_, n: DStream<i32>| n.count_by_window(s(2), s(1))).batches(counted.clone()))?;
    let by_value = table.map(|(input, _, counts)| (input.to_vec(), counts.to_vec()));
    script(|| StreamTest::new(|_, n: DStream<i32>| n.count_by_value_and_window(s(2), s(1))).batches(by_value.clone()))
}

#[test]
fn windows_and_their_order_survive_restarts() -> Result<()> {
    let table: [(&[i32], &[i32]); 6] = [
        (&[1, 2], &[1, 2]),
        (&[], &[1, 2]),
        (&[3], &[1, 2, 3]),
        (&[4, 5], &[3, 4, 5]),
        (&[], &[3, 4, 5]),
        (&[], &[4, 5]),
    ];
    let rows = table.map(|(input, output)| (input.to_vec(), output.to_vec()));
    script(|| StreamTest::new(|_, n: DStream<i32>| n.window(s(3), s(1))).ordered().batches(rows.clone()))?;
    let grouped = table.map(|(input, output)| {
        let group = (!output.is_empty()).then(|| ((), output.to_vec()));
        (input.to_vec(), group)
    });
    script(|| {
        StreamTest::new(|_, n: DStream<i32>| n.map(|n| ((), n)).group_by_key_and_window(s(3), s(1)))
            .batches(grouped.clone())
    })
}

#[test]
fn windows_by_count_go_out_when_they_are_full() -> Result<()> {
    type Case = (usize, usize, &'static [(&'static [i32], &'static [&'static [i32]])]);
    let cases: [Case; 4] = [
        (3, 3, &[(&[1, 2], &[]), (&[3, 4], &[&[1, 2, 3]]), (&[], &[]), (&[5, 6, 7], &[&[4, 5, 6]])]),
        (1, 1, &[(&[1, 2], &[&[1], &[2]]), (&[3], &[&[3]])]),
        (3, 2, &[(&[1, 2], &[&[1, 2]]), (&[3], &[]), (&[4, 5, 6], &[&[2, 3, 4], &[4, 5, 6]])]),
        (2, 3, &[(&[1, 2], &[]), (&[3], &[&[2, 3]]), (&[4, 5, 6], &[&[5, 6]])]),
    ];
    for (size, slide, table) in cases {
        let rows = table.iter().map(|(input, windows)| (input.to_vec(), windows.iter().map(|w| w.to_vec())));
        script(|| {
            StreamTest::new(move |_, n: DStream<i32>| Ok(n.sliding_count_window(size, slide))).batches(rows.clone())
        })?;
    }
    let keyed = |text: &str| -> Vec<(String, i64)> { counts(text) };
    script(|| {
        StreamTest::new(|_, p: Words| Ok(p.count_window_by_key(2)))
            .add_data(keyed("a=1 b=2 a=3"))
            .check_batch([("a".to_string(), vec![1, 3])])
            .add_data(keyed("b=4 a=5 b=6"))
            .check_batch([("b".to_string(), vec![2, 4])])
            .add_data(keyed("a=7 b=8"))
            .check_batch([("a".to_string(), vec![5, 7]), ("b".to_string(), vec![6, 8])])
    })
}

#[test]
fn sessions_end_with_a_gap() -> Result<()> {
    fn session<S>(key: &str, start: i64, end: i64, value: S) -> (String, Session<S>) {
        (key.to_string(), Session { start: t(start), end: t(end), value })
    }
    script(|| {
        StreamTest::new(|_, p: Words| Ok(p.session_window(s(2))))
            .add_data(counts("a=1 a=2 b=3"))
            .check_batch([])
            .check_batch([])
            .add_data(counts("a=4"))
            .check_batch([])
            // b was last seen at 1 s: at 4 s that is more than 2 s ago.
            .check_batch([session("b", 1, 1, vec![3])])
            .add_data(counts("b=5"))
            .check_batch([])
            // a has ended, and begins again in the same batch.
            .add_data(counts("a=6"))
            .check_batch([session("a", 1, 3, vec![1, 2, 4])])
            .check_batch([])
            .check_batch([session("b", 5, 5, vec![5])])
            .check_batch([session("a", 6, 6, vec![6])])
    })?;
    script(|| {
        StreamTest::new(|_, p: Words| Ok(p.reduce_by_key_and_session(|a, b| a * 10 + b, s(1))))
            .add_data(counts("a=1 a=2"))
            .check_batch([])
            .add_data(counts("a=3"))
            .check_batch([])
            .check_batch([])
            .check_batch([session("a", 1, 2, 123)])
    })
}

#[test]
fn what_must_be_checkpointed_says_so() {
    type Build = fn(Words) -> Result<DStream<(String, i64)>>;
    let builds: [Build; 3] = [
        |words| Ok(words.update_state_by_key(sum)),
        |words| Ok(words.map_with_state(function(count_up)).state_snapshots()),
        |words| words.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, s(2), s(1)),
    ];
    for build in builds {
        let error = StreamTest::new(move |_, words| build(words)).check_batch([]).run().unwrap_err();
        says(&error, &["The checkpoint directory has not been set. Please set it by StreamingContext.checkpoint()."]);
    }
}

#[test]
fn a_failed_step_is_done_again_with_the_next_batch() -> Result<()> {
    // The function panics the first two times that it sees a 2: no value is lost, and none counted twice.
    use std::sync::atomic::AtomicU32;
    static SEEN: AtomicU32 = AtomicU32::new(0);
    let folder = tempfile::tempdir().unwrap();
    let sums = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let (rows, input) = (std::sync::Arc::clone(&sums), parking_lot::Mutex::new(None));
    let conf = test_conf().set(FOLDER, folder.path().display());
    let context = TestContext::start(conf, s(1), false, |ssc| {
        let (memory, numbers) = ssc.memory_stream::<i64>()?;
        *input.lock() = Some(memory);
        let sum = |values: Vec<i64>, state: Option<i64>| {
            assert!(!values.contains(&2) || SEEN.fetch_add(1, Ordering::SeqCst) >= 2, "not yet");
            sum(values, state)
        };
        let rows = std::sync::Arc::clone(&rows);
        numbers.map(|n| (n % 2, n)).update_state_by_key(sum).foreach_rdd(move |rdd| {
            rows.lock().push(rdd.collect_as_map()?.into_iter().collect::<std::collections::BTreeMap<_, _>>());
            Ok(())
        })
    })?;
    let input = input.into_inner().unwrap();
    for n in 1..=4 {
        input.add([n]);
        context.run_batch();
    }
    let error = context.stop().unwrap_err();
    says(&error, &["not yet"]);
    assert_eq!(*sums.lock(), [[(1, 1)].into(), [(0, 6), (1, 4)].into()]);
    Ok(())
}

#[test]
fn jobs_wait_for_the_state_of_their_batch_whichever_thread_they_are_on() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let batches = (1..=20).map(|n: i64| (vec![("a".to_string(), n)], vec![("a".to_string(), n * (n + 1) / 2)]));
    StreamTest::new(|_, words: Words| Ok(words.update_state_by_key(sum)))
        .conf(FOLDER, folder.path().display())
        .conf("spark.streaming.concurrentJobs", 3)
        .batches(batches)
        .run()
}

/// The idiom of all "top words" programs: what `transform` runs on a state sees the state after the batch.
#[test]
fn jobs_within_transform_see_the_state_of_their_batch() -> Result<()> {
    let top = |words: Words| {
        let sums = words.update_state_by_key(sum);
        let largest = |rdd: tidemill_dstream::rdd::Rdd<(String, i64)>| {
            let most = rdd.collect().unwrap().into_iter().map(|(_, n)| n).max().unwrap_or(0);
            rdd.filter(move |(_, n)| *n == most)
        };
        sums.transform(largest).transform(|rdd| if rdd.is_empty().unwrap() { rdd } else { rdd.map_values(|n| n * 10) })
    };
    script(|| {
        StreamTest::new(move |_, words: Words| Ok(top(words))).stay().batches([
            (pairs("a b a", 1), counts("a=20")),
            (pairs("b b", 1), counts("b=30")),
            (pairs("a", 1), counts("a=30 b=30")),
            (vec![], counts("a=30 b=30")),
        ])
    })
}

/// A step that fails while a batch is planned is owed to the next one, like any other.
#[test]
fn a_step_that_fails_within_transform_is_owed() -> Result<()> {
    let (folder, counted) = (tempfile::tempdir().unwrap(), std::sync::Arc::new(parking_lot::Mutex::new(Vec::new())));
    let (input, rows) = (parking_lot::Mutex::new(None), std::sync::Arc::clone(&counted));
    let failures = std::sync::Arc::new(AtomicUsize::new(0));
    let context = TestContext::start(test_conf().set(FOLDER, folder.path().display()), s(1), false, |ssc| {
        let (memory, numbers) = ssc.memory_stream::<i64>()?;
        *input.lock() = Some(memory);
        let failures = std::sync::Arc::clone(&failures);
        let sum = move |values: Vec<i64>, state: Option<i64>| {
            assert!(!values.contains(&2) || failures.fetch_add(1, Ordering::SeqCst) >= 1, "not yet");
            sum(values, state)
        };
        let rows = std::sync::Arc::clone(&rows);
        let sums = numbers.map(|n| (n % 2, n)).update_state_by_key(sum);
        sums.transform(|rdd| rdd.context().parallelize([rdd.count().unwrap()])).foreach_rdd(move |rdd| {
            rows.lock().push(rdd.collect()?);
            Ok(())
        })
    })?;
    let input = input.into_inner().unwrap();
    for n in 1..=3 {
        input.add([n]);
        context.run_batch();
    }
    says(&context.stop().unwrap_err(), &["not yet"]);
    assert_eq!(*counted.lock(), [vec![1], vec![2]]);
    Ok(())
}

/// The planning of the next batch waits for this one, and the stop waits for that: neither waits for ever.
#[test]
fn a_job_may_stop_a_stream_whose_next_batch_waits_to_be_planned() -> Result<()> {
    for graceful in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let context = TestContext::start(test_conf().set(FOLDER, folder.path().display()), s(1), false, |ssc| {
            let (memory, numbers) = ssc.memory_stream::<i64>()?;
            memory.add([1]);
            let sums = numbers.map(|n| (n, n)).update_state_by_key(sum).transform(|rdd| rdd);
            let own = ssc.clone();
            sums.foreach_rdd(move |_| own.stop_with(false, graceful))
        })?;
        // Two batches are due: the second one is planned when the first one stops the stream.
        context.clock().advance_to(t(2));
        context.ssc.await_termination()?;
    }
    Ok(())
}

#[test]
fn streams_one_after_the_other_on_one_spark_context_have_states_of_their_own() -> Result<()> {
    let sc = tidemill_dstream::context::SparkContext::from_conf(test_conf())?;
    for round in 1..=3 {
        let folder = tempfile::tempdir().unwrap();
        let ssc = tidemill_dstream::streaming_context::StreamingContext::new(&sc, Duration::from_millis(10))?;
        ssc.checkpoint(folder.path())?;
        let (memory, numbers) = ssc.memory_stream::<i64>()?;
        memory.add([round]);
        let (sender, seen) = std::sync::mpsc::channel();
        let sender = parking_lot::Mutex::new(sender);
        numbers.map(|n| (n, n)).update_state_by_key(sum).foreach_rdd(move |rdd| {
            let _ = sender.lock().send(rdd.collect()?);
            Ok(())
        })?;
        ssc.start()?;
        assert_eq!(seen.recv().unwrap(), [(round, round)]);
        ssc.stop_with(false, false)?;
    }
    Ok(())
}

/// A queue, like a socket, forgets a batch that has gone by: its rows must live on in the step that is owed.
#[test]
fn what_is_owed_holds_rows_that_their_source_has_forgotten() -> Result<()> {
    let (folder, seen) = (tempfile::tempdir().unwrap(), std::sync::Arc::new(parking_lot::Mutex::new(Vec::new())));
    let failures = std::sync::Arc::new(AtomicUsize::new(0));
    let rows = std::sync::Arc::clone(&seen);
    let context = TestContext::start(test_conf().set(FOLDER, folder.path().display()), s(1), false, move |ssc| {
        let numbers = (1..=5).map(|n| ssc.spark_context().parallelize_in([n], 1));
        let numbers = ssc.queue_stream(&tidemill_dstream::input::RddQueue::new(numbers), true)?;
        let failures = std::sync::Arc::clone(&failures);
        let sum = move |values: Vec<i64>, state: Option<i64>| {
            assert!(!values.contains(&2) || failures.fetch_add(1, Ordering::SeqCst) >= 2, "not yet");
            sum(values, state)
        };
        let rows = std::sync::Arc::clone(&rows);
        let sums = numbers.map(|n: i64| ((), n)).update_state_by_key(sum);
        sums.transform(|rdd| if rdd.is_empty().unwrap_or(true) { rdd } else { rdd.map_values(|n| -n) }).foreach_rdd(
            move |rdd| {
                rows.lock().push(rdd.collect()?);
                Ok(())
            },
        )
    })?;
    for _ in 0..5 {
        context.run_batch();
    }
    says(&context.stop().unwrap_err(), &["not yet"]);
    assert_eq!(*seen.lock(), [vec![((), -1)], vec![((), -10)], vec![((), -15)]]);
    Ok(())
}
