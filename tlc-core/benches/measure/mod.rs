//! What the benches share: two ways to do a thing, measured in turn, with medians and their ratio.

use std::fmt;
use std::time::{Duration, Instant};

/// The times of both ways, round by round.
pub(crate) struct Paired(Vec<(Duration, Duration)>);

/// Times `ours` and `reference` in turn, `rounds` times after one that does not count. In turn, since
/// a shared machine changes its pace.
pub(crate) fn paired<A, B>(
    rounds: usize,
    mut ours: impl FnMut() -> A,
    mut reference: impl FnMut() -> B,
) -> Paired {
    let mut pairs: Vec<(Duration, Duration)> = Vec::with_capacity(rounds);
    for round in 0..=rounds {
        let pair = (time(&mut ours), time(&mut reference));
        if round > 0 {
            pairs.push(pair);
        }
    }
    Paired(pairs)
}

impl Paired {
    pub(crate) fn ours(&self) -> Duration {
        median(self.0.iter().map(|pair| pair.0))
    }

    pub(crate) fn reference(&self) -> Duration {
        median(self.0.iter().map(|pair| pair.1))
    }

    /// The median of the ratios, not the ratio of the medians: each is of one moment.
    pub(crate) fn ratio(&self) -> f64 {
        let ratios = self.0.iter();
        let ratios = ratios.map(|(ours, reference)| ours.as_secs_f64() / reference.as_secs_f64());
        let mut ratios: Vec<f64> = ratios.collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

impl FromIterator<(Duration, Duration)> for Paired {
    fn from_iter<T: IntoIterator<Item = (Duration, Duration)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl fmt::Display for Paired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ours, reference, ratio) = (self.ours(), self.reference(), self.ratio());
        write!(
            f,
            "{ours:>12.2?}  reference {reference:>12.2?}  ratio {ratio:>6.2}"
        )
    }
}

pub(crate) fn time<T>(work: &mut impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed()
}

pub(crate) fn median(times: impl IntoIterator<Item = Duration>) -> Duration {
    quantile(times, 50)
}

/// The time that `percent` of them do not exceed.
pub(crate) fn quantile(times: impl IntoIterator<Item = Duration>, percent: usize) -> Duration {
    let mut times: Vec<Duration> = times.into_iter().collect();
    times.sort();
    let at = times.len() * percent / 100;
    times.get(at).copied().unwrap_or_default()
}
