//! Inputs, the same for the same seed.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Lines of ten words of `distinct` words, with frequencies by Zipf's law (exponent 1).
pub fn zipf_lines(lines: usize, distinct: usize) -> Vec<String> {
    let mut random = SmallRng::seed_from_u64(1);
    let words: Vec<String> = (0..distinct).map(|n| format!("word{n:05}")).collect();
    let mut sum = 0.0;
    let cumulative: Vec<f64> = (1..=distinct)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    let mut word = || {
        let at = random.random::<f64>() * sum;
        words[cumulative.partition_point(|upper| *upper < at).min(distinct - 1)].as_str()
    };
    (0..lines).map(|_| (0..10).map(|_| word()).collect::<Vec<_>>().join(" ")).collect()
}

/// Pairs of a key below `keys` and a value below 1000.
pub fn pairs(rows: usize, keys: i64, seed: u64) -> Vec<(i64, i64)> {
    let mut random = SmallRng::seed_from_u64(seed);
    (0..rows).map(|_| (random.random_range(0..keys), random.random_range(0..1000))).collect()
}
