//! The nearest neighbours of all vectors where there are too many to measure every distance: found by an index, a graph
//! that leads from a vector to nearer and nearer ones (HNSW; Malkov and Yashunin 2016).
//!
//! The index finds candidates, by distances of 32 bits; those are measured anew, as everywhere else. It is built on one
//! thread, from one seed, so that the same vectors have the same neighbours; it is searched on all cores. Of copies one is
//! indexed: a graph of many that are no distance apart would lead from one to the next and nowhere else.

use std::cmp::Ordering;

use instant_distance::{Builder, Point, Search};
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

/// A vector in 32 bits, with its place among those that are distinct.
#[derive(Clone)]
struct Place<'a> {
    place: usize,
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
    let lists: Vec<&[f32]> = narrow.chunks_exact(vectors.n_dimensions()).collect();
    let copies = Copies::new(&lists);
    let places = copies.each().enumerate().filter_map(|(place, copies)| {
        Some(Place {
            place,
            vector: lists.get(*copies.first()?)?,
            distance: vectors.distance,
        })
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
    let all: Vec<usize> = (0..vectors.len()).collect();
    let blocks: Vec<&[usize]> = all.chunks(BLOCK).collect();
    let found = parallel::map(&blocks, usize::MAX, |block| {
        let mut search = Search::default();
        let mut nearest = |own: &usize| {
            let place = places.get(copies.place(*own))?;
            let found = index.search(place, &mut search);
            let found = found.map(|item| item.point.place);
            Some(measured(vectors, &copies, (*own, place.place), found, n))
        };
        let found = block.iter().map(|own| nearest(own).unwrap_or_default());
        found.collect::<Vec<_>>()
    });
    Ok(found.into_iter().flatten().collect())
}

/// The neighbours of one vector among the candidates, whose copies are candidates too.
fn measured(
    vectors: &Vectors,
    copies: &Copies,
    (own, own_place): (usize, usize),
    candidates: impl Iterator<Item = usize>,
    n: usize,
) -> Vec<Near> {
    let others = candidates.filter(|place| *place != own_place);
    // Of copies no more than the first can be among the nearest, and one of them may be the vector itself.
    let n_copies = n.saturating_add(1);
    let positions = std::iter::once(own_place).chain(others);
    let positions = positions.flat_map(|place| copies.of(place).iter().take(n_copies));
    let near = positions.filter(|at| **at != own).map(|at| Near {
        at: *at,
        distance: vectors.between(vectors.vector(own), vectors.vector(*at)),
    });
    best(near.collect(), Some(n), Near::order)
}

/// Which vectors are the same. 24 bytes for each vector at most.
struct Copies {
    /// Positions, those of one vector and its copies together and ascending.
    positions: Vec<usize>,
    /// Where each distinct vector begins among them, and where the last one ends.
    starts: Vec<usize>,
    /// The place of each position among the distinct vectors.
    places: Vec<usize>,
}

impl Copies {
    fn new(lists: &[&[f32]]) -> Self {
        let list = |at: usize| lists.get(at).copied().unwrap_or_default();
        let order = |a: &usize, b: &usize| {
            let values = list(*a).iter().zip(list(*b));
            // There is one zero.
            let mut by_values = values.map(|(a, b)| (a + 0.0).total_cmp(&(b + 0.0)));
            let first = by_values.find(|order| order.is_ne());
            first.unwrap_or(Ordering::Equal).then(a.cmp(b))
        };
        let mut positions: Vec<usize> = (0..lists.len()).collect();
        positions.sort_unstable_by(order);
        let (mut starts, mut places) = (Vec::new(), vec![0; lists.len()]);
        let mut before: Option<usize> = None;
        for (start, at) in positions.iter().enumerate() {
            if before.is_none_or(|before| list(before) != list(*at)) {
                starts.push(start);
            }
            before = Some(*at);
            if let Some(place) = places.get_mut(*at) {
                *place = starts.len().saturating_sub(1);
            }
        }
        starts.push(positions.len());
        Self {
            positions,
            starts,
            places,
        }
    }

    fn place(&self, at: usize) -> usize {
        self.places.get(at).copied().unwrap_or(usize::MAX)
    }

    /// The positions of a distinct vector.
    fn of(&self, place: usize) -> &[usize] {
        let range = self
            .starts
            .get(place)
            .zip(self.starts.get(place.saturating_add(1)));
        let positions = range.and_then(|(from, to)| self.positions.get(*from..*to));
        positions.unwrap_or_default()
    }

    fn each(&self) -> impl Iterator<Item = &[usize]> {
        (0..self.starts.len().saturating_sub(1)).map(|place| self.of(place))
    }
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
    fn many_copies_hide_no_neighbour() {
        let (n, n_copies) = (600_u64, 400);
        let row = |at: u64| {
            let at = if at.is_multiple_of(3) || at >= n_copies {
                at
            } else {
                7
            };
            let x = f32::from(u16::try_from(at).unwrap());
            Some([x, (x * 0.7).sin(), 0.0].map(Some))
        };
        let lists =
            FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>((0..n).map(row), 3);
        let ids = UInt64Array::from_iter_values(0..n);
        let lists: ArrayRef = Arc::new(lists);
        for distance in [Distance::Euclidean, Distance::Cosine] {
            let vectors = Vectors::new("v", &ids, &lists, Some(distance)).unwrap().0;
            let all: Vec<usize> = (0..vectors.len()).collect();
            let exact = exact::search(&vectors, &all, 5);
            let found = search_all(&vectors, 5).unwrap();
            let is_same = |(found, exact): &(&Vec<Near>, &Vec<Near>)| {
                let distances = |near: &[Near]| near.iter().map(|near| near.distance).collect();
                let [found, exact]: [Vec<f64>; 2] = [distances(found), distances(exact)];
                found.len() == 5 && found.iter().zip(exact).all(|(a, b)| (a - b).abs() < 1e-7)
            };
            let n_right = found.iter().zip(&exact).filter(is_same).count();
            assert!(
                n_right * 100 >= 99 * all.len(),
                "{n_right} of {}",
                all.len()
            );
            // Of copies the first are the nearest.
            assert_eq!(found[8], exact[8]);
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
