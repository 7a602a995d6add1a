//! Samples and splits, the same for the same seed.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::HashMap;
use tidemill_engine::chunk::Data;
use tidemill_engine::error::{Error, Result};

use super::Rdd;
use crate::dataset::failed;
use crate::op::narrow::map_partitions;
use crate::op::partition::Key;

fn generator(seed: u64, partition: usize) -> SmallRng {
    SmallRng::seed_from_u64(seed ^ (partition as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A Poisson variate: Knuth's method, for the small means of sampling with replacement; large ones in parts.
fn poisson(mut mean: f64, random: &mut SmallRng) -> usize {
    let mut total = 0;
    while mean > 0.0 {
        // e^-500 is still a normal double.
        let part = mean.min(500.0);
        let limit = (-part).exp();
        let mut product: f64 = random.random();
        while product > limit {
            product *= random.random::<f64>();
            total += 1;
        }
        mean -= part;
    }
    total
}

impl<T: Data> Rdd<T> {
    /// A sample: each row with probability `fraction`, or with replacement `fraction` times on average.
    #[track_caller]
    pub fn sample(&self, with_replacement: bool, fraction: f64, seed: u64) -> Rdd<T> {
        if let Err(error) = check_fraction(with_replacement, fraction) {
            return Rdd::from_dataset(self.context(), failed(self.context(), error));
        }
        let pick = move |partition, rows: std::vec::IntoIter<T>| {
            let mut random = generator(seed, partition);
            rows.flat_map(move |row| {
                let times = times(with_replacement, fraction, &mut random);
                std::iter::repeat_n(row, times)
            })
        };
        self.then(&map_partitions(self.context(), "sample", pick)).placed_as(self)
    }

    /// Splits by weight: each row goes to exactly one of the RDDs.
    #[track_caller]
    pub fn random_split(&self, weights: &[f64], seed: u64) -> Result<Vec<Rdd<T>>> {
        let sum: f64 = weights.iter().sum();
        if sum == 0.0 || weights.iter().any(|weight| *weight < 0.0) || !sum.is_finite() {
            return Err(Error::usage("weights must be at least 0, and their sum greater than 0"));
        }
        let mut low = 0.0;
        let mut splits = Vec::new();
        for weight in weights {
            let (from, to) = (low / sum, (low + weight) / sum);
            low += weight;
            let pick = move |partition, rows: std::vec::IntoIter<T>| {
                let mut random = generator(seed, partition);
                rows.filter(move |_| {
                    let at = random.random::<f64>();
                    from <= at && at < to
                })
            };
            splits.push(self.then(&map_partitions(self.context(), "random_split", pick)).placed_as(self));
        }
        Ok(splits)
    }

    /// Exactly `n` rows, or all if there are fewer (without replacement), in random order.
    ///
    /// The driver gets no more than `n` rows of each partition. With replacement the rows are computed twice: to be
    /// counted, and to be picked.
    #[track_caller]
    pub fn take_sample(&self, with_replacement: bool, n: usize, seed: u64) -> Result<Vec<T>> {
        if n == 0 {
            return Ok(Vec::new());
        }
        if !with_replacement {
            // The n smallest of independent random numbers belong to a uniform sample, and their order is random.
            let numbered = self.map_partitions_with_index(move |partition, rows| {
                let mut random = generator(seed, partition);
                rows.map(move |row| (random.random::<u64>(), row))
            });
            return Ok(numbered.take_ordered_by(n, |(number, _)| *number)?.into_iter().map(|(_, row)| row).collect());
        }
        let total = self.count()?;
        let mut random = generator(seed, self.num_partitions());
        let mut picks: Vec<(u64, usize)> =
            (0..if total == 0 { 0 } else { n }).map(|place| (random.random_range(0..total), place)).collect();
        picks.sort_unstable();
        let picked = self.zip_with_index().map_partitions(move |rows| {
            let mut found = Vec::new();
            for (row, index) in rows {
                let first = picks.partition_point(|(pick, _)| *pick < index);
                let places = picks[first..].iter().take_while(|(pick, _)| *pick == index);
                found.extend(places.map(|(_, place)| (*place, row.clone())));
            }
            found
        });
        let mut rows = picked.collect()?;
        rows.sort_by_key(|(place, _)| *place);
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }
}

/// How often a row is taken.
fn times(with_replacement: bool, fraction: f64, random: &mut SmallRng) -> usize {
    if with_replacement { poisson(fraction, random) } else { usize::from(random.random::<f64>() < fraction) }
}

fn check_fraction(with_replacement: bool, fraction: f64) -> Result<()> {
    if fraction >= 0.0 && fraction.is_finite() && (with_replacement || fraction <= 1.0) {
        return Ok(());
    }
    Err(Error::usage(format!("fraction {fraction} must be at least 0, and at most 1 without replacement")))
}

impl<K: Key, V: Data> Rdd<(K, V)> {
    /// A sample of the pairs, with a fraction for each key; keys without one are left out.
    #[track_caller]
    pub fn sample_by_key(&self, with_replacement: bool, fractions: HashMap<K, f64>, seed: u64) -> Rdd<(K, V)> {
        if let Some(error) = fractions.values().find_map(|f| check_fraction(with_replacement, *f).err()) {
            return Rdd::from_dataset(self.context(), failed(self.context(), error));
        }
        let pick = move |partition, rows: std::vec::IntoIter<(K, V)>| {
            let mut random = generator(seed, partition);
            let picked = rows.flat_map(|row| {
                let fraction = fractions.get(&row.0).copied().unwrap_or(0.0);
                let times = times(with_replacement, fraction, &mut random);
                std::iter::repeat_n(row, times)
            });
            picked.collect::<Vec<_>>()
        };
        self.then(&map_partitions(self.context(), "sample_by_key", pick)).placed_as(self)
    }
}
