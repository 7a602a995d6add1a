//! Metrics, as who operates a program sees them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// All that is counted in this process, by name and labels.
static COUNTED: LazyLock<Mutex<BTreeMap<String, Arc<AtomicU64>>>> = LazyLock::new(|| {
    assert!(metrics::set_global_recorder(Counting).is_ok(), "nobody else records");
    Mutex::default()
});

struct Counting;

fn name<'a>(name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut labels: Vec<_> = labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.sort();
    format!("{name}{{{}}}", labels.join(","))
}

fn cell(of: String) -> Arc<AtomicU64> {
    Arc::clone(COUNTED.lock().unwrap().entry(of).or_default())
}

fn cell_of(key: &Key) -> Arc<AtomicU64> {
    cell(name(key.name(), key.labels().map(|label| (label.key(), label.value()))))
}

impl Recorder for Counting {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(cell_of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(cell_of(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Begins to count. What is counted before that is not seen.
pub fn count() {
    LazyLock::force(&COUNTED);
}

/// The value of a counter with just these labels; 0 of none.
pub fn counter(of: &str, labels: &[(&str, &str)]) -> u64 {
    cell(name(of, labels.iter().copied())).load(Ordering::SeqCst)
}

/// The value of a gauge with just these labels; 0 of none.
pub fn gauge(of: &str, labels: &[(&str, &str)]) -> f64 {
    f64::from_bits(counter(of, labels))
}
