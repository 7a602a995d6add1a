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
