//! Counts of pairs of classes, scaled to the rows that were given each class. Plain functions.
//!
//! cleanlab does it with floats, whose rounding decides where a scaled count is near a half. So each product, quotient and sum is
//! taken here in the same order as there, and the sum over all pairs as numpy takes it.

/// How many sums numpy takes side by side.
const LANES: usize = 8;

/// How many numbers numpy adds up before it halves them.
const BLOCK: usize = 128;

/// Scales the counts, given class after given class, so that those of a given class add up to its total: each is rounded, halves
/// to even numbers, and those are off by one the other way whose rounding was largest.
#[expect(
    clippy::cast_precision_loss,
    reason = "there are less than 2^53 rows, and no count is negative"
)]
pub(super) fn calibrate(counts: &mut [u64], totals: &[u64]) {
    let n = totals.len().max(1);
    let sums = counts.chunks_exact(n).map(|row| row.iter().sum::<u64>());
    let rows: Vec<(f64, f64)> = sums
        .zip(totals)
        .map(|(sum, total)| (sum.max(1) as f64, *total as f64))
        .collect();
    let scaled = |count: u64, (sum, total): (f64, f64)| count as f64 / sum * total;
    // One true class after the other, and in it one given class after the other.
    let value = |at: usize| {
        let (given, class) = (at % n, at / n);
        let count = counts.get(given * n + class).copied().unwrap_or_default();
        scaled(count, rows.get(given).copied().unwrap_or((1.0, 0.0)))
    };
    let sum = numpy_sum(0, counts.len(), &value);
    let n_rows = totals.iter().sum::<u64>() as f64;
    for ((counts, row), total) in counts.chunks_exact_mut(n).zip(&rows).zip(totals) {
        let exact = counts
            .iter()
            .map(|count| scaled(*count, *row) / sum * n_rows);
        let exact: Vec<f64> = exact.collect();
        round(counts, &exact, *total);
    }
}

/// Rounds numbers to counts that add up to `total`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "there are less than 2^53 rows, and no count is negative"
)]
fn round(counts: &mut [u64], exact: &[f64], total: u64) {
    for (count, exact) in counts.iter_mut().zip(exact) {
        *count = exact.round_ties_even() as u64;
    }
    let found: u64 = counts.iter().sum();
    let rounding = |at: &usize| {
        let exact = exact.get(*at).copied().unwrap_or_default();
        exact - exact.round_ties_even()
    };
    let mut order: Vec<usize> = (0..exact.len()).collect();
    order.sort_by(|a, b| rounding(a).total_cmp(&rounding(b)));
    let n = |more: u64, less: u64| usize::try_from(more.saturating_sub(less)).unwrap_or(0);
    // Of equal ones the last is raised first, and the first is lowered first.
    for at in order.iter().rev().take(n(total, found)) {
        if let Some(count) = counts.get_mut(*at) {
            *count += 1;
        }
    }
    for at in order.iter().take(n(found, total)) {
        if let Some(count) = counts.get_mut(*at) {
            *count = count.saturating_sub(1);
        }
    }
}

/// The sum of `n` values from the one at `from` on, as `numpy.sum` adds them: up to a block in lanes side by side, more by halves.
fn numpy_sum(from: usize, n: usize, value: &impl Fn(usize) -> f64) -> f64 {
    let plain = |sum: f64, range: std::ops::Range<usize>| range.map(value).fold(sum, |a, b| a + b);
    if n < LANES {
        return plain(0.0, from..from + n);
    }
    if n > BLOCK {
        let half = n / 2 - (n / 2) % LANES;
        return numpy_sum(from, half, value) + numpy_sum(from + half, n - half, value);
    }
    let mut sums = [0.0; LANES];
    let whole = from + n - n % LANES;
    for start in (from..whole).step_by(LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += value(start + lane);
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    let joined = ((a + b) + (c + d)) + ((e + f) + (g + h));
    plain(joined, whole..from + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of counts such as `2 1 / 1 3`, and the totals of the given classes; what they become.
    #[track_caller]
    fn check(counts: &str, totals: &[u64], expected: &str) {
        let rows = counts.split('/').map(|row| {
            row.split_whitespace()
                .map(|count| count.parse::<u64>().unwrap())
        });
        let mut found: Vec<u64> = rows.flatten().collect();
        calibrate(&mut found, totals);
        let rows = found.chunks(totals.len()).map(|row| {
            let row: Vec<String> = row.iter().map(u64::to_string).collect();
            row.join(" ")
        });
        assert_eq!(
            rows.collect::<Vec<_>>().join(" / "),
            expected,
            "{counts} to {totals:?}"
        );
    }

    #[test]
    fn counts_are_scaled_to_whole_numbers_with_the_right_sum() {
        check("2 1 / 0 1", &[3, 1], "2 1 / 0 1");
        check("3 1 / 0 1", &[0, 1], "0 0 / 0 1");
        check(
            "30 1 1 1 / 0 1 0 0 / 0 0 1 0 / 0 0 0 1",
            &[40, 0, 0, 0],
            "37 1 1 1 / 0 0 0 0 / 0 0 0 0 / 0 0 0 0",
        );
        check("1 1 / 0 1", &[1, 0], "0 1 / 0 0");
        check("1 1 / 0 1", &[3, 0], "1 2 / 0 0");
        check("1 1 1 / 0 1 0 / 0 0 1", &[2, 0, 0], "0 1 1 / 0 0 0 / 0 0 0");
        check("1", &[7], "7");
    }

    /// The sum over all pairs is 21 but for the last digit, which decides the halves.
    #[test]
    fn near_a_half_the_last_digit_of_the_sum_over_all_pairs_decides() {
        check("1 1 3 / 4 1 1 / 1 1 4", &[6, 7, 8], "1 1 4 / 5 1 1 / 1 1 6");
    }

    #[test]
    fn numbers_are_added_up_in_the_order_of_numpy() {
        let value = |at: usize| 1.0 / f64::from(u32::try_from(at).unwrap() + 1);
        let check = |n: usize, expected: f64| {
            let found = numpy_sum(0, n, &value);
            assert_eq!(found.to_bits(), expected.to_bits(), "{n}: {found}");
        };
        check(7, 2.592_857_142_857_142_5);
        check(8, 2.717_857_142_857_142_6);
        check(130, 5.448_591_338_265_976_5);
        check(300, 6.282_663_880_299_504);
        check(1000, 7.485_470_860_550_345);
    }
}
