//! A straight line through the losses of a sample over epochs: how fast the loss falls, by least squares. A fold over
//! epochs, and no I/O.

use arrow::array::{Array as _, Float64Array, UInt64Array};

use super::per_sample::{PerSample, quantile};

/// What is known of the losses of one sample. The sums are of distances from the means, so that neither high
/// epochs nor high losses cost digits.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    count: u32,
    epoch: f64,
    loss: f64,
    /// The sum of the squares of the epochs' distances from their mean.
    squares: f64,
    /// The sum of the products of both distances.
    products: f64,
    last: f64,
}

impl Line {
    fn add(&mut self, epoch: f64, loss: f64) {
        self.count += 1;
        let n = f64::from(self.count);
        let off = epoch - self.epoch;
        self.epoch += off / n;
        self.loss += (loss - self.loss) / n;
        self.squares += off * (epoch - self.epoch);
        self.products += off * (loss - self.loss);
        self.last = loss;
    }

    /// The slope of the line with the least squares; `None` of fewer than two epochs.
    fn slope(&self) -> Option<f64> {
        (self.squares > 0.0).then(|| self.products / self.squares)
    }
}

/// How the loss of a sample went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trend {
    pub(super) row_id: u64,
    /// By how much the loss falls from one epoch to the next.
    pub(super) fall: f64,
    pub(super) mean: f64,
    pub(super) last: f64,
}

/// The lines of all samples. 56 bytes for each.
#[derive(Default)]
pub(super) struct Lines(PerSample<Line>);

impl Lines {
    /// Adds an epoch: row ids in ascending order, and the losses of the rows. How many of these are none, since they
    /// are null, NaN or infinite.
    #[expect(
        clippy::cast_precision_loss,
        reason = "there are less than 2^53 epochs"
    )]
    pub(super) fn add(&mut self, epoch: i64, row_ids: &UInt64Array, losses: &Float64Array) -> u64 {
        let mut n_without = 0;
        self.0.add(row_ids, |at, line| {
            match losses.is_valid(at).then(|| losses.value(at)) {
                Some(loss) if loss.is_finite() => line.add(epoch as f64, loss),
                _ => n_without += 1,
            }
        });
        n_without
    }

    /// The samples whose loss does not fall while its mean is among the highest: of the share of all samples with a
    /// loss, those whose mean is that of the last or more. By row id.
    pub(super) fn stuck(self, share: f64) -> Vec<Trend> {
        let known = || self.0.iter().filter(|(_, line)| line.count > 0);
        let means = known().map(|(_, line)| line.loss).collect();
        let Some(high) = quantile(means, 1.0 - share) else {
            return Vec::new();
        };
        let trend = |(row_id, line): (u64, &Line)| {
            Some(Trend {
                row_id,
                fall: 0.0 - line.slope()?,
                mean: line.loss,
                last: line.last,
            })
        };
        let stuck = known().filter_map(trend);
        stuck
            .filter(|trend| trend.fall <= 0.0 && trend.mean >= high)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Epochs such as `3 1:0.5 2:-`, a number and then losses by row id; the samples of the share that are stuck, as
    /// `row:fall:mean:last`, and how many losses were none.
    #[track_caller]
    fn check(epochs: &[&str], share: f64, expected: &str) {
        let mut lines = Lines::default();
        let mut n_without = 0;
        for epoch in epochs {
            let (epoch, rows) = epoch.split_once(' ').unwrap_or((epoch, ""));
            let rows = rows.split_whitespace().map(|row| {
                let (id, loss) = row.split_once(':').unwrap();
                (id.parse::<u64>().unwrap(), loss.parse::<f64>().ok())
            });
            let (ids, losses): (Vec<u64>, Vec<Option<f64>>) = rows.unzip();
            let losses = Float64Array::from(losses);
            n_without += lines.add(epoch.parse().unwrap(), &UInt64Array::from(ids), &losses);
        }
        let word = |trend: Trend| {
            let round = |x: f64| (x * 1e9).round() / 1e9 + 0.0;
            let [fall, mean, last] = [trend.fall, trend.mean, trend.last].map(round);
            format!("{}:{fall}:{mean}:{last}", trend.row_id)
        };
        let mut found: Vec<String> = lines.stuck(share).into_iter().map(word).collect();
        found.push(n_without.to_string());
        assert_eq!(found.join(" "), expected, "{epochs:?}");
    }

    #[test]
    fn a_loss_that_is_high_and_does_not_fall_is_stuck() {
        let falling = ["0 1:4 2:1 3:9", "1 1:4 2:2 3:5", "2 1:4 2:3 3:1"];
        check(&falling, 1.0, "1:0:4:4 2:-1:2:3 0");
        check(&falling, 0.5, "1:0:4:4 0");
        check(&falling, 0.0, "0");
        check(&["0 1:4 2:1", "1 1:5 2:0"], 0.5, "1:-1:4.5:5 0");
        // Epochs count by their numbers.
        check(&["10 1:1", "14 1:3"], 1.0, "1:-0.5:2:3 0");
    }

    #[test]
    fn epochs_without_a_loss_are_passed_over_and_one_epoch_has_no_slope() {
        check(&["0 1:1 2:9", "1 1:-", "2 1:5"], 1.0, "1:-2:3:5 1");
        check(
            &["0 1:1 2:NaN", "1 1:inf 2:7", "2 1:3 2:7"],
            1.0,
            "1:-1:2:3 2:0:7:7 2",
        );
        check(&["0 1:1 1:3", "1 1:8"], 1.0, "1:-6:4:8 0");
        check(&["4 1:1 1:3"], 1.0, "0");
        check(&["0 1:-"], 1.0, "1");
        check(&[], 1.0, "0");
    }

    #[test]
    fn late_epochs_and_high_losses_cost_no_digits() {
        let far = 1_i64 << 50;
        let mut lines = Lines::default();
        for (epoch, loss) in [(0, 1e9), (1, 1e9 + 0.5), (2, 1e9 + 1.0)] {
            lines.add(
                far + epoch,
                &UInt64Array::from(vec![1]),
                &Float64Array::from(vec![loss]),
            );
        }
        let found: Vec<f64> = lines.stuck(1.0).iter().map(|trend| trend.fall).collect();
        assert_eq!(found, [-0.5]);
    }

    proptest! {
        #[test]
        fn the_slope_is_that_of_the_normal_equations(losses in prop::collection::vec((0_i16..40, -50_i16..50), 2..20)) {
            let mut line = Line::default();
            for (epoch, loss) in &losses {
                line.add(f64::from(*epoch), f64::from(*loss));
            }
            // With whole numbers these sums are exact.
            let n = i64::try_from(losses.len()).unwrap();
            let sum = |of: fn(i64, i64) -> i64| -> i64 {
                losses.iter().map(|(x, y)| of(i64::from(*x), i64::from(*y))).sum()
            };
            let (x, y, xx, xy) = (sum(|x, _| x), sum(|_, y| y), sum(|x, _| x * x), sum(|x, y| x * y));
            let below = n * xx - x * x;
            match line.slope() {
                None => prop_assert_eq!(below, 0),
                Some(_) if below == 0 => prop_assert!(false, "a slope of one epoch"),
                Some(slope) => {
                    let whole = |n: i64| f64::from(i32::try_from(n).unwrap());
                    let expected = whole(n * xy - x * y) / whole(below);
                    prop_assert!((slope - expected).abs() < 1e-9, "{} is {}", slope, expected);
                }
            }
        }
    }
}
