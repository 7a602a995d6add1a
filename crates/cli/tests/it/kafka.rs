//! `tidemill wordcount` of Kafka's topics.

use tidemill_servers::is_skipped;
use tidemill_servers::kafka::KafkaServer;

use super::process::{BOOK, Tidemill, count_words, tidemill};

#[test]
fn a_book_in_two_topics_is_counted_and_a_group_goes_on_where_it_was() {
    if is_skipped("kafka") {
        return;
    }
    let server = KafkaServer::shared().unwrap();
    let (client, brokers) = (server.client(), server.brokers());
    ["book-a", "book-b"].iter().for_each(|topic| client.create_topic(topic, 2, &[]).unwrap());
    let lines: Vec<&str> = BOOK.lines().collect();
    let (first, second) = lines.split_at(lines.len() / 2);
    let send = |topic: &str, lines: &[&str]| {
        client.send(topic, lines.iter().enumerate().map(|(n, line)| ((n % 2) as i32, "k", *line))).unwrap();
    };
    send("book-a", first);
    send("book-b", second);
    let arguments = |topics: &'static str| {
        ["wordcount", "--kafka-brokers", &brokers, "--topic", topics, "--from-beginning", "--group", "counters"]
            .into_iter()
            .chain(["--batch-ms", "50", "--format", "json"])
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let start = || {
        let arguments = arguments("book-a,book-b");
        Tidemill::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let running = start();
    assert_eq!(running.counts_of(lines.len() as u64), count_words(lines.iter().copied()));
    // The batch behind it is made when the first one is committed.
    while running.batch().records > 0 {}
    running.interrupt();
    client.send("book-a", [(0, "k", "fiat lux")]).unwrap();
    let running = start();
    assert_eq!(running.counts_of(1), count_words(["fiat lux"]));
    running.interrupt();
}

#[test]
fn counts_go_to_a_topic_once_through_an_interruption() {
    if is_skipped("kafka") {
        return;
    }
    let server = KafkaServer::shared().unwrap();
    let (client, brokers) = (server.client(), server.brokers());
    ["to-count", "counted"].iter().for_each(|topic| client.create_topic(topic, 2, &[]).unwrap());
    let lines: Vec<&str> = BOOK.lines().take(2000).collect();
    let (first, second) = lines.split_at(1500);
    let checkpoint = tempfile::tempdir().unwrap();
    let folder = checkpoint.path().display().to_string();
    for part in [first, second] {
        client.send("to-count", part.iter().enumerate().map(|(n, line)| ((n % 2) as i32, "k", *line))).unwrap();
        let arguments = ["wordcount", "--kafka-brokers", &brokers, "--topic", "to-count", "--from-beginning"];
        let more = ["--checkpoint", &folder, "--to-topic", "counted", "--batch-ms", "50", "--format", "json"];
        let running = Tidemill::start(&[&arguments[..], &more[..]].concat());
        running.counts_of(part.len() as u64);
        running.interrupt();
    }
    let mut counts = std::collections::BTreeMap::new();
    for record in client.read_committed("counted").unwrap() {
        *counts.entry(record.key.unwrap()).or_insert(0) += record.value.unwrap().parse::<u64>().unwrap();
    }
    assert_eq!(counts, count_words(lines.iter().copied()));
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (arguments, said) in [
        (&["wordcount", "--kafka-brokers", "b:1"][..], "--topic"),
        (&["wordcount", "--topic", "t"], "--kafka-brokers"),
        (&["wordcount", "--kafka-brokers", "b:1", "--topic", "t", "--port", "1"], "--port"),
        (&["wordcount"], "--kafka-brokers"),
    ] {
        let ended = tidemill(arguments);
        assert!(!ended.success && ended.stderr.contains(said), "{arguments:?}: {}", ended.stderr);
    }
}
