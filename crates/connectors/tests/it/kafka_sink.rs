//! Batches into topics: what rows become, and which batches are there.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, Int32Array, ListArray, MapBuilder, RecordBatch, StringArray, StringBuilder,
    StructArray, TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use tidemill_connectors::kafka::{KafkaConfig, KafkaSink, KafkaSinkOptions};
use tidemill_engine::batch::{BatchId, BatchStamp};
use tidemill_engine::error::{Error, ErrorKind, Result};
use tidemill_engine::sink::{Receipt, Sink};
use tidemill_engine::time::Time;
use tidemill_servers::is_skipped;
use tidemill_servers::kafka::{KafkaOptions, KafkaServer};
use tidemill_servers::kafka_client::Record;

fn stamp(id: u64) -> BatchStamp {
    BatchStamp { id: BatchId(id), time: Time::from_millis(1000 * (id as i64 + 1)) }
}

fn rows(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let nullable = columns.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(nullable).unwrap()
}

fn values(values: &[&str]) -> RecordBatch {
    rows(vec![("value", Arc::new(StringArray::from(values.to_vec())))])
}

/// Writes a batch, a partition for each list of rows.
fn write(sink: &KafkaSink, batch: BatchStamp, partitions: Vec<Vec<RecordBatch>>) -> Result<()> {
    let write = |(n, rows): (usize, Vec<RecordBatch>)| sink.write(batch, n, rows);
    let receipts = partitions.into_iter().enumerate().map(write).collect::<Result<Vec<Receipt>>>()?;
    sink.commit(batch, receipts)
}

fn connect(server: &KafkaServer, topic: &str, options: KafkaSinkOptions) -> Result<KafkaSink> {
    KafkaSink::connect(KafkaConfig::new(server.brokers()), topic, options)
}

fn texts(records: &[Record]) -> Vec<&str> {
    let mut texts: Vec<&str> = records.iter().filter_map(|record| record.value.as_deref()).collect();
    texts.sort_unstable();
    texts
}

fn says(error: &Error, kind: ErrorKind, parts: &[&str]) {
    let text = format!("{error} {error:?}");
    parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in: {text}"));
    assert!(!text.contains("hunter2"), "a password is in: {text}");
    assert_eq!(error.kind(), kind, "{text}");
}

/// Java's partition of a key, of as many: murmur2 by Austin Appleby, as `org.apache.kafka.common.utils.Utils` has it.
fn java_partition(key: &[u8], partitions: u32) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c ^ key.len() as u32;
    let mut chunks = key.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (n, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * n);
        }
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^= h >> 15;
    ((h & 0x7fff_ffff) % partitions) as i32
}

#[test]
fn the_test_knows_javas_hash() {
    // Values of `Utils.murmur2` in Kafka's own UtilsTest.
    for (key, hash) in [("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)] {
        assert_eq!(java_partition(key.as_bytes(), 1 << 20), (hash & 0x7fff_ffff) % (1 << 20), "{key}");
    }
}

#[test]
fn columns_become_parts_of_records() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    let client = server.client();
    client.create_topic("columns", 3, &[])?;
    client.create_topic("columns-beside", 2, &[])?;
    let header = |key: &str, value: Option<&str>| (key.to_string(), value.map(String::from));
    let lists = {
        let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "a", "b"]));
        let values: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&b"1"[..]), Some(b""), None]));
        let entries = StructArray::from(vec![
            (Arc::new(Field::new("key", DataType::Utf8, false)), keys),
            (Arc::new(Field::new("value", DataType::Binary, true)), values),
        ]);
        let item = Arc::new(Field::new("item", entries.data_type().clone(), false));
        let offsets = OffsetBuffer::from_lengths([2, 0, 0, 1]);
        ListArray::new(item, offsets, Arc::new(entries), Some(vec![true, false, true, true].into()))
    };
    let batch = rows(vec![
        ("value", Arc::new(StringArray::from(vec![Some("all"), None, Some(""), Some("there")]))),
        ("key", Arc::new(BinaryArray::from(vec![Some(&b"k"[..]), Some(b"gone"), None, Some(b"k")]))),
        ("topic", Arc::new(StringArray::from(vec![None, None, None, Some("columns-beside")]))),
        ("partition", Arc::new(Int32Array::from(vec![Some(2), Some(0), Some(1), Some(1)]))),
        ("timestamp", Arc::new(TimestampMillisecondArray::from(vec![Some(1_700_000_000_123), Some(5), None, Some(7)]))),
        ("headers", Arc::new(lists)),
    ]);
    for (n, options) in [KafkaSinkOptions::exactly_once(), KafkaSinkOptions::at_least_once()].into_iter().enumerate() {
        let sink = connect(&server, "columns", options)?;
        assert_eq!(sink.is_idempotent(), n == 0);
        write(&sink, stamp(0), vec![vec![batch.clone()]])?;
        let record =
            |record: &Record| (record.partition, record.key.clone(), record.value.clone(), record.headers.clone());
        let mut here: Vec<_> = client.read_committed("columns")?.iter().map(record).collect();
        here.dedup();
        let text = |text: &str| Some(text.to_string());
        let both = vec![header("a", Some("1")), header("a", Some(""))];
        let expected =
            [(0, text("gone"), None, vec![]), (1, None, text(""), vec![]), (2, text("k"), text("all"), both)];
        assert_eq!(here, expected, "{n}");
        let beside = client.read_committed("columns-beside")?;
        assert_eq!(beside.len(), n + 1);
        assert_eq!(record(&beside[n]), (1, text("k"), text("there"), vec![header("b", None)]));
        assert_eq!(beside[n].timestamp_ms, 7);
        let at = |partition| {
            client.read_committed("columns").map(move |all| {
                all.iter().filter(|r| r.partition == partition).map(|r| r.timestamp_ms).collect::<Vec<_>>()
            })
        };
        assert_eq!((at(2)?[n], at(0)?[n]), (1_700_000_000_123, 5));
        assert!(at(1)?[n] > 1_700_000_000_123, "the time of sending");
    }
    Ok(())
}

#[test]
fn headers_come_as_a_map_too() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("map", 1, &[])?;
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("a");
    map.values().append_value("1");
    map.append(true).unwrap();
    map.append(false).unwrap();
    let value: ArrayRef = Arc::new(StringArray::from(vec!["x", "y"]));
    let batch = rows(vec![("headers", Arc::new(map.finish())), ("value", value)]);
    write(&connect(&server, "map", KafkaSinkOptions::default())?, stamp(0), vec![vec![batch]])?;
    let headers: Vec<_> = server.client().read_committed("map")?.into_iter().map(|record| record.headers).collect();
    assert_eq!(headers, [vec![("a".to_string(), Some("1".to_string()))], vec![]]);
    Ok(())
}

#[test]
fn keys_lie_where_javas_clients_put_them() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("keys", 7, &[])?;
    let keys: Vec<String> = (0..200).map(|n| "key-of-some-length"[..n % 19].to_string() + &n.to_string()).collect();
    let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    keys.push("");
    let column: ArrayRef = Arc::new(StringArray::from(keys.clone()));
    let batch = rows(vec![("key", Arc::clone(&column)), ("value", column)]);
    write(&connect(&server, "keys", KafkaSinkOptions::default())?, stamp(0), vec![vec![batch]])?;
    let records = server.client().read_committed("keys")?;
    assert_eq!(records.len(), keys.len());
    for record in records {
        let key = record.key.unwrap();
        assert_eq!(record.partition, java_partition(key.as_bytes(), 7), "{key:?}");
    }
    Ok(())
}

#[test]
fn a_batch_is_there_once_however_often_it_runs_and_whenever_it_comes() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("once", 2, &[])?;
    let connect = || connect(&server, "once", KafkaSinkOptions::exactly_once());
    let batch = |id: u64| {
        let [a, b, c] = ["a", "b", "c"].map(|text| values(&[&format!("{id}{text}")]));
        vec![vec![a, b], vec![], vec![c]]
    };
    let sink = connect()?;
    for id in [0, 0, 4, 1, 1, 4] {
        write(&sink, stamp(id), batch(id))?;
    }
    let sink = connect()?;
    for id in [4, 1, 2, 0, 2] {
        write(&sink, stamp(id), batch(id))?;
        // Without rows there is nothing to remember.
        write(&sink, stamp(id + 10), vec![vec![], vec![]])?;
    }
    let sink = connect()?;
    for id in 0..7 {
        write(&sink, stamp(id), batch(id))?;
    }
    let records = server.client().read_committed("once")?;
    let expected: Vec<String> = (0..7).flat_map(|id| ["a", "b", "c"].map(|text| format!("{id}{text}"))).collect();
    assert_eq!(texts(&records), expected);
    Ok(())
}

#[test]
fn a_task_that_ran_twice_counts_once_and_its_order_stays() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("tasks", 1, &[])?;
    let sink = connect(&server, "tasks", KafkaSinkOptions::exactly_once())?;
    let many: Vec<String> = (0..3000).map(|n| format!("{n:04}")).collect();
    let parts: Vec<RecordBatch> =
        many.chunks(1000).map(|part| values(&part.iter().map(String::as_str).collect::<Vec<_>>())).collect();
    let write = |n: usize| sink.write(stamp(0), n, vec![parts[n].clone()]);
    let receipts = vec![
        {
            write(0)?;
            write(0)?
        },
        write(1)?,
        Receipt::default(),
        write(2)?,
    ];
    sink.commit(stamp(0), receipts.clone())?;
    let got: Vec<_> = server.client().read_committed("tasks")?.into_iter().filter_map(|record| record.value).collect();
    assert_eq!(got, many);
    says(&sink.commit(stamp(1), receipts).unwrap_err(), ErrorKind::Usage, &["topic tasks", "another process"]);
    Ok(())
}

#[test]
fn another_checkpoint_is_refused() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("foreign", 1, &[])?;
    let sink = connect(&server, "foreign", KafkaSinkOptions::exactly_once())?;
    [3, 5].into_iter().try_for_each(|id| write(&sink, stamp(id), vec![vec![values(&["x"])]]))?;
    let later = |id, ms| BatchStamp { id: BatchId(id), time: Time::from_millis(ms) };
    for batch in [later(0, 20_000), later(4, 6000), later(5, 6001), later(6, 6000)] {
        for sink in [&sink, &connect(&server, "foreign", KafkaSinkOptions::exactly_once())?] {
            let error = write(sink, batch, vec![vec![values(&["y"])]]);
            says(&error.unwrap_err(), ErrorKind::Usage, &["does not belong to the batches in topic foreign"]);
        }
    }
    assert_eq!(texts(&server.client().read_committed("foreign")?), ["x", "x"]);
    Ok(())
}

#[test]
fn a_second_sink_with_the_name_shuts_the_first_one_out() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("name", 1, &[])?;
    let named = |name: &str| connect(&server, "name", KafkaSinkOptions::exactly_once().sink_name(name));
    let (first, beside) = (named("one")?, named("another")?);
    write(&first, stamp(0), vec![vec![values(&["first 0"])]])?;
    let second = named("one")?;
    let error = write(&first, stamp(1), vec![vec![values(&["first 1"])]]).unwrap_err();
    says(&error, ErrorKind::Usage, &["topic name", "sink one", "was shut out", "sink_name"]);
    write(&second, stamp(1), vec![vec![values(&["second 1"])]])?;
    write(&beside, stamp(0), vec![vec![values(&["beside 0"])]])?;
    assert_eq!(texts(&server.client().read_committed("name")?), ["beside 0", "first 0", "second 1"]);
    Ok(())
}

#[test]
fn a_row_over_a_limit_is_named_and_nothing_of_its_batch_is_there() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("limits", 1, &[("max.message.bytes", "20000")])?;
    for (n, options) in [KafkaSinkOptions::exactly_once(), KafkaSinkOptions::at_least_once()].into_iter().enumerate() {
        let sink = connect(&server, "limits", options)?;
        for (size, limit) in [(1_500_000, "1000000"), (30_000, "max.message.bytes of the topic")] {
            let batch = vec![vec![values(&["small"])], vec![values(&[&"x".repeat(size)])]];
            let error = write(&sink, stamp(n as u64), batch).unwrap_err();
            says(&error, ErrorKind::Data, &["topic limits", limit, "message.max.bytes"]);
            assert!(error.to_string().contains(&size.to_string()), "{error}");
        }
        if n == 0 {
            assert!(texts(&server.client().read_committed("limits")?).is_empty());
        }
        write(&sink, stamp(n as u64), vec![vec![values(&["fits"])]])?;
    }
    assert!(texts(&server.client().read_committed("limits")?).contains(&"fits"));
    Ok(())
}

#[test]
fn topics_and_partitions_that_are_not_there_are_named() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::shared()?;
    server.client().create_topic("there", 2, &[])?;
    for options in [KafkaSinkOptions::exactly_once(), KafkaSinkOptions::at_least_once()] {
        let error = connect(&server, "not-there", options.clone()).err().unwrap();
        says(&error, ErrorKind::Usage, &["there is no topic not-there at 127.0.0.1", "create it"]);
        let sink = connect(&server, "there", options)?;
        let topic: ArrayRef = Arc::new(StringArray::from(vec!["nor-this"]));
        let batch = rows(vec![("value", Arc::clone(&topic)), ("topic", topic)]);
        says(
            &write(&sink, stamp(0), vec![vec![batch]]).unwrap_err(),
            ErrorKind::Usage,
            &["there is no topic nor-this"],
        );
        let value: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let batch = rows(vec![("value", value), ("partition", Arc::new(Int32Array::from(vec![2])))]);
        says(
            &write(&sink, stamp(0), vec![vec![batch]]).unwrap_err(),
            ErrorKind::Data,
            &["topic there has no partition 2"],
        );
    }
    assert!(texts(&server.client().read_committed("there")?).is_empty());
    Ok(())
}

#[test]
fn wrong_credentials_and_settings_are_said_without_secrets() -> Result<()> {
    if is_skipped("kafka") {
        return Ok(());
    }
    let server = KafkaServer::start(KafkaOptions::default().login("me", "right"))?;
    server.client().create_topic("closed", 1, &[])?;
    let login = |password: &str| {
        KafkaConfig::new(server.brokers())
            .set("security.protocol", "sasl_plaintext")
            .set("sasl.mechanism", "PLAIN")
            .set("sasl.username", "me")
            .set("sasl.password", password)
    };
    for options in [KafkaSinkOptions::exactly_once(), KafkaSinkOptions::at_least_once()] {
        let error = KafkaSink::connect(login("hunter2"), "closed", options.clone()).err().unwrap();
        says(&error, ErrorKind::Usage, &["topic closed", "do not let us in"]);
        let wrong = login("hunter2").set("linger.ms", "hunter2");
        let error = KafkaSink::connect(wrong, "closed", options.clone()).err().unwrap();
        says(&error, ErrorKind::Usage, &["topic closed", "linger.ms"]);
        let sink = KafkaSink::connect(login("right"), "closed", options)?;
        write(&sink, stamp(0), vec![vec![values(&["x"])]])?;
    }
    assert_eq!(texts(&server.client().read_committed("closed")?), ["x", "x"]);
    let long = KafkaSinkOptions::exactly_once().transaction_timeout(std::time::Duration::from_secs(3600));
    let error = KafkaSink::connect(login("right"), "closed", long).err().unwrap();
    says(&error, ErrorKind::Usage, &["transaction_timeout"]);
    Ok(())
}
