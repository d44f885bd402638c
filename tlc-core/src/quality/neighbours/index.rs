//! The nearest neighbours of all vectors where there are too many to measure every distance: found by an index, a graph
//! that leads from a vector to nearer and nearer ones (HNSW; Malkov and Yashunin 2016).
//!
//! The index finds candidates, by distances of 32 bits; those are measured anew, as everywhere else. It is built on one
//! thread, from one seed, so that the same vectors have the same neighbours; it is searched on all cores.

use instant_distance::{Builder, Hnsw, Point, Search};
use rayon::ThreadPoolBuilder;

use super::super::options::Distance;
use super::Near;
use super::vectors::Vectors;
use crate::error::{Error, ErrorKind, Result};
use crate::questions::best;
use crate::runtime::parallel;

/// How many vectors are candidates while the index is built, and at least when it is searched. More are slower and find more.
const CANDIDATES: usize = 128;

/// How many candidates there are for each neighbour that is wanted.
const CANDIDATES_EACH: usize = 4;

const SEED: u64 = 1;

/// How many vectors one thread looks up at a time.
const BLOCK: usize = 64;

/// A vector in 32 bits, with its position.
#[derive(Clone)]
struct Place<'a> {
    at: usize,
    vector: &'a [f32],
    distance: Distance,
}

impl Point for Place<'_> {
    /// Grows with the distance, and is cheaper where that is a root.
    fn distance(&self, other: &Self) -> f32 {
        let pairs = self.vector.iter().zip(other.vector);
        match self.distance {
            Distance::Cosine => match pairs.map(|(a, b)| a * b).sum::<f32>() {
                0.0 if self.vector == other.vector => 0.0,
                product => 1.0 - product,
            },
            Distance::Euclidean => pairs.map(|(a, b)| (a - b) * (a - b)).sum(),
        }
    }
}

/// For each vector its `n` nearest others, as far as the index finds them: nearest first, of equally near ones the lowest row id.
///
/// # Errors
/// [`ErrorKind::Unavailable`] if the system gives no thread to build the index on.
pub(super) fn search_all(vectors: &Vectors, n: usize) -> Result<Vec<Vec<Near>>> {
    let narrow = vectors.narrow();
    let lists = narrow.chunks_exact(vectors.n_dimensions()).enumerate();
    let places = lists.map(|(at, vector)| Place {
        at,
        vector,
        distance: vectors.distance,
    });
    let places: Vec<Place<'_>> = places.collect();
    let n_candidates = CANDIDATES.max(CANDIDATES_EACH.saturating_mul(n));
    let builder = Builder::default().seed(SEED).ef_construction(CANDIDATES);
    let builder = builder.ef_search(n_candidates);
    let pool = ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|err| {
        let message = "the system gives no thread to build an index on";
        Error::new(ErrorKind::Unavailable, message).with_source(err)
    })?;
    let (index, _) = pool.install(|| builder.build_hnsw(places.clone()));
    let blocks: Vec<&[Place<'_>]> = places.chunks(BLOCK).collect();
    let found = parallel::map(&blocks, usize::MAX, |block| {
        let mut search = Search::default();
        let nearest = |own: &Place<'_>| nearest(&index, &mut search, vectors, own, n);
        block.iter().map(nearest).collect::<Vec<_>>()
    });
    Ok(found.into_iter().flatten().collect())
}

/// The neighbours of one vector among the candidates.
fn nearest(
    index: &Hnsw<Place<'_>>,
    search: &mut Search,
    vectors: &Vectors,
    own: &Place<'_>,
    n: usize,
) -> Vec<Near> {
    let candidates = index.search(own, search).map(|item| item.point.at);
    let others = candidates.filter(|at| *at != own.at);
    let measured = others.map(|at| Near {
        at,
        distance: vectors.between(vectors.vector(own.at), vectors.vector(at)),
    });
    best(measured.collect(), Some(n), Near::order)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, FixedSizeListArray, UInt64Array};
    use arrow::datatypes::Float32Type;

    use super::super::exact;
    use super::*;

    /// Vectors around some centres, every tenth a copy of one before it.
    fn vectors(n: usize, n_dimensions: usize, distance: Distance) -> Vectors {
        let mut state = 7_u64;
        let mut dice = || {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            f32::from(u16::try_from(state >> 48).unwrap()) / 65_536.0
        };
        let mut lists: Vec<Vec<f32>> = Vec::new();
        for row in 0..n {
            let centre = f32::from(u8::try_from(row % 7).unwrap());
            lists.push(match row % 10 {
                9 => lists[row / 2].clone(),
                _ => (0..n_dimensions)
                    .map(|at| dice() + if at % 7 == row % 7 { centre } else { 0.0 })
                    .collect(),
            });
        }
        let rows = lists
            .iter()
            .map(|list| Some(list.iter().copied().map(Some)));
        let width = i32::try_from(n_dimensions).unwrap();
        let lists = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows, width);
        let ids = UInt64Array::from_iter_values(0..n as u64);
        let lists: ArrayRef = Arc::new(lists);
        Vectors::new("v", &ids, &lists, Some(distance)).unwrap().0
    }

    #[test]
    fn the_index_finds_nearly_all_of_the_nearest_and_the_same_ones_again() {
        for (n_dimensions, distance) in [(8, Distance::Euclidean), (24, Distance::Cosine)] {
            let vectors = vectors(300, n_dimensions, distance);
            let found = search_all(&vectors, 10).unwrap();
            assert_eq!(found, search_all(&vectors, 10).unwrap());
            let wanted: Vec<usize> = (0..vectors.len()).collect();
            let exact = exact::search(&vectors, &wanted, 10);
            let mut n_right = 0;
            for (own, (found, exact)) in found.iter().zip(&exact).enumerate() {
                assert!(found.is_sorted_by(|a, b| a.order(b).is_lt()));
                assert!(found.iter().all(|near| near.at != own));
                n_right += exact.iter().filter(|near| found.contains(near)).count();
            }
            assert!(n_right * 100 >= 99 * 3_000, "{n_right} of 3000");
        }
    }

    #[test]
    fn few_vectors_have_all_others_as_neighbours() {
        for n in [0, 1, 2, 9] {
            let vectors = vectors(n, 3, Distance::Euclidean);
            let found = search_all(&vectors, 10).unwrap();
            assert_eq!(found.len(), n);
            assert!(found.iter().all(|near| near.len() == n - 1), "{n}");
        }
    }
}
