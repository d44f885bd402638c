//! The nearest points of many vectors, all distances measured: by products of matrices, and once more one by one for the few that count.
//!
//! Products tell distances apart by what is left of two large numbers that are taken from each other, if vectors are long and near each other. So
//! they are of 64 bits, and vectors are taken from the middle of all points.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};

use super::vectors::Vectors;
use crate::runtime::parallel;

/// How many vectors are compared with all points at once.
const BLOCK: usize = 64;

/// How many more candidates there are than neighbours, for what rounding puts out of order.
const MORE: usize = 8;

/// Which points are near a vector, nearest first, of equally near ones the first; and how far they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Near {
    pub(super) points: Vec<usize>,
    pub(super) distances: Vec<f64>,
}

/// For each of `vectors` its `n` nearest points. With `is_same` the vectors are the points, and none is near itself.
///
/// Costs the product of all three numbers, on all cores; it holds 8 bytes for each number of the points, and for each core 64 numbers for each point.
pub(super) fn nearest(points: &Vectors, vectors: &Vectors, n: usize, is_same: bool) -> Vec<Near> {
    let middle = middle(points);
    let centred = centred(points.values(), &middle);
    let squares = |point: &[f64]| point.iter().map(|value| value * value).sum();
    let norms: Vec<f64> = centred.chunks_exact(points.width()).map(squares).collect();
    let blocks: Vec<(usize, &[f32])> = vectors
        .values()
        .chunks(BLOCK * vectors.width())
        .enumerate()
        .collect();
    let found = parallel::map(&blocks, usize::MAX, |(block, values)| {
        let products = products(&centred, &self::centred(values, &middle), points.width());
        let near = |at: usize, vector: &[f32]| {
            let own = is_same.then_some(block * BLOCK + at);
            let scores = products.col_as_slice(at).iter().zip(&norms);
            let scores = scores.map(|(product, norm)| norm - 2.0 * product);
            measured(points, vector, lowest(scores, n + MORE, own), n)
        };
        let vectors = values.chunks_exact(points.width()).enumerate();
        vectors
            .map(|(at, vector)| near(at, vector))
            .collect::<Vec<_>>()
    });
    found.into_iter().flatten().collect()
}

/// The mean of all points.
#[expect(
    clippy::cast_precision_loss,
    reason = "there are less than 2^53 points"
)]
fn middle(points: &Vectors) -> Vec<f64> {
    let n = points.len().max(1) as f64;
    let mut middle = vec![0.0; points.width()];
    for point in points {
        for (sum, value) in middle.iter_mut().zip(point) {
            *sum += f64::from(*value) / n;
        }
    }
    middle
}

/// Vectors one after the other, as they are seen from the middle.
fn centred(values: &[f32], middle: &[f64]) -> Vec<f64> {
    let pairs = values.iter().zip(middle.iter().cycle());
    pairs
        .map(|(value, mean)| f64::from(*value) - mean)
        .collect()
}

/// A column for each vector: its products with all points.
fn products(points: &[f64], vectors: &[f64], width: usize) -> Mat<f64> {
    let (n_points, n_vectors) = (points.len() / width, vectors.len() / width);
    let mut products = Mat::zeros(n_points, n_vectors);
    matmul(
        products.as_mut(),
        Accum::Replace,
        MatRef::from_row_major_slice(points, n_points, width),
        MatRef::from_column_major_slice(vectors, width, n_vectors),
        1.0,
        Par::Seq,
    );
    products
}

/// The positions of the lowest scores, but for one position.
fn lowest(scores: impl Iterator<Item = f64>, n: usize, own: Option<usize>) -> Vec<usize> {
    let mut kept: Vec<(f64, usize)> = Vec::with_capacity(n + 1);
    for (at, score) in scores.enumerate() {
        let is_full = kept.len() == n;
        let is_low = kept.last().is_none_or(|last| score < last.0) || !is_full;
        if is_low && own != Some(at) {
            let place = kept.partition_point(|other| other.0 <= score);
            kept.insert(place, (score, at));
            kept.truncate(n);
        }
    }
    kept.into_iter().map(|(_, at)| at).collect()
}

/// Of some points the `n` nearest.
fn measured(points: &Vectors, vector: &[f32], candidates: Vec<usize>, n: usize) -> Near {
    let distance = |at: usize| {
        let pairs = points.vector(at).iter().zip(vector);
        let squares = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let mut near: Vec<(f64, usize)> = candidates
        .into_iter()
        .map(|at| (distance(at), at))
        .collect();
    near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    near.truncate(n);
    let (distances, points) = near.into_iter().unzip();
    Near { points, distances }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(n: usize, width: usize, seed: u64) -> Vectors {
        let mut state = seed;
        let mut dice = || {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            f32::from(u16::try_from(state >> 48).unwrap()) / 65_536.0
        };
        Vectors::new(width, (0..n * width).map(|_| dice()).collect()).unwrap()
    }

    /// Every distance, one by one.
    fn slowly(points: &Vectors, vectors: &Vectors, n: usize, is_same: bool) -> Vec<Near> {
        let near = |(own, vector): (usize, &[f32])| {
            let others = (0..points.len()).filter(|at| !is_same || *at != own);
            measured(points, vector, others.collect(), n)
        };
        vectors.iter().enumerate().map(near).collect()
    }

    #[test]
    fn the_nearest_are_those_that_measuring_one_by_one_finds() {
        for (n_points, width) in [(1, 1), (2, 3), (70, 5), (300, 17)] {
            let (points, others) = (vectors(n_points, width, 1), vectors(130, width, 2));
            for n in [1, 4, 15] {
                let found = nearest(&points, &others, n, false);
                assert_eq!(found, slowly(&points, &others, n, false));
                let found = nearest(&points, &points, n, true);
                assert_eq!(found, slowly(&points, &points, n, true));
            }
        }
    }

    #[test]
    fn the_nearest_are_found_where_vectors_are_long_and_near_each_other() {
        for (middle, spread) in [(1e3, 1e-2), (1e3, 1.0), (-7e4, 0.5)] {
            // Around one place, and around two that are opposite of each other.
            for turns in [1.0, -1.0] {
                let spreads = vectors(300, 17, 3);
                let values = spreads.values().iter().enumerate();
                let far = |at: usize| {
                    if (at / 17).is_multiple_of(2) {
                        middle
                    } else {
                        turns * middle
                    }
                };
                let values = values.map(|(at, value)| far(at) + spread * value);
                let points = Vectors::new(17, values.collect()).unwrap();
                for n in [1, 15] {
                    let found = nearest(&points, &points, n, true);
                    assert_eq!(found, slowly(&points, &points, n, true), "{middle} {turns}");
                }
            }
        }
    }

    #[test]
    fn of_equal_points_each_is_near_the_other() {
        let points = Vectors::new(2, [1.0, 2.0].repeat(40)).unwrap();
        let found = nearest(&points, &points, 3, true);
        assert_eq!(found[0].points, [1, 2, 3]);
        assert_eq!(found[39].points, [0, 1, 2]);
        assert_eq!(found[7].distances, [0.0; 3]);
    }
}
