//! The nearest neighbours of some vectors among all, found by measuring every distance.

use super::Near;
use super::vectors::Vectors;
use crate::questions::best;
use crate::runtime::parallel;

/// How many vectors are compared with the others at once, so that these are fetched from memory once for all of them.
const BLOCK: usize = 16;

/// For each of the vectors at `wanted` its `n` nearest others, nearest first, of equally near ones the lowest row id. On all
/// cores; holds the distances of one block for each core.
pub(super) fn search(vectors: &Vectors, wanted: &[usize], n: usize) -> Vec<Vec<Near>> {
    let blocks: Vec<&[usize]> = wanted.chunks(BLOCK).collect();
    let found = parallel::map(&blocks, usize::MAX, |block| search_block(vectors, block, n));
    found.into_iter().flatten().collect()
}

fn search_block(vectors: &Vectors, block: &[usize], n: usize) -> Vec<Vec<Near>> {
    let own: Vec<&[f64]> = block.iter().map(|at| vectors.vector(*at)).collect();
    let mut distances: Vec<Vec<Near>> = block
        .iter()
        .map(|_| Vec::with_capacity(vectors.len()))
        .collect();
    for (at, other) in vectors.iter().enumerate() {
        for ((own, wanted), distances) in own.iter().zip(block).zip(&mut distances) {
            if at != *wanted {
                let distance = vectors.between(own, other);
                distances.push(Near { at, distance });
            }
        }
    }
    let nearest = |distances| best(distances, Some(n), Near::order);
    distances.into_iter().map(nearest).collect()
}
