//! Confident learning (Northcutt, Jiang and Chuang, 2021): which labels are probably wrong, from the
//! probabilities that a model gives. Three folds over rows, and no I/O.
//!
//! [`Means`] finds how sure the model is of each class where the label says so; [`Joint`] counts rows by
//! the class that they were given and the class that the model is at least as sure of; [`Doubts`] picks as
//! many rows as that says are wrong, the most doubtful ones. Where the paper leaves something open, it is
//! as in cleanlab 2, so that the same rows are found:
//!
//! - A probability reaches a threshold if it is less than 10^-6 below it, and no threshold is below 2 · 10^-6.
//! - A row that reaches one threshold counts for that class. One that reaches several counts for its most
//!   probable class, the first of equal ones, also if it does not reach the threshold of that class.
//! - A class that no row was given has a threshold that no row reaches.
//! - Each class has one right row at least, and keeps one.
//! - A row is not doubted whose given class is within 10^-6 of the most probable one.
//!
//! Of rows that are equally doubtful the one with the lower row id comes first, where cleanlab leaves it to
//! the sorting of the machine.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::calibrate::calibrate;
use super::options::{IssueRanking, IssueSelection};

/// By how much a probability may miss what it should reach.
const TOLERANCE: f64 = 1e-6;

/// The lowest threshold there is: more than the tolerance, or a probability of 0 would reach it.
const THRESHOLD_MIN: f64 = 2.0 * TOLERANCE;

/// One row that counts: its label is a position among its probabilities, which are finite.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) row_id: u64,
    /// Its place among the rows of the epoch, in the order of row ids.
    pub(super) at: usize,
    pub(super) given: usize,
    pub(super) probabilities: &'a [f64],
}

impl Row<'_> {
    /// The probability of a class.
    fn of(&self, class: usize) -> f64 {
        self.probabilities.get(class).copied().unwrap_or_default()
    }

    /// The class of the largest probability, the first of equal ones.
    fn most_probable(&self) -> usize {
        let mut best = (0, f64::NEG_INFINITY);
        for (class, probability) in self.probabilities.iter().enumerate() {
            if *probability > best.1 {
                best = (class, *probability);
            }
        }
        best.0
    }

    /// The most probable class, if it is another than the given one and clearly so.
    fn doubted_for(&self) -> Option<usize> {
        let best = self.most_probable();
        let (given, other) = (self.of(self.given) + TOLERANCE, self.of(best));
        let is_other = other > given || (other >= given && best < self.given);
        (best != self.given && is_other).then_some(best)
    }
}

/// How many rows were given each class, and the sum of its probabilities in them. 16 bytes for each class.
#[derive(Debug, Default)]
pub(super) struct Means(Vec<(u64, f64)>);

impl Means {
    pub(super) fn add(&mut self, row: &Row<'_>) {
        if self.0.len() < row.probabilities.len() {
            self.0.resize(row.probabilities.len(), (0, 0.0));
        }
        if let Some((count, sum)) = self.0.get_mut(row.given) {
            *count += 1;
            *sum += row.of(row.given);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "there are less than 2^53 rows")]
    pub(super) fn finish(self) -> Thresholds {
        let bound = |(count, sum): &(u64, f64)| match count {
            0 => f64::INFINITY,
            count => (sum / *count as f64).max(THRESHOLD_MIN) - TOLERANCE,
        };
        Thresholds {
            bounds: self.0.iter().map(bound).collect(),
            counts: self.0.iter().map(|(count, _)| *count).collect(),
        }
    }
}

/// What the probability of each class must reach, and how many rows were given it.
#[derive(Debug)]
pub(super) struct Thresholds {
    bounds: Vec<f64>,
    counts: Vec<u64>,
}

impl Thresholds {
    /// How many rows were given a class.
    pub(super) fn count(&self, class: usize) -> u64 {
        self.counts.get(class).copied().unwrap_or_default()
    }

    /// The class that the model is sure of, if there is one.
    fn sure_of(&self, row: &Row<'_>) -> Option<usize> {
        let reached = || {
            row.probabilities
                .iter()
                .zip(&self.bounds)
                .map(|(p, b)| p >= b)
        };
        match reached().map(u32::from).sum::<u32>() {
            0 => None,
            1 => reached().position(|is_reached| is_reached),
            _ => Some(row.most_probable()),
        }
    }
}

/// The confident joint: how many rows of each given class the model is sure are of which class. 8 bytes for
/// each pair of classes.
#[derive(Debug)]
pub(super) struct Joint<'a> {
    thresholds: &'a Thresholds,
    /// Given class after given class.
    counts: Vec<u64>,
}

impl<'a> Joint<'a> {
    pub(super) fn new(thresholds: &'a Thresholds) -> Self {
        let n = thresholds.counts.len();
        Self {
            thresholds,
            counts: vec![0; n * n],
        }
    }

    pub(super) fn add(&mut self, row: &Row<'_>) {
        let n = self.thresholds.counts.len();
        if let Some(class) = self.thresholds.sure_of(row)
            && let Some(count) = self.counts.get_mut(row.given * n + class)
        {
            *count += 1;
        }
    }

    /// The joint with at least one right row in each class, calibrated: the rows of each given class add up
    /// to as many as were given it.
    pub(super) fn finish(mut self) -> Noise {
        let n = self.thresholds.counts.len();
        let rows = self.counts.chunks_exact_mut(n.max(1));
        for (given, row) in rows.enumerate() {
            if let Some(right) = row.get_mut(given) {
                *right = (*right).max(1);
            }
        }
        calibrate(&mut self.counts, &self.thresholds.counts);
        Noise {
            n_classes: n,
            joint: self.counts,
        }
    }
}

/// How many rows that were given one class are estimated to be of another.
#[derive(Debug)]
pub(super) struct Noise {
    n_classes: usize,
    /// Given class after given class.
    joint: Vec<u64>,
}

impl Noise {
    /// For each given class the estimated numbers of rows that are of each class.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.joint.chunks_exact(self.n_classes.max(1))
    }

    /// How many rows of a given class to doubt for each other class. A class whose right rows were estimated to
    /// be none keeps one, at the cost of all others alike.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "there are less than 2^53 rows, and no count is negative"
    )]
    fn doubtful(given: usize, row: &[u64]) -> Vec<(usize, usize)> {
        let missing = 1_u64.saturating_sub(row.get(given).copied().unwrap_or_default());
        let n_others = row.iter().filter(|count| **count > 0).count() as f64 - 1.0;
        let share = missing as f64 / n_others.max(1.0);
        let others = row.iter().enumerate().filter(|(class, _)| *class != given);
        let others = others.map(|(class, count)| (class, (*count as f64 - share) as usize));
        others.filter(|(_, n)| *n > 0).collect()
    }
}

/// A row whose label is probably wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Doubt {
    pub(super) row_id: u64,
    /// Which row it was of all.
    number: u64,
    pub(super) given: usize,
    pub(super) suggested: usize,
    /// How good the label is.
    pub(super) score: f64,
}

impl Doubt {
    fn order(&self, other: &Self) -> Ordering {
        let ids = (self.row_id, self.number).cmp(&(other.row_id, other.number));
        self.score.total_cmp(&other.score).then(ids)
    }
}

/// The rows to doubt. Holds as many as are doubted before those are left out that the model agrees with, which are
/// at most all; for each pair of classes with such rows a heap.
#[derive(Debug)]
pub(super) struct Doubts<'a> {
    thresholds: &'a Thresholds,
    ranking: IssueRanking,
    /// For each given class those to keep; `None` if all that the model is sure are of another class.
    wanted: Option<Vec<Vec<Wanted>>>,
    found: Vec<Doubt>,
    n_rows: u64,
}

/// Of the rows of a given class those that lean most towards a class, or away from the given one.
#[derive(Debug)]
struct Wanted {
    towards: usize,
    most: Most,
}

impl<'a> Doubts<'a> {
    pub(super) fn new(
        thresholds: &'a Thresholds,
        noise: &Noise,
        selection: IssueSelection,
        ranking: IssueRanking,
    ) -> Self {
        let wanted = |(given, row): (usize, &[u64])| {
            let total = thresholds.count(given);
            let right = row.get(given).copied().unwrap_or_default().max(1);
            let counts = match selection {
                // The only row of its class is no noise.
                _ if total <= 1 => Vec::new(),
                IssueSelection::ByClass => {
                    vec![(
                        given,
                        usize::try_from(total.saturating_sub(right)).unwrap_or(usize::MAX),
                    )]
                }
                _ => Noise::doubtful(given, row),
            };
            let wanted = |(towards, n)| Wanted {
                towards,
                most: Most::new(n),
            };
            counts.into_iter().map(wanted).collect()
        };
        let is_counted = selection != IssueSelection::Confident;
        Self {
            thresholds,
            ranking,
            wanted: is_counted.then(|| noise.rows().enumerate().map(wanted).collect()),
            found: Vec::new(),
            n_rows: 0,
        }
    }

    pub(super) fn add(&mut self, row: &Row<'_>) {
        self.n_rows += 1;
        let (ranking, number) = (self.ranking, self.n_rows);
        let doubt = || doubt(row, ranking, number);
        match &mut self.wanted {
            None => {
                let other = self.thresholds.sure_of(row);
                if other.is_some_and(|other| other != row.given) {
                    self.found.extend(doubt());
                }
            }
            Some(wanted) => {
                let own = row.of(row.given);
                for Wanted { towards, most } in wanted.get_mut(row.given).into_iter().flatten() {
                    let lean = match *towards == row.given {
                        true => -own,
                        false => row.of(*towards) - own,
                    };
                    // There is one zero in the order.
                    most.offer(lean + 0.0, (row.row_id, number), doubt);
                }
            }
        }
    }

    /// The rows, the most doubtful first.
    pub(super) fn finish(self) -> Vec<Doubt> {
        let mut found = self.found;
        for wanted in self.wanted.into_iter().flatten().flatten() {
            let kept = wanted.most.kept.into_iter();
            found.extend(kept.filter_map(|kept| kept.doubt));
        }
        found.sort_unstable_by(Doubt::order);
        // A row may lean towards several classes.
        found.dedup_by_key(|doubt| doubt.number);
        found
    }
}

/// What is doubted of a row, unless the model agrees with its label.
fn doubt(row: &Row<'_>, ranking: IssueRanking, number: u64) -> Option<Doubt> {
    let suggested = row.doubted_for()?;
    let own = row.of(row.given);
    let score = match ranking {
        IssueRanking::SelfConfidence => own,
        IssueRanking::Margin => (own - row.of(suggested) + 1.0) / 2.0,
    };
    Some(Doubt {
        row_id: row.row_id,
        number,
        given: row.given,
        suggested,
        score: score + 0.0,
    })
}

/// The rows that lean most, at most so many.
#[derive(Debug)]
struct Most {
    n: usize,
    /// The one that leans least on top.
    kept: BinaryHeap<Kept>,
}

#[derive(Debug)]
struct Kept {
    lean: f64,
    /// Row id and number.
    at: (u64, u64),
    doubt: Option<Doubt>,
}

impl Most {
    fn new(n: usize) -> Self {
        Self {
            n,
            kept: BinaryHeap::new(),
        }
    }

    fn offer(&mut self, lean: f64, at: (u64, u64), doubt: impl FnOnce() -> Option<Doubt>) {
        if self.kept.len() < self.n {
            let doubt = doubt();
            self.kept.push(Kept { lean, at, doubt });
            return;
        }
        let Some(mut least) = self.kept.peek_mut() else {
            return;
        };
        if after((lean, at), (least.lean, least.at)) == Ordering::Less {
            let doubt = doubt();
            *least = Kept { lean, at, doubt };
        }
    }
}

/// Those that lean more come first, then those with lower row ids.
fn after(a: (f64, (u64, u64)), b: (f64, (u64, u64))) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> Ordering {
        after((self.lean, self.at), (other.lean, other.at))
    }
}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Kept {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SELECTIONS: [IssueSelection; 3] = [
        IssueSelection::ByNoiseRate,
        IssueSelection::ByClass,
        IssueSelection::Confident,
    ];

    /// A row id, a given class and probabilities.
    type Sample = (u64, usize, Vec<f64>);

    /// Samples such as `0: .9 .1`, given class and probabilities; row ids count from 0.
    fn samples(text: &str) -> Vec<Sample> {
        let sample = |(row_id, line): (u64, &str)| {
            let (given, probabilities) = line.split_once(':').unwrap();
            let probabilities = probabilities.split_whitespace();
            let probabilities = probabilities.map(|p| p.parse().unwrap()).collect();
            (row_id, given.trim().parse().unwrap(), probabilities)
        };
        (0..).zip(text.split('\n')).map(sample).collect()
    }

    fn rows(samples: &[Sample]) -> impl Iterator<Item = Row<'_>> {
        let rows = samples.iter().enumerate();
        rows.map(|(at, (row_id, given, probabilities))| Row {
            row_id: *row_id,
            at,
            given: *given,
            probabilities,
        })
    }

    fn noise(samples: &[Sample]) -> (Thresholds, Noise) {
        let mut means = Means::default();
        rows(samples).for_each(|row| means.add(&row));
        let thresholds = means.finish();
        let mut joint = Joint::new(&thresholds);
        rows(samples).for_each(|row| joint.add(&row));
        let noise = joint.finish();
        (thresholds, noise)
    }

    fn found(
        samples: &[Sample],
        selection: IssueSelection,
        ranking: IssueRanking,
    ) -> Vec<(u64, usize, f64)> {
        let (thresholds, noise) = noise(samples);
        let mut doubts = Doubts::new(&thresholds, &noise, selection, ranking);
        rows(samples).for_each(|row| doubts.add(&row));
        let found = doubts.finish().into_iter();
        found
            .map(|doubt| (doubt.row_id, doubt.suggested, doubt.score))
            .collect()
    }

    /// Samples; the joint, given class after given class; for each selection the rows that are doubted and what they
    /// should be.
    #[track_caller]
    fn check(text: &str, joint: &[&[u64]], expected: [&str; 3]) {
        let samples = samples(text);
        let (_, noise) = noise(&samples);
        assert_eq!(noise.rows().collect::<Vec<_>>(), joint, "{text}");
        for (selection, expected) in SELECTIONS.into_iter().zip(expected) {
            let found = found(&samples, selection, IssueRanking::SelfConfidence);
            let found = found.iter().map(|(id, class, _)| format!("{id}>{class}"));
            let found = found.collect::<Vec<_>>().join(" ");
            assert_eq!(found, expected, "{selection:?}: {text}");
        }
    }

    #[test]
    fn a_row_that_reaches_another_threshold_is_doubted() {
        // The thresholds are 0.6 and 0.7; the last row reaches none.
        let text = "0: .9 .1\n0: .8 .2\n0: .1 .9\n1: .2 .8\n1: .4 .6";
        check(text, &[&[2, 1], &[0, 2]], ["2>1", "2>1", "2>1"]);
    }

    #[test]
    fn a_row_is_not_doubted_whose_label_is_the_most_probable_class() {
        // The thresholds are 0.805 and 0.3: two rows of class 0 reach that of class 1 alone.
        let text = "0: .99 .01\n0: .99 .01\n0: .6 .4\n0: .64 .36\n1: .7 .3\n1: .7 .3";
        let (_, noise) = noise(&samples(text));
        assert_eq!(noise.rows().collect::<Vec<_>>(), [[2, 2], [0, 2]]);
        check(text, &[&[2, 2], &[0, 2]], ["", "", ""]);
    }

    #[test]
    fn a_threshold_is_reached_from_a_millionth_below_and_by_no_probability_of_zero() {
        let samples = samples("0: .6 0\n0: .6 0\n0: .5999994 0\n0: .599999 0\n1: 0 0");
        let (thresholds, _) = noise(&samples);
        let sure = rows(&samples).map(|row| thresholds.sure_of(&row));
        let sure: Vec<Option<usize>> = sure.collect();
        assert_eq!(sure, [Some(0), Some(0), Some(0), Some(0), None]);
        let almost = Row {
            row_id: 9,
            at: 0,
            given: 0,
            probabilities: &[0.599_998, 0.0],
        };
        assert_eq!(thresholds.sure_of(&almost), None);
    }

    #[test]
    fn a_row_that_reaches_several_thresholds_counts_for_its_most_probable_class() {
        // The thresholds are 0.3, 0.3 and 0.9; the last row reaches the first two.
        let text = "0: .3 0 0\n1: 0 .3 0\n2: 0 0 .9\n1: .31 .3 .37";
        let joint: [&[u64]; 3] = [&[1, 0, 0], &[0, 1, 1], &[0, 0, 1]];
        check(text, &joint, ["3>2", "", "3>2"]);
    }

    #[test]
    fn classes_that_nobody_has_and_single_classes_are_no_trouble() {
        check("0: 1\n0: .5", &[&[2]], ["", "", ""]);
        // Class 2 has no threshold that can be reached, and the row reaches no other.
        let text = "0: .9 .1 0\n0: .1 .2 .7\n1: 0 .8 .2";
        let joint: [&[u64]; 3] = [&[2, 0, 0], &[0, 1, 0], &[0, 0, 0]];
        check(text, &joint, ["", "", ""]);
        assert!(found(&[], IssueSelection::ByClass, IssueRanking::Margin).is_empty());
        let (_, noise) = noise(&[]);
        assert_eq!(noise.rows().count(), 0);
    }

    #[test]
    fn the_margin_is_to_the_most_probable_class() {
        let samples = samples("0: .9 .1 0\n0: .8 .2 0\n0: .125 .875 .5\n1: .2 .8 0\n1: .4 .6 0");
        let found = found(&samples, IssueSelection::Confident, IssueRanking::Margin);
        assert_eq!(found, [(2, 1, 0.125)]);
    }

    #[test]
    fn a_class_keeps_one_row_at_the_cost_of_all_its_noise() {
        let check = |given: usize, row: &[u64], expected: &[(usize, usize)]| {
            assert_eq!(Noise::doubtful(given, row), expected, "{given}: {row:?}");
        };
        check(1, &[3, 5, 0], &[(0, 3)]);
        check(0, &[0, 3, 0], &[(1, 2)]);
        check(0, &[0, 3, 2], &[(1, 2), (2, 1)]);
        check(0, &[0, 3, 2, 1], &[(1, 2), (2, 1)]);
        check(0, &[0, 1, 0], &[]);
    }

    /// Everything again, with all rows at once, by sorting, and without a heap.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    mod plainly {
        use super::*;

        pub(super) fn joint(samples: &[Sample]) -> Vec<Vec<u64>> {
            let n = samples.first().map_or(0, |(_, _, p)| p.len());
            let of_class = |class| samples.iter().filter(move |(_, given, _)| *given == class);
            let mut joint = vec![vec![0; n]; n];
            for sample in samples {
                if let Some(class) = sure_of(samples, sample) {
                    joint[sample.1][class] += 1;
                }
            }
            for (class, row) in joint.iter_mut().enumerate() {
                row[class] = row[class].max(1);
            }
            let total = |class| of_class(class).count();
            let scaled = joint
                .iter()
                .enumerate()
                .map(|(given, row): (_, &Vec<u64>)| {
                    let sum: u64 = row.iter().sum();
                    let scaled = |n: &u64| *n as f64 / sum as f64 * total(given) as f64;
                    row.iter().map(scaled).collect::<Vec<f64>>()
                });
            let scaled: Vec<Vec<f64>> = scaled.collect();
            let pairs = (0..n).flat_map(|class| scaled.iter().map(move |row| row[class]));
            let sum = summed(&pairs.collect::<Vec<f64>>());
            let share = |n: &f64| n / sum * samples.len() as f64;
            let rows = scaled.iter().enumerate();
            rows.map(|(given, row)| {
                whole(&row.iter().map(share).collect::<Vec<f64>>(), total(given))
            })
            .collect()
        }

        /// As numpy adds up fewer than 128 numbers.
        fn summed(values: &[f64]) -> f64 {
            if values.len() < 8 {
                return values.iter().sum();
            }
            let n = values.len() / 8 * 8;
            let lane = |at: usize| values[at..n].iter().step_by(8).sum::<f64>();
            let pair = |at: usize| lane(at) + lane(at + 1);
            let lanes = (pair(0) + pair(2)) + (pair(4) + pair(6));
            values[n..].iter().fold(lanes, |sum, value| sum + value)
        }

        fn threshold(samples: &[Sample], class: usize) -> f64 {
            let own = samples.iter().filter(|(_, given, _)| *given == class);
            let own: Vec<f64> = own.map(|(_, _, p)| p[class]).collect();
            match own.len() {
                0 => f64::INFINITY,
                n => (own.iter().sum::<f64>() / n as f64).max(2e-6),
            }
        }

        fn sure_of(samples: &[Sample], (_, _, p): &Sample) -> Option<usize> {
            let reached =
                (0..p.len()).filter(|class| p[*class] >= threshold(samples, *class) - 1e-6);
            let reached: Vec<usize> = reached.collect();
            match reached.as_slice() {
                [] => None,
                [one] => Some(*one),
                _ => Some(largest(p)),
            }
        }

        fn largest(p: &[f64]) -> usize {
            let first = |best: usize, class| if p[class] > p[best] { class } else { best };
            (0..p.len()).fold(0, first)
        }

        fn whole(exact: &[f64], total: usize) -> Vec<u64> {
            let mut whole: Vec<f64> = exact.iter().map(|x| x.round_ties_even()).collect();
            let mut is_moved = vec![false; exact.len()];
            loop {
                let off = total as f64 - whole.iter().sum::<f64>();
                if off == 0.0 {
                    return whole
                        .iter()
                        .map(|n| format!("{n}").parse().unwrap())
                        .collect();
                }
                let error = |at: usize| (exact[at] - exact[at].round_ties_even()) * off.signum();
                let free = (0..exact.len()).filter(|at| !is_moved[*at]);
                let free: Vec<usize> = match off > 0.0 {
                    true => free.rev().collect(),
                    false => free.collect(),
                };
                let most = free
                    .iter()
                    .copied()
                    .reduce(|a, b| if error(b) > error(a) { b } else { a });
                whole[most.unwrap()] += off.signum();
                is_moved[most.unwrap()] = true;
            }
        }

        pub(super) fn found(
            samples: &[Sample],
            selection: IssueSelection,
        ) -> Vec<(u64, usize, f64)> {
            let n = samples.first().map_or(0, |(_, _, p)| p.len());
            let joint = joint(samples);
            let mut is_found = vec![false; samples.len()];
            let mut mark = |given: usize, n: f64, lean: &dyn Fn(&[f64]) -> f64| {
                let own = (0..samples.len()).filter(|at| samples[*at].1 == given);
                let mut own: Vec<usize> = own.collect();
                if own.len() < 2 {
                    return;
                }
                own.sort_by_key(|at| (samples[*at].0, *at));
                own.sort_by(|a, b| {
                    lean(&samples[*b].2)
                        .partial_cmp(&lean(&samples[*a].2))
                        .unwrap()
                });
                let n = (0..own.len()).filter(|at| *at as f64 + 1.0 <= n).count();
                own[..n].iter().for_each(|at| is_found[*at] = true);
            };
            for (given, row) in joint.iter().enumerate() {
                let right = row[given].max(1);
                let others = row.iter().filter(|n| **n > 0).count() as f64 - 1.0;
                let less = (right - row[given]) as f64 / others.max(1.0);
                match selection {
                    IssueSelection::ByNoiseRate => {
                        for other in (0..n).filter(|other| *other != given) {
                            mark(given, row[other] as f64 - less, &|p| p[other] - p[given]);
                        }
                    }
                    IssueSelection::ByClass => {
                        let total = samples.iter().filter(|(_, own, _)| *own == given).count();
                        mark(given, total as f64 - right as f64, &|p| -p[given]);
                    }
                    IssueSelection::Confident => {}
                }
            }
            if selection == IssueSelection::Confident {
                for (is_found, sample) in is_found.iter_mut().zip(samples) {
                    *is_found = sure_of(samples, sample).is_some_and(|class| class != sample.1);
                }
            }
            let found = (0..samples.len()).filter(|at| is_found[*at]);
            let doubted = |at: usize| {
                let (row_id, given, p) = &samples[at];
                let mut favoured = p.clone();
                favoured[*given] += 1e-6;
                (largest(&favoured) != *given).then(|| (*row_id, largest(p), p[*given]))
            };
            let mut found: Vec<_> = found.filter_map(doubted).collect();
            found.sort_by(|a, b| a.2.partial_cmp(&b.2).unwrap().then(a.0.cmp(&b.0)));
            found
        }
    }

    /// Rows of a few classes with probabilities of which many are equal.
    fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
        let sample = |n: usize| {
            let probability = (0_u8..9).prop_map(|p| f64::from(p) / 8.0);
            (0_u64..30, 0..n, prop::collection::vec(probability, n))
        };
        (1_usize..6).prop_flat_map(move |n| prop::collection::vec(sample(n), 0..60))
    }

    proptest! {
        #[test]
        fn folds_over_rows_find_what_all_rows_at_once_give(samples in any_samples()) {
            let (_, noise) = noise(&samples);
            let joint: Vec<Vec<u64>> = noise.rows().map(<[u64]>::to_vec).collect();
            prop_assert_eq!(joint, plainly::joint(&samples));
            for selection in SELECTIONS {
                let found = found(&samples, selection, IssueRanking::SelfConfidence);
                prop_assert_eq!(found, plainly::found(&samples, selection), "{:?}", selection);
            }
        }
    }
}
