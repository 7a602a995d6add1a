//! What the tables of these tests share.

use std::fmt::Debug;
use std::sync::Arc;

use tidemill_dstream::conf::SparkConf;
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::rdd::Rdd;
use tidemill_engine::chunk::Data;
use tidemill_engine::error::Error;
use tidemill_engine::runner::travel::TravelingJobRunner;

/// The settings of every test that asks for no others.
pub fn conf() -> SparkConf {
    SparkConf::new().set_master("local[2]").set_app_name("test")
}

/// A context of a test's own.
pub fn context() -> SparkContext {
    SparkContext::from_conf(conf()).unwrap()
}

/// The rows of the RDD that `build` makes.
///
/// They are computed twice: as they are, and by plans that went through bytes and met the functions of another context, on
/// which the same graph was built. Both must give the same rows in the same order.
pub fn collect<T: Data + PartialEq + Debug>(name: &str, build: impl Fn(&SparkContext) -> Rdd<T>) -> Vec<T> {
    let (here, there) = (context(), SparkContext::shadow(conf()).unwrap());
    let (rdd, _same_graph) = (build(&here), build(&there));
    let plain = rdd.collect().unwrap_or_else(|error| panic!("{name}: {error}"));
    let (functions, other) = (Arc::clone(here.functions()), Arc::clone(there.functions()));
    assert_eq!(functions.fingerprint(), other.fingerprint(), "{name}: another graph");
    let runner = Arc::new(TravelingJobRunner::new(here.runner().unwrap(), functions, other));
    here.set_runner(Arc::clone(&runner) as _);
    let traveled = rdd.collect().unwrap_or_else(|error| panic!("{name} on its way: {error}"));
    assert_eq!(plain, traveled, "{name}: the rows changed on their way");
    let count = rdd.count().unwrap_or_else(|error| panic!("{name}, counted on its way: {error}"));
    assert_eq!(count as usize, plain.len(), "{name}: count");
    let head = rdd.take(3).unwrap_or_else(|error| panic!("{name}, its head on its way: {error}"));
    assert_eq!(head, plain[..plain.len().min(3)], "{name}: take");
    let (went, stayed) = runner.counts();
    assert!(stayed == 0 && (went >= 3 || rdd.num_partitions() == 0), "{name}: {went} plans went, {stayed} stayed");
    plain
}

/// Checks the rows that `build` makes, in order.
pub fn check<T: Data + PartialEq + Debug>(
    name: &str,
    expected: impl IntoIterator<Item = T>,
    build: impl Fn(&SparkContext) -> Rdd<T>,
) {
    assert_eq!(collect(name, build), expected.into_iter().collect::<Vec<T>>(), "{name}");
}

/// Checks the rows that `build` makes, in any order.
pub fn check_sorted<T: Data + Ord + Debug>(
    name: &str,
    expected: impl IntoIterator<Item = T>,
    build: impl Fn(&SparkContext) -> Rdd<T>,
) {
    let mut rows = collect(name, build);
    rows.sort();
    let mut expected: Vec<T> = expected.into_iter().collect();
    expected.sort();
    assert_eq!(rows, expected, "{name}");
}

/// The number of shuffles that a plan for `rdd` has.
pub fn shuffles<T: Data>(rdd: &Rdd<T>) -> usize {
    rdd.explain().matches("* shuffle").count()
}

/// Owned strings.
pub fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

/// Checks that an error says all of `parts`.
pub fn says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in: {text}"));
}
