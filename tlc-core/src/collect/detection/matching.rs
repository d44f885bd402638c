//! Which predicted box is on which true one.

use std::collections::BTreeMap;

use super::boxes::OneBox;

/// What became of a predicted box.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Verdict {
    pub(super) iou: f64,
    /// The position of the true box that it matched.
    pub(super) matched: Option<usize>,
    /// Without one, the position of the crowd that it lies in.
    pub(super) crowd: Option<usize>,
}

/// Matches boxes; the order of the verdicts is that of the predictions.
pub(super) fn matching(predicted: &[OneBox], real: &[OneBox], iou_min: f64) -> Vec<Verdict> {
    let of_class = by_class(real, |one| !one.is_crowd);
    let crowds = by_class(real, |one| one.is_crowd);
    let rank = |one: &OneBox| match one.score.is_nan() {
        true => f64::NEG_INFINITY,
        false => one.score,
    };
    let mut order: Vec<(usize, &OneBox)> = predicted.iter().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| rank(b).total_cmp(&rank(a)));
    let mut is_taken = vec![false; real.len()];
    let mut verdicts = vec![Verdict::default(); predicted.len()];
    for (position, one) in order {
        let mut verdict = Verdict::default();
        let mut best = 0.0_f64;
        for (at, other) in same_class(&of_class, one) {
            let iou = one.iou(other);
            best = best.max(iou);
            let is_free = is_taken.get(at) == Some(&false);
            if is_free && iou >= iou_min && (verdict.matched.is_none() || iou > verdict.iou) {
                verdict.iou = iou;
                verdict.matched = Some(at);
            }
        }
        match verdict.matched.and_then(|at| is_taken.get_mut(at)) {
            Some(is_taken) => *is_taken = true,
            None => {
                verdict.iou = best;
                let inside =
                    |(at, crowd): (usize, &OneBox)| (one.inside(crowd) >= iou_min).then_some(at);
                verdict.crowd = same_class(&crowds, one).find_map(inside);
            }
        }
        if let Some(slot) = verdicts.get_mut(position) {
            *slot = verdict;
        }
    }
    verdicts
}

type ByClass<'a> = BTreeMap<i32, Vec<(usize, &'a OneBox)>>;

/// The boxes of each class, with their positions.
fn by_class(real: &[OneBox], is_meant: impl Fn(&OneBox) -> bool) -> ByClass<'_> {
    let mut of_class = ByClass::new();
    for (position, one) in real.iter().enumerate() {
        if let Some(label) = one.label.filter(|_| is_meant(one)) {
            of_class.entry(label).or_default().push((position, one));
        }
    }
    of_class
}

fn same_class<'a>(
    of_class: &'a ByClass<'a>,
    one: &OneBox,
) -> impl Iterator<Item = (usize, &'a OneBox)> {
    let same = one.label.and_then(|label| of_class.get(&label));
    same.into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Boxes from `label x_min x_max score`, between the heights 0 and 1; a label of `-` is null, and a crowd's ends with `c`.
    fn boxes(text: &str) -> Vec<OneBox> {
        let boxes = text.split(';').filter(|one| !one.trim().is_empty());
        let one = |(position, one): (usize, &str)| {
            let words: Vec<&str> = one.split_whitespace().collect();
            OneBox {
                id: i64::try_from(position).unwrap(),
                label: words[0].trim_end_matches('c').parse().ok(),
                corners: [
                    words[1].parse().unwrap(),
                    0.0,
                    words[2].parse().unwrap(),
                    1.0,
                ],
                score: words.get(3).map_or(0.0, |score| score.parse().unwrap()),
                is_crowd: words[0].ends_with('c'),
            }
        };
        boxes.enumerate().map(one).collect()
    }

    /// Names, predicted and true boxes, and of each predicted one its IoU and what it matched.
    #[track_caller]
    fn check(cases: &[(&str, &str, &str, &str)]) {
        for (name, predicted, real, expected) in cases {
            let verdicts = matching(&boxes(predicted), &boxes(real), 0.5);
            let text = verdicts.iter().map(|verdict| {
                let iou = format!("{:.2}", verdict.iou);
                match (verdict.matched, verdict.crowd) {
                    (Some(at), _) => format!("{iou}>{at}"),
                    (None, Some(at)) => format!("{iou}c{at}"),
                    (None, None) => iou,
                }
            });
            assert_eq!(text.collect::<Vec<_>>().join(" "), *expected, "{name}");
        }
    }

    #[test]
    fn boxes_are_matched_by_score_and_each_true_one_once() {
        let cases = [
            ("nothing", "", "", ""),
            ("no true box", "0 0 4 .9", "", "0.00"),
            ("no predicted box", "", "0 0 4", ""),
            ("the same box", "0 0 4 .9", "0 0 4", "1.00>0"),
            ("at the threshold", "0 0 4 .9", "0 0 2", "0.50>0"),
            ("under the threshold", "0 0 5 .9", "0 0 2", "0.40"),
            ("another class", "1 0 4 .9", "0 0 4", "0.00"),
            ("a duplicate", "0 0 4 .8; 0 0 3 .9", "0 0 4", "1.00 0.75>0"),
            ("equal scores", "0 0 3 .9; 0 0 4 .9", "0 0 4", "0.75>0 1.00"),
            ("NaN is last", "0 0 4 NaN; 0 0 3 .1", "0 0 4", "1.00 0.75>0"),
            ("the best of two", "0 0 4 .9", "0 0 3; 0 0 4", "1.00>1"),
            ("the first of equals", "0 0 4 .9", "0 0 3; 0 1 4", "0.75>0"),
            (
                "the best is taken",
                "0 0 4 .9; 0 0 4 .8",
                "0 0 4; 0 0 3",
                "1.00>0 0.75>1",
            ),
            (
                "all taken",
                "0 0 4 .9; 0 0 4 .8; 0 0 4 .7",
                "0 0 4; 0 0 3",
                "1.00>0 0.75>1 1.00",
            ),
            (
                "classes apart",
                "1 0 4 .9; 0 0 4 .8",
                "0 0 4; 1 0 4",
                "1.00>1 1.00>0",
            ),
            ("no label", "0 0 4 .9", "- 0 4", "0.00"),
            (
                "no area",
                "0 2 2 .9; 0 4 0 .9; 0 NaN 4 .9",
                "0 2 2; 0 4 0; 0 0 4",
                "0.00 0.00 0.00",
            ),
            ("no end", "0 0 inf .9", "0 0 inf", "0.00"),
        ];
        check(&cases);
    }

    #[test]
    fn a_box_without_a_match_may_lie_in_a_crowd() {
        let cases = [
            (
                "any number in a crowd",
                "0 0 1 .9; 0 2 3 .8; 0 5 9 .7",
                "0c 0 4",
                "0.00c0 0.00c0 0.00",
            ),
            (
                "a box before a crowd",
                "0 0 4 .9; 0 0 3 .8",
                "0c 0 4; 0 0 4",
                "1.00>1 0.75c0",
            ),
            (
                "partly in a crowd",
                "0 3 5 .9; 0 3 6 .8",
                "0c 0 4",
                "0.00c0 0.00",
            ),
            ("the crowd of another class", "1 0 1 .9", "0c 0 4", "0.00"),
        ];
        check(&cases);
    }

    /// IoU by counting the unit squares inside.
    fn iou_of_squares(a: &OneBox, b: &OneBox) -> f64 {
        let is_in = |one: &OneBox, x: f64, y: f64| {
            let [x_min, y_min, x_max, y_max] = one.corners;
            x_min <= x && x < x_max && y_min <= y && y < y_max
        };
        let (mut both, mut either) = (0.0, 0.0);
        for (x, y) in (0..6_u8).flat_map(|x| (0..6_u8).map(move |y| (f64::from(x), f64::from(y)))) {
            let (in_a, in_b) = (is_in(a, x, y), is_in(b, x, y));
            both += f64::from(u8::from(in_a && in_b));
            either += f64::from(u8::from(in_a || in_b));
        }
        if either == 0.0 { 0.0 } else { both / either }
    }

    fn some_boxes() -> impl Strategy<Value = Vec<OneBox>> {
        let side = || (0_u8..5, 1_u8..4);
        let one = (side(), side(), 0_i32..2, 0_u8..4).prop_map(|(x, y, label, score)| {
            let end = |(from, n): (u8, u8)| f64::from((from + n).min(6));
            OneBox {
                id: 0,
                corners: [f64::from(x.0), f64::from(y.0), end(x), end(y)],
                label: Some(label),
                score: f64::from(score),
                is_crowd: false,
            }
        });
        prop::collection::vec(one, 0..7)
    }

    proptest! {
        #[test]
        fn the_matching_is_that_of_the_plain_definition(
            predicted in some_boxes(),
            real in some_boxes(),
            iou_min in prop::sample::select(vec![0.1, 0.3, 0.5]),
        ) {
            let verdicts = matching(&predicted, &real, iou_min);
            let mut left: Vec<usize> = (0..predicted.len()).collect();
            let mut free: Vec<usize> = (0..real.len()).collect();
            while !left.is_empty() {
                let highest = left.iter().map(|at| predicted[*at].score).fold(0.0, f64::max);
                let at = left.remove(left.iter().position(|at| predicted[*at].score == highest).unwrap());
                let iou = |other: &OneBox| match predicted[at].label == other.label {
                    true => iou_of_squares(&predicted[at], other),
                    false => 0.0,
                };
                let best = free.iter().map(|other| iou(&real[*other])).fold(0.0, f64::max);
                let expected = if best >= iou_min {
                    let position = free.iter().position(|other| iou(&real[*other]) == best).unwrap();
                    Verdict { iou: best, matched: Some(free.remove(position)), crowd: None }
                } else {
                    Verdict { iou: real.iter().map(iou).fold(0.0, f64::max), ..Verdict::default() }
                };
                prop_assert_eq!(verdicts[at], expected);
            }
        }
    }
}
