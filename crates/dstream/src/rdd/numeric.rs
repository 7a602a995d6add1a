//! RDDs of numbers: sums, moments and histograms.

use std::ops::Add;

use serde::{Deserialize, Serialize};
use tidemill_engine::chunk::Data;
use tidemill_engine::error::{Error, Result};

use super::Rdd;

/// Count, mean, variance, smallest and largest of a set of numbers.
///
/// Means and sums of squared differences are updated one by one and merged in parts: Welford 1962; Chan, Golub and LeVeque 1979.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StatCounter {
    count: u64,
    mean: f64,
    squares: f64,
    max: f64,
    min: f64,
}

impl Default for StatCounter {
    fn default() -> Self {
        Self { count: 0, mean: 0.0, squares: 0.0, max: f64::NEG_INFINITY, min: f64::INFINITY }
    }
}

impl StatCounter {
    /// Adds a number.
    pub fn merge(mut self, value: f64) -> Self {
        let delta = value - self.mean;
        self.count += 1;
        self.mean += delta / self.count as f64;
        self.squares += delta * (value - self.mean);
        self.max = larger(self.max, value);
        self.min = smaller(self.min, value);
        self
    }

    /// Adds all that another one has counted.
    pub fn merge_stats(self, other: Self) -> Self {
        if self.count == 0 {
            return other;
        }
        if other.count == 0 {
            return self;
        }
        let (n, m) = (self.count as f64, other.count as f64);
        let delta = other.mean - self.mean;
        Self {
            count: self.count + other.count,
            mean: (self.mean * n + other.mean * m) / (n + m),
            squares: self.squares + other.squares + delta * delta * n * m / (n + m),
            max: larger(self.max, other.max),
            min: smaller(self.min, other.min),
        }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.count
    }
    /// The mean; 0 of none.
    pub fn mean(&self) -> f64 {
        self.mean
    }
    /// The sum.
    pub fn sum(&self) -> f64 {
        self.mean * self.count as f64
    }
    /// The largest; negative infinity of none.
    pub fn max(&self) -> f64 {
        self.max
    }
    /// The smallest; infinity of none.
    pub fn min(&self) -> f64 {
        self.min
    }
    /// The population variance; not a number of none.
    pub fn variance(&self) -> f64 {
        if self.count == 0 { f64::NAN } else { self.squares / self.count as f64 }
    }
    /// The sample variance; not a number of fewer than two.
    pub fn sample_variance(&self) -> f64 {
        if self.count <= 1 { f64::NAN } else { self.squares / (self.count - 1) as f64 }
    }
    /// The population standard deviation.
    pub fn stdev(&self) -> f64 {
        self.variance().sqrt()
    }
    /// The sample standard deviation.
    pub fn sample_stdev(&self) -> f64 {
        self.sample_variance().sqrt()
    }
}

/// The larger of two, not a number if either is none, as in Java.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// The smaller of two, not a number if either is none.
fn smaller(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

/// Bucket borders, one more than there are buckets, and how many numbers lie in each. A bucket holds its lower border
/// and not its upper one, the last bucket holds both.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Borders, ascending.
    pub borders: Vec<f64>,
    /// Numbers per bucket.
    pub counts: Vec<u64>,
}

impl<T: Data + Default + Add<Output = T>> Rdd<T> {
    /// The sum; the default value, which is 0, of none.
    #[track_caller]
    pub fn sum(&self) -> Result<T> {
        self.fold(T::default(), |a, b| a + b)
    }
}

impl Rdd<f64> {
    /// All moments in one pass.
    #[track_caller]
    pub fn stats(&self) -> Result<StatCounter> {
        self.aggregate(StatCounter::default(), StatCounter::merge, StatCounter::merge_stats)
    }

    /// The mean.
    #[track_caller]
    pub fn mean(&self) -> Result<f64> {
        Ok(self.stats()?.mean())
    }

    /// The population variance.
    #[track_caller]
    pub fn variance(&self) -> Result<f64> {
        Ok(self.stats()?.variance())
    }

    /// The population standard deviation.
    #[track_caller]
    pub fn stdev(&self) -> Result<f64> {
        Ok(self.stats()?.stdev())
    }

    /// The sample variance.
    #[track_caller]
    pub fn sample_variance(&self) -> Result<f64> {
        Ok(self.stats()?.sample_variance())
    }

    /// The sample standard deviation.
    #[track_caller]
    pub fn sample_stdev(&self) -> Result<f64> {
        Ok(self.stats()?.sample_stdev())
    }

    /// A histogram of `buckets` buckets of equal width between the smallest and the largest number.
    #[track_caller]
    pub fn histogram(&self, buckets: usize) -> Result<Histogram> {
        if buckets == 0 {
            return Err(Error::usage("number of buckets must be >= 1"));
        }
        let stats = self.stats()?;
        let (min, max) = (stats.min(), stats.max());
        if stats.count() == 0 || !min.is_finite() || !max.is_finite() {
            return Err(Error::usage("Histogram on either an empty RDD or RDD containing +/-infinity or NaN"));
        }
        if min == max || buckets == 1 {
            return Ok(Histogram { borders: vec![min, max], counts: vec![stats.count()] });
        }
        let width = max - min;
        let mut borders: Vec<f64> = (0..buckets).map(|n| min + n as f64 * width / buckets as f64).collect();
        borders.push(max);
        self.histogram_of(borders)
    }

    /// A histogram with these borders; numbers outside them are not counted.
    #[track_caller]
    pub fn histogram_of(&self, borders: Vec<f64>) -> Result<Histogram> {
        if borders.len() < 2 {
            return Err(Error::usage("buckets should have more than one value"));
        }
        if borders.windows(2).any(|pair| pair[0] >= pair[1] || pair[0].is_nan() || pair[1].is_nan()) {
            return Err(Error::usage("buckets should be sorted and without duplicates"));
        }
        let (edges, last) = (borders.clone(), borders.len() - 2);
        let counts = self.aggregate(
            vec![0u64; last + 1],
            move |mut counts, value| {
                let after = edges.partition_point(|edge| *edge <= value);
                if value == edges[last + 1] {
                    counts[last] += 1;
                } else if after > 0 && after <= last + 1 && !value.is_nan() {
                    counts[after - 1] += 1;
                }
                counts
            },
            |a, b| a.iter().zip(&b).map(|(a, b)| a + b).collect(),
        )?;
        Ok(Histogram { borders, counts })
    }
}
