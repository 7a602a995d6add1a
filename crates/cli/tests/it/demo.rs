//! `tidemill demo`, and what every command has in common.

use std::io::{BufRead, BufReader};

use super::process::{BOOK, Tidemill, count_words};

#[test]
fn demo_for_people() {
    let mut demo = Tidemill::start(&["demo", "--batches", "3", "--batch-ms", "100"]);
    let lines: Vec<String> = std::iter::from_fn(|| demo.line()).collect();
    assert!(demo.wait().success());
    assert_eq!(lines.len(), 6, "{lines:?}");
    for batch in lines.chunks(2) {
        assert!(batch[0].starts_with("batch ") && batch[0].contains(" lines/s), waited "), "{batch:?}");
        assert!(batch[1].contains(" words, ") && batch[1].contains(" different: "), "{batch:?}");
    }
    assert_eq!(demo.stderr(), "counting the words of a book of 9271 lines in windows of 5 batches\n");
}

#[test]
fn demo_for_scripts_counts_exactly_what_was_sent() {
    let mut demo = Tidemill::start(&["demo", "--batches", "3", "--batch-ms", "100", "--format", "json"]);
    let batches: Vec<_> = (0..3).map(|_| demo.batch()).collect();
    assert_eq!(demo.line(), None);
    assert!(demo.wait().success());
    let mut sent = 0;
    for (n, batch) in batches.iter().enumerate() {
        assert_eq!(batch.time_ms % 100, 0);
        assert_eq!(batch.time_ms, batches[0].time_ms + 100 * n as i64);
        // The window is longer than three batches: it has all lines so far.
        sent += batch.records as usize;
        assert_eq!(batch.result, count_words(BOOK.lines().cycle().take(sent)));
    }
}

#[test]
fn a_window_forgets_what_has_left_it() {
    let options = ["--batches", "6", "--batch-ms", "50", "--window", "2", "--format", "json"];
    let demo = Tidemill::start(&[&["demo", "--lines-per-second", "4000"][..], &options].concat());
    let batches: Vec<_> = (0..6).map(|_| demo.batch()).collect();
    let ends: Vec<usize> = batches
        .iter()
        .scan(0, |end, batch| {
            *end += batch.records as usize;
            Some(*end)
        })
        .collect();
    for n in 2..6 {
        let window = BOOK.lines().cycle().take(ends[n]).skip(ends[n - 2]);
        assert_eq!(batches[n].result, count_words(window), "batch {n}");
    }
}

#[test]
fn bad_arguments_are_refused_with_the_reason() {
    let cases: [(&[&str], &str); 6] = [
        (&["demo", "--batches", "0"], "0 is not in 1.."),
        (&["demo", "--batch-ms", "0"], "0 is not in 1.."),
        (&["demo", "--colour"], "unexpected argument '--colour'"),
        (&["wordcount"], "--port <PORT>"),
        (&["wordcount", "--port", "99999"], "99999 is not in 0..=65535"),
        (&["dance"], "unrecognized subcommand 'dance'"),
    ];
    for (arguments, reason) in cases {
        let mut refused = Tidemill::start(arguments);
        assert_eq!(refused.wait().code(), Some(2), "{arguments:?}");
        assert!(refused.stderr().contains(reason), "{arguments:?}: {}", refused.stderr());
        assert_eq!(refused.line(), None);
    }
}

#[test]
fn signals_end_it_well() {
    for signal in ["INT", "TERM"] {
        let mut demo = Tidemill::start(&["demo", "--batch-ms", "20"]);
        demo.line().unwrap();
        demo.signal(signal);
        let status = demo.wait();
        assert!(status.success(), "{signal}: {status}");
        assert_eq!(demo.stderr().lines().count(), 1, "{}", demo.stderr());
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let mut demo = Tidemill::start_unread(&["demo", "--batch-ms", "20", "--format", "json"]);
    let mut line = String::new();
    BufReader::new(demo.take_stdout()).read_line(&mut line).unwrap();
    assert!(line.starts_with('{'));
    let status = demo.wait();
    assert!(status.success(), "{status}");
    assert_eq!(demo.stderr().lines().count(), 1, "{}", demo.stderr());
}
