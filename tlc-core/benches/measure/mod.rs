//! What the benches share: medians of two ways to do a thing, measured in turn, and their ratio.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::time::{Duration, Instant};

/// Times `ours` and `reference` in turn, `rounds` times after one that does not count, and prints the
/// medians and the median of the ratios. In turn, since a shared machine changes its pace.
pub(crate) fn compare<A, B>(
    what: &str,
    rounds: usize,
    mut ours: impl FnMut() -> A,
    mut reference: impl FnMut() -> B,
) {
    let mut pairs: Vec<(Duration, Duration)> = Vec::with_capacity(rounds);
    for round in 0..=rounds {
        let pair = (time(&mut ours), time(&mut reference));
        if round > 0 {
            pairs.push(pair);
        }
    }
    let mut ratios: Vec<f64> = pairs
        .iter()
        .map(|(ours, reference)| ours.as_secs_f64() / reference.as_secs_f64())
        .collect();
    ratios.sort_by(f64::total_cmp);
    let ours = median(pairs.iter().map(|pair| pair.0));
    let reference = median(pairs.iter().map(|pair| pair.1));
    let ratio = ratios.get(rounds / 2).copied().unwrap_or(f64::NAN);
    println!("{what:<58} {ours:>12.2?}  reference {reference:>12.2?}  ratio {ratio:>6.2}");
}

fn time<T>(work: &mut impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed()
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
