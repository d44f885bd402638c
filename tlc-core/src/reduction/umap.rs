//! UMAP: places in which vectors that are near each other stay near (McInnes, Healy and Melville 2018), fitted by the crate `manifolds-rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use manifolds_rs::prelude::UmapOptimParams;
use manifolds_rs::{UmapParams, umap};

use super::model::Model;
use super::nearest::{Near, nearest};
use super::vectors::Vectors;
use super::{Reducer, Reduction};
use crate::error::{Error, Result};

/// On fewer vectors nothing is fitted.
const ROWS_MIN: usize = 4;

/// How often the interval is halved in which the width of a neighbourhood lies.
const HALVINGS: usize = 64;

/// The least width of a neighbourhood, as a part of the mean distance in it.
const WIDTH_MIN: f64 = 1e-3;

/// UMAP: a place for each vector, so that those that are near each other stay near.
///
/// A vector that it was fitted on is where the fit put it. Any other is put between those of its nearest neighbours among them, weighted as
/// umap-learn weights them where its `transform` begins; so its place depends on the vector alone, and the same vector has the same place in
/// every epoch. Vectors unlike all that it was fitted on end up among the ones that are least far.
///
/// Distances are Euclidean. It holds all vectors that it was fitted on, and applying it measures the distance to each of them.
#[derive(Clone, Debug)]
pub struct Umap {
    n_dimensions: usize,
    seed: u64,
    rows_max: usize,
    n_neighbours: usize,
    distance_min: f32,
}

impl Umap {
    /// Places of two or three dimensions; 15 neighbours, and 0.1 as the least distance of places. Of more than 10,000 vectors as many are drawn.
    /// The seed is 0.
    #[must_use]
    pub fn new(n_dimensions: usize) -> Self {
        Self {
            n_dimensions,
            seed: 0,
            rows_max: 10_000,
            n_neighbours: 15,
            distance_min: 0.1,
        }
    }

    /// Decides which vectors are drawn, and the fit.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// On how many vectors it is fitted at most; one at least.
    #[must_use]
    pub fn rows_max(mut self, rows_max: usize) -> Self {
        self.rows_max = rows_max;
        self
    }

    /// How many neighbours a vector is to stay near: few show what is local, many the whole.
    #[must_use]
    pub fn neighbours(mut self, n: usize) -> Self {
        self.n_neighbours = n;
        self
    }

    /// How close places may be, from 0 to 1.
    #[must_use]
    pub fn distance_min(mut self, distance: f32) -> Self {
        self.distance_min = distance;
        self
    }

    fn check(&self, vectors: &Vectors) -> Result<()> {
        let wrong = |what: String| Err(Error::invalid(what));
        if !(1..=vectors.width()).contains(&self.n_dimensions) {
            let (n, width) = (self.n_dimensions, vectors.width());
            return wrong(format!(
                "vectors of {width} numbers are not reduced to {n}; ask for 1 to {width}"
            ));
        }
        if self.n_neighbours < 2 {
            return wrong("UMAP needs two neighbours at least".to_owned());
        }
        if !(0.0..=1.0).contains(&self.distance_min) {
            let distance = self.distance_min;
            return wrong(format!(
                "the least distance of places is from 0 to 1, not {distance}"
            ));
        }
        if vectors.len() < ROWS_MIN {
            let n = vectors.len();
            return wrong(format!("UMAP needs {ROWS_MIN} vectors at least, not {n}"));
        }
        Ok(())
    }
}

impl Reducer for Umap {
    fn name(&self) -> &'static str {
        "umap"
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for fewer than four vectors, or settings that are out of range.
    fn fit(&self, vectors: &Vectors) -> Result<Model> {
        self.check(vectors)?;
        let n_neighbours = self.n_neighbours.min(vectors.len() - 1);
        let near = nearest(vectors, vectors, n_neighbours, true);
        let places = fitted(self, vectors, near)?;
        let (n, width) = (vectors.len(), vectors.width());
        Ok(Model::new(self.name())
            .with_fact("seed", self.seed)
            .with_fact("dimensions", self.n_dimensions)
            .with_fact("rows_max", self.rows_max)
            .with_fact("neighbours", n_neighbours)
            .with_fact("distance_min", self.distance_min)
            .with_tensor("vectors", &[n, width], vectors.values().to_vec())
            .with_tensor("places", &[n, self.n_dimensions], places))
    }

    fn reduction(&self, model: &Model) -> Result<Box<dyn Reduction>> {
        let (vectors, places) = (model.vectors("vectors")?, model.vectors("places")?);
        if vectors.len() != places.len() || places.width() > vectors.width() {
            return Err(Error::corrupt("the places do not fit the vectors"));
        }
        let n_neighbours = model.fact("neighbours").and_then(|n| n.parse().ok());
        let n_neighbours = n_neighbours.filter(|n| (1..=vectors.len()).contains(n));
        let wrong = || Error::corrupt("the reduction does not say how many neighbours it takes");
        Ok(Box::new(Placed {
            vectors,
            places,
            n_neighbours: n_neighbours.ok_or_else(wrong)?,
        }))
    }
}

/// The places of vectors whose neighbours are known, one after the other.
fn fitted(options: &Umap, vectors: &Vectors, near: Vec<Near>) -> Result<Vec<f32>> {
    let failed = |why: String| Error::invalid(format!("UMAP does not fit these vectors: {why}"));
    let (n_dim, seed) = (options.n_dimensions, options.seed);
    let params = UmapParams {
        n_dim,
        // By way of PCA: what is far apart stays so, and no eigenvectors of the graph have to converge.
        initialisation: "pca".to_owned(),
        optim_params: UmapOptimParams::from_min_dist_spread(
            options.distance_min,
            1.0,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
        ),
        ..UmapParams::default()
    };
    let known = near.into_iter().map(|near| {
        let distances = near.distances.iter().map(|distance| narrow(*distance));
        (near.points, distances.collect::<Vec<f32>>())
    });
    let known = Some(known.unzip());
    let data = (vectors.values(), vectors.len(), vectors.width());
    let seed = usize::try_from(folded(seed)).unwrap_or_default();
    let fit = AssertUnwindSafe(|| umap(data, known, &params, seed, 0));
    let dimensions = catch_unwind(fit)
        .map_err(|_panic| failed("it ended early".to_owned()))?
        .map_err(|err| failed(err.to_string()))?;
    let place = |at: usize| {
        dimensions
            .iter()
            .filter_map(move |all| all.get(at).copied())
    };
    let places: Vec<f32> = (0..vectors.len()).flat_map(place).collect();
    match places.len() == vectors.len() * n_dim && places.iter().all(|value| value.is_finite()) {
        true => Ok(places),
        false => Err(failed("not every place is a number".to_owned())),
    }
}

/// The seed in 32 bits, for the fit adds to it. All bits count, and a seed of 32 bits stays as it is.
fn folded(seed: u64) -> u64 {
    (seed ^ seed >> 32) & u64::from(u32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "results are of 32 bits")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// Vectors and where they were put.
#[derive(Debug)]
struct Placed {
    vectors: Vectors,
    places: Vectors,
    n_neighbours: usize,
}

impl Reduction for Placed {
    fn width(&self) -> usize {
        self.vectors.width()
    }

    fn n_dimensions(&self) -> usize {
        self.places.width()
    }

    fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        vectors.expect_width(self.width())?;
        let near = nearest(&self.vectors, vectors, self.n_neighbours, false);
        let places = near.iter().flat_map(|near| self.between(near));
        Vectors::new(self.n_dimensions(), places.map(narrow).collect())
    }
}

impl Placed {
    /// The place of a vector that has these neighbours.
    fn between(&self, near: &Near) -> Vec<f64> {
        let mut place = vec![0.0; self.n_dimensions()];
        let weights = weights(&near.distances);
        for (at, weight) in near.points.iter().zip(weights) {
            for (sum, value) in place.iter_mut().zip(self.places.vector(*at)) {
                *sum += weight * f64::from(*value);
            }
        }
        place
    }
}

/// How much each neighbour counts, together 1: it falls with the distance, so fast that all count together as much as the
/// logarithm of their number to base 2. Only the first counts if it is the vector itself.
#[expect(clippy::cast_precision_loss, reason = "there are few neighbours")]
fn weights(distances: &[f64]) -> Vec<f64> {
    if distances.first() == Some(&0.0) {
        let is_first = |at| if at == 0 { 1.0 } else { 0.0 };
        return (0..distances.len()).map(is_first).collect();
    }
    let n = distances.len() as f64;
    let falling = |width: f64| distances.iter().map(move |d| (-d / width).exp());
    let (mut low, mut width, mut high) = (0.0, 1.0, f64::INFINITY);
    for _ in 0..HALVINGS {
        match falling(width).sum::<f64>() > n.log2() {
            true => high = width,
            false => low = width,
        }
        width = match high.is_finite() {
            true => f64::midpoint(low, high),
            false => 2.0 * width,
        };
    }
    let mean = distances.iter().sum::<f64>() / n;
    let width = width.max(WIDTH_MIN * mean);
    // Relative to the nearest, so that they are not all rounded to 0.
    let first = distances.first().copied().unwrap_or_default();
    let relative: Vec<f64> = distances
        .iter()
        .map(|d| (-(d - first) / width).exp())
        .collect();
    let sum: f64 = relative.iter().sum();
    relative.iter().map(|weight| weight / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bits_of_a_seed_count() {
        for seed in [0, 7, u64::from(u32::MAX)] {
            assert_eq!(folded(seed), seed);
        }
        for bit in 0..64 {
            assert_ne!(folded(7 ^ 1 << bit), folded(7), "{bit}");
        }
        assert!(folded(u64::MAX - 3) <= u64::from(u32::MAX));
    }

    #[test]
    fn the_nearer_a_neighbour_the_more_it_counts_and_the_vector_itself_alone() {
        for distances in [&[1.0, 2.0, 3.0, 9.0][..], &[1e6, 1e6 + 1.0, 1e6 + 5.0]] {
            let weights = weights(distances);
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(weights.is_sorted_by(|a, b| a > b), "{weights:?}");
        }
        assert_eq!(weights(&[0.0, 0.0, 1.0]), [1.0, 0.0, 0.0]);
        assert_eq!(weights(&[7.0, 7.0]), [0.5, 0.5]);
    }
}
