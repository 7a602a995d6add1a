//! Samples and splits, the same for the same seed.

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::collections::HashMap;
use tidemill_engine::chunk::Data;
use tidemill_engine::error::{Error, Result};

use super::Rdd;
use crate::dataset::failed;
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
        if fraction.is_nan() || fraction < 0.0 || (!with_replacement && fraction > 1.0) {
            let error =
                Error::usage(format!("fraction {fraction} must be at least 0, and at most 1 without replacement"));
            return Rdd::from_dataset(self.context(), failed(self.context(), error));
        }
        self.map_partitions_with_index(move |partition, rows| {
            let mut random = generator(seed, partition);
            rows.flat_map(move |row| {
                let times = if with_replacement {
                    poisson(fraction, &mut random)
                } else {
                    usize::from(random.random::<f64>() < fraction)
                };
                vec![row; times]
            })
        })
    }

    /// Splits by weight: each row goes to exactly one of the RDDs.
    #[track_caller]
    pub fn random_split(&self, weights: &[f64], seed: u64) -> Result<Vec<Rdd<T>>> {
        let sum: f64 = weights.iter().sum();
        if weights.iter().any(|weight| weight.is_nan() || *weight < 0.0) || sum.is_nan() || sum <= 0.0 {
            return Err(Error::usage("weights must be at least 0, and their sum greater than 0"));
        }
        let mut low = 0.0;
        let mut splits = Vec::new();
        for weight in weights {
            let (from, to) = (low / sum, (low + weight) / sum);
            low += weight;
            splits.push(self.map_partitions_with_index(move |partition, rows| {
                let mut random = generator(seed, partition);
                rows.filter(move |_| {
                    let at = random.random::<f64>();
                    from <= at && at < to
                })
            }));
        }
        Ok(splits)
    }

    /// Exactly `n` rows, or all if there are fewer (without replacement), in random order.
    pub fn take_sample(&self, with_replacement: bool, n: usize, seed: u64) -> Result<Vec<T>> {
        let mut rows = self.collect()?;
        let mut random = generator(seed, 0);
        if with_replacement {
            let picks = if rows.is_empty() { 0 } else { n };
            return Ok((0..picks).map(|_| rows[random.random_range(0..rows.len())].clone()).collect());
        }
        let (picked, _) = rows.partial_shuffle(&mut random, n);
        Ok(picked.to_vec())
    }
}

impl<K: Key, V: Data> Rdd<(K, V)> {
    /// A sample of the pairs, with a fraction for each key; keys without one are left out.
    #[track_caller]
    pub fn sample_by_key(&self, with_replacement: bool, fractions: HashMap<K, f64>, seed: u64) -> Rdd<(K, V)> {
        self.map_partitions_with_index(move |partition, rows| {
            let mut random = generator(seed, partition);
            let picked = rows.flat_map(|row| {
                let fraction = fractions.get(&row.0).copied().unwrap_or(0.0);
                let times = if with_replacement {
                    poisson(fraction, &mut random)
                } else {
                    usize::from(random.random::<f64>() < fraction)
                };
                vec![row; times]
            });
            picked.collect::<Vec<_>>()
        })
    }
}
