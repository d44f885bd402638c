//! The nearest neighbours of some vectors among all, found by measuring every distance.

use super::Near;
use super::vectors::Vectors;
use crate::questions::best;
use crate::runtime::parallel;

/// How many vectors are compared with the others at once, so that these are fetched from memory once for all of them.
const BLOCK: usize = 16;

/// How many neighbours are kept at least before the farther ones are left out.
const KEPT_MIN: usize = 64;

/// For each of the vectors at `wanted` its `n` nearest others, nearest first, of equally near ones the lowest row id. On all
/// cores; holds twice the neighbours that are wanted of one block for each core.
pub(super) fn search(vectors: &Vectors, wanted: &[usize], n: usize) -> Vec<Vec<Near>> {
    let blocks: Vec<&[usize]> = wanted.chunks(BLOCK).collect();
    let found = parallel::map(&blocks, usize::MAX, |block| search_block(vectors, block, n));
    found.into_iter().flatten().collect()
}

fn search_block(vectors: &Vectors, block: &[usize], n: usize) -> Vec<Vec<Near>> {
    let own: Vec<&[f64]> = block.iter().map(|at| vectors.vector(*at)).collect();
    let mut nearest: Vec<Nearest> = block.iter().map(|_| Nearest::new(n)).collect();
    for (at, other) in vectors.iter().enumerate() {
        for ((own, wanted), nearest) in own.iter().zip(block).zip(&mut nearest) {
            if at != *wanted {
                let distance = vectors.between(own, other);
                nearest.offer(Near { at, distance });
            }
        }
    }
    nearest.into_iter().map(Nearest::finish).collect()
}

/// The nearest of what is offered one by one, at most `n`.
struct Nearest {
    n: usize,
    /// At most twice as many, of which the last are left out when it is full.
    kept: Vec<Near>,
    /// What is not before it is none of the nearest.
    last: Option<Near>,
}

impl Nearest {
    fn new(n: usize) -> Self {
        Self {
            n,
            kept: Vec::new(),
            last: None,
        }
    }

    fn offer(&mut self, near: Near) {
        if self.last.is_some_and(|last| near.order(&last).is_gt()) {
            return;
        }
        self.kept.push(near);
        if self.kept.len() >= self.n.saturating_mul(2).max(KEPT_MIN) {
            self.kept = best(std::mem::take(&mut self.kept), Some(self.n), Near::order);
            self.last = self.kept.last().copied();
        }
    }

    /// Nearest first.
    fn finish(self) -> Vec<Near> {
        best(self.kept, Some(self.n), Near::order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_offered_the_nearest_are_kept() {
        let all = (0..1_000_usize).map(|at| {
            let distance = f64::from(u32::try_from(at * 7_919 % 251).unwrap());
            Near { at, distance }
        });
        let all: Vec<Near> = all.collect();
        for n in [0, 1, 10, 40, 999, 1_000, 2_000, usize::MAX] {
            let mut nearest = Nearest::new(n);
            for near in &all {
                nearest.offer(*near);
                assert!(nearest.kept.len() < n.saturating_mul(2).max(KEPT_MIN));
            }
            assert_eq!(
                nearest.finish(),
                best(all.clone(), Some(n), Near::order),
                "{n}"
            );
        }
    }
}
