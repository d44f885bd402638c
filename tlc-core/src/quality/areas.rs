//! The area under the margin (Pleiss, Zhang, Elenberg and Weinberger, "Identifying Mislabeled Data using the Area Under
//! the Margin Ranking", 2020): the mean over epochs of how far the logit of the label is above the largest other one.
//! Folds over epochs, and no I/O.
//!
//! A network learns what a sample has in common with others of its label before it learns samples by heart. So over a
//! training the logit of a right label is far above the others, and that of a wrong one is not, or late. How low is too low, *threshold samples*
//! say: right samples that were given to an extra class, which nothing has in common with. Of their areas the 99th percentile is the threshold
//! in the paper, and whoever is below it is an issue.

use arrow::array::UInt64Array;

use super::confident::Row;
use super::per_sample::{PerSample, quantile};

/// A probability below this is taken for it: it has a logarithm, and 32 bits hold no smaller normal number.
const PROBABILITY_MIN: f64 = f32::MIN_POSITIVE as f64;

/// One row of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Margin {
    /// `None` if it is not known, or no number.
    pub(super) label: Option<i64>,
    pub(super) margin: f64,
    /// The class with the largest other logit.
    pub(super) other: Option<u32>,
}

impl Margin {
    /// From the logits of a row, or from their softmax: the logarithm of a probability is the logit but for a number
    /// that is the same for all classes. `None` if there is but one class.
    pub(super) fn new(row: &Row<'_>, are_probabilities: bool) -> Option<Self> {
        let mut largest: Option<(usize, f64)> = None;
        for (class, value) in row.probabilities.iter().copied().enumerate() {
            if class != row.given && largest.is_none_or(|(_, other)| value > other) {
                largest = Some((class, value));
            }
        }
        let (class, other) = largest?;
        let own = row.probabilities.get(row.given).copied()?;
        let margin = match are_probabilities {
            true => own.max(PROBABILITY_MIN).ln() - other.max(PROBABILITY_MIN).ln(),
            false => own - other,
        };
        Some(Self {
            label: i64::try_from(row.given).ok(),
            margin,
            other: u32::try_from(class).ok(),
        })
    }
}

/// What is known of one sample.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    sum: f64,
    count: u32,
    last: Margin,
}

/// The area of a sample, and the label and the largest other class that it had last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) row_id: u64,
    pub(super) area: f64,
    pub(super) label: Option<i64>,
    pub(super) other: Option<u32>,
}

/// The areas of all samples. 56 bytes for each.
#[derive(Default)]
pub(super) struct Areas(PerSample<State>);

impl Areas {
    /// Adds an epoch: row ids in ascending order, and what the rows say that count.
    pub(super) fn add(&mut self, row_ids: &UInt64Array, rows: &[Option<Margin>]) {
        self.0.add(row_ids, |at, state| {
            if let Some(margin) = rows.get(at).copied().flatten() {
                state.sum += margin.margin;
                state.count += 1;
                state.last = margin;
            }
        });
    }

    /// The samples that had a margin in at least one epoch, by row id.
    pub(super) fn finish(self) -> Vec<Area> {
        let known = self.0.iter().filter(|(_, state)| state.count > 0);
        let area = |(row_id, state): (u64, &State)| Area {
            row_id,
            area: state.sum / f64::from(state.count) + 0.0,
            label: state.last.label,
            other: state.last.other,
        };
        known.map(area).collect()
    }
}

/// The samples below the percentile of the areas of threshold samples, which are left out, and that threshold; all
/// samples if there are no threshold samples.
pub(super) fn below(
    areas: Vec<Area>,
    percentile: f64,
    is_threshold: impl Fn(&Area) -> bool,
) -> (Vec<Area>, Option<f64>) {
    let (judges, mut judged): (Vec<Area>, Vec<Area>) =
        areas.into_iter().partition(|area| is_threshold(area));
    let judges = judges.iter().map(|area| area.area).collect();
    let threshold = quantile(judges, percentile / 100.0);
    if let Some(threshold) = threshold {
        judged.retain(|area| area.area < threshold);
    }
    (judged, threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(given: usize, values: &[f64]) -> Row<'_> {
        Row {
            row_id: 7,
            at: 0,
            given,
            probabilities: values,
        }
    }

    /// A label and logits; the margin and the class with the largest other one.
    #[test]
    fn the_margin_is_to_the_largest_other_logit() {
        let check = |given: usize, logits: &[f64], expected: Option<(f64, u32)>| {
            let found = Margin::new(&row(given, logits), false);
            let found = found.map(|found| (found.margin, found.other.unwrap()));
            assert_eq!(found, expected, "{given} of {logits:?}");
        };
        check(0, &[5.0, 2.0, 3.0], Some((2.0, 2)));
        check(1, &[5.0, 2.0, 3.0], Some((-3.0, 0)));
        check(2, &[5.0, 5.0, 5.0], Some((0.0, 0)));
        check(0, &[-5.0, -7.0], Some((2.0, 1)));
        check(0, &[-5.0], None);
        check(3, &[-5.0, 1.0], None);
    }

    #[test]
    fn probabilities_have_the_margin_of_their_logits() {
        let logits: [f64; 4] = [1.5, -3.0, 0.25, -60.0];
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        let probabilities = logits.map(|logit| logit.exp() / sum);
        for given in 0..4 {
            let [a, b] = [(&logits, false), (&probabilities, true)]
                .map(|(values, is)| Margin::new(&row(given, values), is).unwrap());
            assert!((a.margin - b.margin).abs() < 1e-12, "{a:?} {b:?}");
            assert_eq!((a.label, a.other), (b.label, b.other));
        }
        let none = Margin::new(&row(0, &[0.0, 1.0]), true).unwrap();
        assert_eq!(none.margin, PROBABILITY_MIN.ln());
        let both = Margin::new(&row(0, &[0.0, 0.0]), true).unwrap();
        assert_eq!(both.margin, 0.0);
    }

    /// Epochs of `row:label:margin:other`; of each sample `row:label:area:other`.
    #[track_caller]
    fn check(epochs: &[&str], expected: &str) {
        let mut areas = Areas::default();
        for epoch in epochs {
            let rows = epoch.split_whitespace().map(|row| {
                let mut parts = row.split(':');
                let row_id: u64 = parts.next().unwrap().parse().unwrap();
                let margin = parts.next().map(|label| Margin {
                    label: label.parse().ok(),
                    margin: parts.next().unwrap().parse().unwrap(),
                    other: parts.next().and_then(|other| other.parse().ok()),
                });
                (row_id, margin)
            });
            let (ids, rows): (Vec<u64>, Vec<Option<Margin>>) = rows.unzip();
            areas.add(&UInt64Array::from(ids), &rows);
        }
        let word = |area: Area| {
            let other = area.other.map_or("-".to_owned(), |other| other.to_string());
            let label = area.label.map_or("-".to_owned(), |label| label.to_string());
            format!("{}:{label}:{}:{other}", area.row_id, area.area)
        };
        let found: Vec<String> = areas.finish().into_iter().map(word).collect();
        assert_eq!(found.join(" "), expected, "{epochs:?}");
    }

    #[test]
    fn the_area_is_the_mean_over_the_epochs_that_have_a_margin() {
        check(
            &["1:0:2:1 2:0:-1:3", "1:0:4:2 2:0:0:3"],
            "1:0:3:2 2:0:-0.5:3",
        );
        check(&["1:0:2:1", "2:1:5:0", "1:0:3:1"], "1:0:2.5:1 2:1:5:0");
        check(&["1:0:2:1", "1", "1:0:4:-"], "1:0:3:-");
        check(&["1 2:0:1:1", "1"], "2:0:1:1");
        check(&["1:0:1:1 1:0:2:1", "1:0:6:2"], "1:0:3:2");
        // Of a label that changed, the last is told.
        check(&["1:0:2:1", "1:3:-2:0"], "1:3:0:0");
        check(&["1:-:2", "1:-:3"], "1:-:2.5:-");
        check(&[], "");
    }

    #[test]
    fn issues_are_below_the_percentile_of_the_threshold_samples() {
        let area = |row_id: u64, area: f64, label| Area {
            row_id,
            area,
            label: Some(label),
            other: None,
        };
        let areas = vec![
            area(0, 0.0, 9),
            area(1, 1.0, 9),
            area(2, 0.5, 0),
            area(3, 0.99, 1),
            area(4, 0.25, 1),
            area(5, -7.0, 1),
        ];
        let check = |percentile: f64, threshold_class: i64, expected: &[u64], at: Option<f64>| {
            let is_threshold = |area: &Area| area.label == Some(threshold_class);
            let (found, threshold) = below(areas.clone(), percentile, is_threshold);
            let found: Vec<u64> = found.iter().map(|area| area.row_id).collect();
            assert_eq!((found.as_slice(), threshold), (expected, at));
        };
        check(99.0, 9, &[2, 4, 5], Some(0.99));
        check(100.0, 9, &[2, 3, 4, 5], Some(1.0));
        check(50.0, 9, &[4, 5], Some(0.5));
        check(0.0, 9, &[5], Some(0.0));
        check(99.0, 8, &[0, 1, 2, 3, 4, 5], None);
    }
}
