//! The softmax of one list of scores, and what follows from it.

/// Probabilities of classes from their scores, in 64 bits and relative to the largest score, so
/// that no score is too large.
pub(super) struct Softmax<'a> {
    scores: &'a [f32],
    top: usize,
    max: f64,
    ln_sum: f64,
}

impl<'a> Softmax<'a> {
    /// `None` if there is none: a NaN or +∞ among the scores, nothing but -∞, or no score.
    pub(super) fn new(scores: &'a [f32]) -> Option<Self> {
        let (top, max) = argmax(scores);
        if !max.is_finite() || scores.iter().any(|score| score.is_nan()) {
            return None;
        }
        let relative = scores.iter().map(|score| (f64::from(*score) - max).exp());
        Some(Self {
            scores,
            top,
            max,
            ln_sum: relative.sum::<f64>().ln(),
        })
    }

    /// The class with the largest score, the lowest index among equals.
    pub(super) fn top(&self) -> usize {
        self.top
    }

    /// The largest probability.
    pub(super) fn confidence(&self) -> f64 {
        (-self.ln_sum).exp()
    }

    /// -ln p of the class with this score: never negative, and infinite where p is 0.
    pub(super) fn surprise(&self, score: f32) -> f64 {
        (self.max - f64::from(score)) + self.ln_sum
    }

    /// The probability of each class.
    pub(super) fn probabilities(&self) -> impl Iterator<Item = f64> {
        self.scores
            .iter()
            .map(|score| (-self.surprise(*score)).exp())
    }

    /// -Σ p ln p; a class of probability 0 adds nothing.
    pub(super) fn entropy(&self) -> f64 {
        self.scores
            .iter()
            .filter(|score| score.is_finite())
            .map(|score| self.surprise(*score))
            .map(|surprise| (-surprise).exp() * surprise)
            .sum()
    }
}

/// The first position of the largest value, NaN ignored.
fn argmax(scores: &[f32]) -> (usize, f64) {
    let mut best = (0, f64::NEG_INFINITY);
    for (class, score) in scores.iter().enumerate() {
        if f64::from(*score) > best.1 {
            best = (class, f64::from(*score));
        }
    }
    best
}
