//! What nearest neighbours say of a data set, as cleanlab 2 defines it: which samples are almost the same, and which are like
//! no others. Plain functions.

use super::super::options::Distance;
use super::super::per_sample::quantile;
use super::Near;

/// Samples are near-duplicates whose distance is below this share of the median distance to the nearest one.
const DUPLICATE_SHARE: f64 = 0.13;

/// What a median distance counts at least.
const MEDIAN_MIN: f64 = 1e-6;

/// Distances up to it are none.
const NO_DISTANCE: f64 = 1e-8;

/// An outlier is by this many ranges between the quartiles above the upper one: cleanlab's threshold of 0.37037.
const RANGES: f64 = 1.0 / 0.37037 - 1.0;

/// A sample that is almost the same as others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Duplicate {
    pub(super) at: usize,
    /// 0 for an exact duplicate, towards 1 for what is no duplicate.
    pub(super) score: f64,
    pub(super) nearest: Near,
    /// The first sample of those that near-duplicates lead to from one to the next.
    pub(super) group: usize,
}

/// The samples that are near-duplicates of one of their neighbours, by group and then in their order.
pub(super) fn duplicates(neighbours: &[Vec<Near>]) -> Vec<Duplicate> {
    let nearest = |near: &Vec<Near>| near.first().map(|near| near.distance);
    let median = quantile(neighbours.iter().filter_map(nearest).collect(), 0.5);
    let median = median.unwrap_or_default().max(MEDIAN_MIN);
    let mut groups: Vec<usize> = (0..neighbours.len()).collect();
    let mut is_duplicate = vec![false; neighbours.len()];
    for (at, near) in neighbours.iter().enumerate() {
        for other in near
            .iter()
            .take_while(|near| near.distance < DUPLICATE_SHARE * median)
        {
            join(&mut groups, at, other.at);
            for at in [at, other.at] {
                is_duplicate
                    .get_mut(at)
                    .into_iter()
                    .for_each(|is| *is = true);
            }
        }
    }
    let found = neighbours.iter().zip(is_duplicate).enumerate();
    let found = found.filter(|(_, (_, is_duplicate))| *is_duplicate);
    let found = found.filter_map(|(at, (near, _))| {
        let nearest = near.first().copied()?;
        let score = match nearest.distance <= NO_DISTANCE {
            true => 0.0,
            false => 1.0 - (-nearest.distance / median).exp(),
        };
        let group = first(&mut groups, at);
        Some(Duplicate {
            at,
            score,
            nearest,
            group,
        })
    });
    let mut found: Vec<Duplicate> = found.collect();
    found.sort_by_key(|duplicate| (duplicate.group, duplicate.at));
    found
}

/// The first sample of a group.
fn first(groups: &mut [usize], of: usize) -> usize {
    let mut at = of;
    while let Some(before) = groups.get(at).copied().filter(|before| *before != at) {
        let further = groups.get(before).copied().unwrap_or(before);
        if let Some(own) = groups.get_mut(at) {
            *own = further;
        }
        at = before;
    }
    at
}

fn join(groups: &mut [usize], a: usize, b: usize) {
    let (a, b) = (first(groups, a), first(groups, b));
    if let Some(later) = groups.get_mut(a.max(b)) {
        *later = a.min(b);
    }
}

/// A sample that is far from its neighbours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outlier {
    pub(super) at: usize,
    /// From 0 for what is far away to 1.
    pub(super) score: f64,
    /// The mean distance to its neighbours.
    pub(super) distance: f64,
}

/// The samples whose mean distance to their neighbours is far above that of the others, in their order.
#[expect(clippy::cast_precision_loss, reason = "there are few neighbours")]
pub(super) fn outliers(neighbours: &[Vec<Near>], distance: Distance) -> Vec<Outlier> {
    let mean = |near: &Vec<Near>| {
        let sum: f64 = near.iter().map(|near| near.distance).sum();
        (!near.is_empty()).then(|| sum / near.len() as f64)
    };
    let means: Vec<f64> = neighbours.iter().filter_map(mean).collect();
    let quartile = |share| quantile(means.clone(), share);
    let (Some(low), Some(median), Some(high)) = (quartile(0.25), quartile(0.5), quartile(0.75))
    else {
        return Vec::new();
    };
    let threshold = high + RANGES * (high - low);
    let scale = median.max(MEDIAN_MIN);
    // What rounding alone may make of no distance.
    let none = match distance {
        Distance::Cosine => 100.0 * f64::EPSILON / 2.0,
        Distance::Euclidean => (100.0 * f64::EPSILON).sqrt(),
    };
    let outlier = |(at, distance): (usize, f64)| Outlier {
        at,
        score: if distance < none {
            1.0
        } else {
            (-distance / scale).exp()
        },
        distance,
    };
    let found = means.iter().copied().enumerate();
    found
        .filter(|(_, distance)| *distance > threshold)
        .map(outlier)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples on a line; each has all others as its neighbours.
    fn on_a_line(places: &[f64], n: usize) -> Vec<Vec<Near>> {
        let near = |(own, place): (usize, &f64)| {
            let others = places.iter().enumerate().filter(|(at, _)| *at != own);
            let near = others.map(|(at, other)| Near {
                at,
                distance: (other - place).abs(),
            });
            let mut near: Vec<Near> = near.collect();
            near.sort_by(Near::order);
            near.truncate(n);
            near
        };
        places.iter().enumerate().map(near).collect()
    }

    #[test]
    fn near_duplicates_are_grouped_from_one_to_the_next() {
        let check = |places: &[f64], n: usize, expected: &[(usize, usize, usize)]| {
            let found = duplicates(&on_a_line(places, n));
            let found = found.iter().map(|one| (one.group, one.at, one.nearest.at));
            assert_eq!(found.collect::<Vec<_>>(), expected, "{places:?}");
        };
        check(&[0.0, 10.0, 20.0, 30.0], 2, &[]);
        check(&[0.0, 10.0, 20.0, 0.0, 35.0], 2, &[(0, 0, 3), (0, 3, 0)]);
        // The median is 1, so 0.13 is no duplicate and 0.12 is; the ends of a chain are in one group.
        check(
            &[0.0, 0.12, 0.24, 5.0, 6.0, 7.0, 8.0],
            2,
            &[(0, 0, 1), (0, 1, 0), (0, 2, 1)],
        );
        check(&[0.0, 0.13, 5.0, 6.0, 7.0, 8.0], 2, &[]);
        let twins = [9.0, 4.0, 14.0, 9.0, 4.0, 21.0, 30.0, 40.0, 50.0, 61.0];
        check(&twins, 3, &[(0, 0, 3), (0, 3, 0), (1, 1, 4), (1, 4, 1)]);
        check(&[3.0, 3.0, 3.0], 1, &[(0, 0, 1), (0, 1, 0), (0, 2, 0)]);
        check(&[3.0], 1, &[]);
        check(&[], 1, &[]);
    }

    #[test]
    fn a_duplicate_scores_by_its_distance_and_an_exact_one_0() {
        let found = duplicates(&on_a_line(&[0.0, 0.1, 0.1, 5.0, 6.0, 7.0, 8.0], 2));
        let scores: Vec<f64> = found.iter().map(|one| one.score).collect();
        assert_eq!(scores, [1.0 - (-0.1_f64).exp(), 0.0, 0.0]);
    }

    #[test]
    fn an_outlier_is_far_above_the_upper_quartile() {
        let gaps = [1.0, 2.0, 3.0].into_iter().cycle().take(21);
        let mut places = vec![0.0];
        places.extend(gaps.scan(0.0, |place, gap| {
            *place += gap;
            Some(*place)
        }));
        // Of the mean distances the quartiles are 1.5 and 2.5, and that of the last is 4.
        assert_eq!(outliers(&on_a_line(&places, 2), Distance::Euclidean), []);
        places.push(62.0);
        let found = outliers(&on_a_line(&places, 2), Distance::Euclidean);
        let score = (-10.75_f64).exp();
        let expected = Outlier {
            at: 22,
            score,
            distance: 21.5,
        };
        assert_eq!(found, [expected]);
        assert_eq!(outliers(&on_a_line(&[1.0], 2), Distance::Cosine), []);
    }
}
